r"""The process behind `latex_equal`: sympy and math-verify under limits of time and memory.

Run as a script, `latex_worker.py CPU_SECONDS MEMORY_BYTES`: questions as JSON lines on stdin, one JSON
line each on stdout. Text is parsed by a LaTeX grammar (latex2sympy2_extended), never by sympy's own
`sympify` and `parse_expr`, which evaluate it as Python: `parse_expr` is replaced in this process.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import sys
from functools import lru_cache
from typing import Any

if __name__ == "__main__":
    sys.path.pop(0)  # this folder: its modules are not to be taken for others of the same name

import math_verify.parser
import sympy
import sympy.parsing.sympy_parser
from latex2sympy2_extended import latex2sympy
from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

TOLERANCE = sympy.Rational(1, 10**6)
# Where two formulas are compared: arbitrary, both signs; the further symbols of a formula take the next.
POINTS = [sympy.Rational(n, 37) for n in (23, 61, -29, 103, -71, 17, 149, -11, 43)]


def numeral(text: str, *_: Any, **__: Any) -> sympy.Number:
    """In place of `parse_expr`: the number in a text of digits, ValueError for any other text.

    The grammar makes numbers by `sympy.Number("12")`, which takes the text to `parse_expr` and so to
    Python's `eval`; math-verify takes "2^3" outside of LaTeX there.
    """
    if re.fullmatch(r"\d+", text := text.strip()):
        return sympy.Integer(text)
    if re.fullmatch(r"\d*\.\d*", text):
        return sympy.Float(text)
    raise ValueError("not evaluated")


math_verify.parser.parse_expr = numeral
sympy.parsing.sympy_parser.parse_expr = numeral


def top_level(text: str, separator: str) -> list[str]:
    """The parts of `text` between separators that stand outside of all brackets."""
    parts, depth = [""], 0
    for piece in re.split(rf"({re.escape(separator)}|[()\[\]{{}}])", text):
        if piece == separator and depth == 0:
            parts.append("")
            continue
        depth += (piece in ("(", "[", "{")) - (piece in (")", "]", "}"))
        parts[-1] += piece
    return parts


def equal(gold: str, answer: str) -> bool:
    """Whether two normalised answers have the same value: unions, intervals, tuples, lists, formulas."""
    for separator in (r"\cup", ","):
        parts = [top_level(text, separator) for text in (gold, answer)]
        if len(parts[0]) != len(parts[1]):
            return False
        if len(parts[0]) > 1:
            return all(map(equal, *parts))
    if (a := bracketed(gold)) and (b := bracketed(answer)):
        return a[0] == b[0] and len(a[1]) == len(b[1]) and all(map(equal, a[1], b[1]))
    return same_value(parsed(gold), parsed(answer))


def bracketed(text: str) -> tuple[str, list[str]] | None:
    r"""The brackets and the elements of an interval, a tuple or a set, else None.

    >>> bracketed("(1,2]")
    ('(]', ['1', '2'])
    """
    text = text.replace(r"\{", "(").replace(r"\}", ")")
    if text[:1] in ("(", "[") and text[-1:] in (")", "]"):
        elements = top_level(text[1:-1], ",")
        if len(elements) > 1:
            return text[0] + text[-1], elements
    return None


@lru_cache(maxsize=1024)
def parsed(text: str) -> Any:
    """The sympy object of a LaTeX text."""
    # "4{10}" and "4(10)" are products: the grammar reads them as the mixed number 4 + 10.
    text = re.sub(r"(?<![_^\d.])(\d+)\{([^{}]*)\}", r"\1\\cdot(\2)", text)
    text = re.sub(r"(?<=\d)\(", r"\\cdot(", text)
    return latex2sympy(text, normalization_config=None)


def same_value(a: Any, b: Any) -> bool:
    """Whether two sympy objects agree: numbers to 1e-6, formulas at every point, equations side by side."""
    if isinstance(a, sympy.MatrixBase) and isinstance(b, sympy.MatrixBase):
        return a.shape == b.shape and all(map(same_value, a, b))
    if isinstance(a, sympy.core.relational.Relational) and type(a) is type(b):
        left, right = a.lhs - a.rhs, b.lhs - b.rhs
        return same_value(left, right) or (isinstance(a, sympy.Eq) and same_value(left, -right))
    if not (isinstance(a, sympy.Expr) and isinstance(b, sympy.Expr)):
        return bool(a == b)
    symbols = sorted(a.free_symbols | b.free_symbols, key=str)
    if a == b or not symbols:
        return a == b or is_close(a.evalf(30), b.evalf(30))
    return formulas_agree(a, b, symbols)


def formulas_agree(a: sympy.Expr, b: sympy.Expr, symbols: list[Any]) -> bool:
    """Whether the values agree at all points where both are finite, at least three of them."""
    agreed = 0
    for start in range(len(POINTS)):
        at = {symbol: POINTS[(start + 2 * i) % len(POINTS)] + i for i, symbol in enumerate(symbols)}
        x, y = a.evalf(30, subs=at), b.evalf(30, subs=at)
        if not (x.is_finite and y.is_finite and x.is_number and y.is_number):
            continue
        if not is_close(x, y):
            return False
        agreed += 1
    return agreed >= 3


def is_close(gold: sympy.Expr, answer: sympy.Expr) -> bool:
    """|gold - answer| <= 1e-6 min(|gold|, 1)."""
    if not (gold.is_finite and answer.is_finite):
        return bool(gold == answer)
    size = abs(gold)
    return bool(abs(gold - answer) <= TOLERANCE * (size if 0 < size < 1 else 1))


def library_verdict(gold: str, answer: str) -> bool:
    """The library's verdict."""
    return bool(verify(library_reading(rf"\boxed{{{gold}}}"), library_reading(answer), timeout_seconds=None))


@lru_cache(maxsize=1024)
def library_reading(text: str) -> Any:
    """What math-verify takes for the answer in a text."""
    return parse(text, [LatexExtractionConfig(), ExprExtractionConfig()], parsing_timeout=None)


def limit_memory(size: int) -> None:
    """Let the operating system refuse more than `size` bytes."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
    except (ImportError, ValueError, OSError):  # Windows has none, macOS refuses
        return


def limit_time(seconds: float) -> None:
    """Let the kernel kill this process after so much processor time, whatever it is doing; 0: no limit."""
    if hasattr(signal, "ITIMER_PROF"):
        signal.setitimer(signal.ITIMER_PROF, seconds)


def main(cpu_seconds: float, memory_bytes: int) -> None:
    """Answer until stdin ends."""
    logging.disable(logging.CRITICAL)
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the libraries print does not go among the replies
    limit_memory(memory_bytes)
    for line in sys.stdin:
        reply: Any = "ready"
        if line.strip():
            limit_time(cpu_seconds)
            question = json.loads(line)
            compare = {"equal": equal, "math_verify": library_verdict}[question["do"]]
            try:
                reply = compare(question["gold"], question["answer"])
            except Exception:  # no LaTeX, no value, no memory: not equal
                reply = False
            limit_time(0)
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
