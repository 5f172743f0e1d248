"""4x4 Sudoku: every grid, seeded puzzles with one solution, worked traces, and the verdicts.

A grid is a string of 16 digits, row by row; 0 is an empty cell. There are only 288 filled grids, so
solving is filtering that list, and train and test are kept apart by solution grid: `TEST_GRIDS` never
appear in training, whatever the seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import permutations

import numpy as np

SPLIT_SEED = 20260522
N_TEST_GRIDS = 48

# The 12 units (rows, columns, boxes), each the indices of its four cells.
ROWS = [[4 * r + c for c in range(4)] for r in range(4)]
COLUMNS = [[4 * r + c for r in range(4)] for c in range(4)]
BOXES = [[4 * (r + i) + c + j for i in range(2) for j in range(2)] for r in (0, 2) for c in (0, 2)]
UNITS = ROWS + COLUMNS + BOXES


def is_valid_grid(grid: str) -> bool:
    """Whether all 16 cells are filled and every row, column and box holds 1 to 4 once."""
    return len(grid) == 16 and all({grid[i] for i in unit} == set("1234") for unit in UNITS)


@cache
def all_grids() -> tuple[str, ...]:
    """The 288 valid grids in lexicographic order, built row by row."""
    rows = ["".join(p) for p in permutations("1234")]
    grids = [""]
    for _ in range(4):
        grids = [grid + row for grid in grids for row in rows if not has_repeats(grid + row)]
    return tuple(grids)


def has_repeats(top: str) -> bool:
    """Whether a digit stands twice in a unit of the uppermost rows of a grid (4, 8, 12 or 16 cells)."""
    seen = ([top[i] for i in unit if i < len(top)] for unit in UNITS)
    return any(len(set(digits)) < len(digits) for digits in seen)


@cache
def split_grids(split: str) -> tuple[str, ...]:
    """The solution grids of "train" (240) or "test" (48)."""
    order = np.random.default_rng(SPLIT_SEED).permutation(len(all_grids()))
    chosen = order[:N_TEST_GRIDS] if split == "test" else order[N_TEST_GRIDS:]
    return tuple(all_grids()[i] for i in sorted(chosen))


def solutions(puzzle: str) -> list[str]:
    """Every valid grid that agrees with the filled cells of `puzzle`."""
    cells = np.frombuffer(puzzle.encode(), dtype=np.uint8)
    agrees = (_grid_array() == cells) | (cells == ord("0"))
    return [all_grids()[i] for i in agrees.all(axis=1).nonzero()[0]]


@cache
def _grid_array() -> np.ndarray:
    """The 288 grids as ASCII codes, uint8 [288, 16]."""
    return np.frombuffer("".join(all_grids()).encode(), dtype=np.uint8).reshape(-1, 16)


def generate(split: str, seed: int, blanks: tuple[int, int] = (4, 6)) -> Iterator[dict[str, str]]:
    """Distinct puzzles with one solution, until almost none is left: {"Puzzle", "Solution"}, as in d1's file.

    Args:
        split: "train" or "test"; they share no solution grid.
        seed: of the sequence; the same seed gives the same puzzles.
        blanks: least and greatest number of empty cells, the difficulty (inclusive, 1 to 12).
    """
    rng = np.random.default_rng([seed, split == "test"])
    grids, seen = split_grids(split), set()
    misses = 0
    while misses < 5000:
        misses += 1
        solution = grids[rng.integers(len(grids))]
        empty = set(rng.permutation(16)[: rng.integers(blanks[0], blanks[1] + 1)].tolist())
        puzzle = "".join("0" if i in empty else digit for i, digit in enumerate(solution))
        if puzzle not in seen and len(solutions(puzzle)) == 1:
            seen.add(puzzle)
            misses = 0
            yield {"Puzzle": puzzle, "Solution": solution}


def candidates(grid: str, cell: int) -> set[str]:
    """Digits that no filled cell in the same row, column or box rules out."""
    taken = {grid[i] for unit in UNITS if cell in unit for i in unit}
    return set("1234") - taken


def next_deduction(grid: str) -> int | None:
    """The first empty cell, row by row, with one candidate; else the first hidden single; else None."""
    empty = [i for i, digit in enumerate(grid) if digit == "0"]
    options = {i: candidates(grid, i) for i in empty}
    for cell in empty:
        if len(options[cell]) == 1:
            return cell
    for cell in empty:
        for unit in (u for u in UNITS if cell in u):
            elsewhere = set().union(*(options[i] for i in unit if i in options and i != cell))
            if options[cell] - elsewhere:
                return cell
    return None


def reasoning(puzzle: str, solution: str) -> str:
    """A worked trace: the cells in the order in which they can be deduced, " r1c2=3 r4c1=2".

    Where no single is left (rare on this board) the first empty cell is taken from the solution.
    """
    steps, grid = [], puzzle
    while "0" in grid:
        deduced = next_deduction(grid)
        cell = grid.index("0") if deduced is None else deduced
        steps.append(f" r{cell // 4 + 1}c{cell % 4 + 1}={solution[cell]}")
        grid = grid[:cell] + solution[cell] + grid[cell + 1 :]
    return "".join(steps)
