"""What lm-eval asks `lift_dlm` to generate: prompts and settings, and the text of what was decoded."""

from __future__ import annotations

import dataclasses
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from lm_eval.api.instance import Instance
from lm_eval.models.utils import normalize_gen_kwargs

from lift_harness.decoding import DecodingConfig, Generation, Request, settings_for
from lift_harness.decoding.config import KNOWN
from lift_harness.decoding.request import excess_tokens
from lift_harness.errors import LiftError, did_you_mean
from lift_harness.models.chat import before_end, encode_prompt
from lift_harness.tasks.catalog import decoding_settings

if TYPE_CHECKING:
    from lift_harness.lm.model import LiftDLM

SETTINGS = tuple(field.name for field in dataclasses.fields(DecodingConfig))


@dataclasses.dataclass(frozen=True)
class GenerationRequest:
    """A text to generate: one sample of what an lm-eval Instance asks for. Equal ones have the same text.

    Attributes:
        task: its task's name, "" without one.
        doc_id: the number of the problem in the task.
        prompt: its tokens.
        truncated: how many tokens it lost on the left.
        config: decoding settings.
        until: strings that end the text.
        max_tokens: no more than these are needed.
        keep_end: whether the end-of-text token stays in the text: the published scorers look at it.
        key: keys its random numbers.
        sample: which of several samples of the problem it is.
    """

    task: str
    doc_id: int | None
    prompt: tuple[int, ...]
    truncated: int
    config: DecodingConfig
    until: tuple[str, ...]
    max_tokens: int
    keep_end: bool
    key: int
    sample: int = 0

    @property
    def settings(self) -> dict[str, Any]:
        """How it is decoded, for the results file."""
        return {
            **self.config.recorded,
            "exact": self.config.exact,
            "until": list(self.until),
            "max_gen_toks": self.max_tokens,
        }

    def canvas(self, tokenizer: Any) -> Request:
        """What the engine is to decode."""

        def stopped(ids: list[int]) -> bool:
            text = tokenizer.decode(ids)
            return any(stop in text for stop in self.until)

        return Request(
            self.prompt,
            self.config,
            self.key,
            self.sample,
            max_tokens=self.max_tokens,
            finished=stopped if self.until else None,
            name=f"{self.task} doc {self.doc_id}",
        )

    def text_ids(self, tokenizer: Any, out: Generation) -> list[int]:
        """The tokens of the text: up to the first end of text."""
        ids = out.ids[: self.max_tokens]
        return before_end(tokenizer, ids, self.keep_end) if self.config.early_stop else ids

    def text(self, tokenizer: Any, out: Generation) -> str:
        """The generated text, up to the first end of text or stop string."""
        text = tokenizer.decode(self.text_ids(tokenizer, out), skip_special_tokens=not self.keep_end)
        for stop in self.until:
            text = text.split(stop)[0]
        return text

    def cost(self, tokenizer: Any, out: Generation) -> dict[str, int]:
        """What this one took: {"requests": 1, "forward_passes", "tokens"}, the tokens of its text."""
        tokens = self.text_length(tokenizer, out)
        return {"requests": 1, "forward_passes": out.forward_passes, "tokens": tokens}

    def text_length(self, tokenizer: Any, out: Generation) -> int:
        """Tokens before the first end of text and the first stop string, whatever was decoded behind them."""
        ids = before_end(tokenizer, out.ids[: self.max_tokens])
        text = tokenizer.decode(ids)
        stops = [at for at in map(text.find, self.until) if at >= 0]
        if not stops:
            return len(ids)
        return bisect_left(range(len(ids)), min(stops), key=lambda n: len(tokenizer.decode(ids[:n])))


def generation_requests(lm: LiftDLM, instances: Sequence[Instance]) -> list[GenerationRequest]:
    """What each Instance asks for; all errors come before the first forward pass.

    lm-eval repeats an Instance for each sample of its problem. On several ranks it pads with more of the last
    one: those are samples that it has had, and equal to them.
    """
    times: Counter[GenerationRequest] = Counter()
    requests: list[GenerationRequest] = []
    previous = None
    for instance in instances:
        if instance is not previous:  # repeats stand one after the other: the prompt is encoded once
            previous, first = instance, first_sample(lm, instance)
        sample = times[first] % (instance.repeats or 1)
        times[first] += 1
        requests.append(dataclasses.replace(first, sample=sample))
    return requests


def first_sample(lm: LiftDLM, instance: Instance) -> GenerationRequest:
    """The first text that an Instance asks for.

    Raises:
        LiftError: settings that are wrong, a prompt that is empty or does not fit.
    """
    context, kwargs = instance.args
    task = instance.task_name or ""
    # A task of ours that is not bound (the plugin is off) does not hand over its settings.
    kwargs = {"protocol": decoding_settings(task), **kwargs}
    config, until, max_tokens = configure(kwargs, lm.settings, lm.model)
    if (instance.repeats or 1) > 1 and config.temperature == 0:
        raise LiftError(
            f"{task}: {instance.repeats} samples a problem at temperature 0 would be identical; "
            "set a temperature (--gen_kwargs temperature=0.5) or repeats: 1"
        )
    prompt = encode_prompt(lm.tokenizer, context)
    where = f"{task} doc {instance.doc_id}: "
    how = "lower gen_length, or cut prompts from the left with the model arg truncate=left"
    remedy = None if lm.truncate == "left" else how
    excess = excess_tokens(len(prompt), config.gen_length, lm.context_length, where=where, remedy=remedy)
    return GenerationRequest(
        task=task,
        doc_id=instance.doc_id,
        prompt=tuple(prompt[excess:]),
        truncated=excess,
        config=config,
        until=until,
        max_tokens=max_tokens,
        keep_end=bool(kwargs["protocol"]),
        key=text_key(task, context),
    )


def configure(
    kwargs: Mapping[str, Any], settings: Mapping[str, Any], model: Any
) -> tuple[DecodingConfig, tuple[str, ...], int]:
    """Decoding settings, stop strings and token limit of a request.

    Args:
        kwargs: its generation kwargs, left as they are. A task of ours gives what the user asked for, and
            beside it "protocol", the task's own settings, and "preset", those of the preset that the user
            named; any other task's own are among what was asked for, since lm-eval merges them.
        settings: the model args, weaker than what was asked for and stronger than protocol and preset.
        model: to be asked; one with blocks is decoded as its authors do where nobody says otherwise.

    Raises:
        LiftError: a kwarg that means nothing here, or settings that do not go together or with the model.
    """
    ours = {name: kwargs[name] for name in ("protocol", "preset") if isinstance(kwargs.get(name), Mapping)}
    asked = {name: value for name, value in kwargs.items() if name not in ours}
    names = (*SETTINGS, *getattr(model, "own_settings", ()))
    own = {name: value for name, value in asked.items() if name in names}
    if asked.get("do_sample") is False:  # greedy, whatever temperature stands beside it, to all of lm-eval
        own["temperature"] = 0.0
    sources = (ours.get("preset", {}), spelled(settings), spelled(own))
    resolve = getattr(model, "settings_for", partial(settings_for, model))
    config = resolve(*sources, task=ours.get("protocol"))
    try:
        general = normalize_gen_kwargs(asked, default_max_gen_toks=config.gen_length)
    except (TypeError, ValueError) as error:  # int() of the token limit, under any of its names
        raise LiftError(f"lift_dlm: max_gen_toks must be a whole number of tokens ({error})") from error
    known = {*names, "until", "do_sample", "max_gen_toks"}
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
