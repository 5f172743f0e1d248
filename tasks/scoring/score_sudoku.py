"""The verdict on a 4x4 Sudoku answer: d1's published heuristics for `acc`, whole grids for `solved`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from math import fsum, nan, sqrt

from lift_harness.tasks import prompts
from lift_harness.tasks.benchmarks import Benchmark
from lift_harness.tasks.scoring.tags import END_OF_TEXT, after, before, is_well_formed
from lift_harness.tasks.sudoku import is_valid_grid

Cells = tuple[float, float]  # cells filled correctly, cells that were empty


def readings(text: str) -> Iterator[str | None]:
    """The five places where the published scorer looks for the grid, in its order; None: not there."""
    inside, behind = after("<answer>", text), after("</answer>", text)
    if inside is not None:
        yield _group(r"```([\d\s]+)```", inside)  # a fenced block
        yield before(f"</answer>|{END_OF_TEXT}", inside)  # the tag's text
    if behind is not None:
        yield re.split(END_OF_TEXT, behind, maxsplit=1)[0]  # what follows the tag
    yield _group(r"(\d{16})\s*</answer>", text)
    yield _group(r"\b(\d{16})\b", text)


def _group(pattern: str, text: str) -> str | None:
    match = re.search(pattern, text)
    return match.group(1) if match else None


def extract(text: str) -> str:
    """The 16 characters taken as the grid, "" when no reading holds any.

    White space goes; what is short is padded with 0, what is long is cut. Characters that are not
    digits may remain: they match no cell.
    """
    for reading in readings(text):
        if reading and (packed := "".join(reading.split())):
            return packed[:16].ljust(16, "0")
    return ""


def cells(puzzle: str, solution: str, grid: str) -> Cells:
    """How many of the empty cells of `puzzle` are as in `solution`, and how many are empty."""
    empty = [i for i, digit in enumerate(puzzle) if digit == "0"]
    return sum(grid[i : i + 1] == solution[i] for i in empty), len(empty)


def is_solved(puzzle: str, grid: str) -> bool:
    """Whether the grid keeps the givens and every row, column and box holds 1 to 4 once."""
    return is_valid_grid(grid) and all(a in ("0", b) for a, b in zip(puzzle, grid, strict=True))


def score(doc: Mapping[str, str | int], text: str) -> dict[str, float | Cells]:
    """Metrics of one answer.

    Args:
        doc: "Puzzle" and "Solution", 16 digits each, 0 an empty cell (a number, where a log was made
            from a table that was read without leading zeros).
        text: all that the assistant said, the `<reasoning>` it was given included.
    """
    puzzle, solution, grid = str(doc["Puzzle"]).zfill(16), str(doc["Solution"]), extract(text)
    if not re.fullmatch("[0-4]{16}", puzzle) or not re.fullmatch("[1-4]{16}", solution):
        raise ValueError("Puzzle and Solution must be 16 digits each")
    return {
        "acc": cells(puzzle, solution, grid),
        "solved": float(is_solved(puzzle, grid)),
        "format": float(is_well_formed(text)),
    }


class CellShare:
    """Aggregation of `acc`: right cells / empty cells, summed over puzzles (the paper's number)."""

    __name__ = "cell_share"

    def __call__(self, counts: Sequence[Cells]) -> float:
        """The share of [(right, empty), ...]; nan where no puzzle has an empty cell."""
        empty = sum(e for _, e in counts)
        return sum(r for r, _ in counts) / empty if empty else nan

    def stderr(self, counts: Sequence[Cells]) -> float:
        """Standard error of the share, puzzles being the independent units, by the delta method.

        sqrt(n / (n - 1) sum_i (r_i - R e_i)^2) / sum_i e_i: cells of one puzzle stand or fall
        together, so that a binomial error over cells would be too small (Cochran, Sampling
        Techniques, eq. 6.13, ratio estimator).
        """
        n, share, empty = len(counts), self(counts), sum(e for _, e in counts)
        if n < 2 or not empty:
            return nan
        spread = fsum((r - share * e) ** 2 for r, e in counts)  # exact: the order of puzzles does not matter
        return sqrt(n / (n - 1) * spread) / empty


BENCHMARK = Benchmark(
    instruction=prompts.INSTRUCTIONS["sudoku"],
    question=lambda doc: prompts.sudoku_question(doc["Puzzle"]),
    parts={"puzzle": lambda doc: doc["Puzzle"]},
    target=lambda doc: doc["Solution"],
    score=score,
    metrics={"acc": CellShare(), "solved": "mean", "format": "mean"},
    correct="solved",
)
