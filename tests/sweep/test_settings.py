"""Which rows a sweep has: every combination that can be decoded once, and what is said of the others."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lift_harness.errors import LiftError
from lift_harness.results.layout import is_plain
from lift_harness.sweep.schema import Sweep, grid_of, load_sweep
from lift_harness.sweep.settings import rows_of, short_names

COMMON = {"tasks": ["sudoku_mini"], "limit": 1}
# Of lift-tiny on Sudokus of 40 tokens, in one block of 40, two tokens a step.
VALUES = {
    "cache": ["none", "auto", "prefix", "dual", "blocks"],
    "schedule": ["fixed", "threshold", "factor"],
    "threshold": [0.7, 0.9],
    "factor": [1.0],
    "tokens_per_step": [1, 2, 4, 16],
    "block_length": [8, 20, 40, 16],
    "remasking": ["low_confidence", "entropy"],
}
grids = st.fixed_dictionaries(
    {}, optional={key: st.permutations(values).flatmap(
        lambda order: st.integers(1, min(3, len(order))).map(lambda n: order[:n])
    ) for key, values in VALUES.items()}
).filter(bool)  # fmt: skip


def rows(grid, **keys):
    return rows_of(Sweep(**COMMON | {"grid": grid} | keys))


def names(found):
    return [setting.name for setting in found.settings]


def decoded(values):
    """How a combination is decoded, by hand; None where it cannot be."""
    schedule, cache = values.get("schedule", "fixed"), values.get("cache", "none")
    block = values.get("block_length", 40)
    if cache == "blocks" or 40 % block:
        return None
    cache = "none" if cache == "auto" else cache
    remasking = values.get("remasking", "low_confidence")
    if schedule == "fixed":
        if block % values.get("tokens_per_step", 1):
            return None
        # The task's own 20 steps, unless the combination says another pace.
        steps = 40 // values["tokens_per_step"] if "tokens_per_step" in values else 20
        return None if steps % (40 // block) else (schedule, cache, block, remasking, steps)
    if schedule not in values or remasking == "entropy":
        return None
    return (schedule, cache, block, remasking, values[schedule])


@hypothesis_settings(max_examples=12, deadline=None)
@given(grids)
def test_every_combination_that_can_be_decoded_is_one_row(grid):
    combinations = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    wanted = [decoded(values) for values in combinations]
    if not any(wanted):
        with pytest.raises(LiftError, match=f"none of the {len(wanted)} combinations"):
            rows(grid)
        return
    found = rows(grid)
    assert len(found.settings) == len({*filter(None, wanted), decoded({})})
    assert {decoded(setting.values) for setting in found.settings} == {*filter(None, wanted), decoded({})}
    assert len(set(names(found))) == len(names(found)) and all(map(is_plain, names(found)))
    assert names(found)[0] == "protocol"
    if None in wanted:
        assert any("left out: " in note for note in found.notes)


def test_names_say_what_differs_and_only_what_is_read():
    found = rows({"cache": ["none", "dual"], "schedule": ["fixed", "threshold"], "threshold": [0.7, 0.9],
                  "tokens_per_step": [1, 2], "block_length": [40]})  # fmt: skip
    assert names(found) == [
        "protocol",
        "cache=none, tokens_per_step=1",
        "cache=none, threshold=0.7",
        "cache=none, threshold=0.9",
        "cache=dual, tokens_per_step=1",
        "cache=dual, tokens_per_step=2",
        "cache=dual, threshold=0.7",
        "cache=dual, threshold=0.9",
    ]
    assert found.notes == [
        "threshold changes nothing with schedule=fixed: one row",
        "cache=none, schedule=fixed, tokens_per_step=2, block_length=40 is protocol: one row",
        "tokens_per_step changes nothing with schedule=threshold: one row",
    ]
    kinds = [setting.exactness for setting in found.settings]
    assert kinds == ["exact"] * 2 + ["other schedule"] * 2 + ["approximate"] * 4
    assert names(rows({"cache": ["dual"]})) == ["protocol", "cache=dual"]
    schedules = {"schedule": ["fixed", "threshold"], "threshold": [0.9], "block_length": [8, 16]}
    assert names(rows(schedules)) == ["protocol", "schedule=fixed", "schedule=threshold, threshold=0.9"]


def test_of_a_model_with_blocks_other_settings_can_be_decoded():
    grid = {"cache": ["none", "dual"], "schedule": ["threshold", "sdar_dynamic"], "threshold": [0.7]}
    found = rows({**grid, "tokens_per_step": [1, 2]}, model=["lift-tiny-block"])
    assert names(found) == [
        "protocol",
        "schedule=threshold",
        "schedule=sdar_dynamic, tokens_per_step=1",
        "schedule=sdar_dynamic, tokens_per_step=2",
    ]
    kinds = [setting.exactness for setting in found.settings]  # sdar_dynamic is the published one
    assert kinds == ["exact", "other schedule", "exact", "exact"]
    (left,) = [note for note in found.notes if note.startswith("left out")]
    assert left.startswith("left out: cache=dual: cache='dual' is for bidirectional models")


def test_what_is_left_out_is_named_by_what_only_that_has():
    found = rows({"cache": ["none", "blocks"], "block_length": [16, 40]})
    notes = [note for note in found.notes if note.startswith("left out")]
    assert notes == [
        "left out: block_length=16: gen_length=40 is not divisible by block_length=16; use a multiple, "
        "e.g. gen_length=48",
        "left out: cache=blocks, block_length=40: cache='blocks' is for models with blocks, and LLaDAModelLM "
        "is bidirectional; use cache=none, prefix or dual",
    ]
    several = rows({"gen_length": [40, 100_000]})
    assert names(several) == ["protocol"] and "no room for a prompt" in several.notes[-1]


def test_one_bad_row_of_samples_at_temperature_0_is_left_out():
    found = rows({"temperature": [0.0, 0.5]}, samples=2)
    assert names(found) == ["protocol", "temperature=0.5"]
    labels = {label for label, _ in found.settings[1].configs}
    assert labels == {"one", "samples"}
    assert {config.temperature for config in found.settings[1].configs.values()} == {0.5}


def test_several_models_have_rows_each_and_a_baseline_of_their_own():
    sweep = Sweep(**COMMON, grid={"cache": ["dual"]}, model=["lift-tiny", "lift-tiny-base"])
    assert short_names(["a/x/model", "b/x/model"]) == ["a", "b"]
    assert short_names(["org/one", "org/two"]) == ["one", "two"]
    assert short_names(["one"]) == [""]
    assert short_names(["a/one", "b/c/one", "one"]) == ["a-one", "b-c-one", "one"]
    assert sweep.model == ["lift-tiny", "lift-tiny-base"]


def test_a_baseline_is_a_row_of_each_model_or_one_of_all():
    sweep = Sweep(**COMMON, grid={"cache": ["none", "dual"]}, baseline="cache=dual")
    found = rows_of(sweep)
    assert names(found) == ["cache=none", "cache=dual"]
    assert set(found.baselines.values()) == {"cache=dual"} and list(found.baselines) == names(found)
    assert names(rows({"cache": ["dual"]}, baseline="cache=dual")) == ["cache=dual"]
    with pytest.raises(LiftError, match="baseline: no row 'cache=duel'; did you mean cache=dual"):
        rows_of(sweep.model_copy(update={"baseline": "cache=duel"}))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"grid": {"cash": ["none"]}}, "'cash' is no decoding setting; did you mean cache"),
        ({"grid": {"cache": []}}, "cache has no values"),
        ({"grid": {"seed": [0, 1, 0]}}, "seed: the value 0 stands twice"),
        ({"grid": {"seed": list(range(40)), "top_k": list(range(40))}}, "1,600 combinations; at most 1,000"),
        ({"grid": {"cache": ["none"]}, "gen_kwargs": {"cache": "dual"}}, "cache stands in grid and in gen"),
        ({"grid": {"cache": ["none"]}, "model": ["a", "b"], "peft": ["x"]}, "adapters belong to one model"),
        ({"grid": {"cache": ["none"]}, "model": ["a", "a"]}, "model: a stands twice"),
        ({"grid": {"cache": ["none"]}, "limits": 3}, "unknown key 'limits'; did you mean limit"),
        ({"grid": {"cache": ["none"]}, "limit": 0}, "limit=0: "),
        ({}, "'grid' is missing"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(keys, said, tmp_path):
    with pytest.raises(LiftError, match=said) as caught:
        load_sweep(None, {"tasks": ["sudoku_mini"], **keys})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["cache", "cache=", "=none", "cache=none,,dual"])
def test_a_grid_on_the_command_line_has_keys_and_values(text):
    with pytest.raises(LiftError, match="write KEY=VALUE,VALUE"):
        grid_of([text])


def test_a_file_is_the_same_as_options_and_options_stand_over_it(tmp_path):
    file = tmp_path / "my sweep.yaml"
    file.write_text(
        "tasks: sudoku_mini\nlimit: 4\ngrid: {cache: [none, dual], threshold: [0.9], eps: [1e-3]}\n"
    )
    grid = grid_of(["cache=none,dual", "threshold=0.9", "eps=1e-3"])
    options = {"tasks": ["sudoku_mini"], "limit": 4, "grid": grid}
    by_options, by_file = load_sweep(None, options), load_sweep(file, {})
    assert by_file.name == "my-sweep"
    assert by_file.model_copy(update={"name": "sweep"}) == by_options
    over = load_sweep(file, {"limit": 2, "grid": {"cache": ["prefix"]}})
    assert over.limit == 2 and over.grid == {"cache": ["prefix"], "threshold": [0.9], "eps": [0.001]}
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(LiftError, match="a sweep is a mapping of keys, not list"):
        load_sweep(tmp_path / "list.yaml", {})
    with pytest.raises(LiftError, match=r"none\.yaml: cannot be read: No such file"):
        load_sweep(tmp_path / "none.yaml", {})
