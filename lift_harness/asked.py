"""What lm-eval asks `lift_dlm` to generate: the settings of a request, and its text from its tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from lm_eval.models.utils import normalize_gen_kwargs

from lift_harness.decoding import DecodingConfig, Generation, Request
from lift_harness.errors import LiftError, did_you_mean
from lift_harness.models.chat import stop_ids
from lift_harness.tasks.settings import generation_settings

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
    task: str, kwargs: Mapping[str, Any], settings: Mapping[str, Any]
) -> tuple[DecodingConfig, tuple[str, ...], int]:
    """Decoding settings, stop strings and token limit of a request.

    Args:
        task: its task; ours bring the protocol's settings.
        kwargs: its generation kwargs, left as they are.
        settings: the model args, weaker than those and stronger than the protocol.

    Raises:
        LiftError: a kwarg that means nothing here, or settings that do not go together.
    """
    protocol = generation_settings(task)
    own = {key: value for key, value in kwargs.items() if key in SETTINGS}
    config = DecodingConfig().replace(**{**protocol, **settings, **own})
    general = normalize_gen_kwargs(dict(kwargs), default_max_gen_toks=config.gen_length)
    known = {*SETTINGS, "until", "do_sample", "max_gen_toks"}
    for name in general:
        if name not in known:
            raise LiftError(f"lift_dlm: unknown gen_kwarg {name!r}; {did_you_mean(name, known)}")
    if kwargs.get("do_sample") is False or ("temperature" in kwargs and not protocol):
        config = config.replace(temperature=general["temperature"])
    limit = general["max_gen_toks"]
    if limit >= config.gen_length or limit == protocol.get("gen_length"):
        limit = config.gen_length  # our tasks' max_gen_toks says the same to other models
    return config, tuple(filter(None, general["until"])), limit
