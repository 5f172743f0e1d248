"""Every key of the official configuration classes: computed, without effect, or refused by its name.

The keys and their defaults are those of LLaDA's configuration_llada.py and Dream's configuration_dream.py.
"""

import json

import pytest
import torch
from support.checkpoints import DREAM, LLADA, official_shapes, random_tensors, write_checkpoint

from lift_harness.doctor.checkpoint import examine
from lift_harness.errors import LiftError
from lift_harness.models import load_model
from lift_harness.models.configuration_dream import DreamConfig
from lift_harness.models.configuration_llada import LLaDAConfig
from lift_harness.models.modeling_dream import DreamModel
from lift_harness.models.modeling_llada import LLaDAModelLM

IDS = torch.arange(40).view(2, 20)

# Another value than that of LLADA: the logits are others (or the tensors), the same, or it is refused.
LLADA_KEYS = {
    "d_model": (64, "computed"),
    "n_heads": (8, "computed"),
    "n_kv_heads": (2, "computed"),
    "n_layers": (1, "computed"),
    "mlp_ratio": (2, "same"),  # mlp_hidden_size is given
    "mlp_hidden_size": (64, "computed"),
    "activation_type": ("swiglu", "refused"),
    "block_type": ("sequential", "refused"),
    "block_group_size": (2, "refused"),
    "alibi": (True, "refused"),
    "alibi_bias_max": (4.0, "same"),
    "rope": (False, "refused"),
    "rope_full_precision": (False, "same"),  # in float32
    "flash_attention": (True, "same"),
    "attention_dropout": (0.1, "refused"),
    "multi_query_attention": (True, "refused"),
    "attention_layer_norm": (True, "refused"),
    "residual_dropout": (0.1, "refused"),
    "embedding_dropout": (0.1, "refused"),
    "input_emb_norm": (True, "computed"),
    "layer_norm_type": ("default", "refused"),
    "layer_norm_with_affine": (False, "refused"),
    "rms_norm_eps": (0.1, "computed"),
    "attention_layer_norm_with_affine": (False, "same"),
    "max_sequence_length": (64, "same"),  # the context, which decoding checks
    "train_max_sequence_length": (64, "same"),
    "rope_theta": (100.0, "computed"),
    "include_qkv_bias": (True, "computed"),
    "include_bias": (True, "computed"),
    "bias_for_layer_norm": (True, "refused"),
    "scale_logits": (True, "computed"),
    "vocab_size": (402, "same"),  # of the tokenizer; embedding_size is given
    "embedding_size": (408, "computed"),
    "weight_tying": (True, "computed"),
    "eos_token_id": (7, "refused"),
    "pad_token_id": (7, "refused"),
    "mask_token_id": (7, "refused"),
    "init_device": ("meta", "same"),
    "init_fn": ("normal", "same"),
    "init_std": (0.5, "same"),
    "init_cutoff_factor": (3.0, "same"),
    "precision": ("amp_bf16", "same"),
    "use_cache": (True, "same"),
}
DREAM_KEYS = {
    "vocab_size": (408, "computed"),
    "hidden_size": (64, "computed"),
    "intermediate_size": (64, "computed"),
    "num_hidden_layers": (1, "computed"),
    "num_attention_heads": (2, "computed"),
    "num_key_value_heads": (4, "computed"),
    "hidden_act": ("gelu", "refused"),
    "max_position_embeddings": (64, "same"),
    "initializer_range": (0.5, "same"),
    "rms_norm_eps": (0.1, "computed"),
    "use_cache": (True, "same"),
    "tie_word_embeddings": (True, "computed"),
    "rope_theta": (100.0, "computed"),
    "rope_scaling": ({"rope_type": "linear", "factor": 2.0}, "refused"),
    "use_sliding_window": (True, "refused"),
    "sliding_window": (16, "same"),
    "max_window_layers": (1, "same"),
    "attention_dropout": (0.1, "refused"),
    "mask_token_id": (7, "refused"),
    "pad_token_id": (7, "refused"),
}
FAMILIES = {
    "llada": (LLADA | {"bias_for_layer_norm": False}, LLADA_KEYS, LLaDAConfig, LLaDAModelLM),
    "dream": (DREAM, DREAM_KEYS, DreamConfig, DreamModel),
}
CASES = [(family, key) for family in FAMILIES for key in FAMILIES[family][1]]


@torch.inference_mode()
def logits(config, config_class, model_class):
    model = model_class(config_class(**{key: config[key] for key in config if key != "auto_map"}))
    model.load_state_dict(random_tensors(official_shapes(config)))
    return model.eval()(IDS).logits


@pytest.mark.parametrize(("family", "key"), CASES)
def test_every_official_key_is_computed_without_effect_or_refused(family, key, tokenizer, tmp_path):
    base, keys, config_class, model_class = FAMILIES[family]
    value, expected = keys[key]
    folder = write_checkpoint(tmp_path, tokenizer, base, **{key: value})
    try:
        load_model(str(folder))
    except LiftError as error:
        assert f"{key}={value!r}" in str(error) and "\n" not in str(error)
        assert any(f"{key}={value!r}" in problem for problem in examine(str(folder)).problems)
        assert expected == "refused"
        return
    assert expected != "refused"
    before, after = (logits(config, config_class, model_class) for config in (base, base | {key: value}))
    same = before.shape == after.shape and torch.equal(before, after)
    assert ("same" if same else "computed") == expected


def test_rope_in_the_dtype_of_the_model_is_computed():
    """Seen in bf16 only."""
    config = LLaDAConfig(**{key: LLADA[key] for key in LLADA if key not in ("auto_map", "model_type")})
    model = LLaDAModelLM(config).bfloat16().eval()
    exact = model(IDS).logits
    for block in model.layers:
        block.rope_full_precision = False
    assert not torch.equal(model(IDS).logits, exact)


# ---- other models that say the same model_type, and keys of nobody


def error_of(folder):
    with pytest.raises(LiftError) as error:
        load_model(str(folder))
    assert "\n" not in str(error.value)
    assert any(str(error.value) in problem for problem in examine(str(folder)).problems)
    return str(error.value)


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("llada", {"num_experts": 8}, "num_experts=8 is not computed for llada models"),
        (
            "llada",
            {"hidden_size": 64},
            "hidden_size=64 is not a key of llada models, whose key is d_model=32",
        ),
        ("llada", {"rope_scaling": {"factor": 2.0}}, "rope_scaling={'factor': 2.0} is not computed"),
        ("llada", {"n_kv_heads": 2, "multi_query_attention": False}, "contradicts n_kv_heads=2 of n_heads=4"),
        (
            "dream",
            {"final_logit_softcapping": 30.0},
            "final_logit_softcapping=30.0 is not computed for Dream",
        ),
        ("dream", {"layer_types": ["sliding_attention"] * 2}, "layer_types=['sliding_attention'"),
        ("dream", {"rope_parameters": {"rope_type": "yarn"}}, "rope_parameters={'rope_type': 'yarn'} is not"),
        ("dream", {"rope_parameters": {"rope_theta": 5.0}}, "rope_parameters={'rope_theta': 5.0} is not"),
        ("llada", {"quantization_config": {"quant_method": "gptq"}}, "quantization_config is not supported"),
    ],
)
def test_a_key_that_is_not_computed_is_named(family, changes, message, tokenizer, tmp_path):
    assert message in error_of(write_checkpoint(tmp_path, tokenizer, FAMILIES[family][0], **changes))


@pytest.mark.parametrize("family", FAMILIES)
def test_keys_that_are_off_or_about_files_are_no_matter(family, tokenizer, tmp_path):
    changes = {"qk_layernorm": False, "clip_qkv": None, "_name_or_path": "x", "tokenizer_class": "T"}
    changes |= {"id2label": {"0": "a"}, "temperature": 0.7, "transformers_version": "4.46.2"}
    load_model(str(write_checkpoint(tmp_path, tokenizer, FAMILIES[family][0], **changes)))


def test_transformers_5s_own_form_of_the_same_rotation_is_read(tokenizer, tmp_path):
    rope = {"rope_type": "default", "rope_theta": 1000000.0}
    load_model(str(write_checkpoint(tmp_path, tokenizer, DREAM, rope_parameters=rope)))


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_saved_can_be_loaded(family, tokenizer, tmp_path):
    model, _ = load_model(str(write_checkpoint(tmp_path / "one", tokenizer, FAMILIES[family][0])))
    model.save_pretrained(tmp_path / "two")
    tokenizer.save_pretrained(tmp_path / "two")
    load_model(str(tmp_path / "two"))


def test_official_files_load(shared):
    for name in ("llada-tiny", "llada-tiny-gqa", "dream-tiny"):
        assert not [line for line in examine(str(shared / "golden" / name)).problems if "config.json" in line]


@pytest.mark.parametrize(
    ("key", "value"), [("is_decoder", True), ("position_embedding_type", "relative_key")]
)
def test_an_encoder_that_computes_something_else_is_refused(key, value, tmp_path):
    """transformers 5 reads relative positions as absolute ones."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert", key: value}))
    assert f"{key}={value!r} is not supported for an encoder" in error_of(tmp_path)
