"""The page's replay of one answer, on its own: for a notebook."""

from __future__ import annotations

import html
from collections.abc import Sequence

from lift_harness.report.page import document

SCRIPTS = ("dom", "scale", "plot", "replay", "alone")
LINE = 80  # characters of the answer on a line, about
HEIGHTS = 330, 30  # pixels of all else, and of a line


def replay(tokens: Sequence[str], step: Sequence[int], confidence: Sequence[float]) -> str:
    """HTML that replays a decoding, in a frame without rights: texts of a model are not trusted.

    Args:
        tokens: text of each.
        step: the pass that committed each, from 0; negative: given.
        confidence: with which it did, from 0 to 1.
    """
    data = {
        "tokens": tokens,
        "step": step,
        "confidence": confidence,
        "baselines": {},
    }  # dom.js asks for these
    page = document("replay", data, SCRIPTS)
    text = "".join(tokens)
    lines = len(text) // LINE + text.count("\n") + 1
    height = HEIGHTS[0] + HEIGHTS[1] * min(lines, 12)
    shown = html.escape(page, quote=True)
    return (
        f'<iframe sandbox="allow-scripts" title="Replay of the decoding" srcdoc="{shown}" '
        f'style="width: 100%; height: {height}px; border: 0"></iframe>'
    )
