"""What a language model is asked to mark, and the quotes in its reply.

The rules are those of arXiv 2603.15803, section 2.1, in our words: of code the conditions of control flow and
the pivots of the algorithm, of mathematics the operations and the intermediate and final results. The paper
does not print its prompt: how the question is put, and the form of the reply, are ours.
"""

from __future__ import annotations

import json
import re
from typing import Any, Literal

from lift_harness.errors import LiftError
from lift_harness.training.sources.records import Record

Kind = Literal["math", "code", "auto"]

RULES = {
    "code": (
        "In code mark the conditions that steer it (what an if, elif, while, for, case or assert tests or "
        "runs over) and the steps on which the algorithm turns: the update of its state, a recursive call, "
        "the choice of a data structure, what is returned."
    ),
    "math": (
        "In mathematics mark the operations that carry the solution (equations, substitutions, the "
        "arithmetic itself) and the results: those that later steps build on, and the final one."
    ),
}
TASK = (
    "You get a question and its answer. Pick out the parts of the answer that hold its information: those "
    "that somebody who saw only the rest would have to reason to fill in."
)
FORM = (
    "Leave unmarked what could be guessed: words that lead from one step to the next, what repeats the "
    "question, comments, and tags like <answer>. Prefer several short parts to whole sentences or blocks.\n"
    'Reply with one JSON object and nothing else: {"spans": ["...", "..."]}. Every string is copied out of '
    "the answer character by character, without anything shortened or corrected; the strings stand in the "
    "order of the answer and do not overlap; backslashes and quotation marks are escaped as JSON wants it. "
    "Do not solve the question, and do not judge the answer."
)


class Malformed(LiftError):
    """A reply that holds no list of quotes."""


def messages(record: Record, kind: Kind) -> list[dict[str, str]]:
    """The conversation that asks for a record's priority spans.

    Args:
        record: its last user message is the question, its response the answer.
        kind: whose rules; auto: those of the record's own kind, of a chat both.
    """
    own = record.kind if kind == "auto" else kind
    rules = "\n".join(text for name, text in RULES.items() if own in (name, "chat"))
    asked = f"QUESTION\n{record.user}\n\nANSWER\n{record.response}"
    return [
        {"role": "system", "content": f"{TASK}\n{rules}\n{FORM}"},
        {"role": "user", "content": asked},
    ]


FENCED = re.compile(r"```\w*\s*\n(.*?)\s*```", re.DOTALL)


def quotes_of(reply: str) -> list[str]:
    """The quotes of a reply: {"spans": [...]} or the list alone, after any thinking, in a fence or not.

    Raises:
        Malformed: anything else.
    """
    text = reply.rpartition("</think>")[2].strip()
    fenced = FENCED.fullmatch(text)
    try:
        value: Any = json.loads(fenced[1] if fenced else text)
    except (ValueError, RecursionError):
        raise Malformed(f"the reply is no JSON: {text[:80]!r}") from None
    quotes = value.get("spans") if isinstance(value, dict) else value
    if not isinstance(quotes, list) or not all(isinstance(quote, str) for quote in quotes):
        raise Malformed(f'the reply has no "spans", a list of texts: {text[:80]!r}')
    return quotes
