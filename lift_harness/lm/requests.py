"""What lm-eval asks `lift_dlm` to generate: the settings of a request, and its text from its tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from lift_harness.decoding import DecodingConfig, Generation, Request
from lift_harness.decoding.config import KNOWN
from lift_harness.decoding.likelihood import Text
from lift_harness.errors import LiftError, did_you_mean
from lift_harness.models.chat import encode_prompt, stop_ids

SETTINGS = tuple(field.name for field in dataclasses.fields(DecodingConfig))


@dataclasses.dataclass(frozen=True)
class Asked:
    """One text to generate: lm-eval's Instance, resolved."""

    request: Request
    until: tuple[str, ...]
    max_tokens: int
    keep_end: bool  # whether the end-of-text token stays in the text
    task: str
    doc_id: int | None
    truncated: int  # tokens that the prompt lost

    def text_ids(self, tokenizer: Any, out: Generation) -> list[int]:
        """The tokens of the text: up to the first end of text."""
        ids = out.ids[: self.max_tokens]
        if not self.request.config.early_stop:
            return ids
        stops = set(stop_ids(tokenizer))
        end = next((i for i, token in enumerate(ids) if token in stops), None)
        return ids if end is None else ids[: end + self.keep_end]

    def text(self, tokenizer: Any, out: Generation) -> str:
        """The generated text, up to the first end of text or stop string."""
        text = tokenizer.decode(self.text_ids(tokenizer, out), skip_special_tokens=not self.keep_end)
        for stop in self.until:
            text = text.split(stop)[0]
        return text


def configure(
    kwargs: Mapping[str, Any], settings: Mapping[str, Any]
) -> tuple[DecodingConfig, tuple[str, ...], int]:
    """Decoding settings, stop strings and token limit of a request.

    Args:
        kwargs: its generation kwargs, left as they are. A task of ours gives what the user asked for, and
            beside it "protocol", the task's own settings; any other task's own are among what was asked for,
            since lm-eval merges them.
        settings: the model args, weaker than what was asked for and stronger than the protocol.

    Raises:
        LiftError: a kwarg that means nothing here, or settings that do not go together.
    """
    protocol = kwargs["protocol"] if isinstance(kwargs.get("protocol"), Mapping) else {}
    asked = {name: value for name, value in kwargs.items() if value is not protocol}
    own = {name: value for name, value in asked.items() if name in SETTINGS}
    if asked.get("do_sample") is False:  # greedy, whatever temperature stands beside it, to all of lm-eval
        own["temperature"] = 0.0
    config = DecodingConfig.of(protocol, spelled(settings), spelled(own))
    try:
        general = normalize_gen_kwargs(asked, default_max_gen_toks=config.gen_length)
    except (TypeError, ValueError) as error:  # int() of the token limit, under any of its names
        raise LiftError(f"lift_dlm: max_gen_toks must be a whole number of tokens ({error})") from error
    known = {*SETTINGS, "until", "do_sample", "max_gen_toks"}
    for name in general:
        if name not in known:
            raise LiftError(f"lift_dlm: unknown gen_kwarg {name!r}; {did_you_mean(name, known)}")
    limit = general["max_gen_toks"]
    if limit < 1:
        raise LiftError(f"lift_dlm: max_gen_toks={limit} must be at least 1")
    return config, tuple(filter(None, general["until"])), min(limit, config.gen_length)


def spelled(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with the word "none" where it is one: lm-eval's parser makes None of `cache=none`."""
    words = {name for name, values in KNOWN.items() if "none" in values}
    return {name: "none" if value is None and name in words else value for name, value in settings.items()}


def text_key(*parts: str) -> int:
    """A number that keys the randomness of a request, from its text."""
    return int.from_bytes(blake2b("\n".join(parts).encode(), digest_size=7).digest(), "big")


def encode_pair(tokenizer: Any, context: str, continuation: str) -> Text:
    """Context and continuation as tokens, split where lm-eval splits them.

    Spaces at the context's end belong to the continuation; the two are encoded together, so that the tokens
    are those of the whole text. An empty context is the token that begins or ends texts.

    Raises:
        LiftError: the continuation has no tokens.
    """
    kept = context.rstrip()
    continuation, context = context[len(kept) :] + continuation, kept
    before = encode_prompt(tokenizer, context)
    target = encode_prompt(tokenizer, context + continuation)[len(before) :]
    if not target:
        raise LiftError(f"the continuation {continuation!r} has no tokens of its own; nothing can be scored")
    return Text(tuple(before or [first_token(tokenizer)]), tuple(target), text_key(context, continuation))


def rolling_windows(tokenizer: Any, length: int, text: str) -> list[Text]:
    """A whole text in windows of `length` tokens: every token is scored once, after what fits before it."""
    windows = get_rolling_token_windows(
        token_list=encode_prompt(tokenizer, text),
        prefix_token=first_token(tokenizer),
        max_seq_len=length - 1,
        context_len=1,
    )
    pairs = [make_disjoint_window(window) for window in windows]
    return [
        Text(tuple(context), tuple(target), text_key(text, str(n)))
        for n, (context, target) in enumerate(pairs)
    ]


def first_token(tokenizer: Any) -> int:
    """What stands before a text that has nothing before it."""
    return tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
