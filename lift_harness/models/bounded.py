"""Programs inside a checkpoint's data, run where they come to an end: chat templates and regular expressions.

Both can take any time and memory. They run in a process that the operating system ends (`killable`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lift_harness.errors import LiftError
from lift_harness.killable import KillableWorker

SECONDS = 10  # of processor time for `AT_ONCE` chats; one takes less than a thousandth
MEMORY = 2 << 30
LONGEST = 1 << 23  # characters of a rendered chat
AT_ONCE = 100

TEMPLATES, PATTERNS = (
    KillableWorker(Path(__file__).with_name(f"{what}_worker.py"), cpu_seconds=SECONDS, memory_bytes=MEMORY)
    for what in ("template", "pattern")
)


class TemplateFails(LiftError):
    """A chat template raises, does not come to an end, or writes too much."""


def render(tokenizer: Any, conversations: Sequence[list[dict[str, str]]], **how: Any) -> list[str]:
    """Each conversation as the text that the tokenizer's chat template makes of it, by transformers' rules.

    Args:
        tokenizer: with a chat template.
        conversations: lists of messages.
        how: `add_generation_prompt`, `continue_final_message`.

    Raises:
        TemplateFails: see there.
    """
    template = tokenizer.get_chat_template()
    question = {"template": template, "longest": LONGEST, "how": how}
    question["tokens"] = tokenizer.special_tokens_map
    texts: list[str] = []
    for first in range(0, len(conversations), AT_ONCE):
        chats = list(conversations[first : first + AT_ONCE])
        try:
            texts += _ask(TEMPLATES, {**question, "chats": chats}, "the chat template")
        except LiftError as error:
            raise TemplateFails(str(error)) from error
    return texts


def check_patterns(where: str, patterns: Iterable[str], names: Iterable[str]) -> None:
    """Refuse regular expressions that are none, or that do not come to an end on these names.

    Args:
        where: what has them, for the message.
        patterns: as an adapter_config.json has them.
        names: of a model's modules, which peft compares with them.
    """
    if patterns := sorted(set(patterns)):
        what = f"{where}: the comparison of its patterns ({shown(patterns)}) with the model's modules"
        _ask(PATTERNS, {"patterns": patterns, "names": list(names)}, what)


def shown(patterns: Sequence[str]) -> str:
    """The longest of some texts, cut to fit a message."""
    longest = max(patterns, key=len)
    return repr(longest if len(longest) <= 60 else f"{longest[:60]}...")


def _ask(worker: KillableWorker, question: dict[str, Any], what: str) -> Any:
    reply = worker.ask(question)
    if reply is None:
        raise LiftError(
            f"{what} does not come to an end within {SECONDS} s of processor time and {MEMORY >> 30} GiB"
        )
    if "error" in reply:
        raise LiftError(f"{what} {reply['error']}")
    return reply["value"]
