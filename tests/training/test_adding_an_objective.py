"""A new objective is its file and one line in the table: everything else knows it from there."""

import re
import textwrap
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import yaml

from lift_harness.console import Console
from lift_harness.errors import LiftError
from lift_harness.pipeline.data import limits
from lift_harness.pipeline.plan import plan
from lift_harness.pipeline.preview import preview_recipe
from lift_harness.pipeline.recipe import load_recipe
from lift_harness.pipeline.train_eval import train_eval
from lift_harness.training.objectives import OBJECTIVES, get_objective
from lift_harness.training.objectives.definition import Passes, objective
from lift_harness.training.objectives.options import boolean, number
from lift_harness.training.settings import TrainSettings

DOCS = Path(__file__).parents[2] / "docs/training.md"


def documented_code():
    """The file of the section "Adding an objective"."""
    section = DOCS.read_text(encoding="utf-8").split("## Adding an objective")[1]
    block = re.search(r"^ *```python\n(.*?)^ *```", section, re.MULTILINE | re.DOTALL)
    return textwrap.dedent(block[1])


def imported(code, folder):
    """The objective `mine` of a file."""
    file = folder / "mine.py"
    file.write_text(code, encoding="utf-8")
    spec = spec_from_file_location("mine", file)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.mine


@pytest.fixture
def recipe(monkeypatch, tmp_path):
    """A recipe that trains the documented objective, which is in the table, and vanilla."""
    monkeypatch.setitem(OBJECTIVES, "mine", imported(documented_code(), tmp_path))
    raw = {
        "base": "quickstart",
        "name": "mine",
        "data": [{"source": "arithmetic", "n": 8}],
        "methods": [
            {"name": "vanilla", "objective": {"name": "vanilla"}},
            {"name": "mine", "objective": {"name": "mine", "strength": 2}},
        ],
        "training": {"max_steps": 2, "batch_size": 4, "lora": {"r": 2}},
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    return str(tmp_path / "mine.yaml")


def test_training_previewing_and_planning_know_the_documented_objective(recipe, tmp_path):
    loaded = load_recipe(recipe)
    console = Console(record=True, width=100, quiet=False, file=(tmp_path / "out").open("w"))
    preview_recipe(loaded, n=1, method="mine", plain=True, console=console)
    assert "[[" in console.export_text()
    vanilla, mine = plan(loaded, "train")
    assert (mine.passes, mine.flops) == (vanilla.passes, vanilla.flops)
    results = train_eval(loaded, tmp_path / "run", only="train", console=Console(quiet=True))
    losses = {name: trained["loss"] for name, trained in results["training"].items()}
    # The first step, of the same noise and weights: strength 2 doubles vanilla's loss. (Adam scales gradients
    # to the same steps, up to its epsilon and the clipping.)
    assert losses["mine"][0]["loss"] == pytest.approx(2 * losses["vanilla"][0]["loss"], rel=0.05)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("methods.1.objective.strength=0", "objective.strength=0: must be a number above 0"),
        ("methods.1.objective.strenght=2", "objective 'mine' has no option 'strenght'; it has: strength"),
        ("methods.1.objective.name=mined", "unknown objective 'mined'; did you mean mine"),
    ],
)
def test_what_is_wrong_in_its_recipe_is_one_line(recipe, tmp_path, override, message):
    with pytest.raises(LiftError, match=re.escape(message)):
        train_eval(load_recipe(recipe, [override]), tmp_path / "run", console=Console(quiet=True))
    with pytest.raises(LiftError, match=re.escape(message)):
        list(plan(load_recipe(recipe, [override]), None))
    assert not (tmp_path / "run").exists()


def test_a_dry_run_knows_the_cost_an_objective_states(recipe, monkeypatch):
    def of_options(options):
        return Passes(trained=2, scored=options["strength"])

    @objective(passes=of_options, options={"strength": number("above 0", lambda strength: strength > 0)})
    def mine(model, batch, key, num_items=None, *, strength: float = 1.0):
        raise AssertionError("a dry run computes no loss")

    monkeypatch.setitem(OBJECTIVES, "mine", mine)
    vanilla, planned = plan(load_recipe(recipe), "train")
    assert planned.passes == (2 + 2) * vanilla.passes
    # With adapters a backward pass costs as much as a forward one: 2 of 2 passes with gradient, 2 without
    # (which ask for more logits, and have no attention's gradient).
    assert planned.flops == pytest.approx((2 * 2 + 2) / 2 * vanilla.flops, rel=0.1)


def test_every_objectives_cost_in_a_dry_run():
    """By docs/training.md's table: passes of a row with gradient and without."""
    third = pytest.approx(2 / 3)
    expected = {
        ("vanilla",): (1, 0),
        ("lift", ("H", 2)): (1, 1),
        ("lift",): (1, third),
        ("lift", ("H", 10)): (1, pytest.approx(0.2)),
        ("lift_a",): (1, 0),
        ("topk",): (1, 1),
        ("bottomk",): (1, 1),
        ("random2",): (1, 1),
        ("random3",): (1, third),
        ("gift",): (1, 1),
        ("lift", ("H", 5), ("t_range", (0.3, 0.7))): (1, 0),
        ("lift", ("H", 2), ("t_range", (0.1, 0.2))): (1, 1),
        ("lift", ("H", 4), ("t_range", (0.15, 0.95))): (1, pytest.approx(0.3 / 0.8)),
        ("lift_a", ("t_range", (0.1, 0.2))): (1, 0),
        ("gift", ("metric", "nll")): (1, 1),
        ("gift", ("form", "weighting")): (1, 1),
        ("cart",): (1, 0),
        ("dream",): (1, 0),
        ("density",): (2, 0),
        ("density", ("w", 0.5)): (2, 0),
        ("density", ("hard", True), ("t_range", (0.3, 0.8))): (2, 0),
        ("density", ("complementary", False)): (1, 0),
    }
    for (name, *options), passes in expected.items():
        assert tuple(get_objective(name, **dict(options)).passes) == passes
    assert {name for name, *_ in expected} == set(OBJECTIVES)


def test_the_data_have_priority_tokens_for_an_objective_that_asks_for_them():
    asking = {name for name, one in OBJECTIVES.items() if limits(TrainSettings(), 64, one)["priority"]}
    assert asking == {"density"}


# ---------------------------------------------------------------- what was forgotten


def loss(model, batch, key, num_items=None, *, strength=1.0):
    """Of an objective with one option."""


def loss_without_default(model, batch, key, num_items=None, *, strength):
    """Of an objective whose option must be given."""


ONE_PASS = Passes()
ABOVE_0 = {"strength": number("above 0", lambda strength: strength > 0)}


@pytest.mark.parametrize(
    ("function", "stated", "message"),
    [
        (loss, {"options": ABOVE_0}, "missing 1 required keyword-only argument: 'passes'"),
        (loss, {"passes": ONE_PASS}, "objective loss: option 'strength' has no check"),
        (
            loss,
            {"passes": ONE_PASS, "options": {**ABOVE_0, "hard": boolean}},
            "a check of 'hard', which is no keyword-only parameter",
        ),
        (loss_without_default, {"passes": ONE_PASS, "options": ABOVE_0}, "'strength' has no default"),
        (
            loss,
            {"passes": ONE_PASS, "options": {"strength": boolean}},
            "its own default: objective.strength=1.0: must be true or false",
        ),
        (
            loss,
            {"passes": lambda options: Passes(1, options["H"]), "options": ABOVE_0},
            "passes= cannot be computed: KeyError('H')",
        ),
        (
            loss,
            {"passes": ONE_PASS, "options": ABOVE_0, "reference": "reference"},
            "reference='reference' needs an option of that name, and a parameter reference_model",
        ),
    ],
)
def test_what_an_objective_forgets_to_say_is_an_error_at_import(function, stated, message):
    with pytest.raises(TypeError, match=re.escape(message)):
        objective(**stated)(function)
