"""`compare --across decoding` and the speed table: real short runs of lift-tiny, and files by hand."""

import csv
import io
import json
import re

import pytest
import yaml
from support.eval_files import DECODING, answered, line, write_eval
from support.report_runs import SWEPT, write_sweep

from lift_harness.compare import compare, load
from lift_harness.compare.command import run_compare
from lift_harness.compare.render import render
from lift_harness.errors import LiftError
from lift_harness.lm.evaluation import evaluate_model
from lift_harness.models import load_model

TASK, N = "lift_sudoku_mini", 8
SETTINGS = {"slow": "steps=20", "fast": "steps=4,cache=dual"}


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Two evaluations of lift-tiny that differ in decoding only."""
    folder = tmp_path_factory.mktemp("settings")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lm_eval.evaluator.add_env_info", lambda storage: None)
        for name, settings in SETTINGS.items():
            how = {"model_args": "", "gen_kwargs": settings, "batch_size": "auto"}
            evaluate_model("lift-tiny", [TASK], **how, limit=N, output=folder / name)
    return folder


def lines_of(folder):
    (log,) = folder.rglob("samples_*.jsonl")
    return {line["doc_id"]: line for line in map(json.loads, log.read_text().splitlines())}


def test_real_settings_compare_with_counts_from_their_logs(real):
    comparison = compare(load([real / "slow", real / "fast"], by_settings=True), across="decoding")
    slow, fast = comparison.rows
    assert (slow, fast) == ("steps=20 cache=none", "steps=4 cache=dual")
    assert not comparison.refusals and comparison.baseline == slow
    assert comparison.differences[fast, TASK, "acc"].items == N

    logs = {name: lines_of(real / name) for name in SETTINGS}
    _, tokenizer = load_model("lift-tiny")
    for row, name, steps in ((slow, "slow", 20), (fast, "fast", 4)):
        texts = [
            re.split(r"<\|(?:endoftext|eot_id)\|>", one["resps"][0][0])[0] for one in logs[name].values()
        ]
        tokens = sum(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts)
        speed = comparison.speeds[row, TASK]
        assert (speed.tokens, speed.passes) == (tokens, N * steps)
        assert speed.tokens_per_pass == tokens / (N * steps)
        assert speed.exact is (name == "slow") and speed.tokens_per_second > 0
    same = sum(logs["slow"][i]["resps"] == logs["fast"][i]["resps"] for i in range(N))
    assert comparison.same == {(fast, TASK): (same, N)}
    assert "tokens_per_pass" in comparison.fronts(TASK)[fast]
    assert comparison.models == {slow: "lift-tiny", fast: "lift-tiny"}


def test_without_across_they_are_refused_and_called_by_their_folders(real):
    comparison = compare(load([real / "slow", real / "fast"]))
    assert comparison.rows == ["slow", "fast"] and not comparison.differences
    assert "steps 4, not 20" in str(comparison.refusals[0].reasons[0])


def settings(tmp_path):
    """Three settings of one model and one of another, ten answers of ten tokens each."""
    right = {"a": 8, "b": 8, "c": 6, "d": 9}
    how = {"a": {}, "b": {"steps": 64}, "c": {"steps": 32, "cache": "dual"}, "d": {}}
    passes = {"a": 100, "b": 50, "c": 25, "d": 200}
    for name, n in right.items():
        write_eval(
            tmp_path / name,
            {TASK: answered([1] * n + [0] * (10 - n))},
            decoding={**DECODING, "exact": name != "c", **how[name]},
            pretrained="hub/other" if name == "d" else "lift-tiny",
            passes=passes[name],
            rate=None if name == "d" else 1000 / passes[name],
        )
    return [tmp_path / name for name in right]


def compared(tmp_path):
    return compare(load(settings(tmp_path), by_settings=True), across="decoding")


def test_fronts_and_aup_of_several_models(tmp_path):
    comparison = compared(tmp_path)
    a, b, c, d = comparison.rows
    assert b == "lift-tiny steps=64 cache=none" and d == "other"
    assert comparison.fronts(TASK) == {
        a: [],
        b: ["tokens_per_pass", "tokens_per_second"],
        c: ["tokens_per_pass", "tokens_per_second"],
        d: ["tokens_per_pass"],  # its tokens a second are not known
    }
    weight = 2.718281828459045 ** (-3 * (1 - 80 / 90))
    assert comparison.curves()[TASK]["lift-tiny"] == [(1.0, 80), (2.0, 80), (4.0, 60)]
    assert comparison.aup() == {
        ("lift-tiny", TASK): pytest.approx(80 + 80 * weight),  # the third is more than 5 points lower
        ("other", TASK): pytest.approx(0.5 * 90),
    }


def test_only_decoding_may_differ(tmp_path):
    write_eval(tmp_path / "a", {TASK: answered([1, 0])})
    write_eval(tmp_path / "b", {TASK: answered([1, 0])}, dtype="torch.bfloat16")
    write_eval(tmp_path / "c", {TASK: answered([1, 0], prompt="Other.")}, decoding={**DECODING, "steps": 8})
    rows = load([tmp_path / name for name in "abc"])
    comparison = compare(rows, across="decoding")
    kinds = [reason.kind for refusal in comparison.refusals for reason in refusal.reasons]
    assert kinds == ["settings", "prompts"] and not comparison.differences


def test_same_answers_are_same_texts(tmp_path):
    ours = [line(0, {"acc": [1.0]}, text="p", texts=["x"]), line(1, {"acc": [0.0]}, text="q", texts=["y"])]
    theirs = [line(0, {"acc": [1.0]}, text="p", texts=["x"]), line(1, {"acc": [0.0]}, text="q", texts=["z"])]
    write_eval(tmp_path / "a", {TASK: ours}, passes=4)
    write_eval(tmp_path / "b", {TASK: theirs}, passes=2, decoding={**DECODING, "steps": 8})
    comparison = compare(load([tmp_path / "a", tmp_path / "b"], by_settings=True), across="decoding")
    assert comparison.same == {("steps=8", TASK): (1, 2)}


@pytest.mark.parametrize("format", ["table", "markdown", "latex"])
def test_the_tables_have_speed_and_aup(tmp_path, format):
    text = render(compared(tmp_path), format, width=80)
    for part in ("Speed", "steps=64", "AUP", "other", "exact", "approx.", "2.00", "4.00"):
        assert part in text, part
    assert "peak" not in text  # no row has one
    if format == "table":
        assert max(map(len, text.splitlines())) <= 80


def test_csv_json_and_the_leaderboards_form(tmp_path):
    comparison = compared(tmp_path)
    rows = list(csv.DictReader(io.StringIO(render(comparison, "csv"))))
    found = {(one["row"], one["statistic"]): one["value"] for one in rows if one["metric"] == "speed"}
    slow = "lift-tiny steps=128 cache=none"
    assert (found[slow, "tokens_per_pass"], found[slow, "passes"]) == ("1.0", "100.0")
    assert ("other", "tokens_per_second") not in found
    (area,) = [one["value"] for one in rows if (one["row"], one["statistic"]) == ("lift-tiny", "aup")]
    data = json.loads(render(comparison, "json"))
    assert [one["value"] for one in data["aup"]] == pytest.approx([float(area), 45.0])
    assert data["speed"][0]["passes"] == 100 and data["across"] == "decoding"
    listed = yaml.safe_load(render(comparison, "leaderboard"))
    assert listed == {TASK: {"lift-tiny": [[1.0, 80.0], [2.0, 80.0], [4.0, 60.0]], "other": [[0.5, 90.0]]}}


def test_rows_without_counts_have_no_speed_table(tmp_path):
    write_eval(tmp_path / "a", {TASK: answered([1, 0])})
    comparison = compare(load([tmp_path / "a"]))
    assert "Speed" not in render(comparison, "table")
    assert "aup" not in json.loads(render(comparison, "json"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"across": "training"}, "across: 'training' is not known"),
        ({"format": "leaderboard"}, "give --across decoding as well"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_read(tmp_path, options, message):
    with pytest.raises(LiftError, match=message):
        run_compare([tmp_path / "missing"], **options)


def test_a_sweep_keeps_the_names_of_its_settings(tmp_path):
    folder = write_sweep(tmp_path / "swept")
    comparison = compare(load([folder], by_settings=True), across="decoding")
    assert comparison.rows == list(SWEPT) and comparison.baseline == "protocol"
    assert comparison.same["cache=dual", "lift_gsm8k"] == (3, 10)
    assert comparison.aup() == {("lift-tiny", "lift_gsm8k"): pytest.approx(80)}  # the fast one loses too much
