"""The tables of docs/hardware.md are what its commands say, of LLaDA-8B's shape and 1,000 rows as s1K's."""

import json
import shlex
from pathlib import Path

import huggingface_hub.constants
import pytest
from support.real_steps import SHAPES
from support.training_rows import write_rows

from lift_harness.budget.machines import CARDS, machine
from lift_harness.budget.verdict import duration
from lift_harness.models.configuration_llada import LLaDAConfig
from lift_harness.pipeline.plan import Where, plan
from lift_harness.pipeline.recipe import load_recipe

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "hardware.md"


def table(first_column, page=PAGE):
    """The rows of a page's table with this first column, cell by cell."""
    lines = page.read_text(encoding="utf-8").splitlines()
    begin = next(n for n, line in enumerate(lines) if line.startswith(f"| {first_column} |")) + 2
    rows = []
    for line in lines[begin:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().strip("`") for cell in line.strip("|").split("|")])
    return rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tokenizer):
    """A cache of the Hub with LLaDA-8B's config.json (no weights), and a data folder."""
    root = tmp_path_factory.mktemp("hardware")
    made = root / "hub" / "models--GSAI-ML--LLaDA-8B-Instruct"
    (made / "refs").mkdir(parents=True)
    (made / "refs" / "main").write_text("0" * 40)
    snapshot = made / "snapshots" / ("0" * 40)
    ids = {f"{kind}_token_id": getattr(tokenizer, f"{kind}_token_id") for kind in ("mask", "eos", "pad")}
    LLaDAConfig(**SHAPES["8b"], max_sequence_length=4096, **ids).save_pretrained(snapshot)
    file = snapshot / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "torch_dtype": "bfloat16"}))
    tokenizer.save_pretrained(snapshot)
    rows = [
        {"question": f"Add 6 to {i}.", "thinking_trajectories": [f"6 + {i}"], "attempt": str(6 + i)}
        for i in range(1000)
    ]
    write_rows(root / "data", rows, "s1K.jsonl")
    return root


def said(command, folder, monkeypatch):
    """What the first stage of the kind that a command asks for says: verdict and time."""
    name, *options = shlex.split(command)
    given = list(zip(options[::2], options[1::2], strict=True))
    overrides = [value for option, value in given if option == "--set"]
    asked = dict(given)
    monkeypatch.setenv("LIFT_DATA_DIR", str(folder / "data"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder / "hub"))
    where = Where(machine(asked["--on"], None), asked.get("--strategy", "ddp"))
    kind = asked.get("--only", "train")
    recipe = load_recipe(name, [*overrides, "seeds=1"])
    stage = next(stage for stage in plan(recipe, kind, where) if stage.where.endswith(kind))
    return stage.verdict, duration(stage.seconds)


@pytest.mark.parametrize("row", [row for row in table("training")], ids=lambda row: row[1])
def test_trainings(row, folder, monkeypatch):
    _, command, verdict, time = row
    assert said(command, folder, monkeypatch) == (verdict, time)


@pytest.mark.parametrize("row", [row for row in table("evaluation")], ids=lambda row: row[1])
def test_evaluations(row, folder, shared, monkeypatch):
    for file in (shared / "data").iterdir():
        if not (there := folder / "data" / file.name).exists():
            there.symlink_to(file)
    _, command, verdict, time = row
    assert said(command, folder, monkeypatch) == (verdict, time)


def test_the_cards():
    figures = [
        [name, f"{card.memory:g}", f"{card.operations:g}", f"{card.bandwidth:g}", card.source]
        for name, card in CARDS.items()
    ]
    assert table("card") == figures


def test_the_readme_has_rows_of_this_page():
    told = [row[1:] for row in table("hardware", ROOT / "README.md")]
    known = [row[1:] for row in table("training")]
    assert len(told) >= 4 and all(row in known for row in told)
