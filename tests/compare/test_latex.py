"""Tables for papers: what LaTeX refuses is not in them, and what they say is what was measured."""

import re
import statistics as stats

import pytest
from support.eval_files import DECODING, answered, line, write_eval, write_run

from lift_harness.compare import compare, load
from lift_harness.compare.command import run_compare
from lift_harness.compare.latex import STYLES
from lift_harness.compare.render import render
from lift_harness.errors import LiftError

TASK = "lift_gsm8k"
NASTY = r"a_b%$#{}~^\&<*|`"  # a row that the user called so


def verdicts(n, seed, samples=1):
    """Repeatable verdicts: a list a problem."""
    return [[int((7 * i + 13 * j + 5 * seed) % 11 > 6) for j in range(samples)] for i in range(n)]


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    """Two methods with three seeds on three tasks, one of which has two metrics, and one several answers."""
    rows = {}
    for i, name in enumerate(("base", "vanilla", "lift-h3")):
        for seed in (0, 1, 2) if name != "base" else (0,):
            cells = [line(j, {"acc": [[(i + j + seed) % 5, 8]], "solved": [0.0]}) for j in range(20)]
            found = {TASK: answered(verdicts(40, i + 3 * seed)), "lift_sudoku": cells}
            found["lift_aime24"] = answered(verdicts(12, i + seed, 4))
            rows[name if name == "base" else f"{name}/seed-{seed}"] = {"one": found}
    model = "GSAI-ML/LLaDA-8B-Instruct"
    run = write_run(
        tmp_path_factory.mktemp("seeds") / "run",
        rows,
        model=model,
        methods=[("vanilla", {"name": "vanilla"})],
        data=("s1k",),
    )
    return compare(load([run]))


@pytest.fixture(scope="module")
def nasty(tmp_path_factory):
    """Three rows: the baseline, one with a nasty name, one with other settings."""
    folder = tmp_path_factory.mktemp("nasty")
    others = {"base": {}, "mine": {}, "other": {"decoding": {**DECODING, "gen_length": 512}}}
    for i, (name, how) in enumerate(others.items()):
        tasks = {TASK: answered(verdicts(30, i)), "lift_aime24": answered(verdicts(10, i, 4))}
        write_eval(folder / name, tasks, **how)
    return compare(load([folder / "base", folder / "other"], {NASTY: folder / "mine"}))


# ---------------------------------------------------------------- LaTeX would take it


def check(text):
    """What LaTeX would refuse: groups and environments that do not close, rows of a wrong number of cells."""
    opened = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if kind == "begin":
            opened.append(name)
        else:
            assert opened.pop() == name
    assert not opened
    depth = 0
    for character in re.sub(r"\\[\\{}%$#_&]", "", text):
        depth += (character == "{") - (character == "}")
        assert depth >= 0
    assert depth == 0
    body = re.sub(r"(?m)^%.*$", "", text)
    assert not re.search(r"(?<!\\)[%#_]", body) and not set("–†±<>|`") & set(body.replace("|`", ""))
    assert body.replace(r"\$", "").count("$") % 2 == 0
    for columns, table in re.findall(r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", text, re.DOTALL):
        check_rows(len(columns), table.strip().splitlines())


def check_rows(columns, lines):
    """Every line of a tabular is a rule, or has all columns."""
    assert (lines[0], lines[-1]) == (r"\toprule", r"\bottomrule") and lines.count(r"\midrule") == 1
    rows = 0
    for one in lines:
        if rules := re.findall(r"\\cmidrule\(lr\)\{(\d+)-(\d+)\}", one):
            ends = [(1, 1), *((int(a), int(b)) for a, b in rules)]
            assert all(
                a == before + 1 and a <= b for (_, before), (a, b) in zip(ends, ends[1:], strict=False)
            )
            assert ends[-1][1] == columns
        elif not re.fullmatch(r"\\(toprule|midrule|bottomrule|addlinespace)", one):
            assert one.endswith(r" \\") and not one.startswith(("[", "*"))
            cells = re.split(r"(?<!\\)&", one)
            spans = (re.search(r"\\multicolumn\{(\d+)\}", cell) for cell in cells)
            assert sum(int(span[1]) if span else 1 for span in spans) == columns, one
            rows += 1
    assert rows >= 3


@pytest.mark.parametrize("style", STYLES)
def test_latex_is_well_formed(seeds, nasty, style):
    for found in (seeds, nasty):
        text = render(found, "latex", style=style, everything=True)
        assert text.startswith("% needs \\usepackage{booktabs}")
        check(text)
        labels = re.findall(r"\\label\{tab:([a-z0-9-]+)\}", text)
        assert len(labels) == len(set(labels)) == text.count(r"\begin{table}") == 3


@pytest.mark.parametrize("name", ["[x]", "*"])
def test_a_row_never_begins_with_an_option_of_the_line_before(tmp_path, name):
    write_eval(tmp_path / "base", {TASK: answered([1, 0])})
    write_eval(tmp_path / "mine", {TASK: answered([1, 1])})
    text = render(compare(load([tmp_path / "base"], {name: tmp_path / "mine"})), "latex")
    assert text.count(f"\n{{}}{name} & ") == 2 and f"\n{name}" not in text


def test_what_means_something_is_escaped(nasty):
    text = render(nasty, "latex")
    escaped = r"a\_b\%\$\#\{\}\textasciitilde{}\textasciicircum{}\textbackslash{}\&\textless{}*|`"
    assert f"\n{escaped} & " in text
    assert re.search(r"\$-\$\d", text)  # a minus, not a hyphen


# ---------------------------------------------------------------- and a reader


def test_a_task_stands_over_its_metrics(seeds):
    lines = render(seeds, "latex").split(r"\label{tab:accuracy}")[1].splitlines()
    heads = lines[3:6]
    assert heads == [
        r" & \multicolumn{1}{c}{gsm8k} & \multicolumn{2}{c}{sudoku} \\",
        r"\cmidrule(lr){2-2} \cmidrule(lr){3-4}",
        r"method & acc & acc & solved \\",
    ]


def cells_of(text, row):
    """The cells of a row of the first table."""
    first = text.split(r"\end{tabular}")[0]
    return (
        next(one for one in first.splitlines() if one.startswith(f"{row} &"))
        .removesuffix(r" \\")
        .split(" & ")[1:]
    )


def test_the_three_styles(seeds):
    cell = seeds.cells["lift-h3", TASK, "acc"]
    value, spread = f"{100 * cell.value:.1f}", f"{100 * stats.stdev(cell.seed_values.values()):.1f}"
    low, high = (f"{100 * end:.1f}" for end in (cell.interval.low, cell.interval.high))
    shown = {style: cells_of(render(seeds, "latex", style=style), "lift-h3")[0] for style in STYLES}
    bare = {style: re.sub(r"\\textbf\{([\d.]+)\}", r"\1", text) for style, text in shown.items()}
    assert bare["plain"] == value
    assert bare["mean-std"] == rf"{value} {{\scriptsize $\pm$ {spread}}}"
    assert bare["interval"].startswith(rf"{value} {{\scriptsize ({low}--{high}; seeds ")
    # One seed has no deviation.
    assert re.sub(
        r"\\textbf\{([\d.]+)\}", r"\1", cells_of(render(seeds, "latex", style="mean-std"), "base")[0]
    ) == (f"{100 * seeds.cells['base', TASK, 'acc'].value:.1f}")
    published = render(seeds, "latex")
    plain = render(seeds, "latex", style="plain").split(r"\caption{Difference")[0]
    assert "paper 7" in published and r"\footnotesize" in published
    assert "paper" not in plain and "seeds" not in plain
    assert r"with 95 \% intervals" not in render(seeds, "latex", style="plain")
    assert "standard deviation over seeds" in render(seeds, "latex", style="mean-std")


def test_the_best_of_a_column_is_bold(seeds):
    text = render(seeds, "latex", style="plain")
    shares = {row: f"{100 * seeds.cells[row, TASK, 'acc'].value:.1f}" for row in seeds.rows}
    best = max(shares.values(), key=float)
    for row, share in shares.items():
        assert cells_of(text, row)[0].startswith(rf"\textbf{{{share}}}") == (share == best)
    assert all(cells_of(text, row)[2] == "0.0" for row in seeds.rows)  # all alike
    sections = text.split(r"\label{tab:pass-k}")[1].split(r"\end{tabular}")[0]
    for j in range(1, 4):
        column = [one.split(" & ")[j] for one in sections.splitlines() if one.split(" & ")[0] in seeds.rows]
        numbers = [float(re.search(r"[\d.]+", cell)[0]) for cell in column]
        best = [min(numbers) < number == max(numbers) for number in numbers]
        assert [r"\textbf" in cell for cell in column] == best


def test_what_was_not_compared_is_not_the_best(nasty):
    text = render(nasty, "latex", style="plain")
    assert r"\textbf" not in cells_of(text, "other")[0] and r"\textdagger" in cells_of(text, "other")[0]
    assert r"\textdagger{}: not compared with base" in text.split(r"\end{tabular}")[1]


def test_of_a_metric_whose_better_end_is_not_known_nothing_is_bold(tmp_path):
    for name, factor in (("base", 1.0), ("mine", 1.5)):
        lines = answered([1, 0, 1])
        for i, one in enumerate(lines):
            del one["doc"]["verdicts"]
            one |= {
                "metrics": ["perplexity"],
                "perplexity": 10 * (i + 1) * factor,
                "resps": [[[-factor, False]]],
            }
        write_eval(tmp_path / name, {"stock": lines})
    text = render(compare(load([tmp_path / "base", tmp_path / "mine"])), "latex")
    check(text)
    assert r"\textbf" not in text and "Best" not in text


def test_a_style_is_of_latex(tmp_path, capsys):
    write_eval(tmp_path / "base", {TASK: answered([1, 0])})
    with pytest.raises(LiftError, match="--style plain is of LaTeX; give --format latex"):
        run_compare([tmp_path / "base"], style="plain")
    with pytest.raises(LiftError, match="--style men-std: did you mean mean-std"):
        run_compare([tmp_path / "base"], style="men-std", format="latex")
    run_compare([tmp_path / "base"], style="plain", output=tmp_path / "x.tex")
    assert "50.0 " in (tmp_path / "x.tex").read_text()
