"""DiffusionGemma behind `lift_dlm`: transformers' own class and its `generate`, one request after the other.

It is of another kind than the rest: an encoder reads the text so far, a decoder denoises a canvas of random
tokens, none of which is a mask, and nothing is committed before the canvas is. So it is decoded with the
settings of its authors, and nothing else of ours works on it (training, likelihood, caches, schedules). Text
only. Source: transformers, models/diffusion_gemma.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList, StoppingCriteriaList

from lift_harness.decoding import Generation
from lift_harness.decoding.request import Request, check_finite
from lift_harness.errors import LiftError, first_line
from lift_harness.keyed_random import DECODING_CANVAS, keyed_bits
from lift_harness.models.checkpoint import commit_of, find_folder, member, read_json
from lift_harness.models.loading import DIFFUSION_GEMMA, check_dtype, listed, place, read_weights
from lift_harness.models.tokenization import load_tokenizer


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a request is decoded: transformers' names and defaults; `gen_length` is its `max_new_tokens`."""

    gen_length: int = 256
    max_denoising_steps: int = 48
    entropy_bound: float = 0.1
    t_min: float = 0.4
    t_max: float = 0.8
    stability_threshold: int = 1
    confidence_threshold: float = 0.005
    seed: int = 0

    exact = early_stop = True  # nothing is approximated; a text ends with its first end-of-text token

    def __post_init__(self) -> None:
        for name, least in (("gen_length", 1), ("seed", 0)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise LiftError(f"{name}={value!r} must be a whole number of at least {least}")
        try:
            transformers.DiffusionGemmaGenerationConfig(**self.arguments)
        except (TypeError, ValueError) as error:
            raise LiftError(f"DiffusionGemma: {first_line(error)}") from error

    @property
    def temperature(self) -> float:
        """Of the first denoising step: samples differ."""
        return self.t_max

    @property
    def recorded(self) -> dict[str, Any]:
        """By name, for files and keys."""
        return dataclasses.asdict(self)

    @property
    def arguments(self) -> dict[str, Any]:
        """As `generate` takes them, but for the length and the seed."""
        given = {name: value for name, value in self.recorded.items() if name not in ("gen_length", "seed")}
        bound = transformers.EntropyBoundSamplerConfig(given.pop("entropy_bound"))
        return given | {"sampler_config": bound}


SETTINGS = tuple(field.name for field in dataclasses.fields(Settings))


class DiffusionGemma:
    """The model, loaded or on the meta device, with what `lift_dlm` asks of one.

    Args:
        inner: transformers' `DiffusionGemmaForBlockDiffusion`.
        folder: of the checkpoint; its generation_config.json may have other settings and ends of text.
    """

    own_settings = SETTINGS

    def __init__(self, inner: Any, folder: Path) -> None:
        self.inner, self.config, file = inner, inner.config.text_config, folder / "generation_config.json"
        self.config._commit_hash = commit_of(folder)
        written = read_json(member(folder, file.name)) if file.exists() else {}
        self.ends = listed(written.get("eos_token_id") or self.config.eos_token_id)
        sampler = written.get("sampler_config") or {}
        if not isinstance(sampler, dict) or not all(type(end) is int for end in self.ends):
            raise LiftError(f"{file}: its sampler_config is no mapping, or its eos_token_id no ids")
        known = {**sampler, **written}
        self.published = {name: known[name] for name in SETTINGS if known.get(name) is not None}
        self.device, self.dtype, self.num_parameters = inner.device, inner.dtype, inner.num_parameters
        self.get_input_embeddings = inner.get_input_embeddings

    def settings_for(self, *sources: Mapping[str, Any], task: Mapping[str, Any] | None = None) -> Settings:
        """The settings of a request: the task's length, then what was asked for, the weakest first.

        A temperature of 0, which lm-eval's tasks ask for, changes nothing.

        Raises:
            LiftError: a setting that is not this model's, or a bad value.
        """
        asked = {name: value for source in sources for name, value in source.items()}
        for name, value in asked.items():
            if name not in SETTINGS and not (name == "temperature" and not value):
                raise LiftError(f"{name}={value!r}: DiffusionGemma's decoder has only {', '.join(SETTINGS)}")
        values = {**self.published, **(task or {}), **asked}
        return Settings(**{name: values[name] for name in SETTINGS if name in values})

    def decode(self, request: Request) -> Generation:
        """Canvas after canvas, until the text ends, is long enough, or has what ends it.

        Random numbers are the request's own, and leave torch's generator as it was.

        Raises:
            LiftError: logits that are no numbers.
        """
        settings: Any = request.config
        start, watch, finished = len(request.ids), Watch(request.name or "a request"), request.finished
        most = min(settings.gen_length, request.max_tokens or settings.gen_length)

        def ended(ids: Tensor, scores: Any, **unused: Any) -> Tensor:
            stops = finished is not None and finished(ids[0, start:].tolist())
            return torch.tensor([stops], device=ids.device)

        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            key = keyed_bits(DECODING_CANVAS, settings.seed, request.key, request.sample)
            torch.manual_seed(int(key) % 2**63)
            out = self.inner.generate(
                torch.tensor([request.ids], device=self.device),
                **settings.arguments,
                max_new_tokens=most,
                max_length=None,  # generation_config.json's would win over 256 new tokens
                eos_token_id=self.ends,
                pad_token_id=None,
                logits_processor=LogitsProcessorList([watch]),
                stopping_criteria=StoppingCriteriaList([ended]),  # type: ignore[list-item]
            )
        ids = out.sequences[0, start:].tolist()[:most]
        end = next((i + 1 for i, token in enumerate(ids) if token in self.ends), len(ids))
        _, since, confidence = (
            torch.cat(parts)[:end].tolist() for parts in zip(*watch.canvases, strict=True)
        )
        return Generation(ids[:end], since, confidence, watch.passes)


class Watch(LogitsProcessor):
    """Changes nothing; of each canvas the likeliest tokens, since which pass they are, and how likely."""

    def __init__(self, name: str) -> None:
        self.name, self.passes, self.length = name, 0, -1
        self.canvases: list[tuple[Tensor, Tensor, Tensor]] = []

    def __call__(self, input_ids: Tensor, scores: Tensor, cur_step: Any) -> Tensor:
        """Called in each pass with the text so far [1, L] and the logits of the canvas [1, C, V]."""
        best, token = scores[0].max(-1)
        confidence = (best - scores[0].logsumexp(-1)).exp()
        check_finite(self.name, confidence.tolist())
        since = torch.full_like(token, self.passes)
        if input_ids.shape[1] == self.length:
            before, earlier, _ = self.canvases.pop()
            since = earlier.where(token == before, since)
        self.canvases.append((token, since, confidence))
        self.passes, self.length = self.passes + 1, input_ids.shape[1]
        return scores


def load(
    name: str, *, dtype: str = "auto", device: Any = None, revision: str | None = None, **others: Any
) -> tuple[DiffusionGemma, Any]:
    """(model, tokenizer); `load_model`'s arguments, of which it takes these, device_map and chat_template.

    On the device "meta" without its weights.

    Raises:
        LiftError: another argument, a transformers without the model, or files that make none.
    """
    template, places = others.pop("chat_template", None), others.pop("device_map", None)
    if refused := [f"{argument}={value!r}" for argument, value in others.items() if value]:
        raise LiftError(f"{refused[0]}: DiffusionGemma takes no such argument; leave it out")
    if not hasattr(transformers, "DiffusionGemmaForBlockDiffusion"):
        raise LiftError(f"{name}: DiffusionGemma needs transformers 5.13, this is {transformers.__version__}")
    kind, folder = transformers.DiffusionGemmaForBlockDiffusion, find_folder(name, revision, device != "meta")
    try:
        config = transformers.DiffusionGemmaConfig.from_dict(read_json(member(folder, "config.json")))
        with torch.device("meta"):
            model = kind(config)
    except Exception as error:  # what a wrong value raises depends on the value
        raise LiftError(f"{name}: config.json makes no {DIFFUSION_GEMMA}: {first_line(error)}") from error
    tokenizer = load_tokenizer(folder, DIFFUSION_GEMMA, template)
    tokenizer.name_or_path = name
    if device != "meta":
        places = {"device_map": places} if places or (places := place(device, False)) else {}
        options = {"config": config, "dtype": check_dtype(dtype) or "auto", **places}
        model = read_weights(kind, folder, name, **options)
    return DiffusionGemma(model.eval(), folder), tokenizer
