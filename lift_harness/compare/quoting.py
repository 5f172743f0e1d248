"""Whether the paper's number may stand beside a row: it must have been asked and decoded as that table's.

The model, the method and the training data are matched in `published.py`; here are words, problems and
decoding. What the paper's tables share is the protocol of our tasks' own files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lift_harness.compare.comparable import UNNAMED, same, shown
from lift_harness.compare.paper_tables import Quoted
from lift_harness.compare.published import BY_LENGTH, LENGTHS, as_published, candidates
from lift_harness.papers import DENSITY, GIFT, LIFT
from lift_harness.results.logs import Evaluation, mapping
from lift_harness.results.rows import Row
from lift_harness.results.scores import Cell, Published, RowOnTask
from lift_harness.results.statistics import Interval
from lift_harness.tasks.benchmarks import load_benchmark
from lift_harness.tasks.catalog import task_config
from lift_harness.tasks.presets import preset
from lift_harness.tasks.wording import OWN, Wording, wording_of

if TYPE_CHECKING:
    from lift_harness.compare.comparison import Comparison

# `Wording.sha256` of the prompts in the code that LIFT's authors released (eval/*.py); they are not copied
# here. Of HumanEval the release sends the docstring alone, which no task of ours does. They are d1's, whose
# evaluation GIFT's paper follows by way of wd1's.
MATH = ("e2f951f2a261f7b21cbe52fc1021bed377d342fe98e805b924c5ca8f85a6cffd",)
WORDINGS: dict[str, tuple[str, ...]] = {
    "lift_gsm8k": ("0dd9ac0f02415db54e8839fb560405e88c46fac148b0a66d22e9d50759f52894",),
    "lift_math500": MATH,
    "lift_aime24": MATH,
    "lift_aime25": MATH,
    # Its question is ours: left as it is, or spelled out.
    "lift_countdown": (
        "d60eb182665b7da20761327ecc38fc5e8f81d629bc549d3da33f0dbc4b88a5bb",
        "2e4ca16dfdd31efabb1f68959099a784487a68c3a7f99569b7675d28bf153f4f",
    ),
    "lift_sudoku": ("4fdb6e21fcc0ec9fdf49d2e74ff349415dffcfd383fbecbd559140ed8fb87c72",),
    "lift_mbpp": ("6d3b635f3b741652db490e0ff7dc803b8307fdd2c63f3a90059b8d5a870338c2",),
}
# All of Countdown's problems are in either subset.
SUBSETS = {LIFT: {"lift_sudoku": "lift"}, GIFT: {"lift_sudoku": "d1"}, DENSITY: {}}
EVERYWHERE = {**UNNAMED, "schedule": "fixed", "remasking": "low_confidence"}


def quoted(row: RowOnTask, cell: Cell) -> tuple[Published | None, list[str]]:
    """A paper's number for a cell, or why it does not stand beside it; neither where there is none.

    Of several papers' it is the first that may stand there, that of the recipe's paper before the others.
    """
    evaluations = row.evaluations(cell.metric).values()
    found = candidates(
        row.row.model,
        row.row.method,
        cell.task,
        cell.metric,
        gen_length=cell.gen_length,
        data=row.row.data,
        under=next((one.settings.get("preset") for one in evaluations), None),
    )
    found.sort(key=lambda one: (not one.preset, one.paper != row.row.paper))
    refused: list[list[str]] = []
    for number in found:
        reasons = dict.fromkeys(trained_otherwise(row.row, number))
        unlike = unlike_the_preset if number.preset else unlike_the_table
        for evaluation in evaluations:
            reasons |= dict.fromkeys(unlike(evaluation, number))
        if not reasons:
            return as_published(number), []
        refused.append(list(reasons))
    return None, refused[0] if refused else []


def trained_otherwise(row: Row, number: Quoted) -> Iterator[str]:
    """Whether a row was trained for another time than those of a paper's table."""
    steps, epochs = row.training.get("max_steps"), row.training.get("epochs")
    if steps is not None:
        yield f"trained for {steps} steps, not {number.trained_for:g} epochs"
    elif epochs is not None and not same(epochs, number.trained_for):
        yield f"trained for {epochs:g} epochs, not {number.trained_for:g}"


def unlike_the_table(evaluation: Evaluation, number: Quoted) -> Iterator[str]:
    """In what an evaluation differs from that of a paper's table."""
    task, settings = evaluation.task.partition("@")[0], evaluation.settings
    if number.paper == DENSITY:
        yield f"{DENSITY} does not say in which words it asked"
    elif "instruction" not in settings:
        yield "the results do not say how it was asked"
    else:
        words = Wording(settings["instruction"], settings.get("question", OWN))
        if words.sha256 not in WORDINGS.get(task, ()):
            yield "asked in other words than by the authors' code (eval.prompts, --metadata prompts=FILE)"
    if (shots := settings.get("fewshot") or 0) != number.fewshot:
        yield f"{shots} worked examples in the prompt, not {number.fewshot}"
    subset, wanted = settings.get("subset"), SUBSETS[number.paper].get(task)
    if wanted is not None and subset != wanted:
        yield f"subset {shown(subset)}, not {wanted} (eval.subset, --metadata subset={wanted})"
    samples = task_config(task)["repeats"]
    if evaluation.samples != samples:
        yield f"{evaluation.samples} answers a problem, not {samples}"
    yield from other_decoding(task, mapping(settings.get("decoding")))


def unlike_the_preset(evaluation: Evaluation, number: Quoted) -> Iterator[str]:
    """In what an evaluation differs from the preset that it was run under: the user's own settings win."""
    task, settings = evaluation.task.partition("@")[0], evaluation.settings
    wanted, config = preset(number.preset).task(task), task_config(task)
    words = vars(wording_of(task, load_benchmark(config["benchmark"]), wanted.prompts(task)))
    if any(settings.get(key, words[key]) != words[key] for key in words):
        yield f"asked in other words than preset {number.preset}'s"
    if (shots := settings.get("fewshot") or 0) != wanted.num_fewshot:
        yield f"{shots} worked examples in the prompt, not {wanted.num_fewshot}"
    if wanted.subset not in (None, subset := settings.get("subset")):
        yield f"subset {shown(subset)}, not {wanted.subset}"
    if evaluation.samples != (samples := wanted.samples or config["repeats"]):
        yield f"{evaluation.samples} answers a problem, not {samples}"
    decoding, length = mapping(settings.get("decoding")), wanted.decoding.get("gen_length")
    stops = wanted.until if wanted.until is not None else config.get("generation_kwargs", {}).get("until", ())
    if tuple(decoding.get("until", stops)) != tuple(stops):
        yield f"other texts end an answer than under preset {number.preset}"
    if length is not None and (limit := decoding.get("max_gen_toks", length)) < length:
        yield f"at most {limit} tokens an answer, not {length}"
    yield from differing(decoding, wanted.decoding)


def other_decoding(task: str, decoding: Mapping[str, Any]) -> Iterator[str]:
    """In what the decoding differs from the protocol: two tokens a step, whatever the length."""
    if not decoding:
        yield "the results do not say how it was decoded"
        return
    protocol = {**EVERYWHERE, **task_config(task)["metadata"]["decoding"]}
    length = decoding.get("gen_length")
    if task in BY_LENGTH and isinstance(length, int) and length in LENGTHS:
        protocol |= {"gen_length": length, "steps": length // 2}
    yield from differing(decoding, protocol)


def differing(decoding: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[str]:
    """In what a decoding differs from the one that is wanted."""
    ours = {**UNNAMED, **decoding}
    differ = [
        f"{name} {shown(ours[name])}, not {shown(value)}"
        for name, value in wanted.items()
        if name in ours and not same(ours[name], value)
    ]
    if differ:
        yield f"decoded otherwise: {'; '.join(differ)}"


# ---------------------------------------------------------------- notes


def published_notes(comparison: Comparison) -> Iterator[str]:
    """Where the paper's number is left out, a line for each reason; where it is over more problems."""
    for reason, places in comparison.unquoted.items():
        rows = ", ".join(dict.fromkeys(row for row, _ in places))
        tasks = ", ".join(dict.fromkeys(task.removeprefix("lift_") for _, task in places))
        yield f"the paper's number is not beside {rows} on {tasks}: {reason}"
    for cell in comparison.cells.values():
        if cell.published and cell.published.preset and cell.interval:
            yield beside(cell, cell.published, cell.interval)
    for name in dict.fromkeys(cell.published.preset for cell in comparison.cells.values() if cell.published):
        if name and (values := preset(name).unconfirmed):
            yield f"preset {name}: unconfirmed: {', '.join(values)} (docs/presets.md)"
    for cell in comparison.cells.values():
        if cell.published and cell.items and cell.total and cell.items < cell.total:
            yield (
                f"{cell.task}: the published number is over all {cell.total} problems, that of {cell.row} "
                f"over {cell.items}"
            )


def beside(cell: Cell, published: Published, interval: Interval) -> str:
    """Whether a published number lies within the interval of ours."""
    ours, theirs, low, high = (
        100 * one for one in (cell.value, published.value, interval.low, interval.high)
    )
    where = "within" if low <= theirs <= high else "outside"
    return (
        f"{cell.row} on {cell.task.removeprefix('lift_')}, {cell.metric}: {ours:.1f}, 95 % {low:.1f} to "
        f"{high:.1f}; published under preset {published.preset}: {theirs:.1f}, {where} it"
    )
