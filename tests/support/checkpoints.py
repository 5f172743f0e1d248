"""Small checkpoints of every family on disk, written from the official naming and not by the models.

`tensor_names(family, ...)` is the list that the official files follow; shapes come with it.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

LLADA = {
    "model_type": "llada",
    "architectures": ["LLaDAModelLM"],
    "auto_map": {"AutoConfig": "configuration_llada.LLaDAConfig", "AutoModel": "modeling_llada.LLaDAModelLM"},
    "d_model": 32,
    "n_heads": 4,
    "n_kv_heads": 4,
    "n_layers": 2,
    "mlp_hidden_size": 48,
    "vocab_size": 400,
    "embedding_size": 404,
    "max_sequence_length": 128,
    "rope_theta": 500000.0,
    "rms_norm_eps": 1e-5,
    "weight_tying": False,
    "include_bias": False,
    "include_qkv_bias": False,
}
DREAM = {
    "model_type": "Dream",
    "architectures": ["DreamModel"],
    "auto_map": {"AutoConfig": "configuration_dream.DreamConfig", "AutoModel": "modeling_dream.DreamModel"},
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 404,
    "max_position_embeddings": 128,
    "rope_theta": 1000000.0,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
}


def official_shapes(config: dict) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of an official checkpoint with this config.json."""
    return (llada_shapes if config["model_type"] == "llada" else dream_shapes)(config)


def llada_shapes(c: dict) -> dict[str, tuple[int, ...]]:
    d, hidden, rows = c["d_model"], c["mlp_hidden_size"], c["embedding_size"]
    kv = d // c["n_heads"] * (c.get("n_kv_heads") or c["n_heads"])
    shapes = {"model.transformer.wte.weight": (rows, d), "model.transformer.ln_f.weight": (d,)}
    for n in range(c["n_layers"]):
        block = f"model.transformer.blocks.{n}"
        matrices = {
            "q_proj": (d, d),
            "k_proj": (kv, d),
            "v_proj": (kv, d),
            "attn_out": (d, d),
            "ff_proj": (hidden, d),
            "up_proj": (hidden, d),
            "ff_out": (d, hidden),
        }
        for name, shape in matrices.items():
            shapes[f"{block}.{name}.weight"] = shape
            if c["include_bias"] or (c["include_qkv_bias"] and name in ("q_proj", "k_proj", "v_proj")):
                shapes[f"{block}.{name}.bias"] = shape[:1]
        shapes |= {f"{block}.attn_norm.weight": (d,), f"{block}.ff_norm.weight": (d,)}
    if not c["weight_tying"]:
        shapes["model.transformer.ff_out.weight"] = (rows, d)
        if c["include_bias"]:
            shapes["model.transformer.ff_out.bias"] = (rows,)
    return shapes


def dream_shapes(c: dict) -> dict[str, tuple[int, ...]]:
    d, hidden, rows = c["hidden_size"], c["intermediate_size"], c["vocab_size"]
    kv = d // c["num_attention_heads"] * c["num_key_value_heads"]
    shapes = {"model.embed_tokens.weight": (rows, d), "model.norm.weight": (d,)}
    for n in range(c["num_hidden_layers"]):
        layer = f"model.layers.{n}"
        for part, width in (("q_proj", d), ("k_proj", kv), ("v_proj", kv)):
            shapes[f"{layer}.self_attn.{part}.weight"] = (width, d)
            shapes[f"{layer}.self_attn.{part}.bias"] = (width,)
        shapes[f"{layer}.self_attn.o_proj.weight"] = (d, d)
        shapes[f"{layer}.mlp.gate_proj.weight"] = (hidden, d)
        shapes[f"{layer}.mlp.up_proj.weight"] = (hidden, d)
        shapes[f"{layer}.mlp.down_proj.weight"] = (d, hidden)
        shapes[f"{layer}.input_layernorm.weight"] = (d,)
        shapes[f"{layer}.post_attention_layernorm.weight"] = (d,)
    if not c["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (rows, d)
    return shapes


def random_tensors(shapes: dict, dtype=torch.float32, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shape, generator=generator).mul(0.3).to(dtype) for name, shape in shapes.items()
    }


def write_weights(folder: Path, tensors: dict[str, torch.Tensor], shards: int = 1) -> None:
    """model.safetensors, or shards with an index, as the Hub has them."""
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names = list(tensors)
    where = {name: f"model-{i * shards // len(names) + 1:05}-of-{shards:05}.safetensors" for i, name in
             enumerate(names)}  # fmt: skip
    for file in sorted(set(where.values())):
        part = {name: tensors[name] for name in names if where[name] == file}
        save_file(part, folder / file, metadata={"format": "pt"})
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def write_checkpoint(
    folder: Path, tokenizer, base: dict, *, dtype=torch.float32, shards: int = 1, seed: int = 0, **changes
) -> Path:
    """A random checkpoint with the ids of `tokenizer`, whose files it gets."""
    folder.mkdir(parents=True, exist_ok=True)
    ids = {f"{kind}_token_id": getattr(tokenizer, f"{kind}_token_id") for kind in ("mask", "eos", "pad")}
    config = base | ids | {"torch_dtype": str(dtype).removeprefix("torch.")} | changes
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    write_weights(folder, random_tensors(official_shapes(config), dtype, seed), shards)
    tokenizer.save_pretrained(folder)
    return folder


def all_tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor of every safetensors file."""
    from safetensors.torch import load_file

    found = {}
    for file in sorted(folder.glob("*.safetensors")):
        found |= load_file(file)
    return found
