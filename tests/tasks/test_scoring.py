"""The verdicts on answers: the published scorer's on real generations, and cases made by hand."""

import math
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.recordings import recorded

from lift_harness.tasks import prompts
from lift_harness.tasks.scoring import score_countdown, score_sudoku
from lift_harness.tasks.scoring.tags import answer_tag, is_well_formed, last_boxed

PUZZLE, SOLUTION = "0034341200430321", "1234341221434321"
SUDOKU = {"Puzzle": PUZZLE, "Solution": SOLUTION}  # 5 empty cells
COUNTDOWN = {"input": "30,100,93", "output": "23"}


def said(answer, reasoning=" some reasoning"):
    """All that an assistant says whose answer tag holds `answer`."""
    return prompts.GEN_PREFIX + prompts.response(reasoning, answer)


# ---------------------------------------------------------------- agreement with the published scorer


def test_recorded_countdown_verdicts():
    correct = 0
    for row in recorded("countdown"):
        numbers, target = row["ground_truth"]
        doc = {"input": ",".join(map(str, numbers)), "output": str(target)}
        acc = score_countdown.score(doc, prompts.GEN_PREFIX + row["generation"])["acc"]
        assert bool(acc) == row["ref"], row["generation"]
        correct += acc
    assert correct == 53


def test_recorded_sudoku_verdicts():
    right = empty = 0
    for row in recorded("sudoku"):
        doc = {"Puzzle": row["question"].split(":")[1].strip(), "Solution": row["ground_truth"]}
        text = prompts.GEN_PREFIX + row["generation"]
        assert score_sudoku.extract(text) == row["extracted"]
        cells = score_sudoku.score(doc, text)["acc"]
        assert cells[0] / cells[1] == row["ref"], row["generation"]
        right, empty = right + cells[0], empty + cells[1]
    assert (right, empty) == (240, 2048)


# ---------------------------------------------------------------- sudoku


@pytest.mark.parametrize(
    ("text", "grid"),
    [
        (said(SOLUTION), SOLUTION),
        (said("1234\n3412\n2143\n4321"), SOLUTION),
        (said(f"```\n{SOLUTION}\n```"), SOLUTION),
        (said(f"The grid is ```{SOLUTION}``` I think"), SOLUTION),  # the fence goes before the tag's text
        (f"<answer>{SOLUTION}<|eot_id|><|endoftext|>", SOLUTION),  # closed by an end-of-text token
        (f"<answer></answer>\n{SOLUTION}<|eot_id|>9", SOLUTION),  # after the tag
        (f"{SOLUTION}\n</answer>", SOLUTION),  # before the closing tag
        (f"it is {SOLUTION} for sure", SOLUTION),  # any word of 16 digits
        (f"{said('1' * 16)}{said(SOLUTION)}", "1" * 16),  # of two answers the first
        (said("1234"), "1234" + "0" * 12),
        (said(SOLUTION + "77"), SOLUTION),
        ("<answer>1234", ""),  # cut off: no tag closes, no 16 digits
        ("", ""),
        (f"x{SOLUTION}", ""),
    ],
)
def test_where_the_sudoku_grid_is_read(text, grid):
    assert score_sudoku.extract(text) == grid


def test_sudoku_counts_only_originally_empty_cells():
    assert score_sudoku.score(SUDOKU, said(SOLUTION))["acc"] == (5, 5)
    assert score_sudoku.score(SUDOKU, said(PUZZLE))["acc"] == (0, 5)
    assert score_sudoku.score(SUDOKU, said("12" + "0" * 14))["acc"] == (2, 5)
    assert score_sudoku.score(SUDOKU, "")["acc"] == (0, 5)


def test_solved_takes_a_valid_grid_that_keeps_the_givens():
    valid_other = "1234341243212143"  # a valid grid, but not this puzzle's
    for grid, solved in ((SOLUTION, 1.0), (valid_other, 0.0), ("1134341221434321", 0.0), (PUZZLE, 0.0)):
        assert score_sudoku.score(SUDOKU, said(grid))["solved"] == solved
    ambiguous = {"Puzzle": "0" * 16, "Solution": SOLUTION}
    assert score_sudoku.score(ambiguous, said(valid_other))["solved"] == 1.0


def test_cell_share_is_a_ratio_of_sums():
    share = score_sudoku.CellShare()
    assert share([(1, 2), (4, 8)]) == 0.5
    assert math.isnan(share([(0, 0)]))
    assert math.isnan(share.stderr([(1, 2)]))
    assert share.stderr([(1, 2), (2, 4), (4, 8)]) == 0.0


def test_cell_share_stderr_agrees_with_the_bootstrap_over_puzzles():
    rng = random.Random(0)
    counts = []
    for _ in range(256):  # cells of one puzzle stand or fall together
        empty, skill = rng.randint(4, 12), rng.choice([0.1, 0.9])
        counts.append((sum(rng.random() < skill for _ in range(empty)), empty))
    share = score_sudoku.CellShare()
    draws = [share(rng.choices(counts, k=len(counts))) for _ in range(1000)]
    mean = sum(draws) / len(draws)
    bootstrap = math.sqrt(sum((draw - mean) ** 2 for draw in draws) / len(draws))
    assert share.stderr(counts) == pytest.approx(bootstrap, rel=0.1)
    binomial = math.sqrt(share(counts) * (1 - share(counts)) / sum(e for _, e in counts))
    assert share.stderr(counts) > 1.5 * binomial


# ---------------------------------------------------------------- countdown


@pytest.mark.parametrize(
    ("text", "acc"),
    [
        (said(r"\boxed{30 - 100 + 93}"), 1),
        (said(r"\boxed{30 - 100 + 93 = 23}"), 1),
        (said(r"\boxed{(93 + 30) - (100)}"), 1),
        (r"\boxed{1 + 1} and then \boxed{93 - 100 + 30}", 1),  # the last box
        ("<answer>93 - 100 + 30</answer>", 0),  # no box: all of the text, tags and all
        ("<answer>93 - 100 + 30 = 23</answer>", 1),  # in which `expr = number` is found
        (r"\boxed{93 <answer>93 - 100 + 30</answer>", 1),  # a box that never closes: the tag
        ("93 - 100 + 30 = 23, as asked", 1),
        ("<reasoning>93 - 100 + 30", 1),
        (said("93 - 100 + 30"), 0),
        (said(r"\boxed{93 - 70}"), 0),  # other numbers
        (said(r"\boxed{93 - 100 + 30 + 30 - 30}"), 0),  # a number more than once
        (said(r"\boxed{100 - 93 + 30}"), 0),  # another value
        (said(r"\boxed{93 - 100 + 30"), 0),  # never closed
        (said(r"\boxed{}"), 0),
        (said(r"\boxed{93.0 - 100 + 30}"), 0),
        (said(r"\boxed{93 − 100 + 30}"), 0),  # a unicode minus
        ("", 0),
    ],
)
def test_countdown_verdicts(text, acc):
    assert score_countdown.score(COUNTDOWN, text)["acc"] == acc


def test_latex_operators():
    doc = {"input": "8,4,3,2", "output": "12"}
    assert score_countdown.score(doc, r"\boxed{8 \div 4 \times 3 \cdot 2}")["acc"] == 1


def test_division_is_exact_and_compared_with_a_tolerance():
    assert score_countdown.is_correct("8/(3-8/3)", [3, 3, 8, 8], 24)
    assert not score_countdown.is_correct("8/(3-8/3)", [3, 3, 8], 24)
    assert score_countdown.is_correct("300000/300001", [300000, 300001], 1)
    assert not score_countdown.is_correct("30000/30001", [30000, 30001], 1)


@pytest.mark.parametrize(
    "expression",
    [
        *(
            "",
            " ",
            "()",
            "(",
            "1+",
            "1 2",
            "07+1",
            "1/0",
            "2**3",
            "7//2",
            "1.5+1",
            "...",
            "1_0",
            "1e3",
            "0x10",
        ),
        *("__import__('os')", "(1)(2)", "1,2", "9**9**9**9", "1=1", "1\x00", "①+1", "١+1", "-", "+"),
        *("1+" * 200 + "1", "(" * 10**6, "9" * 10**6),
    ],
    ids=lambda expression: repr(expression[:12]),
)
def test_what_is_no_whole_number_arithmetic_has_no_value(expression):
    assert score_countdown.evaluate(expression) is None


@pytest.mark.parametrize("expression", ["(" * 149 + "1" + ")" * 149, "-" * 298 + "1"])
def test_deep_nesting_has_its_value_or_none(expression):
    assert score_countdown.evaluate(expression) in (None, (1, [1]))


@st.composite
def printed(draw, depth=3):
    """(text, value) of a random expression; the value is Python's own arithmetic on fractions."""
    from fractions import Fraction

    if depth == 0 or draw(st.integers(0, 3)) == 0:
        number = draw(st.integers(0, 999))
        return str(number), Fraction(number)
    (left, a), (right, b) = draw(printed(depth=depth - 1)), draw(printed(depth=depth - 1))
    sign = draw(st.sampled_from("+-*/" if b else "+-*"))
    space = draw(st.sampled_from(["", " ", "  "]))
    value = {"+": a + b, "-": a - b, "*": a * b, "/": a / b if b else None}[sign]
    return f"({left}){space}{sign}{space}({right})", value


@settings(deadline=None)
@given(printed())
def test_a_printed_expression_has_its_value(expression):
    text, value = expression
    assert score_countdown.evaluate(text)[0] == value


# ---------------------------------------------------------------- tags, boxes, anything at all


@pytest.mark.parametrize(
    ("text", "content"),
    [
        (r"\boxed{1} \boxed{2}", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"$\boxed 7$ or so", "7"),
        (r"\boxed{1", None),
        (r"\boxed", None),
        ("boxed{1}", None),
    ],
)
def test_last_boxed(text, content):
    assert last_boxed(text) == content


def test_answer_tag():
    assert answer_tag("<answer> a\n</answer><answer>b</answer>") == "a"
    assert answer_tag("</answer><answer>b") is None


@pytest.mark.parametrize(
    ("text", "well_formed"),
    [
        (said("1"), True),
        (said("1") + "<|eot_id|>", True),
        (prompts.response("", "1"), False),  # no <reasoning>
        (said("1") + "<answer>2</answer>", False),
        ("<answer>1</answer><reasoning></reasoning>", False),
        ("<reasoning><answer>1</answer></reasoning>", False),
        ("", False),
    ],
)
def test_format(text, well_formed):
    assert is_well_formed(text) is well_formed
    assert score_sudoku.score(SUDOKU, text)["format"] == float(well_formed)


PIECES = [
    "<answer>",
    "</answer>",
    "<reasoning>",
    "</reasoning>",
    "<|eot_id|>",
    "<|endoftext|>",
    "```",
    "\\boxed",
]
PIECES += [
    "{",
    "}",
    "\\boxed{",
    "\\boxed ",
    "$",
    "=",
    " ",
    "\n",
    "0123",
    SOLUTION,
    "3+4",
    "(",
    ")",
    "/0",
    "\\div",
]


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(), st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=3))).map("".join)))
def test_any_text_has_a_score(text):
    right, empty = score_sudoku.score(SUDOKU, text)["acc"]
    assert 0 <= right <= empty == 5
    assert score_countdown.score(COUNTDOWN, text)["acc"] in (0.0, 1.0)


@pytest.mark.parametrize(
    "piece", [*PIECES, "1", "<answer>```1 ", "``` ", "<answer>1\n", "1=", "1 + ", "\\boxed{1"]
)
def test_a_megabyte_of_anything_is_scored_in_a_moment(piece):
    text = piece * (10**6 // len(piece))
    start = time.process_time()
    score_sudoku.score(SUDOKU, text)
    score_countdown.score(COUNTDOWN, text)
    assert time.process_time() - start < 2
