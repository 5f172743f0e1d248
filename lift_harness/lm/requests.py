"""What lm-eval asks `lift_dlm` to generate: prompts and settings, and the text of what was decoded."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from lm_eval.api.instance import Instance
from lm_eval.models.utils import normalize_gen_kwargs

from lift_harness.decoding import DecodingConfig, Generation, Request
from lift_harness.decoding.request import excess_tokens
from lift_harness.errors import LiftError, did_you_mean
from lift_harness.models.chat import before_end, encode_prompt
from lift_harness.tasks.settings import generation_settings

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
            **dataclasses.asdict(self.config),
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


def generation_requests(lm: LiftDLM, instances: Sequence[Instance]) -> list[GenerationRequest]:
    """What each Instance asks for; all errors come before the first forward pass.

    lm-eval repeats an Instance for each sample of its problem. On several ranks it pads with more of the last
    one: those are samples that it has had, and equal to them.
    """
    times: Counter[GenerationRequest] = Counter()
    requests = []
    for instance in instances:
        first = first_sample(lm, instance)
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
    config, until, max_tokens = configure(task, kwargs, lm.settings)
    if (instance.repeats or 1) > 1 and config.temperature == 0:
        raise LiftError(
            f"{task}: {instance.repeats} samples a problem at temperature 0 would be identical; "
            "set a temperature (--gen_kwargs temperature=0.5) or repeats: 1"
        )
    prompt = encode_prompt(lm.tokenizer, context)
    excess = excess_tokens(
        len(prompt),
        config.gen_length,
        lm.context_length,
        where=f"{task} doc {instance.doc_id}: ",
        remedy=None
        if lm.truncate == "left"
        else "lower gen_length, or cut prompts from the left with the model arg truncate=left",
    )
    return GenerationRequest(
        task=task,
        doc_id=instance.doc_id,
        prompt=tuple(prompt[excess:]),
        truncated=excess,
        config=config,
        until=until,
        max_tokens=max_tokens,
        keep_end=bool(generation_settings(task)),
        key=text_key(task, context),
    )


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
    if protocol and own.get("temperature") == protocol["temperature"]:
        del own["temperature"]  # our tasks' files say it again, to other models
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


def text_key(*parts: str) -> int:
    """A number that keys the randomness of a request, from its text."""
    return int.from_bytes(blake2b("\n".join(parts).encode(), digest_size=7).digest(), "big")
