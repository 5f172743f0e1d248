"""The items of the `_mini` tasks: generated on the spot, the same on every machine, nothing downloaded."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from lift_harness.tasks import countdown, parallel, sorting, sudoku
from lift_harness.tasks.data import as_test_split

if TYPE_CHECKING:
    from datasets import Dataset

SEED = 20260522
N_ITEMS = 256


def sudoku_items() -> list[dict[str, str]]:
    """256 test puzzles with 4 to 10 empty cells: {"Puzzle", "Solution"}."""
    return list(islice(sudoku.generate("test", SEED, blanks=(4, 10)), N_ITEMS))


def countdown_items() -> list[dict[str, str]]:
    """256 test puzzles over three numbers up to 20: {"input", "output"}."""
    return list(islice(countdown.generate("test", SEED, count=3), N_ITEMS))


def sort_items() -> list[dict[str, str]]:
    """256 test lists of six digits: {"kind", "list", "answer"}."""
    return list(islice(sorting.generate("test", SEED), N_ITEMS))


def parallel_items(kind: str) -> list[dict[str, str]]:
    """128 lists or squares of a kind of `parallel.RULES`: {"kind", "list", "answer"}."""
    return list(islice(parallel.generate(kind, SEED), N_ITEMS // 2))


def sudoku_dataset(**_: Any) -> dict[str, Dataset]:
    """`custom_dataset` of `lift_sudoku_mini`; lm-eval passes all its metadata, none of it needed."""
    return as_test_split(sudoku_items())


def countdown_dataset(**_: Any) -> dict[str, Dataset]:
    """`custom_dataset` of `lift_countdown_mini`."""
    return as_test_split(countdown_items())


def sort_dataset(**_: Any) -> dict[str, Dataset]:
    """`custom_dataset` of `lift_sort_mini`."""
    return as_test_split(sort_items())


def parallel_dataset(kind: str, **_: Any) -> dict[str, Dataset]:
    """`custom_dataset` of the tasks of `lift_parallel_mini`."""
    return as_test_split(parallel_items(kind))
