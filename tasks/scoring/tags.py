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


def published_box(text: str) -> str | None:
    r"""The last box as the released scorer reads it; without any box the whole text, less the prompt's end.

    None where it never closes. A `\boxed x` anywhere goes first, and reaches to the next `$`, as in the
    MATH benchmark's code; an `\fbox` counts where there is no `\boxed`, and stays in its braces.
    """
    text = text.removeprefix(GEN_PREFIX)
    if r"\boxed " in text:
        return text.rsplit(r"\boxed ", 1)[1].split("$", 1)[0]
    start = text.rfind(r"\boxed") if r"\boxed" in text else text.rfind(r"\fbox")
    if start < 0:
        return text
    end = closing(text, start)
    if end is None:
        return None
    box = text[start : end + 1]
    return box[len(r"\boxed{") : -1] if box.startswith(r"\boxed{") else box


def last_boxed(text: str) -> str | None:
    r"""The content of the last `\boxed`, None when there is none or it never closes."""
    return published_box(text) if r"\boxed" in text else None


def after(tag: str, text: str) -> str | None:
    """What follows the first `tag`, None without one."""
    _, opened, rest = text.partition(tag)
    return rest if opened else None


def before(pattern: str, text: str) -> str | None:
    """What precedes the first match of the regular expression, None without one."""
    match = re.search(pattern, text)
    return text[: match.start()] if match else None


def closing(text: str, start: int) -> int | None:
    """Where the braces from `start` on first balance, None where they never do."""
    depth = 0
    for brace in re.compile(r"[{}]").finditer(text, start):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0 and brace[0] == "}":
            return brace.start()
    return None


def is_well_formed(text: str) -> bool:
    """The metric `format`: `<reasoning>...</reasoning>`, then `<answer>...</answer>`, each tag once."""
    tags = re.findall(r"</?(?:reasoning|answer)>", text)
    return tags == ["<reasoning>", "</reasoning>", "<answer>", "</answer>"]
