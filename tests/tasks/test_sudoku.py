"""The 4x4 Sudoku generator against a plain backtracking solver that shares no code with it."""

from itertools import islice

import pytest

from lift_harness.tasks import sudoku


def fillings(grid):
    """Every way to fill the zeros of a grid, by trying digits cell after cell."""
    if "0" not in grid:
        return [grid]
    cell = grid.index("0")
    row, column = divmod(cell, 4)
    found = []
    for digit in "1234":
        clash = any(
            grid[4 * r + c] == digit
            and (r == row or c == column or (r // 2 == row // 2 and c // 2 == column // 2))
            for r in range(4)
            for c in range(4)
        )
        if not clash:
            found += fillings(grid[:cell] + digit + grid[cell + 1 :])
    return found


def test_all_grids_are_the_288_that_backtracking_finds():
    assert list(sudoku.all_grids()) == fillings("0" * 16)
    assert len(sudoku.all_grids()) == 288


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("blanks", [(4, 6), (10, 12)])
def test_generated_puzzles_have_exactly_the_given_solution(split, blanks):
    for doc in islice(sudoku.generate(split, 3, blanks), 40):
        assert fillings(doc["Puzzle"]) == [doc["Solution"]]
        assert blanks[0] <= doc["Puzzle"].count("0") <= blanks[1]


def test_solutions_finds_what_backtracking_finds_on_ambiguous_and_impossible_puzzles():
    for puzzle in ("1000000000000000", "1200000000000021", "1230000400000000", "1100000000000000"):
        assert sudoku.solutions(puzzle) == fillings(puzzle)


def test_train_and_test_share_no_grid():
    train, test = set(sudoku.split_grids("train")), set(sudoku.split_grids("test"))
    assert len(train) == 240 and len(test) == 48 and not train & test
    for seed in (0, 1):
        drawn = {split: islice(sudoku.generate(split, seed), 300) for split in ("train", "test")}
        solved = {split: {doc["Solution"] for doc in docs} for split, docs in drawn.items()}
        assert not solved["train"] & solved["test"]


def test_a_seed_is_a_sequence_of_distinct_puzzles():
    first, again, other = (list(islice(sudoku.generate("train", seed), 200)) for seed in (5, 5, 6))
    assert first == again != other
    assert len({doc["Puzzle"] for doc in first}) == 200


def test_the_trace_fills_each_empty_cell_once_and_rightly():
    for doc in islice(sudoku.generate("train", 9, (4, 8)), 60):
        grid = list(doc["Puzzle"])
        for step in sudoku.reasoning(**{key.lower(): value for key, value in doc.items()}).split():
            row, column, digit = int(step[1]), int(step[3]), step[5]
            cell = 4 * (row - 1) + column - 1
            assert grid[cell] == "0"
            grid[cell] = digit
        assert "".join(grid) == doc["Solution"]


def test_a_single_candidate_cell_is_deduced_before_anything_else():
    grid = "1230341221434321"  # only the fourth cell is empty
    assert sudoku.candidates(grid, 3) == {"4"}
    assert sudoku.next_deduction(grid) == 3
    assert sudoku.reasoning(grid, "1234341221434321") == " r1c4=4"


def test_no_deduction_on_an_empty_board():
    assert sudoku.next_deduction("0" * 16) is None


@pytest.mark.parametrize(
    "grid", ["", "1234", "1234341221434322", "1234341243212143x", "1234123412341234", "0234341221434321"]
)
def test_invalid_grids(grid):
    assert not sudoku.is_valid_grid(grid)
