r"""The verdict on a MATH500 or AIME answer: d1's published heuristics for `acc`, math-verify beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lift_harness.tasks.answers import is_well_formed, last_boxed, one_line_tag
from lift_harness.tasks.latex_equal import equal, math_verify
from lift_harness.tasks.prompts import GEN_PREFIX


def extract(text: str) -> str:
    """The LaTeX taken as the answer: of the last box, else of the answer tag, else the whole text.

    The published scorer sees the tag only when it opens and closes in one line (see docs/scoring.md).
    """
    readings = (last_boxed(text), one_line_tag(text))
    return next((reading for reading in readings if reading is not None), text.removeprefix(GEN_PREFIX))


def score(doc: Mapping[str, Any], text: str) -> dict[str, float]:
    """Metrics of one answer.

    Args:
        doc: "answer", LaTeX.
        text: all that the assistant said, the `<reasoning>` it was given included.
    """
    gold = str(doc["answer"])
    return {
        "acc": float(equal(gold, extract(text))),
        "math_verify": float(math_verify(gold, text)),
        "format": float(is_well_formed(text)),
    }
