"""One run, all that is printed and written of it: every number has one value and one interval.

Against intervals made here from the formulas, in float64, with other random numbers.
"""

import io
import json
import math
import random
from statistics import NormalDist, fmean, stdev

import numpy as np
import pytest
from support import rendered
from support.eval_files import answered, line, write_run
from support.report_runs import embedded

from lift_harness.compare import compare, load
from lift_harness.compare.render import render
from lift_harness.console import Console
from lift_harness.pipeline.recipe import load_recipe
from lift_harness.pipeline.report import markdown, score_tables
from lift_harness.report import write_report

GSM8K, SUDOKU = "lift_gsm8k", "lift_sudoku"
SEEDS = {"base": ("",), "vanilla": ("",), "lift-h3": ("/seed-0", "/seed-1", "/seed-2")}
SKILL = {"base": 0.3, "vanilla": 0.5, "lift-h3": 0.6}


def made(row, seed):
    """Verdicts of one training: {"one": 0/1, "samples": eight 0/1 each, "cells": (right, empty)}."""
    random_ = random.Random(f"{row}{seed}")
    chances = [min(1.0, max(0.0, random_.gauss(SKILL[row], 0.3))) for _ in range(40)]
    return {
        "one": [int(random_.random() < chance) for chance in chances],
        "samples": [[int(random_.random() < chance) for _ in range(8)] for chance in chances[:30]],
        "cells": [(random_.randint(0, empty - 1), empty) for empty in random_.choices(range(3, 9), k=8)],
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Three rows, one with three seeds; no Sudoku is solved: 0 of 8."""
    rows = {}
    for row, seeds in SEEDS.items():
        for seed in seeds:
            found = made(row, seed)
            cells = [line(i, {"acc": [list(pair)], "solved": [0.0]}) for i, pair in enumerate(found["cells"])]
            rows[row + seed] = {
                "one": {GSM8K: answered(found["one"]), SUDOKU: cells},
                "samples": {GSM8K: answered(found["samples"])},
            }
    return write_run(tmp_path_factory.mktemp("truth") / "run", rows)


@pytest.fixture(scope="module")
def cells(run):
    """The numbers of the comparison as JSON, which the others are held against."""
    return rendered.of_json(render(compare(load([run])), "json"))


# ---------------------------------------------------------------- the same everywhere


def printed(run):
    """What stands at the end of train-eval and of eval, in 80 columns."""
    console = Console(file=io.StringIO(), width=80)
    console.print(score_tables(load([run]), console.width))
    return console.file.getvalue()


def report_md(run):
    """report.md of the run."""
    results = json.loads((run / "results.json").read_text()) | {"training": {}}
    return markdown(load_recipe("quickstart"), load([run]), results, {})


TABLES = {
    "the terminal after train-eval and eval": lambda run: rendered.of_terminal(printed(run)),
    "report.md": lambda run: rendered.of_markdown(report_md(run)),
    "compare": lambda run: rendered.of_terminal(render(compare(load([run])), "table")),
    "compare --format markdown": lambda run: rendered.of_markdown(render(compare(load([run])), "markdown")),
    "compare --format latex": lambda run: rendered.of_latex(render(compare(load([run])), "latex")),
}


@pytest.mark.parametrize("table", TABLES)
def test_tables_show_the_numbers_of_the_json(run, cells, table):
    shown = TABLES[table](run)
    tables_have = {key: cell.rounded() for key, cell in cells.items() if not key[2].startswith("avg@")}
    assert shown == tables_have and len(shown) == 3 * 7  # acc, pass@1, 2, 4, 8; acc, solved


def test_page_and_csv_have_the_numbers_of_the_json_to_the_last_bit(run, cells):
    assert rendered.of_csv(render(compare(load([run])), "csv")) == cells
    table, curves = rendered.of_page(embedded(write_report(run).read_text(encoding="utf-8")))
    assert table == cells
    reported = {key: cell[:3] for key, cell in cells.items() if key[2].startswith("pass@")}
    assert {key: curve[:3] for key, curve in curves.items() if key in reported} == reported
    assert len(curves) == 3 * 8  # and the curve has every k


def test_nothing_certain_is_said_of_0_of_8_and_errors_of_two_kinds_never_stand_in_one_column(run):
    for text in (printed(run), report_md(run)):
        assert "±" not in text and "0.0 (0.0–0.0" not in text
        assert "seeds: t interval over training seeds; the other interval is over problems." in " ".join(
            text.split()
        )


# ---------------------------------------------------------------- and the right ones

Z = NormalDist().inv_cdf(0.975)


def wilson(share, n):
    """The roots of (share - p)^2 = z^2 p (1 - p) / n."""
    a, b, c = 1 + Z**2 / n, -(2 * share + Z**2 / n), share**2
    root = math.sqrt(max(0.0, b * b - 4 * a * c))
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


def bca(points, of):
    """Efron 1987, eqs. 4.4 (z0) and 7.3 (a), on 20,000 resamples of its own."""
    points, of = np.array(points, float), np.array(of, float)
    value, n = points.sum() / of.sum(), len(points)
    chosen = np.random.default_rng(7).integers(0, n, size=(20_000, n))
    draws = points[chosen].sum(1) / of[chosen].sum(1)
    z0 = NormalDist().inv_cdf(np.mean(draws < value) + np.mean(draws == value) / 2)
    without = np.array([(points.sum() - points[i]) / (of.sum() - of[i]) for i in range(n)])
    away = without.mean() - without
    a = (away**3).sum() / (6 * (away**2).sum() ** 1.5)
    levels = [NormalDist().cdf(z0 + (z0 + z) / (1 - a * (z0 + z))) for z in (-Z, Z)]
    return tuple(np.quantile(draws, levels))


def pass_at(k, answers):
    """1 - C(wrong, k) / C(n, k)."""
    wrong = len(answers) - sum(answers)
    return 1 - math.comb(wrong, k) / math.comb(len(answers), k)


@pytest.mark.parametrize("row", SEEDS)
def test_the_intervals_are_those_of_the_formulas(cells, row):
    seeds = [made(row, seed) for seed in SEEDS[row]]

    def over_problems(column):
        """(value, low, high) of numbers a problem: means over seeds."""
        means = np.mean(column, axis=0)
        return float(means.mean()), *bca(means, np.ones(len(means)))

    right = [found["one"] for found in seeds]
    if len(seeds) == 1:
        expected = (fmean(right[0]), *wilson(fmean(right[0]), 40))
        assert cells[row, GSM8K, "acc"][:3] == pytest.approx(expected, abs=1e-12)
    else:
        assert cells[row, GSM8K, "acc"][:3] == pytest.approx(over_problems(right), abs=0.015)
    for k in (1, 2, 4, 8):
        column = [[pass_at(k, answers) for answers in found["samples"]] for found in seeds]
        assert cells[row, GSM8K, f"pass@{k}"][:3] == pytest.approx(over_problems(column), abs=0.015)
    points, of = np.mean([found["cells"] for found in seeds], axis=0).T
    low, high = cells[row, SUDOKU, "acc"][1:3]
    assert (low, high) == pytest.approx(bca(points, of), abs=0.03)
    solved = cells[row, SUDOKU, "solved"]
    assert solved[:3] == pytest.approx((0.0, 0.0, wilson(0, 8)[1]), abs=1e-12)


def test_the_interval_over_seeds_is_students(cells):
    values = [fmean(made("lift-h3", seed)["one"]) for seed in SEEDS["lift-h3"]]
    half = 4.302652729749464 * stdev(values) / math.sqrt(3)  # t of 2 degrees of freedom
    found = cells["lift-h3", GSM8K, "acc"]
    assert found.value == pytest.approx(fmean(values))
    expected = (max(0.0, found.value - half), min(1.0, found.value + half))
    assert (found.seeds_low, found.seeds_high) == pytest.approx(expected, abs=1e-9)
    assert cells["base", GSM8K, "acc"].seeds_low is None
