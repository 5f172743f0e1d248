"""LLaDA in numpy float64, one row at a time, from the formulas of the papers; and its files on disk.

Nothing here imports lift_harness: this is what its model is compared with.
RMSNorm: Zhang and Sennrich 2019; RoPE: Su et al. 2021 (halves convention of GPT-NeoX); SwiGLU: Shazeer
2020; grouped queries: Ainslie et al. 2023; the whole: Nie et al. 2025 (arXiv 2502.09992).
"""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

VOCAB, MASK, EOS = 64, 60, 61

# The keys of GSAI-ML/LLaDA-8B-Instruct's config.json, at a tiny shape.
OFFICIAL_CONFIG = {
    "activation_type": "silu",
    "alibi": False,
    "alibi_bias_max": 8.0,
    "architectures": ["LLaDAModelLM"],
    "attention_dropout": 0.0,
    "attention_layer_norm": False,
    "attention_layer_norm_with_affine": True,
    "auto_map": {
        "AutoConfig": "configuration_llada.LLaDAConfig",
        "AutoModel": "modeling_llada.LLaDAModelLM",
        "AutoModelForCausalLM": "modeling_llada.LLaDAModelLM",
    },
    "bias_for_layer_norm": False,
    "block_group_size": 1,
    "block_type": "llama",
    "d_model": 32,
    "embedding_dropout": 0.0,
    "embedding_size": VOCAB,
    "eos_token_id": EOS,
    "flash_attention": False,
    "include_bias": False,
    "include_qkv_bias": False,
    "init_cutoff_factor": None,
    "init_device": "meta",
    "init_fn": "mitchell",
    "init_std": 0.02,
    "input_emb_norm": False,
    "layer_norm_type": "rms",
    "layer_norm_with_affine": True,
    "mask_token_id": MASK,
    "max_sequence_length": 128,
    "mlp_hidden_size": 48,
    "mlp_ratio": 4,
    "model_type": "llada",
    "multi_query_attention": None,
    "n_heads": 4,
    "n_kv_heads": 4,
    "n_layers": 2,
    "pad_token_id": EOS,
    "precision": "amp_bf16",
    "residual_dropout": 0.0,
    "rms_norm_eps": 1e-5,
    "rope": True,
    "rope_full_precision": True,
    "rope_theta": 500000.0,
    "scale_logits": False,
    "transformers_version": "4.46.3",
    "use_cache": False,
    "vocab_size": VOCAB,
    "weight_tying": False,
}

SHAPES = {
    "mha": {},
    "gqa": {"n_kv_heads": 2},
    "one_kv_head": {"n_kv_heads": 1, "rope_theta": 10000.0},
    "tied": {"weight_tying": True},
    "biased": {"include_bias": True, "n_kv_heads": 2},
    "qkv_biased": {"include_qkv_bias": True},
    "scaled": {"scale_logits": True, "input_emb_norm": True},
    "wide": {"embedding_size": 72, "mlp_hidden_size": None, "mlp_ratio": 2, "rms_norm_eps": 1e-3},
}


def write_checkpoint(folder: Path, shape: str, seed: int = 0) -> None:
    """A random checkpoint in the official format. No norm weight is 1 and no bias 0, so that each shows."""
    config = OFFICIAL_CONFIG | SHAPES[shape]
    rng = np.random.default_rng([seed, list(SHAPES).index(shape)])
    size, layers = config["d_model"], config["n_layers"]
    hidden = config["mlp_hidden_size"] or config["mlp_ratio"] * size
    kv_size = size // config["n_heads"] * config["n_kv_heads"]
    tensors = {}

    def linear(name, n_out, n_in, bias, gain=1.0):
        tensors[f"{name}.weight"] = rng.normal(0, gain / np.sqrt(n_in), (n_out, n_in))
        if bias:
            tensors[f"{name}.bias"] = rng.normal(0, 0.3, n_out)

    bias, qkv_bias = config["include_bias"], config["include_bias"] or config["include_qkv_bias"]
    tensors["model.transformer.wte.weight"] = rng.normal(0, 1, (config["embedding_size"], size))
    tensors["model.transformer.ln_f.weight"] = rng.uniform(0.5, 1.5, size)
    for n in range(layers):
        block = f"model.transformer.blocks.{n}"
        tensors[f"{block}.attn_norm.weight"] = rng.uniform(0.5, 1.5, size)
        tensors[f"{block}.ff_norm.weight"] = rng.uniform(0.5, 1.5, size)
        linear(f"{block}.q_proj", size, size, qkv_bias, gain=2)
        linear(f"{block}.k_proj", kv_size, size, qkv_bias, gain=2)
        linear(f"{block}.v_proj", kv_size, size, qkv_bias, gain=2)
        linear(f"{block}.attn_out", size, size, bias, gain=2)
        linear(f"{block}.ff_proj", hidden, size, bias)
        linear(f"{block}.up_proj", hidden, size, bias)
        linear(f"{block}.ff_out", size, hidden, bias)
    if not config["weight_tying"]:
        gain = 3 * (np.sqrt(size) if config["scale_logits"] else 1)
        linear("model.transformer.ff_out", config["embedding_size"], size, bias, gain)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    tensors = {name: value.astype(np.float32) for name, value in tensors.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def random_prompts(lengths, seed: int = 0) -> list[list[int]]:
    """Prompts of these lengths, without masks."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, MASK, n).tolist() for n in lengths]


class ReferenceLLaDA:
    """`ReferenceLLaDA(folder)(ids)`: logits float64 [L, V] of one row.

    With `kept`, a dict, the keys and values of that pass stay there. A later pass over `columns` alone
    (logits [S, V]) renews those and attends to the others as they were kept.
    """

    def __init__(self, folder: Path) -> None:
        self.config = json.loads((folder / "config.json").read_text())
        tensors = load_file(folder / "model.safetensors")
        self.tensors = {name: value.astype(np.float64) for name, value in tensors.items()}

    def __call__(self, ids, columns=None, kept=None) -> np.ndarray:
        size = self.config["d_model"]
        embedding = self.tensors["model.transformer.wte.weight"]
        columns = np.arange(len(ids)) if columns is None else np.asarray(columns)
        x = embedding[np.asarray(ids)[columns]]
        if self.config["input_emb_norm"]:
            x = x * np.sqrt(size)
        for n in range(self.config["n_layers"]):
            block = f"model.transformer.blocks.{n}"
            x = x + self.attention(block, self.rms_norm(f"{block}.attn_norm", x), columns, kept)
            h = self.rms_norm(f"{block}.ff_norm", x)
            gate = self.linear(f"{block}.ff_proj", h)
            h = gate / (1 + np.exp(-gate)) * self.linear(f"{block}.up_proj", h)
            x = x + self.linear(f"{block}.ff_out", h)
        x = self.rms_norm("model.transformer.ln_f", x)
        if self.config["weight_tying"]:
            logits = x @ embedding.T
        else:
            logits = self.linear("model.transformer.ff_out", x)
        return logits / np.sqrt(size) if self.config["scale_logits"] else logits

    def linear(self, name, x):
        return x @ self.tensors[f"{name}.weight"].T + self.tensors.get(f"{name}.bias", 0.0)

    def rms_norm(self, name, x):
        scale = np.sqrt((x**2).mean(-1, keepdims=True) + self.config["rms_norm_eps"])
        return x / scale * self.tensors[f"{name}.weight"]

    def attention(self, block, h, columns, kept):
        heads, kv_heads = self.config["n_heads"], self.config["n_kv_heads"]
        width = self.config["d_model"] // heads
        q, k, v = (self.linear(f"{block}.{part}_proj", h) for part in "qkv")
        if kept is not None:
            seen = kept.setdefault(block, (k.copy(), v.copy()))  # the first pass is over all columns
            seen[0][columns], seen[1][columns] = k, v
            k, v = seen
        out = np.zeros_like(q)
        for head in range(heads):
            own = slice(head * width, (head + 1) * width)
            shared = head * kv_heads // heads
            theirs = slice(shared * width, (shared + 1) * width)
            turned = self.rope(k[:, theirs], np.arange(len(k)))
            scores = self.rope(q[:, own], columns) @ turned.T / np.sqrt(width)
            out[:, own] = softmax(scores) @ v[:, theirs]
        return self.linear(f"{block}.attn_out", out)

    def rope(self, x, positions):
        """Rotate the pairs (c, c + C/2) of x [L, C] at position m by the angle m / theta^(2c/C)."""
        half = x.shape[-1] // 2
        speed = self.config["rope_theta"] ** (-2 * np.arange(half) / x.shape[-1])
        angle = positions[:, None] * speed
        a, b = x[:, :half], x[:, half:]
        turned = (a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle))
        return np.concatenate(turned, axis=-1)


def softmax(x: np.ndarray) -> np.ndarray:
    """Softmax over the last dimension."""
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)
