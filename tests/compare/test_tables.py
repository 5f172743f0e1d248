"""How a comparison looks: terminal, Markdown, LaTeX, CSV, JSON."""

import csv
import io
import json
import re

import pytest
from support.eval_files import DECODING, answered, line, write_eval, write_run

from lift_harness.compare import compare, load
from lift_harness.compare.command import run_compare
from lift_harness.compare.render import FORMATS, render

TASK = "lift_gsm8k"
NASTY = r"a_b%$#{}~^\&<*|`"  # a row that the user called so
METHODS = ["base", "vanilla", "gift", "cart", "lift-h2", "lift-h3", "lift-a-h2", "lift-a-h3"]


def verdicts(n, seed, samples=1):
    """Repeatable verdicts: a list a problem."""
    return [[int((7 * i + 13 * j + 5 * seed) % 11 > 6) for j in range(samples)] for i in range(n)]


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    """Eight methods on six tasks, as the paper's table, with two seeds of each method."""
    tasks = {"lift_gsm8k": 40, "lift_math500": 30, "lift_countdown": 20, "lift_sudoku": 20}
    rows = {}
    for i, name in enumerate(METHODS):
        for seed in (0, 1) if name != "base" else (0,):
            found = {task: answered(verdicts(n, i + 3 * seed)) for task, n in tasks.items()}
            found["lift_sudoku"] = [
                line(j, {"acc": [[(i + j + seed) % 5, 8]], "solved": [0.0]}) for j in range(20)
            ]
            for task in ("lift_aime24", "lift_aime25"):
                found[task] = answered(verdicts(12, i + seed, 16))
            rows[name if name == "base" else f"{name}/seed-{seed}"] = {"one": found}
    run = write_run(
        tmp_path_factory.mktemp("big") / "run",
        rows,
        model="GSAI-ML/LLaDA-8B-Instruct",
        methods=[("lift-h2", {"name": "lift", "H": 2})],
        data=("s1k",),
    )
    return compare(load([run]))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Three rows: the baseline, one with a nasty name, one with other settings."""
    folder = tmp_path_factory.mktemp("small")
    for i, (name, how) in enumerate(
        {"base": {}, "mine": {}, "other": {"decoding": {**DECODING, "gen_length": 512}}}.items()
    ):
        tasks = {TASK: answered(verdicts(30, i)), "lift_aime24": answered(verdicts(10, i, 4))}
        write_eval(folder / name, tasks, **how)
    return compare(load([folder / "base", folder / "other"], {NASTY: folder / "mine"}))


# ---------------------------------------------------------------- terminal


@pytest.mark.parametrize("width", [80, 100, 120])
def test_eight_methods_and_six_tasks_fit_the_terminal(big, width):
    lines = render(big, "table", width=width).splitlines()
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "…" not in text  # nothing is cut off
    for task in ("gsm8k", "math500", "countdown", "sudoku", "aime24", "aime25"):
        assert task in text
    for name in METHODS:
        assert sum(one.split()[:1] == [name] for one in lines) >= 3  # accuracy, pass@k, differences


def test_values_stand_with_their_interval_and_the_published_number(big):
    cell = big.cells["lift-h2", TASK, "acc"]
    lines = render(big, "table", width=120).splitlines()
    row = next(i for i, one in enumerate(lines) if one.startswith("lift-h2"))
    assert f"{100 * cell.value:.1f}" in lines[row]
    assert f"{100 * cell.interval.low:.1f}–{100 * cell.interval.high:.1f}" in lines[row + 1]
    assert "seeds" in lines[row + 2]
    assert "paper 78.2" in lines[row + 3]  # at 256 tokens
    assert "arXiv 2605.22939" in "\n".join(lines)


def test_acc_of_several_answers_is_not_shown_beside_an_equal_pass_at_1(big):
    accuracy = render(big, "table", width=200).split("pass@k, percent")[0]
    assert "aime" not in accuracy and "gsm8k" in accuracy
    assert ("base", "lift_aime24", "acc") in big.cells  # JSON and CSV have it
    assert "aime24 acc" in render(big, "markdown", everything=True)


def test_what_is_not_compared_is_marked_and_explained(small):
    text = render(small, "table", width=100)
    value = 100 * small.cells["other", TASK, "acc"].value
    assert f"{value:.1f}†" in text and "†: not compared with base" in text
    joined = " ".join(text.split())
    assert "Not compared with base: other on gsm8k (acc): other settings: gen_length 512, not 256." in joined
    assert "other" not in text.split("Difference from base")[1].split("p: paired")[0]


def test_what_was_compared_anyway_says_so_in_the_caption(tmp_path):
    write_eval(tmp_path / "base", {TASK: answered([1, 0, 1])})
    write_eval(tmp_path / "mine", {TASK: answered([1, 1])})
    found = compare(load([tmp_path / "base", tmp_path / "mine"]), anyway=True)
    for format in ("table", "markdown"):
        joined = " ".join(render(found, format).split())
        assert "Compared anyway: mine on gsm8k (acc): other problems: 2 in both" in joined
    below = render(found, "latex").split(r"\caption{Difference")[1]
    assert "Compared anyway" in below.split(r"\end{tabular}")[1]


def test_a_star_marks_what_differs_after_adjustment(tmp_path):
    for name, right in (("base", 0), ("a", 30), ("b", 1)):
        write_eval(tmp_path / name, {TASK: answered([1] * right + [0] * (40 - right))})
    lines = render(compare(load([tmp_path / n for n in ("base", "a", "b")])), "table").splitlines()
    assert any(one.startswith("a ") and "75.0*" in one for one in lines)
    assert any(one.startswith("b ") and one.endswith("2.5") for one in lines)


def test_a_difference_of_something_else_than_shares_is_not_in_percent(tmp_path):
    for name, factor in (("base", 1.0), ("mine", 1.5)):
        lines = answered([1, 0, 1])
        for i, one in enumerate(lines):
            del one["doc"]["verdicts"]
            one |= {"metrics": ["bits"], "bits": 10 * (i + 1) * factor, "resps": [[[-factor, False]]]}
        write_eval(tmp_path / name, {"stock": lines})
    text = render(compare(load([tmp_path / "base", tmp_path / "mine"])), "table")
    assert re.search(r"^mine +\+10 ", text, re.MULTILINE)


def test_no_difference_has_no_sign(tmp_path):
    for name in ("base", "mine"):
        write_eval(tmp_path / name, {TASK: answered(verdicts(30, 0))})
    text = render(compare(load([tmp_path / "base", tmp_path / "mine"])), "table")
    assert re.search(r"^mine +0\.0 +\[-\d+\.\d, \+\d+\.\d\]", text, re.MULTILINE)


# ---------------------------------------------------------------- Markdown


def test_markdown_tables_have_as_many_cells_in_every_line(small):
    text = render(small, "markdown")
    tables = re.findall(r"(?:^\|.*\|\n?)+", text, re.MULTILINE)
    assert len(tables) == 3
    for table in tables:
        lines = table.strip().splitlines()
        assert re.fullmatch(r"\| --- (\| ---: )+\|", lines[1])
        assert len({len(re.findall(r"(?<!\\)\|", one)) for one in lines}) == 1
    assert r"a\_b%$#{}~^\\&\<\*\|\`" in text


# ---------------------------------------------------------------- CSV and JSON


def test_csv_has_one_value_a_line(small):
    rows = list(csv.DictReader(io.StringIO(render(small, "csv"))))
    assert list(rows[0]) == ["task", "metric", "row", "baseline", "statistic", "value"]
    keys = [tuple(row.values())[:5] for row in rows]
    assert len(set(keys)) == len(keys)
    value = {key: row["value"] for key, row in zip(keys, rows, strict=True)}
    for (row, task, metric), cell in small.cells.items():
        assert float(value[task, metric, row, "", "value"]) == cell.value
        assert float(value[task, metric, row, "", "low"]) == cell.interval.low
    for (row, task, metric), one in small.differences.items():
        assert float(value[task, metric, row, "base", "p"]) == one.p
        assert float(value[task, metric, row, "base", "difference"]) == one.value
    assert "gen_length 512" in value[TASK, "acc", "other", "base", "not_compared"]


def test_json_has_everything(big, small):
    for found in (big, small):
        data = json.loads(render(found, "json"))
        assert data["rows"] == found.rows and data["baseline"] == found.baseline
        assert len(data["cells"]) == len(found.cells)
        assert len(data["differences"]) == len(found.differences)
        for one in data["differences"]:
            known = found.differences[one["row"], one["task"], one["metric"]]
            assert (one["p"], one["adjusted"], one["mcnemar"]) == (known.p, known.adjusted, known.mcnemar)
            assert one["interval"] == vars(known.interval)
    assert small.refusals and len(data["not_compared"]) == len(small.refusals)


# ---------------------------------------------------------------- where it goes


@pytest.mark.parametrize(
    ("name", "begins"),
    [
        ("x.md", "### "),
        ("x.tex", "% needs"),
        ("x.csv", "task,metric"),
        ("x.json", "{"),
        ("x.txt", "Accuracy"),
    ],
)
def test_the_suffix_of_the_output_chooses_the_format(tmp_path, capsys, name, begins):
    write_eval(tmp_path / "base", {TASK: answered([1, 0])})
    run_compare([tmp_path / "base"], output=tmp_path / name)
    assert (tmp_path / name).read_text().startswith(begins)
    assert not list(tmp_path.glob("*.part"))
    shown = capsys.readouterr()
    assert not shown.out and str(tmp_path / name) in shown.err.replace("\n", "")


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_is_printed(tmp_path, capsys, format):
    write_eval(tmp_path / "base", {TASK: answered([1, 0])})
    across = "decoding" if format == "leaderboard" else None
    write_eval(tmp_path / "mine", {TASK: answered([1, 1])}, pretrained="mine", passes=7)
    run_compare([tmp_path / "base", tmp_path / "mine"], format=format, across=across)
    assert "mine" in capsys.readouterr().out
