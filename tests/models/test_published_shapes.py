"""The published checkpoints' names and shapes, on the meta device.

Shapes: model cards and config.json files; where those were not at hand, the README of the golden data. The
names of every family's tensors are written out in `support.families_reference.shapes`.
"""

import pytest
import torch
from support.families_reference import shapes

from lift_harness.models.experts import count_parameters
from lift_harness.models.families import family_of

QWEN25_7B = {
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
    "tie_word_embeddings": False,
}
LLADA2_MINI = {
    "model_type": "llada2_moe",
    "vocab_size": 157184,
    "hidden_size": 2048,
    "intermediate_size": 5120,
    "num_hidden_layers": 20,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "first_k_dense_replace": 1,
    "num_experts": 256,
    "num_experts_per_tok": 8,
    "num_shared_experts": 1,
    "moe_intermediate_size": 512,
    "n_group": 8,
    "topk_group": 4,
    "use_bias": False,
    "use_qkv_bias": False,
    "tie_word_embeddings": False,
}
LLADA_MOE = {
    "model_type": "llada",
    "num_experts": 64,
    "num_experts_per_tok": 8,
    "vocab_size": 157184,
    "hidden_size": 2048,
    "dense_intermediate_size": 8192,
    "expert_intermediate_size": 1024,
    "num_hidden_layers": 16,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "moe_layer_freq": [1] * 16,
    "attention_bias": False,
    "tie_word_embeddings": False,
}
SDAR_4B = {
    "model_type": "sdar",
    "vocab_size": 151936,
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "attention_bias": False,
    "tie_word_embeddings": False,
}
SDAR_30B = SDAR_4B | {
    "model_type": "sdar_moe",
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "num_hidden_layers": 48,
    "num_key_value_heads": 4,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "moe_intermediate_size": 768,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
}
QWEN3_06B = {
    "model_type": "a2d-qwen3",
    "vocab_size": 151936,
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "attention_bias": False,
    "tie_word_embeddings": True,
}
ILLADA = {
    "model_type": "illada",
    "vocab_size": 155136,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "attention_bias": False,
    "tie_word_embeddings": True,
}
# Keys that DiffuCoder's config.json has beside the shape.
DIFFUCODER = {
    "use_mrope": False,
    "max_window_layers": 28,
    "sliding_window": None,
    "use_sliding_window": False,
}
PUBLISHED = {  # config.json, and billions of parameters: total, active
    "LLaDA2.0-mini": (LLADA2_MINI, 16.26, 1.43),
    "LLaDA-MoE-7B-A1B": (LLADA_MOE, 7.36, 1.72),
    "SDAR-4B-Chat": (SDAR_4B, 4.41, 4.41),
    "SDAR-30B-A3B-Chat": (SDAR_30B, 30.53, 3.35),
    "Fast_dLLM_v2_7B": (QWEN25_7B | {"model_type": "Fast_dLLM_Qwen"}, 7.62, 7.62),
    "Qwen3-0.6B-diffusion": (QWEN3_06B, 0.60, 0.60),
    "Dream-Coder-v0-Instruct-7B": (QWEN25_7B | {"model_type": "Dream"}, 7.62, 7.62),
    "DiffuCoder-7B-cpGRPO": (QWEN25_7B | {"model_type": "Dream"} | DIFFUCODER, 7.62, 7.62),
    "iLLaDA-8B": (ILLADA, 7.62, 7.62),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_names_and_shapes_of_the_published_checkpoint(name, monkeypatch):
    config, total, active = PUBLISHED[name]
    monkeypatch.setattr(
        torch.nn.Linear, "reset_parameters", lambda self: None
    )  # slow for thousands of experts
    family = family_of(config)
    with torch.device("meta"):
        model = family(family.config_class(**{key: config[key] for key in config if key != "model_type"}))
    assert {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()} == shapes(config)
    counted = count_parameters(model)
    assert counted.total / 1e9 == pytest.approx(total, abs=0.006)
    assert counted.active / 1e9 == pytest.approx(active, abs=0.006)


@pytest.mark.parametrize(
    ("name", "layer", "expected"),
    [
        (
            "LLaDA2.0-mini",
            1,
            {
                "attention.query_key_value.weight": (3072, 2048),
                "attention.query_layernorm.weight": (128,),
                "attention.key_layernorm.weight": (128,),
                "attention.dense.weight": (2048, 2048),
                "input_layernorm.weight": (2048,),
                "post_attention_layernorm.weight": (2048,),
                "mlp.gate.weight": (256, 2048),
                "mlp.gate.expert_bias": (256,),
                "mlp.shared_experts.gate_proj.weight": (512, 2048),
                "mlp.shared_experts.up_proj.weight": (512, 2048),
                "mlp.shared_experts.down_proj.weight": (2048, 512),
            }
            | {
                f"mlp.experts.{e}.{part}_proj.weight": (512, 2048)
                for e in range(256)
                for part in ("gate", "up")
            }
            | {f"mlp.experts.{e}.down_proj.weight": (2048, 512) for e in range(256)},
        ),
        (
            "Fast_dLLM_v2_7B",
            0,
            {
                "self_attn.q_proj.weight": (3584, 3584),
                "self_attn.q_proj.bias": (3584,),
                "self_attn.k_proj.weight": (512, 3584),
                "self_attn.k_proj.bias": (512,),
                "self_attn.v_proj.weight": (512, 3584),
                "self_attn.v_proj.bias": (512,),
                "self_attn.o_proj.weight": (3584, 3584),
                "mlp.gate_proj.weight": (18944, 3584),
                "mlp.up_proj.weight": (18944, 3584),
                "mlp.down_proj.weight": (3584, 18944),
                "input_layernorm.weight": (3584,),
                "post_attention_layernorm.weight": (3584,),
            },
        ),
        (
            "SDAR-4B-Chat",
            35,
            {
                "self_attn.q_proj.weight": (4096, 2560),
                "self_attn.k_proj.weight": (1024, 2560),
                "self_attn.v_proj.weight": (1024, 2560),
                "self_attn.o_proj.weight": (2560, 4096),
                "self_attn.q_norm.weight": (128,),
                "self_attn.k_norm.weight": (128,),
                "mlp.gate_proj.weight": (9728, 2560),
                "mlp.up_proj.weight": (9728, 2560),
                "mlp.down_proj.weight": (2560, 9728),
                "input_layernorm.weight": (2560,),
                "post_attention_layernorm.weight": (2560,),
            },
        ),
    ],
)
def test_one_layer_written_out(name, layer, expected):
    prefix = f"model.layers.{layer}."
    found = {key: shape for key, shape in shapes(PUBLISHED[name][0]).items() if key.startswith(prefix)}
    assert {key.removeprefix(prefix): shape for key, shape in found.items()} == expected
