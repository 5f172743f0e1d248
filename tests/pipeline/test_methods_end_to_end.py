"""Every method on 64 real examples (GSM8K) with the model inside the package, through the command line."""

import json
import math

import pytest

from lift_harness.cli import main
from lift_harness.training.objectives import OBJECTIVES

METHODS = {name: {} for name in OBJECTIVES} | {
    "lift": {"H": 2, "rho": "truncated:0.1"},
    "lift_a": {"variant": "release"},
    "gift": {"weight": "nelbo", "reference": True},
    "density": {"hard": True},
}


@pytest.mark.slow
def test_every_method_trains_on_gsm8k(shared, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("LIFT_DATA_DIR", str(shared / "data"))
    methods = [
        {"name": name, "objective": {"name": name, **options}} for name, options in METHODS.items()
    ] + [{"name": "gift-full", "objective": {"name": "gift", "reference": True}, "training": {"lora": None}}]
    recipe = {
        "name": "gsm8k-64",
        "data": [{"source": "gsm8k", "n": 64, "max_tokens": 300}],
        "validation": 8,
        "training": {
            "batch_size": 8,
            "gradient_accumulation_steps": 1,
            "epochs": 1,
            "learning_rate": 1e-3,
            "lora": {"r": 8, "alpha": 16},
            "eval_steps": 7,
            "eval_samples": 2,
            "logging_steps": 1,
        },
        "methods": methods,
        "eval": None,
    }
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))  # JSON is YAML
    monkeypatch.setattr(
        "sys.argv",
        ["lift-harness", "train", str(tmp_path / "recipe.json"), "--output", str(tmp_path / "run")],
    )
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    hashes = set()
    for method in methods:
        found = json.loads((tmp_path / "run" / method["name"] / "train.json").read_text())["result"]
        assert method["name"] in printed
        assert len(found["loss"]) == 7 and all(math.isfinite(row["loss"]) for row in found["loss"])
        (nelbo,) = found["eval_nelbo"]
        assert 0 < nelbo["eval_nelbo"] < 20  # nats a token; it has never seen such text
        assert found["data"]["examples"] == 56 and found["data"]["validation"] == 8
        hashes.add(found["sha256"])
    assert len(hashes) == len(methods)  # no two methods did the same
