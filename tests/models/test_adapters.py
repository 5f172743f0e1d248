"""Every kind of adapter that peft saves: peft's own logits, or refused by its name."""

import copy
import json

import pytest
import torch
from peft import PeftModel, get_peft_model
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file, save_file
from support.checkpoints import DREAM, LLADA, official_shapes, random_tensors, write_checkpoint

from lift_harness.doctor.checkpoint import examine
from lift_harness.errors import LiftError
from lift_harness.models.adapter_kinds import REFUSED
from lift_harness.models.adapters import add_adapter
from lift_harness.models.merging import merge
from lift_harness.models.modeling_dream import DreamModel
from lift_harness.models.modeling_llada import LLaDAModelLM

IDS = torch.arange(40).view(2, 20)
QV = {"target_modules": ["q_proj", "v_proj"]}
LORA = {**QV, "r": 4, "lora_alpha": 8}

# Settings with which each kind can be built on both small models; the others take QV.
KINDS = {kind.value: QV for kind in PEFT_TYPE_TO_CONFIG_MAPPING if kind.value not in REFUSED} | {
    "ADALORA": QV | {"init_r": 6, "target_r": 4, "total_step": 10},
    "ADAMSS": QV | {"r": 16, "num_subspaces": 2},
    "BEFT": {"target_modules": ["v_proj"]},
    "BOFT": QV | {"boft_block_size": 8, "boft_n_butterfly_factor": 2},
    "C3A": QV | {"block_size": 16},
    "FOURIERFT": QV | {"n_frequency": 50},
    "IA3": QV | {"feedforward_modules": []},
    "LN_TUNING": {"target_modules": ["norm", "ln_f", "ff_norm"]},
    "LORA": LORA,
    "MISS": QV | {"r": 8},
    "OFT": QV | {"oft_block_size": 16},
    "OSF": QV | {"effective_rank": 0.5},
    "PSOFT": QV | {"r": 8},
    "RANDLORA": QV | {"r": 8},
    "ROAD": QV | {"group_size": 16},
    "SHIRA": QV | {"r": 4},
    "TRAINABLE_TOKENS": {"target_modules": ["wte", "embed_tokens"], "token_indices": [3, 4, 9]},
    "VBLORA": QV | {"num_vectors": 32, "vector_length": 16},
    "WAVEFT": QV | {"n_frequency": 50},
}
OPTIONS = {
    "rslora": LORA | {"use_rslora": True},
    "dora": LORA | {"use_dora": True},
    "lora_bias": LORA | {"lora_bias": True},
    "patterns": LORA | {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 3}},
    "biases": LORA | {"bias": "all"},
    "one layer": LORA | {"layers_to_transform": [1], "layers_pattern": ["blocks", "layers"]},
    "all linear": LORA | {"target_modules": "all-linear"},
    "embedding": LORA | {"target_modules": ["wte", "embed_tokens"]},
    "embedding, dora": LORA | {"target_modules": ["wte", "embed_tokens"], "use_dora": True},
    "head": LORA | {"target_modules": ["lm_head", "ff_out"]},
    "whole modules": LORA | {"modules_to_save": ["ln_f", "norm", "lm_head", "transformer.ff_out"]},
    "tokens": LORA | {"trainable_token_indices": [3, 4, 9]},
    "gaussian": LORA | {"init_lora_weights": "gaussian"},
    "pissa": LORA | {"init_lora_weights": "pissa"},
    "olora": LORA | {"init_lora_weights": "olora"},
    "orthogonal": LORA | {"init_lora_weights": "orthogonal"},
    "eva": LORA | {"init_lora_weights": "eva"},
}
FAMILIES = {"llada": (LLADA, LLaDAModelLM), "dream": (DREAM, DreamModel)}
BESIDE = {("LILY", "llada"), ("LILY", "dream"), ("BEFT", "llada"), ("lora_bias", "llada")}


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture
def model(family):
    base, kind = FAMILIES[family]
    made = kind(
        kind.config_class(**{key: base[key] for key in base if key not in ("model_type", "auto_map")})
    )
    made.load_state_dict(random_tensors(official_shapes(base)))
    return made.eval()


def saved(model, folder, kind, settings):
    """An adapter as peft saves it, with weights that training could have left."""
    config = PEFT_TYPE_TO_CONFIG_MAPPING[kind](**settings)
    torch.manual_seed(1)
    adapted = get_peft_model(copy.deepcopy(model), config)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data += 0.05 * torch.randn_like(parameter)
    adapted.save_pretrained(folder)
    return str(folder)


def logits(model):
    with torch.inference_mode():
        return model(input_ids=IDS).logits


def beside(model):
    return any(isinstance(module, BaseTunerLayer) for module in model.modules())


def error_of(call, *args, **options):
    with pytest.raises(LiftError) as error:
        call(*args, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [*KINDS, *OPTIONS])
def test_an_adapter_gives_pefts_logits(name, model, family, tmp_path):
    kind, settings = (name, KINDS[name]) if name in KINDS else ("LORA", OPTIONS[name])
    folder = saved(model, tmp_path / "adapter", kind, settings)
    expected = logits(PeftModel.from_pretrained(copy.deepcopy(model), folder).eval())
    assert (expected - logits(model)).abs().max() > 1e-3
    ours = add_adapter(copy.deepcopy(model), folder)
    assert (logits(ours) - expected).abs().max() < 1e-5
    assert beside(ours) == ((name, family) in BESIDE)
    if not beside(ours):
        assert ours.state_dict().keys() == model.state_dict().keys()  # the official names


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [*KINDS, *OPTIONS])
@pytest.mark.parametrize("family", ["dream"], indirect=True)  # it has biases, which are rounded as well
def test_a_bf16_base_stays_bf16(name, model, tmp_path):
    kind, settings = (name, KINDS[name]) if name in KINDS else ("LORA", OPTIONS[name])
    folder = saved(model, tmp_path / "adapter", kind, settings)
    ours = add_adapter(copy.deepcopy(model).bfloat16(), folder)
    if not beside(ours):
        assert {parameter.dtype for parameter in ours.parameters()} == {torch.bfloat16}
    assert logits(ours).isfinite().all()


# ---- refused


def written(folder, **config):
    """An adapter of which only the configuration is looked at."""
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps(config))
    save_file({"prompt_embeddings": torch.zeros(4, 32)}, folder / "adapter_model.safetensors")
    return str(folder)


@pytest.mark.parametrize("kind", [*REFUSED, "BONE OF 2024"])
def test_a_kind_that_cannot_work_is_refused_by_its_name(kind, model, tmp_path):
    message = error_of(add_adapter, model, written(tmp_path / "adapter", peft_type=kind))
    assert f"is peft_type={kind!r}, which" in message


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("layer_replication", [[0, 2], [1, 2]]),
        ("alora_invocation_tokens", [5, 6]),
        ("arrow_config", {"top_k": 1}),
        ("init_lora_weights", "pissa_niter_4"),
        ("init_lora_weights", "corda"),
    ],
)
def test_an_option_that_cannot_work_is_refused_by_its_name(option, value, model, tmp_path):
    folder = written(tmp_path / "adapter", peft_type="LORA", **{option: value})
    assert f"has {option}={value!r}, which" in error_of(add_adapter, model, folder)


def test_a_tied_embedding_may_not_be_adapted(tmp_path):
    model = LLaDAModelLM(LLaDAModelLM.config_class(d_model=32, n_heads=4, n_layers=1, vocab_size=60,
                                                   weight_tying=True))  # fmt: skip
    folder = saved(model, tmp_path / "adapter", "LORA", LORA | {"target_modules": ["wte"]})
    assert "adapts the embedding, which is the output projection of this base too" in error_of(
        add_adapter, model, folder
    )


def test_tensors_that_are_missing_are_an_error(model, tmp_path):
    folder = saved(model, tmp_path / "adapter", "LOHA", QV)
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    tensors = load_file(file)
    del tensors[next(iter(tensors))]
    save_file(tensors, file)
    assert "does not fit this model: Found missing adapter keys" in error_of(add_adapter, model, folder)


def test_tensors_that_its_configuration_does_not_take_are_an_error(model, tmp_path):
    folder = saved(model, tmp_path / "adapter", "LORA", LORA)
    file = tmp_path / "adapter" / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"target_modules": ["q_proj"]}))
    message = error_of(add_adapter, model, folder)
    assert (
        "adapter_config.json has no place for base_model.model.model." in message and "(4 tensors)" in message
    )


def test_another_shape_is_named_for_every_kind(model, tmp_path):
    folder = saved(model, tmp_path / "adapter", "HIRA", QV)
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    save_file({name: tensor[:, :8].clone() for name, tensor in load_file(file).items()}, file)
    assert "does not fit this model: size mismatch for " in error_of(add_adapter, model, folder)


def test_every_kind_of_another_base_names_the_module(model, tmp_path):
    folder = saved(model, tmp_path / "adapter", "LOKR", QV)
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    other = {name.replace(".1.", ".7."): tensor for name, tensor in load_file(file).items()}
    save_file(other, file)
    assert "belongs to another base: it adapts model." in error_of(add_adapter, model, folder)


# ---- merge and doctor


def test_what_cannot_be_folded_is_not_merged(tokenizer, tmp_path):
    base = write_checkpoint(tmp_path / "base", tokenizer, LLADA)
    model = LLaDAModelLM.from_pretrained(base)
    biased = saved(model, tmp_path / "biased", "LORA", LORA | {"lora_bias": True})
    lily = saved(model, tmp_path / "lily", "LILY", QV)
    message = error_of(merge, str(base), biased, tmp_path / "out")
    assert "cannot be merged: it has a bias for model.transformer.blocks.0.q_proj" in message
    assert "peft cannot merge peft_type='LILY'" in error_of(merge, str(base), lily, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    report = examine(str(base), peft=biased, prompt_length=8, gen_length=8)
    assert report.problems == [] and "stays beside the weights" in report.notes[-1]


@pytest.mark.filterwarnings("ignore")
def test_other_kinds_are_merged(tokenizer, tmp_path):
    base = write_checkpoint(tmp_path / "base", tokenizer, LLADA)
    model = LLaDAModelLM.from_pretrained(base)
    adapter = saved(model, tmp_path / "adapter", "ADALORA", KINDS["ADALORA"])
    out = merge(str(base), adapter, tmp_path / "out")
    expected = logits(PeftModel.from_pretrained(model, adapter).eval())
    assert (logits(LLaDAModelLM.from_pretrained(out)) - expected).abs().max() < 1e-5


def test_doctor_names_a_refused_kind(tokenizer, tmp_path):
    base = write_checkpoint(tmp_path / "base", tokenizer, LLADA)
    folder = written(tmp_path / "adapter", peft_type="PREFIX_TUNING")
    [problem] = examine(str(base), peft=folder, prompt_length=8, gen_length=8).problems
    assert "peft_type='PREFIX_TUNING', which is not supported: it puts learnt vectors" in problem
