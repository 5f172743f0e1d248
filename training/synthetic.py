"""Training text that the project generates: Sudoku, Countdown and arithmetic with worked answers.

Each source yields `Turn`s built by the functions that build the evaluation prompts. Only the train
splits of the generators are used.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from lift_harness.errors import LiftError, did_you_mean
from lift_harness.tasks import countdown, prompts, sudoku


class Turn(NamedTuple):
    """One exchange: the user's text, and the assistant's after `prompts.GEN_PREFIX`."""

    user: str
    response: str


def sudoku_turns(seed: int, blanks: tuple[int, int] = (4, 6)) -> Iterator[Turn]:
    """4x4 Sudoku with the deductions as reasoning."""
    two = isinstance(blanks, (list, tuple)) and len(blanks) == 2 and all(type(n) is int for n in blanks)
    if not two or not 1 <= blanks[0] <= blanks[1] <= 12:
        raise LiftError(f"source 'sudoku': blanks={blanks!r}: give the least and most empty cells, 1 to 12")
    for doc in sudoku.generate("train", seed, (blanks[0], blanks[1])):
        user = prompts.user_turn(prompts.INSTRUCTIONS["sudoku"], prompts.sudoku_question(doc["Puzzle"]))
        trace = sudoku.reasoning(doc["Puzzle"], doc["Solution"])
        yield Turn(user, prompts.response(trace, doc["Solution"]))


def countdown_turns(seed: int, count: int = 3, largest_number: int = 20) -> Iterator[Turn]:
    """Countdown with each operation as a step of reasoning."""
    whole_number("countdown", "count", count, 3, 4)
    whole_number("countdown", "largest_number", largest_number, 2, 99)
    for doc in countdown.generate("train", seed, count, largest_number):
        question = prompts.countdown_question(doc["input"], doc["output"])
        found = countdown.solve(tuple(map(int, doc["input"].split(","))), int(doc["output"]))
        assert found is not None  # the generator only yields solvable puzzles
        trace = countdown.reasoning(found)
        user = prompts.user_turn(prompts.INSTRUCTIONS["countdown"], question)
        yield Turn(user, prompts.response(trace, rf"\boxed{{{found.text}}}"))


def arithmetic_turns(seed: int, largest: int = 99) -> Iterator[Turn]:
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
            yield Turn(user, prompts.response(countdown.reasoning(expression), answer))


def whole_number(source: str, option: str, value: Any, least: int, most: int) -> None:
    """Refuse an option that is no whole number in a range."""
    if type(value) is not int or not least <= value <= most:
        raise LiftError(
            f"source {source!r}: {option}={value!r}: must be a whole number from {least} to {most}"
        )


SOURCES: dict[str, Callable[..., Iterator[Turn]]] = {
    "sudoku": sudoku_turns,
    "countdown": countdown_turns,
    "arithmetic": arithmetic_turns,
}


def turns(source: str, n: int, seed: int, **options: Any) -> list[Turn]:
    """The first `n` turns of a source.

    Raises:
        LiftError: unknown source or option, or fewer than `n` different examples.
    """
    if source not in SOURCES:
        raise LiftError(f"unknown data source {source!r}; {did_you_mean(source, SOURCES)}")
    known = list(inspect.signature(SOURCES[source]).parameters)[1:]
    for option in options:
        if option not in known:
            raise LiftError(f"source {source!r} has no option {option!r}; {did_you_mean(option, known)}")
    found = list(islice(SOURCES[source](seed, **options), n))
    if len(found) < n:
        raise LiftError(f"source {source!r} has only {len(found)} different examples, n={n}; lower n")
    return found
