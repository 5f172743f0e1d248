r"""Whether two LaTeX answers are equal: as published, and to math-verify.

What text alone does not settle is asked of a process that can be killed.

The verdicts are cached: of 16 samples of a problem many give the same answer.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from lift_harness.killable import KillableWorker
from lift_harness.tasks.scoring.published_math import (
    LONGEST,
    is_hostile,
    judged_items,
    judged_text,
    typeset_alike,
)
from lift_harness.tasks.scoring.tags import END_OF_TEXT, answer_tag, before, last_boxed

_WHOLE = re.compile(r"-?\d{1,15}")  # told without asking

WORKER = KillableWorker(Path(__file__).with_name("latex_worker.py"), cpu_seconds=3, memory_bytes=2 << 30)


def equal(gold: str, answer: str) -> bool:
    """The published verdict (`published_math`)."""
    if typeset_alike(gold, answer):
        return True
    texts = judged_text(gold), judged_text(answer)
    if None in texts:
        return False
    return texts[0] == texts[1] or _judged_equal(*map(str, texts))


@lru_cache(maxsize=1 << 16)
def _judged_equal(gold: str, answer: str) -> bool:
    """The judge's verdict on two texts that differ."""
    golds, answers = judged_items(gold), judged_items(answer)
    if len(golds) != len(answers) or any(map(is_hostile, (*golds, *answers))):
        return False
    if len(golds) == 1 and all(map(_WHOLE.fullmatch, (*golds, *answers))):
        wanted, given = int(golds[0]), int(answers[0])
        return wanted in (given, 100 * given) or given == 100 * wanted
    return WORKER.ask({"do": "equal", "gold": golds, "answer": answers}) is True


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
