"""The tables of speed as text cells: of every row, and of decoding settings against accuracy."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from lift_harness.compare.comparison import Comparison
from lift_harness.compare.grid import Entry, Grid, counted, percent, short
from lift_harness.results.parallelism import ALPHA, TOLERATED
from lift_harness.results.speed import Speed

FRONTS = {"tokens_per_pass": "pass", "tokens_per_second": "s"}  # what a mark of the Pareto front says


def speed(comparison: Comparison) -> Grid:
    """Rows by what their answers took, task by task; a column that no row has is left out."""
    columns = of_decoding(comparison) if comparison.across else {}
    columns |= {name: text for name, text in MEASURES.items() if name not in columns}
    speeds = comparison.speeds.values()
    columns = {name: text for name, text in columns.items() if any(map(text, speeds))}
    grid = Grid("Speed", ["setting" if comparison.across else "method", *columns], [])
    for task in comparison.tasks:
        known = [row for row in comparison.rows if (row, task) in comparison.speeds]
        for row in known:
            if row == known[0]:
                grid.sections[len(grid.rows)] = short(task)
            of_row = comparison.speeds[row, task]
            grid.rows.append([Entry(row), *(Entry(text(of_row)) for text in columns.values())])
    grid.caption = [
        "Tokens of the texts, up to the end of text or a stop string, and forward passes of "
        "sequences. Tokens a second: of the whole lm-eval run (all its tasks), on its machine."
    ]
    if comparison.across:
        grid.caption.append(
            f"Same: problems with the answers of {comparison.baseline}. Pareto: no row is as good in "
            "accuracy and in tokens a pass (pass) or a second (s), and better in one. approx.: the cache "
            "keeps keys and values that later tokens would change."
        )
    return grid


MEASURES: dict[str, Callable[[Speed], str]] = {
    "tokens\na pass": lambda known: f"{known.tokens_per_pass:.2f}",
    "tokens\na second": lambda known: figure(known.tokens_per_second),
    "passes": lambda known: f"{known.passes:,.0f}",
    "tokens": lambda known: f"{known.tokens:,.0f}",
    "peak,\nGiB": lambda known: figure(known.peak_memory_bytes and known.peak_memory_bytes / 2**30),
}


def figure(value: float | None) -> str:
    """A number to three digits, whole above 100; nothing where it is not known."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def same_answers(comparison: Comparison, known: Speed) -> str:
    """How many answers are the baseline's; "" of the baseline itself."""
    counts = comparison.same.get((known.row, known.task))
    return f"{counts[0]:,} / {counts[1]:,}" if counts else ""


def front(speeds: Iterable[str]) -> str:
    """The marks of a row that is on the Pareto fronts of these speeds (`Comparison.fronts`)."""
    return ", ".join(FRONTS[name] for name in speeds)


def of_decoding(comparison: Comparison) -> dict[str, Callable[[Speed], str]]:
    """The columns of a comparison of decoding settings."""
    fronts = {task: comparison.fronts(task) for task in comparison.tasks}

    def accuracy(known: Speed) -> str:
        cell = comparison.main_cell(known.row, known.task)
        return percent(cell.value, cell) if cell else ""

    def same(known: Speed) -> str:
        return same_answers(comparison, known)

    def pareto(known: Speed) -> str:
        return front(fronts[known.task].get(known.row, ()))

    def exact(known: Speed) -> str:
        return "" if known.exact is None else "exact" if known.exact else "approx."

    a_pass, a_second = list(MEASURES)[:2]
    speeds = {a_pass: MEASURES[a_pass], a_second: MEASURES[a_second]}
    return {"accuracy": accuracy, **speeds, "Pareto": pareto, "same": same, "cache": exact}


def aup(comparison: Comparison) -> Grid:
    """Accuracy under parallelism: models by tasks."""
    areas = comparison.aup() if comparison.across else {}
    tasks = list(dict.fromkeys(task for _, task in areas))
    grid = Grid("AUP, accuracy under parallelism", ["model", *map(short, tasks)], [])
    for model in dict.fromkeys(model for model, _ in areas):
        values = (areas.get((model, task)) for task in tasks)
        entries = [Entry("" if value is None else f"{value:.1f}") for value in values]
        grid.rows.append([Entry(model), *entries])
    settings: list[int] = []
    for of_models in comparison.curves().values():
        settings += map(len, of_models.values())
    if areas:
        grid.caption = [
            f"d3LLM's (arXiv 2601.07568), alpha = {ALPHA:g}, over {counted(sorted(settings), 'setting')} a "
            f"model, without those more than {TOLERATED:g} points below the one with the fewest tokens a "
            "pass; the highest accuracy is that of all rows."
        ]
    return grid
