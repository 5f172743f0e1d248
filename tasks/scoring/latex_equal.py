r"""Whether two LaTeX answers are equal: by text, by number, else by sympy in a process that can be killed.

The verdicts are cached: of 16 samples of a problem many give the same answer.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

from lift_harness.tasks.scoring.killable import KillableWorker
from lift_harness.tasks.scoring.latex_text import LONGEST, is_hostile, is_words, normalise, plain_number
from lift_harness.tasks.scoring.tags import END_OF_TEXT, answer_tag, before, last_boxed

TOLERANCE = Fraction(1, 1_000_000)

WORKER = KillableWorker(Path(__file__).with_name("latex_worker.py"), cpu_seconds=3, memory_bytes=2 << 30)


def equal(gold: str, answer: str) -> bool:
    """The published verdict: equal when typeset alike, or of the same value to 1e-6."""
    if len(answer) > 2 * LONGEST:
        return False
    a, b = normalise(gold), normalise(answer)
    # The published scorer finds no value in an amount of money: "36.00" is not "\\$36".
    return a == b or (r"\$" not in gold + answer and _same_value(a, b))


@lru_cache(maxsize=1 << 16)
def _same_value(gold: str, answer: str) -> bool:
    """The same of two normalised texts that differ."""
    a, b = plain_number(gold), plain_number(answer)
    if a is not None and b is not None:
        return abs(a - b) <= TOLERANCE * (abs(a) if 0 < abs(a) < 1 else 1)
    if not answer or any(is_hostile(text) or is_words(text) for text in (gold, answer)):
        return False
    return WORKER.ask({"do": "equal", "gold": gold, "answer": answer}) is True


def math_verify(gold: str, text: str) -> bool:
    r"""The verdict of the math-verify library.

    It reads the last box before the end-of-text token, else the answer tag, else the end of the text;
    what is not in a box and has no LaTeX command is prose to it, in which it looks for a number.
    """
    said = before(END_OF_TEXT, text)
    said = text if said is None else said
    box, tag = last_boxed(said), answer_tag(said)
    if box is not None or (tag is not None and "\\" in tag):
        answer = rf"\boxed{{{tag if box is None else box}}}"
    else:
        answer = said[-LONGEST:] if tag is None else tag
    return len(answer) <= 2 * LONGEST and _math_verify(gold, answer)


@lru_cache(maxsize=1 << 16)
def _math_verify(gold: str, answer: str) -> bool:
    """As the library does; what is plain to see (the same text, two whole numbers) it is not asked."""
    content = answer[len(r"\boxed{") : -1] if answer.startswith(r"\boxed{") else answer
    if gold.strip() == content.strip():
        return True
    if re.fullmatch(r"\d{1,15}", gold) and re.fullmatch(r"-?\d{1,15}", content):
        return int(gold) == int(content)
    if is_hostile(gold) or is_hostile(content):
        return False
    return WORKER.ask({"do": "math_verify", "gold": gold, "answer": answer}) is True
