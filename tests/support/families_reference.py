"""The families on the backbone in numpy float64, one row at a time, from their formulas; and their files.

Nothing here imports lift_harness: this is what its models are compared with. Sources: Qwen3's technical
report (norms of the heads), LLaDA2.0's and DeepSeek-V3's reports (routing inside groups), LLaDA-MoE's report,
and the descriptions of the official codes in the project's golden data.
"""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

VOCAB, MASK, EOS = 64, 60, 61
QWEN = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "eos_token_id": EOS,
    "pad_token_id": EOS,
    "hidden_act": "silu",
    "attention_dropout": 0.0,
    "rope_scaling": None,
}
QWEN3 = QWEN | {"head_dim": 16, "attention_bias": False}
LLADA2 = QWEN | {
    "model_type": "llada2_moe",
    "architectures": ["LLaDA2MoeModelLM"],
    "num_hidden_layers": 3,
    "head_dim": 16,
    "partial_rotary_factor": 0.5,
    "first_k_dense_replace": 1,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "num_shared_experts": 2,
    "moe_intermediate_size": 16,
    "n_group": 4,
    "topk_group": 2,
    "routed_scaling_factor": 2.5,
    "use_bias": False,
    "use_qkv_bias": False,
    "score_function": "sigmoid",
}
LLADA_MOE = {key: QWEN[key] for key in QWEN if key != "intermediate_size"} | {
    "model_type": "llada",
    "architectures": ["LLaDAMoEModelLM"],
    "dense_intermediate_size": 48,
    "expert_intermediate_size": 24,
    "shared_expert_intermediate_size": 16,
    "moe_layer_freq": [0, 1],
    "moe_router_enable_expert_bias": True,
    "num_experts": 6,
    "num_experts_per_tok": 2,
    "partial_rotary_factor": 0.5,
    "qk_layernorm": True,
    "clip_qkv": 1.5,
    "attention_bias": False,
}
SDAR_MOE = QWEN3 | {
    "model_type": "sdar_moe",
    "num_hidden_layers": 4,
    "block_size": 8,
    "num_experts": 6,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 24,
    "norm_topk_prob": True,
    "decoder_sparse_step": 2,
    "mlp_only_layers": [3],
}
CONFIGS = {
    "dream": QWEN | {"model_type": "Dream"},
    "sdar": QWEN3 | {"model_type": "sdar", "block_size": 4, "attn_implementation": "flex_attention"},
    "sdar-biased": QWEN3 | {"model_type": "sdar", "block_size": 5, "attention_bias": True},
    "sdar_moe": SDAR_MOE,
    "sdar_moe-plain": SDAR_MOE | {"norm_topk_prob": False, "decoder_sparse_step": 1, "mlp_only_layers": []},
    "fast-dllm": QWEN | {"model_type": "Fast_dLLM_Qwen", "bd_size": 8, "conplemenrary_mask": True},
    "a2d-qwen3": QWEN3 | {"model_type": "a2d-qwen3", "tie_word_embeddings": True},
    "a2d-qwen2": QWEN | {"model_type": "a2d-qwen2", "block_size": 8},
    "a2d-llama": QWEN3 | {"model_type": "a2d-llama", "head_dim": 8, "mlp_bias": True, "attention_bias": True},
    "illada": QWEN
    | {"model_type": "illada", "tie_word_embeddings": True, "mlp_bias": True, "attention_bias": True}
    | {"resid_pdrop": 0.0, "layer_norm_eps": None},
    "llada2": LLADA2,
    "llada2-biased": LLADA2 | {"use_bias": True, "use_qkv_bias": True, "first_k_dense_replace": 0},
    "llada2-one": LLADA2 | {"num_experts_per_tok": 1, "n_group": 1, "topk_group": 1, "num_shared_experts": 0},
    "llada-moe": LLADA_MOE,
    "llada-moe-plain": LLADA_MOE
    | {"moe_layer_freq": [1, 1], "clip_qkv": None, "shared_expert_intermediate_size": None},
    "lladamoe": LLADA_MOE | {"model_type": "lladamoe", "moe_router_enable_expert_bias": False},
}


def head_size(c: dict) -> int:
    return c.get("head_dim") or c["hidden_size"] // c["num_attention_heads"]


def is_mixed(c: dict, layer: int) -> bool:
    kind = c["model_type"]
    if kind.startswith("llada2"):
        return layer >= c["first_k_dense_replace"]
    if kind == "sdar_moe":
        return layer not in c["mlp_only_layers"] and (layer + 1) % c["decoder_sparse_step"] == 0
    return "moe_layer_freq" in c and bool(c["moe_layer_freq"][layer])


def biases(c: dict) -> tuple[bool, bool]:
    """Of queries, keys and values; of attention's output."""
    kind = c["model_type"]
    if kind.startswith("llada2"):
        return c["use_qkv_bias"], c["use_bias"]
    if kind in ("Dream", "Fast_dLLM_Qwen", "a2d-qwen2"):
        return True, False
    return c["attention_bias"], c["attention_bias"]


def has_norms(c: dict) -> bool:
    return c["model_type"] not in ("Dream", "Fast_dLLM_Qwen", "a2d-qwen2", "a2d-llama", "illada")


def shapes(c: dict) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of an official checkpoint with this config.json."""
    fused = c["model_type"].startswith("llada2")
    d, size = c["hidden_size"], head_size(c)
    q, kv = size * c["num_attention_heads"], size * c["num_key_value_heads"]
    embedding = "word_embeddings" if fused else "embed_tokens"
    found = {f"model.{embedding}.weight": (c["vocab_size"], d), "model.norm.weight": (d,)}
    if not c["tie_word_embeddings"]:
        found["lm_head.weight"] = (c["vocab_size"], d)

    def linear(name, out, inner, bias=False):
        found[f"{name}.weight"] = out, inner
        if bias:
            found[f"{name}.bias"] = (out,)

    def feed_forward(name, width, bias=False):
        linear(f"{name}.gate_proj", width, d, bias)
        linear(f"{name}.up_proj", width, d, bias)
        linear(f"{name}.down_proj", d, width, bias)

    qkv_bias, out_bias = biases(c)
    for n in range(c["num_hidden_layers"]):
        layer = f"model.layers.{n}"
        attention = f"{layer}.{'attention' if fused else 'self_attn'}"
        if fused:
            linear(f"{attention}.query_key_value", q + 2 * kv, d, qkv_bias)
            linear(f"{attention}.dense", d, q, out_bias)
        else:
            for part, width in (("q", q), ("k", kv), ("v", kv)):
                linear(f"{attention}.{part}_proj", width, d, qkv_bias)
            linear(f"{attention}.o_proj", d, q, out_bias)
        if has_norms(c):
            for part in ("query_layernorm", "key_layernorm") if fused else ("q_norm", "k_norm"):
                found[f"{attention}.{part}.weight"] = (size,)
        found[f"{layer}.input_layernorm.weight"] = found[f"{layer}.post_attention_layernorm.weight"] = (d,)
        if not is_mixed(c, n):
            dense = c.get("dense_intermediate_size") or c["intermediate_size"]
            feed_forward(f"{layer}.mlp", dense, c.get("mlp_bias", False))
            continue
        experts = c["num_experts"]
        found[f"{layer}.mlp.gate.weight"] = experts, d
        width = c.get("moe_intermediate_size") or c["expert_intermediate_size"]
        for expert in range(experts):
            feed_forward(f"{layer}.mlp.experts.{expert}", width)
        if fused:
            found[f"{layer}.mlp.gate.expert_bias"] = (experts,)
            if c["num_shared_experts"]:
                feed_forward(f"{layer}.mlp.shared_experts", width * c["num_shared_experts"])
        elif c.get("moe_router_enable_expert_bias"):
            found[f"{layer}.mlp.expert_bias"] = (experts,)
        if c.get("shared_expert_intermediate_size"):
            feed_forward(f"{layer}.shared_expert", c["shared_expert_intermediate_size"])
    return found


def random_tensors(c: dict, seed: int = 0) -> dict[str, np.ndarray]:
    """No norm weight is 1 and no bias 0, so that each shows."""
    rng = np.random.default_rng(seed)
    made = {}
    for name, shape in shapes(c).items():
        if name.endswith(("norm.weight", "layernorm.weight")):
            made[name] = rng.uniform(0.5, 1.5, shape)
        elif "bias" in name:
            made[name] = rng.normal(0, 0.3, shape)
        elif "embed" in name:
            made[name] = rng.normal(0, 1, shape)
        else:
            made[name] = rng.normal(0, 2 / np.sqrt(shape[-1]), shape)
    return {name: value.astype(np.float32) for name, value in made.items()}


def write_family(folder: Path, family: str, tokenizer=None, seed: int = 0, **changes) -> Path:
    """A random checkpoint of one of `CONFIGS` in its official format."""
    config = CONFIGS[family] | changes
    if tokenizer is not None:
        ids = {f"{kind}_token_id": getattr(tokenizer, f"{kind}_token_id") for kind in ("mask", "eos", "pad")}
        config |= ids | {"vocab_size": len(tokenizer) + 3} | changes
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    save_file(random_tensors(config, seed), folder / "model.safetensors", metadata={"format": "pt"})
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    return folder


class Reference:
    """`Reference(config, tensors)(ids, block_size)`: logits float64 [L, V] of one row."""

    def __init__(self, config: dict, tensors: dict[str, np.ndarray]) -> None:
        self.c = config
        self.tensors = {name: value.astype(np.float64) for name, value in tensors.items()}

    def __call__(self, ids, block_size=None) -> np.ndarray:
        c = self.c
        fused = c["model_type"].startswith("llada2")
        embedding = self.tensors[f"model.{'word_embeddings' if fused else 'embed_tokens'}.weight"]
        x = np.stack([embedding[token] for token in ids])
        for n in range(c["num_hidden_layers"]):
            layer = f"model.layers.{n}"
            x = x + self.attention(layer, self.norm(f"{layer}.input_layernorm", x), block_size)
            h = self.norm(f"{layer}.post_attention_layernorm", x)
            x = x + np.stack([self.second_half(layer, n, token) for token in h])
        head = embedding if c["tie_word_embeddings"] else self.tensors["lm_head.weight"]
        return self.norm("model.norm", x) @ head.T

    def linear(self, name, x):
        return x @ self.tensors[f"{name}.weight"].T + self.tensors.get(f"{name}.bias", 0.0)

    def norm(self, name, x):
        scale = np.sqrt((x**2).mean(-1, keepdims=True) + self.c["rms_norm_eps"])
        return x / scale * self.tensors[f"{name}.weight"]

    def feed_forward(self, name, x):
        gate = self.linear(f"{name}.gate_proj", x)
        return self.linear(
            f"{name}.down_proj", gate / (1 + np.exp(-gate)) * self.linear(f"{name}.up_proj", x)
        )

    def attention(self, layer, h, block_size):
        c, size = self.c, head_size(self.c)
        heads, kv_heads = c["num_attention_heads"], c["num_key_value_heads"]
        fused = c["model_type"].startswith("llada2")
        name = f"{layer}.{'attention' if fused else 'self_attn'}"
        if fused:
            both = self.linear(f"{name}.query_key_value", h)
            q, k, v = np.split(both, [heads * size, (heads + kv_heads) * size], axis=1)
        else:
            q, k, v = (self.linear(f"{name}.{part}_proj", h) for part in "qkv")
        norms = ("query_layernorm", "key_layernorm") if fused else ("q_norm", "k_norm")
        clip = c.get("clip_qkv") or np.inf
        out = np.zeros((len(h), heads * size))
        for head in range(heads):
            theirs = head * kv_heads // heads
            own_q, own_k = q[:, head * size :][:, :size], k[:, theirs * size :][:, :size]
            own_v = np.clip(v[:, theirs * size :][:, :size], -clip, clip)
            if has_norms(c):
                own_q, own_k = self.norm(f"{name}.{norms[0]}", own_q), self.norm(f"{name}.{norms[1]}", own_k)
            own_q, own_k = self.rope(np.clip(own_q, -clip, clip)), self.rope(np.clip(own_k, -clip, clip))
            for i in range(len(h)):
                seen = [j for j in range(len(h)) if block_size is None or j // block_size <= i // block_size]
                scores = own_k[seen] @ own_q[i] / np.sqrt(size)
                weights = np.exp(scores - scores.max())
                out[i, head * size :][:size] = weights / weights.sum() @ own_v[seen]
        return self.linear(f"{name}.{'dense' if fused else 'o_proj'}", out)

    def rope(self, x):
        """Rotate the pairs (i, i + r/2) of the first r numbers of x [L, C] at place m by m theta^(-2i/r)."""
        r = int(x.shape[1] * self.c.get("partial_rotary_factor", 1))
        turned = x.copy()
        for m in range(len(x)):
            for i in range(r // 2):
                angle = m * self.c["rope_theta"] ** (-2 * i / r)
                a, b = x[m, i], x[m, i + r // 2]
                turned[m, i] = a * np.cos(angle) - b * np.sin(angle)
                turned[m, i + r // 2] = b * np.cos(angle) + a * np.sin(angle)
        return turned

    def second_half(self, layer, n, x):
        """What a layer's feed-forward makes of one token."""
        if not is_mixed(self.c, n):
            return self.feed_forward(f"{layer}.mlp", x)
        out = sum(
            weight * self.feed_forward(f"{layer}.mlp.experts.{expert}", x)
            for expert, weight in self.route(f"{layer}.mlp", x).items()
        )
        for shared in (f"{layer}.mlp.shared_experts", f"{layer}.shared_expert"):
            if f"{shared}.gate_proj.weight" in self.tensors:
                out = out + self.feed_forward(shared, x)
        return out

    def route(self, mlp, x):
        """The chosen experts of one token, with their weights."""
        c, scores = self.c, self.tensors[f"{mlp}.gate.weight"] @ x
        experts, k = range(c["num_experts"]), c["num_experts_per_tok"]
        if c["model_type"].startswith("llada2"):
            scores = 1 / (1 + np.exp(-scores))
            ranked = scores + self.tensors[f"{mlp}.gate.expert_bias"]
            each = len(ranked) // c["n_group"]
            worth = [sorted(ranked[g * each :][:each])[-2:] for g in range(c["n_group"])]
            best = sorted(range(c["n_group"]), key=lambda g: -sum(worth[g]))[: c["topk_group"]]
            chosen = sorted((e for e in experts if e // each in best), key=lambda e: -ranked[e])[:k]
            total = sum(scores[e] for e in chosen) + 1e-20 if k > 1 else 1
            return {e: scores[e] / total * c["routed_scaling_factor"] for e in chosen}
        scores = np.exp(scores - scores.max())
        scores = scores / scores.sum() + self.tensors.get(f"{mlp}.expert_bias", 0.0)
        chosen = sorted(experts, key=lambda e: -scores[e])[:k]
        total = sum(scores[e] for e in chosen) if c.get("norm_topk_prob") else 1
        return {e: scores[e] / total for e in chosen}
