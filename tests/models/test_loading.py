"""Bad checkpoints are one-line errors that say what to do."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from lift_harness.errors import LiftError
from lift_harness.models import load_model
from lift_harness.models.loading import BUILT_IN


@pytest.fixture
def checkpoint(tmp_path):
    """A copy of lift-tiny to damage."""
    return shutil.copytree(BUILT_IN["lift-tiny"], tmp_path / "model")


def change_config(folder, **changes):
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def error_of(name):
    with pytest.raises(LiftError) as error:
        load_model(str(name))
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", BUILT_IN)
def test_what_is_inside_the_package_loads_and_is_small(name):
    model, tokenizer = load_model(name)
    assert 1e6 <= model.num_parameters() <= 5e6
    assert sum(file.stat().st_size for file in BUILT_IN[name].iterdir()) <= 12e6
    assert tokenizer.mask_token_id == model.config.mask_token_id
    assert not model.training


def test_no_such_folder(tmp_path):
    assert "no model folder" in error_of(tmp_path / "nothing")


def test_a_folder_without_config(tmp_path):
    assert "config.json" in error_of(tmp_path)


def test_a_config_that_is_not_lladas(checkpoint):
    change_config(checkpoint, model_type="llama")
    assert "model_type='llama', which lift-harness cannot decode; known: llada" in error_of(checkpoint)


def test_a_config_that_asks_for_what_is_not_computed(checkpoint):
    change_config(checkpoint, alibi=True)
    assert "alibi=True is not supported" in error_of(checkpoint)


def test_truncated_weights(checkpoint):
    file = checkpoint / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    assert "model.safetensors: not a whole safetensors file" in error_of(checkpoint)


def test_missing_tensors(checkpoint):
    weights = load_file(checkpoint / "model.safetensors")
    del weights["model.transformer.ln_f.weight"]
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    assert "lacks 1 tensors, the first 'model.transformer.ln_f.weight'" in error_of(checkpoint)


def test_no_weights(checkpoint):
    (checkpoint / "model.safetensors").unlink()
    assert "cannot load the weights" in error_of(checkpoint)


def test_weights_of_another_shape(checkpoint):
    change_config(checkpoint, d_model=256, n_heads=8)
    assert "cannot load the weights" in error_of(checkpoint)


def test_a_mask_id_that_is_not_the_tokenizers(checkpoint):
    change_config(checkpoint, mask_token_id=5)
    assert "mask_token_id=5" in error_of(checkpoint)


def test_no_tokenizer(checkpoint):
    for file in checkpoint.glob("*token*"):
        file.unlink()
    assert "no tokenizer" in error_of(checkpoint)


def test_an_adapter_in_the_place_of_another(tmp_path):
    adapter = tmp_path / "train" / "adapter"
    adapter.mkdir(parents=True)
    (adapter / "adapter_config.json").write_text("{}")
    with pytest.raises(LiftError, match="is an adapter; give its base as the model, and it as peft"):
        load_model(str(adapter))
    with pytest.raises(LiftError, match=rf"no adapter_config.json; give {adapter}$"):
        load_model("lift-tiny", peft=str(tmp_path))


def test_an_adapter_folder_that_is_none(tmp_path):
    with pytest.raises(LiftError, match="no adapter in .*adapter_config.json"):
        load_model("lift-tiny", peft=str(tmp_path))


def test_an_unknown_dtype():
    with pytest.raises(LiftError, match="dtype='flot32' is not a torch dtype"):
        load_model("lift-tiny", dtype="flot32")
