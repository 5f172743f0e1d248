"""Files that hold any JSON, or none: reading ends, says what it left out, and never with a traceback."""

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.eval_files import answered, write_eval

from lift_harness.compare import compare, load
from lift_harness.compare.render import render
from lift_harness.errors import LiftError
from lift_harness.results.logs import Notes, read_items, read_lines, read_object
from lift_harness.results.rows import run_rows
from lift_harness.results.scores import RowOnTask, metrics_of

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.just(10**400), st.floats(width=16), st.text(max_size=4)
)
NAMES = [
    "acc",
    "solved",
    "value",
    "stderr",
    "n_seeds",
    "name",
    "n_samples",
    "n_correct",
    "arg_0",
    "gen_args_0",
]
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=8,
)
FIELDS = ["doc_id", "doc", "target", "arguments", "resps", "filter", "metrics", "acc", "prompt_hash", "task"]
verdicts = st.fixed_dictionaries({}, optional={name: anything for name in NAMES})
lines = st.dictionaries(st.sampled_from([*FIELDS, "doc_hash"]), anything, max_size=8) | st.builds(
    lambda line, judged: {**line, "doc": {"verdicts": judged}},
    st.dictionaries(st.sampled_from(FIELDS), anything, max_size=6),
    verdicts,
)
fuzz = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@fuzz
@given(st.lists(lines, max_size=4))
def test_any_log_is_read(tmp_path, logged):
    file = tmp_path / "samples_x.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in logged), encoding="utf-8")
    items, _ = read_items(file, Notes())
    for item in items.values():
        assert item.n >= 1 and len(item.correct) == len(item.accuracies) == item.n
        assert all(0 <= points <= of for points, of in filter(None, item.accuracies))
        assert set(item.correct) <= {None, 0, 1}


@fuzz
@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_noted(tmp_path, data):
    file = tmp_path / "log.jsonl"
    file.write_bytes(data)
    notes = Notes(root=tmp_path)
    rows = list(read_lines(file, notes))
    assert all(isinstance(row, dict) for row in rows)
    filled = [line for line in data.split(b"\n") if line.strip()]
    assert bool(notes) == (len(rows) < len(filled)) and all(note.startswith("log.jsonl: ") for note in notes)
    assert isinstance(read_object(file, notes), dict)


PARTS = ["configs", "n-samples", "config", "versions", "n-shot", "model_name"]
tasks = st.dictionaries(
    st.sampled_from(["acc,none", "acc_stderr,none", "sample_len", "pass@2,none"]), anything
)
parts = st.dictionaries(st.sampled_from(PARTS), anything | st.fixed_dictionaries({"t": anything}))


@fuzz
@given(tasks, parts)
def test_any_results_file_is_compared_or_refused_in_one_line(tmp_path, row, others):
    file = tmp_path / "results_2026-01-02T03-04-05.678901.json"
    file.write_text(json.dumps({"results": {"t": row}, **others}), encoding="utf-8")
    try:
        render(compare(load([file])), "table")
    except LiftError as error:
        assert "\n" not in str(error)


@fuzz
@given(anything, anything, anything)
def test_any_recipe_and_results_give_rows(tmp_path, methods, scores, seeds):
    recipe = dict.fromkeys(("methods", "model", "data", "seeds"), methods) | {"seed": seeds}
    results = {"scores": scores, "seeds": seeds}
    for row in run_rows(tmp_path, recipe, json.loads(json.dumps(results))):
        for task in row.tasks:
            on_task = RowOnTask(row, task)
            for metric in metrics_of([on_task]):
                on_task.cell(metric)


def test_a_method_is_read_from_its_folder_only(tmp_path):
    """A foreign recipe may call a method as it likes."""
    write_eval(tmp_path / "secret" / "eval" / "one", {"lift_gsm8k": answered([1, 0])})
    (tmp_path / "run").mkdir()
    names = ["../secret", "..", ".", str(tmp_path / "secret"), "\ud800", "x" * 5000, "a\0b"]
    rows = list(run_rows(tmp_path / "run", {"methods": [{"name": name} for name in names]}, {}))
    assert [row.name for row in rows] == ["base", *names]
    assert not any(row.tasks or row.folders for row in rows)
