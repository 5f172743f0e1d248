"""A loaded model that answers: prompt, settings, decoding, text."""

from __future__ import annotations

import inspect
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from lift_harness.console import typed
from lift_harness.decoding import DecodingConfig, Generation, Request, run, settings_for
from lift_harness.decoding.config import merge, unread
from lift_harness.decoding.request import excess_tokens
from lift_harness.errors import LiftError, did_you_mean
from lift_harness.models import load_model
from lift_harness.models.chat import before_end, encode_prompt, render_chat, stop_ids
from lift_harness.models.checkpoint import BUILT_IN
from lift_harness.models.without_weights import shape_of
from lift_harness.yaml_values import yaml_value

POSE = typed("generate", "--task", "sudoku_mini", "--problem", 3)
OnStep = Callable[[Generation], None]
Message = dict[str, str]


@dataclass(frozen=True)
class Answer:
    """What the model said: text, the decoding behind it, and what it took."""

    text: str
    generation: Generation
    prompt_tokens: int
    seconds: float


@dataclass
class Session:
    """A model with decoding settings.

    Attributes:
        name: of the model, for messages.
        model, tokenizer: as `load_model` gives them.
        settings: decoding settings that differ from the defaults.
        prefix: what every answer is made to begin with.
        task: decoding settings of the task whose problem is posed, weaker.
        key: keys the random numbers of sampling.
    """

    name: str
    model: Any
    tokenizer: Any
    settings: dict[str, Any] = field(default_factory=dict)
    prefix: str = ""
    task: dict[str, Any] = field(default_factory=dict)
    key: int = 0

    @property
    def config(self) -> DecodingConfig:
        """The decoding settings, whole."""
        return settings_for(self.model, self.settings, task=self.task)

    def set(self, changes: dict[str, Any]) -> None:
        """Change decoding settings; a bad one is a LiftError and changes nothing."""
        changed = merge(self.settings, changes)
        settings_for(self.model, changed)
        self.settings = changed

    def notes(self) -> Iterator[str]:
        """What the reader has to know before the first answer."""
        if self.name in BUILT_IN and not self.task:
            yield f"note: {self.name} knows nothing but puzzles, as its tasks word them: {POSE}"
        yield from self.idle()

    def idle(self) -> Iterator[str]:
        """A line for each setting that was given and changes nothing beside the others."""
        whole = vars(self.config)
        for name, value in self.settings.items():
            if beside := unread(name, whole):
                yield f"note: {name}={value} changes nothing with {beside}"

    def chat_prompt(self, messages: Sequence[Message], system: str | None = None) -> list[int]:
        """Ids of a conversation, after the system's message if there is one, ready for the next answer."""
        if not self.tokenizer.chat_template:
            raise LiftError(
                f"{self.name} has no chat template; lift-harness generate --raw (in Python generate(..., "
                "raw=True)) sends the prompt as it is"
            )
        before = [] if system is None else [{"role": "system", "content": system}]
        return encode_prompt(self.tokenizer, render_chat(self.tokenizer, [*before, *messages]) + self.prefix)

    def raw_prompt(self, text: str) -> list[int]:
        """Ids of a text as it is."""
        return encode_prompt(self.tokenizer, text + self.prefix)

    def answer(self, prompt: Sequence[int], on_step: OnStep | None = None) -> Answer:
        """Decode an answer to a prompt.

        Args:
            prompt: ids.
            on_step: called with the result so far after each pass.

        Raises:
            LiftError: an empty prompt, one that is too long, or settings that the model does not take.
        """
        config = self.config
        excess_tokens(
            len(prompt),
            config.gen_length,
            self.model.config.max_position_embeddings,
            remedy="shorten the prompt, or lower gen_length",
        )
        started = time.perf_counter()
        (out,) = run(
            self.model,
            [Request(tuple(prompt), config, self.key)],
            mask_id=self.tokenizer.mask_token_id,
            eos_id=stop_ids(self.tokenizer),
            on_step=None if on_step is None else lambda _, so_far: on_step(so_far),
        )
        seconds = time.perf_counter() - started
        return Answer(self.text(out.ids), out, len(prompt), seconds)

    def text(self, ids: Sequence[int]) -> str:
        """The text before the first end of turn."""
        return self.tokenizer.decode(before_end(self.tokenizer, ids), skip_special_tokens=True)


def open_session(
    model: str,
    *,
    peft: str | None = None,
    model_args: str = "",
    settings: Iterable[str] = (),
    seed: int | None = None,
    prefix: str = "",
) -> Session:
    """Load a model; arguments as the command line has them.

    Args:
        model: folder, Hub id, or a model inside the package.
        peft: folder or Hub id of an adapter.
        model_args: of `load_model`, "KEY=VALUE,...".
        settings: of decoding, each "KEY=VALUE" or several with commas between.
        seed: of decoding.
        prefix: what answers are made to begin with.

    Raises:
        LiftError: whatever is wrong with these; settings before anything is loaded.
    """
    wanted = given_settings(settings, seed)
    options = parse_settings([model_args] if model_args else [])
    if "peft" in options:
        raise LiftError("peft is no model arg here; give --peft")
    options |= {} if peft is None else {"peft": peft}
    return load_session(model, options, wanted, prefix)


def load_session(model: str, options: dict[str, Any], settings: dict[str, Any], prefix: str = "") -> Session:
    """Load a model.

    Args:
        model: folder, Hub id, or a model inside the package.
        options: of `load_model`.
        settings: of decoding.
        prefix: what answers are made to begin with.

    Raises:
        LiftError: whatever is wrong with these; options and settings before anything is loaded.
    """
    from transformers.utils import logging

    known = [name for name in inspect.signature(load_model).parameters if name != "name"]
    for name in options:
        if name not in known:
            raise LiftError(f"unknown model arg {name!r}; {did_you_mean(name, known)}")
    settings_for(shape_of(model, options.get("revision"), options.get("block_size")), settings)
    logging.disable_progress_bar()
    loaded, tokenizer = load_model(model, **options)
    return Session(model, loaded, tokenizer, settings, prefix)


def given_settings(settings: Iterable[str], seed: int | None) -> dict[str, Any]:
    """Decoding settings of the command line, the seed among them."""
    return parse_settings([*settings, *([] if seed is None else [f"seed={seed}"])])


SEPARATOR = re.compile(r"[,\s]+(?![^\[]*\])")  # not inside [5, 6]


def parse_settings(texts: Iterable[str]) -> dict[str, Any]:
    """Names and values of "KEY=VALUE", or of several with commas or spaces between.

    Raises:
        LiftError: something without a key or a value, or two values of one key.
    """
    settings: dict[str, Any] = {}
    for part in (part for text in texts for part in SEPARATOR.split(text.strip())):
        key, equals, text = part.partition("=")
        if not (key and equals and text):
            raise LiftError(f"{part!r} is no setting; write KEY=VALUE, e.g. temperature=0.7")
        value = parse_value(text)
        if settings.setdefault(key, value) != value:
            raise LiftError(f"{key} is given twice, as {settings[key]!r} and as {value!r}; give one of them")
    return settings


def parse_value(text: str) -> Any:
    """A YAML scalar; 1e-3 is a number, None is null."""
    if text == "None":
        return None
    try:
        return yaml_value(text, text)
    except LiftError:  # no YAML: a text
        return text
