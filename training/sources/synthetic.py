"""Training text that the project generates: Sudoku, Countdown and arithmetic with reasoning, lists to sort.

Each generator yields records of one exchange, built by the functions that build the evaluation prompts. Only
the train splits of the tasks' generators are used.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np

from lift_harness.errors import LiftError, did_you_mean
from lift_harness.tasks import countdown, parallel, prompts, sorting, sudoku
from lift_harness.tasks.worked import countdown_response, sudoku_response
from lift_harness.training.sources.records import Record


def exchange(user: str, response: str) -> Record:
    """A record: what the user says, and the assistant after `prompts.GEN_PREFIX`."""
    return Record((("user", user),), response, prompts.GEN_PREFIX, kind="math")


def sudoku_records(seed: int, blanks: tuple[int, int] = (4, 6)) -> Iterator[Record]:
    """4x4 Sudoku with the deductions as reasoning."""
    two = isinstance(blanks, (list, tuple)) and len(blanks) == 2 and all(type(n) is int for n in blanks)
    if not two or not 1 <= blanks[0] <= blanks[1] <= 12:
        raise LiftError(f"source 'sudoku': blanks={blanks!r}: give the least and most empty cells, 1 to 12")
    for doc in sudoku.generate("train", seed, (blanks[0], blanks[1])):
        user = prompts.user_turn(prompts.INSTRUCTIONS["sudoku"], prompts.sudoku_question(doc["Puzzle"]))
        yield exchange(user, sudoku_response(doc))


def countdown_records(seed: int, count: int = 3, largest_number: int = 20) -> Iterator[Record]:
    """Countdown with each operation as a step of reasoning."""
    whole_number("countdown", "count", count, 3, 4)
    whole_number("countdown", "largest_number", largest_number, 2, 99)
    for doc in countdown.generate("train", seed, count, largest_number):
        question = prompts.countdown_question(doc["input"], doc["output"])
        user = prompts.user_turn(prompts.INSTRUCTIONS["countdown"], question)
        yield exchange(user, countdown_response(doc))


def arithmetic_records(seed: int, largest: int = 99) -> Iterator[Record]:
    """One operation on two whole numbers, operands and result from 1 to `largest`."""
    whole_number("arithmetic", "largest", largest, 2, 10**6)
    rng = np.random.default_rng(seed)
    while True:
        a, b = (countdown.Expression(int(n), str(n)) for n in rng.integers(1, largest + 1, size=2))
        made = list(countdown.combine(a, b, largest))
        if made:
            expression = made[rng.integers(len(made))]
            user = prompts.user_turn(prompts.INSTRUCTIONS["arithmetic"], f"Expression: {expression.text}")
            answer = rf"\boxed{{{expression.value}}}"
            yield exchange(user, prompts.response(countdown.reasoning(expression), answer))


def sort_records(seed: int) -> Iterator[Record]:
    """Six digits to sort, with the bare answer."""
    for doc in sorting.generate("train", seed):
        user = prompts.user_turn(prompts.INSTRUCTIONS["parallel"], parallel.question(doc))
        yield Record((("user", user),), f"{doc['answer']}</answer>", "<answer>", kind="math")


def whole_number(source: str, option: str, value: Any, least: int, most: int) -> None:
    """Refuse an option that is no whole number in a range."""
    if type(value) is not int or not least <= value <= most:
        raise LiftError(
            f"source {source!r}: {option}={value!r}: must be a whole number from {least} to {most}"
        )


SOURCES: dict[str, Callable[..., Iterator[Record]]] = {
    "sudoku": sudoku_records,
    "countdown": countdown_records,
    "arithmetic": arithmetic_records,
    "sort": sort_records,
}


def generated(source: str, n: int, seed: int, **options: Any) -> list[Record]:
    """The first `n` records of a generator; their origin is its name and their number, from 1.

    Raises:
        LiftError: unknown source or option, or fewer than `n` different examples.
    """
    if source not in SOURCES:
        raise LiftError(f"unknown data source {source!r}; {did_you_mean(source, SOURCES)}")
    known = list(inspect.signature(SOURCES[source]).parameters)[1:]
    for option in options:
        if option not in known:
            raise LiftError(f"source {source!r} has no option {option!r}; {did_you_mean(option, known)}")
    records = list(islice(SOURCES[source](seed, **options), n))
    if len(records) < n:
        raise LiftError(f"source {source!r} has only {len(records)} different examples, n={n}; lower n")
    return [replace(record, origin=f"{source}:{i}") for i, record in enumerate(records, start=1)]
