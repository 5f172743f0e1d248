r"""Where the answer stands in a generated text: the `<answer>` tag, or the last `\boxed{...}`.

Texts may be anything, a megabyte of garbage included: all searches here are linear in the length.
"""

from __future__ import annotations

import re

from lift_harness.tasks.prompts import GEN_PREFIX

# Kept in a text when the decoder keeps special tokens: LLaDA's two, and Dream's.
END_OF_TEXT = r"<\|eot_id\|>|<\|endoftext\|>|<\|im_end\|>"


def answer_tag(text: str) -> str | None:
    """The stripped text of the first `<answer>...</answer>`, None when the pair is not there."""
    opened = after("<answer>", text)
    inside = before("</answer>", opened) if opened is not None else None
    return inside.strip() if inside is not None else None


def one_line_tag(text: str) -> str | None:
    """`answer_tag` of the first line that both opens and closes one: the published scorer sees no other."""
    tags = (answer_tag(line) for line in text.split("\n"))
    return next((tag for tag in tags if tag is not None), None)


def boxed_or_tagged(text: str) -> str:
    """The content of the last box, else of the answer tag (`one_line_tag`), else the whole text."""
    readings = (last_boxed(text), one_line_tag(text))
    return next((reading for reading in readings if reading is not None), text.removeprefix(GEN_PREFIX))


def after(tag: str, text: str) -> str | None:
    """What follows the first `tag`, None without one."""
    _, opened, rest = text.partition(tag)
    return rest if opened else None


def before(pattern: str, text: str) -> str | None:
    """What precedes the first match of the regular expression, None without one."""
    match = re.search(pattern, text)
    return text[: match.start()] if match else None


def last_boxed(text: str) -> str | None:
    r"""The content of the last `\boxed{...}`, braces balanced, None when there is none or it never closes.

    As in the MATH benchmark's code, a `\boxed x` anywhere goes first, and reaches to the next `$`.
    """
    if r"\boxed " in text:
        return text.rsplit(r"\boxed ", 1)[1].split("$", 1)[0]
    start = text.rfind(r"\boxed")
    if start < 0 or not text.startswith(r"\boxed{", start):
        return None
    depth = 0
    for brace in re.finditer(r"[{}]", text[start:]):
        depth += 1 if brace.group() == "{" else -1
        if depth == 0:
            return text[start + len(r"\boxed{") : start + brace.start()]
    return None


def is_well_formed(text: str) -> bool:
    """The metric `format`: `<reasoning>...</reasoning>`, then `<answer>...</answer>`, each tag once."""
    tags = re.findall(r"</?(?:reasoning|answer)>", text)
    return tags == ["<reasoning>", "</reasoning>", "<answer>", "</answer>"]
