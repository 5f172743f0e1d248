r"""The process behind `latex_equal`: sympy and math-verify under limits of time and memory.

Run as a script, `latex_worker.py CPU_SECONDS MEMORY_BYTES`: questions as JSON lines on stdin, one JSON
line each on stdout. Text is parsed by LaTeX grammars (sympy's for the published judge, math-verify's own),
never by sympy's `sympify` and `parse_expr`, which evaluate it as Python (`reading`).
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

if __name__ == "__main__":
    sys.path.pop(0)  # this folder: its modules are not to be taken for others of the same name

import math_verify.parser
import sympy
import sympy.parsing.sympy_parser
from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify
from sympy.parsing.latex import _parse_latex_antlr as sympy_latex

from lift_harness.killable import serve
from lift_harness.tasks.scoring.published_math import other_bases, other_words

PRECISION = 1e-6 * 1.01  # the judge's, which leaves room for rounding

# sympy asks for the runtime of antlr 4.11 by its version. That of 4.13, which latex2sympy2_extended brings,
# reads the same grammar (the serialised form has not changed since 4.10).
sympy_latex.version = lambda name: "4.11"


def numeral(text: str, *_: Any, **__: Any) -> sympy.Number:
    """In place of `parse_expr`: the number in a text of digits, ValueError for any other text.

    The grammars make numbers by `sympy.Number("12")`, which takes the text to `parse_expr` and so to
    Python's `eval`; math-verify takes "2^3" outside of LaTeX there.
    """
    if re.fullmatch(r"0+|[1-9]\d*", text := text.strip()):  # as Python, which refuses 012
        return sympy.Integer(text)
    if re.fullmatch(r"\d*\.\d*", text):
        return sympy.Float(text)
    raise ValueError("not evaluated")


@contextmanager
def reading() -> Iterator[None]:
    """While a text is read: no part of it is evaluated as Python.

    Not for longer: parts of sympy that `simplify` imports late read formulas of their own with `parse_expr`.
    """
    known = sympy.parsing.sympy_parser.parse_expr
    sympy.parsing.sympy_parser.parse_expr = math_verify.parser.parse_expr = numeral
    try:
        yield
    finally:
        sympy.parsing.sympy_parser.parse_expr = math_verify.parser.parse_expr = known


# ---------------------------------------------------------------- the published judge


def judged_equal(gold: list[str], answer: list[str]) -> bool:
    """Whether each element of one list (`published_math.judged_items`) has a partner in the other."""
    left = list(answer)
    for item in gold:
        partner = next((other for other in left if same_item(item, other)), None)
        if partner is None:
            return False
        left.remove(partner)
    return not left


def same_item(gold: str, answer: str) -> bool:
    """Whether two elements are the same text, interval, number, formula or equation."""
    if gold == answer:
        return gold != ""
    if other_words(gold, answer) or other_bases(gold, answer):
        return False
    if is_bracketed(gold) and is_bracketed(answer):
        try:
            if same_intervals(gold, answer):
                return True
        except Exception:  # whatever the parser raises on what is no LaTeX: the judge stops here
            return False
    both_equations = "=" in gold and "=" in answer
    return (
        holds(same_decimal, gold, answer)
        or (not both_equations and holds(same_formula, gold, answer))
        or holds(same_equation, gold, answer)
    )


def holds(test: Callable[[str, str], bool], gold: str, answer: str) -> bool:
    """Whether a test says so; where it fails, it does not."""
    try:
        return test(gold, answer)
    except Exception:
        return False


def is_bracketed(text: str) -> bool:
    """Whether it looks like an interval, or a union of some, or a point."""
    return text.startswith(("(", "[")) and text.endswith((")", "]"))


def same_intervals(gold: str, answer: str) -> bool:
    r"""Whether the parts between `\cup` have the same brackets and ends, in this order."""
    golds, answers = gold.split(r"\cup"), answer.split(r"\cup")
    return len(golds) == len(answers) and all(map(same_interval, golds, answers))


def same_interval(gold: str, answer: str) -> bool:
    """The same of one interval; as published, what one has more than the other is not looked at."""
    if (gold[0], gold[-1]) != (answer[0], answer[-1]):
        return False
    ends = zip(gold.strip("[]()").split(","), answer.strip("[]()").split(","), strict=False)
    return all(same_formula(a, b) for a, b in ends)


def same_decimal(gold: str, answer: str) -> bool:
    """Whether two numbers agree, or one is a percentage of the other."""
    wanted, given = float(gold), float(answer)
    return any(abs(value - given) <= PRECISION for value in (wanted / 100, wanted, wanted * 100))


def same_formula(gold: str, answer: str) -> bool:
    """Whether two formulas (of "x = 2" the right side) have the same value everywhere."""
    sides = [text.split("=")[1].strip() if "=" in text else text.strip() for text in (gold, answer)]
    a, b = map(parsed, sides)
    if a == b:
        return sides[0] == sides[1] or getattr(a, "is_finite", None) is not False
    a, b = (x.subs(sympy.Symbol("pi"), math.pi) for x in (a, b))
    if a.has(sympy.Symbol) != b.has(sympy.Symbol):
        return False
    if a.has(sympy.Symbol):
        return bool(abs(sympy.simplify(a - b).evalf()) < 1e-3)
    return is_computable(a) and is_computable(b) and bool(abs(a.evalf() - b.evalf()) <= PRECISION)


def is_computable(value: sympy.Expr) -> bool:
    """Whether it is no power, or one of numbers with an exponent of at most 1000."""
    if not isinstance(value, sympy.Pow):
        return True
    base, exponent = value.as_base_exp()
    return bool(base.is_number and exponent.is_number and abs(exponent.evalf()) <= 1000)


def same_equation(gold: str, answer: str) -> bool:
    """Whether one equation is a multiple of the other, by a whole number."""
    a, b = map(difference, (gold, answer))
    ratios = sympy.simplify(a / b), sympy.simplify(b / a)
    return any(ratio.is_Integer and ratio != 0 for ratio in ratios)


def difference(equation: str) -> sympy.Expr:
    """Left side minus right side."""
    left, right = equation.split("=")
    return sympy.simplify(parsed(left) - parsed(right))


@lru_cache(maxsize=1024)
def parsed(text: str) -> Any:
    """The sympy object of a LaTeX text, as far as sympy's own parser reads it."""
    with reading():
        return sympy_latex.parse_latex(text)


# ---------------------------------------------------------------- math-verify


def library_verdict(gold: str, answer: str) -> bool:
    """The library's verdict."""
    return bool(verify(library_reading(rf"\boxed{{{gold}}}"), library_reading(answer), timeout_seconds=None))


@lru_cache(maxsize=1024)
def library_reading(text: str) -> Any:
    """What math-verify takes for the answer in a text."""
    with reading():
        return parse(text, [LatexExtractionConfig(), ExprExtractionConfig()], parsing_timeout=None)


COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {"equal": judged_equal, "math_verify": library_verdict}


def reply(question: dict[str, Any]) -> bool:
    """The verdict; no LaTeX, no value, no memory: not equal."""
    try:
        return COMPARISONS[question["do"]](question["gold"], question["answer"])
    except Exception:
        return False


if __name__ == "__main__":
    serve(reply, float(sys.argv[1]), int(sys.argv[2]))
