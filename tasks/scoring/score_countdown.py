r"""The verdict on a Countdown answer, by d1's published heuristics; parsed with `ast`, never evaluated.

Where the published scorer runs Python's `eval`, only + - * / ( ) and whole numbers are read here: its
`**` and `//` are wrong answers, as the question allows four operations.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from fractions import Fraction

from lift_harness.tasks import prompts
from lift_harness.tasks.benchmarks import Benchmark
from lift_harness.tasks.scoring.tags import answer_tag, is_well_formed, published_box

LONGEST = 300  # characters; an expression over four 3-digit numbers takes about 30
TOLERANCE = Fraction(1, 100_000)

_LATEX = {r"\div": "/", r"\times": "*", r"\cdot": "*"}
_SIDE = "0123456789+-*/() "  # what may stand to the left of "= number"


def extract(text: str) -> str:
    """The expression: of the last box, without any the whole text, with a broken one the answer tag."""
    readings = (published_box(text), answer_tag(text), text.removeprefix(prompts.GEN_PREFIX))
    expression = next(reading for reading in readings if reading is not None)
    for command, sign in _LATEX.items():
        expression = expression.replace(command, sign)
    return left_side(expression).strip()


def left_side(text: str) -> str:
    """Of "... expr = number ...", the first such `expr`; without one, the text."""
    start = 0
    for equals in re.finditer("=", text):
        before = text[start : equals.start()]
        expression = before[len(before.rstrip(_SIDE)) :]
        start = equals.end()
        if expression and re.match(r"[0-9. ]", text[start : start + 1]):
            return expression
    return text


def evaluate(expression: str) -> tuple[Fraction, list[int]] | None:
    """Exact value and the numbers used, in order; None for anything but arithmetic on whole numbers."""
    expression = expression.strip()
    if len(expression) > LONGEST or not re.fullmatch(r"[0-9+\-*/().\s]+", expression):
        return None
    numbers: list[int] = []
    try:
        return _value(ast.parse(expression, mode="eval").body, numbers), numbers
    except (SyntaxError, ValueError, ZeroDivisionError, MemoryError, RecursionError):
        return None


def _value(node: ast.expr, numbers: list[int]) -> Fraction:
    """The value of a syntax tree; its numbers are added to the list. ValueError on a foreign node."""
    match node:
        case ast.Constant(value=int(number)):
            numbers.append(number)
            return Fraction(number)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, numbers)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand, numbers)
        case ast.BinOp(left=left, op=op, right=right):
            return _combine(op, _value(left, numbers), _value(right, numbers))
    raise ValueError(f"{type(node).__name__} is no arithmetic")


def _combine(op: ast.operator, a: Fraction, b: Fraction) -> Fraction:
    match op:
        case ast.Add():
            return a + b
        case ast.Sub():
            return a - b
        case ast.Mult():
            return a * b
        case ast.Div():
            return a / b
    raise ValueError(f"{type(op).__name__} is not one of + - * /")


def is_correct(expression: str, numbers: list[int], target: int) -> bool:
    """Whether the expression uses exactly `numbers` and comes to `target` within 1e-5."""
    evaluated = evaluate(expression)
    if evaluated is None:
        return False
    value, used = evaluated
    return sorted(used) == sorted(numbers) and abs(value - target) < TOLERANCE


def score(doc: Mapping[str, str], text: str) -> dict[str, float]:
    """Metrics of one answer.

    Args:
        doc: "input" ("30,100,93", the numbers) and "output" ("23", the target).
        text: all that the assistant said, the `<reasoning>` it was given included.
    """
    numbers = [int(number) for number in str(doc["input"]).split(",")]
    correct = is_correct(extract(text), numbers, int(doc["output"]))
    return {"acc": float(correct), "format": float(is_well_formed(text))}


BENCHMARK = Benchmark(
    instruction=prompts.INSTRUCTIONS["countdown"],
    question=lambda doc: prompts.countdown_question(doc["input"], doc["output"]),
    parts={
        "numbers": lambda doc: prompts.countdown_numbers(doc["input"]),
        "target": lambda doc: str(doc["output"]),
    },
    target=lambda doc: doc["output"],
    score=score,
    metrics={"acc": "mean", "format": "mean"},
    correct="acc",
)
