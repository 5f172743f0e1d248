"""`lift_dlm`: masked diffusion decoding as an lm-eval model.

Settings come, weakest first, from `DecodingConfig`, the protocol of our tasks (tasks/settings.yaml), the
model args, and a request's generation kwargs (`--gen_kwargs` or a task's own). What was used goes into
the results file under config / decoding.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any

import lm_eval.models  # noqa: F401  (lm-eval's own models must be registered before ours)
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model
from lm_eval.models.utils import normalize_gen_kwargs
from tqdm import tqdm

from lift_harness.decoding import DecodingConfig, Generation, generate
from lift_harness.errors import LiftError, did_you_mean
from lift_harness.models import load_model
from lift_harness.models.chat import encode_prompt, render_chat, stop_ids
from lift_harness.tasks.settings import generation_settings

SETTINGS = {field.name: field.type for field in dataclasses.fields(DecodingConfig)}
DEFAULT_MODEL = "GSAI-ML/LLaDA-8B-Instruct"
NO_LIKELIHOOD = "lift_dlm has no likelihood yet, which {} needs; use generate_until tasks"
TOKENS_A_PASS = 8192  # of batch_size=auto


@dataclasses.dataclass
class Request:
    """One text to generate: lm-eval's Instance, resolved."""

    prompt: list[int]
    config: DecodingConfig
    until: list[str]
    max_tokens: int
    key: int  # of its random numbers
    sample: int
    keep_end: bool  # whether the end-of-text token stays in the text


@register_model("lift_dlm")
class LiftDLM(LM):
    """A masked diffusion language model.

    Args:
        pretrained: folder, Hub id or "lift-tiny"; LLaDA-8B-Instruct by default.
        batch_size: requests decoded together, or "auto".
        max_batch_size: bound on "auto".
        device: of torch; the GPU if there is one.
        dtype: of the weights; "auto": as stored.
        revision: of a Hub id.
        peft: folder of a LoRA adapter.
        chat_template: whether the protocol's tasks use the chat template; by default if there is one.
        trust_remote_code: accepted because lm-eval passes it; no remote code is ever run.
        settings: fields of `DecodingConfig`.
    """

    def __init__(
        self,
        pretrained: str = DEFAULT_MODEL,
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
        device: str | None = None,
        dtype: str = "auto",
        revision: str | None = None,
        peft: str | None = None,
        chat_template: bool | None = None,
        trust_remote_code: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__()
        for name in settings:
            if name not in SETTINGS:
                raise LiftError(f"lift_dlm: unknown model arg {name!r}; {did_you_mean(name, SETTINGS)}")
        self.pretrained, self.peft, self.revision = pretrained, peft, revision
        self.model, self.tokenizer = load_model(
            pretrained, dtype=dtype, device=usable(device), revision=revision, peft=peft
        )
        self.batch_size, self.max_batch_size = batch_size, max_batch_size
        self.settings = settings
        self.use_chat_template = chat_template
        self.used: dict[str, dict[str, Any]] = {}
        self.counts: Counter[str] = Counter()
        self.on_progress: Callable[[int, int], None] | None = None

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    # ------------------------------------------------------------ the prompt

    @property
    def protocol_chat_template(self) -> Callable[..., str] | None:
        """The chat template for our tasks, which are posed as a chat whether or not lm-eval was told so."""
        if self.use_chat_template or (self.use_chat_template is None and self.tokenizer.chat_template):
            return self.apply_chat_template
        return None

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """Messages as text."""
        return render_chat(self.tokenizer, chat_history, add_generation_prompt)

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The template's source, for the results file."""
        return self.tokenizer.chat_template or ""

    @property
    def tokenizer_name(self) -> str:
        """Identifies the tokenizer in lm-eval's request cache."""
        return self.tokenizer.name_or_path.replace("/", "__")

    # ------------------------------------------------------------ generation

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Decode every request; a repeated Instance is another sample of the same problem."""
        resolved = self.resolve(requests)
        results: list[str] = [""] * len(resolved)
        bar = tqdm(total=len(resolved), desc="decoding", disable=disable_tqdm or self.on_progress is not None)

        def finish(indices: Sequence[int], i: int, out: Generation) -> None:
            index = indices[i]
            results[index] = self.text(resolved[index], out)
            self.counts.update(requests=1, forward_passes=out.forward_passes, tokens=len(out.ids))
            bar.update()
            if self.on_progress:
                self.on_progress(self.counts["requests"], len(resolved))

        self.counts.clear()
        for config in dict.fromkeys(request.config for request in resolved):
            group = [i for i, request in enumerate(resolved) if request.config == config]
            generate(
                self.model,
                [resolved[i].prompt for i in group],
                config,
                mask_id=self.tokenizer.mask_token_id,
                eos_id=stop_ids(self.tokenizer),
                requests=[resolved[i].key for i in group],
                samples=[resolved[i].sample for i in group],
                batch_size=self.rows(resolved[i] for i in group),
                on_done=lambda i, out, group=group: finish(group, i, out),  # type: ignore[misc]
            )
        bar.close()
        for request, result in zip(requests, results, strict=True):
            self.cache_hook.add_partial("generate_until", request.args, result)
        return results

    def resolve(self, instances: list[Instance]) -> list[Request]:
        """Prompts, settings and noise keys; all errors come before the first forward pass."""
        first: dict[int, Request] = {}  # lm-eval repeats the same object for each sample of a problem
        seen: Counter[int] = Counter()
        found = []
        for instance in instances:
            same = id(instance)
            if same not in first:
                first[same] = self.first_request(instance)
            found.append(dataclasses.replace(first[same], sample=seen[same]))
            seen[same] += 1
        return found

    def first_request(self, instance: Instance) -> Request:
        """The first sample of a problem."""
        context, kwargs = instance.args
        task = instance.task_name or ""
        config, until, max_tokens = self.configure(task, kwargs)
        if (instance.repeats or 1) > 1 and config.temperature == 0:
            raise LiftError(
                f"{task}: {instance.repeats} samples a problem at temperature 0 would be identical; "
                "set a temperature (--gen_kwargs temperature=0.5) or repeats: 1"
            )
        prompt = encode_prompt(self.tokenizer, context)
        room = self.model.config.max_position_embeddings - config.gen_length
        if len(prompt) > room:
            raise LiftError(
                f"{task} doc {instance.doc_id}: the prompt has {len(prompt)} tokens, more than "
                f"the {room} that the model's context leaves beside gen_length={config.gen_length}; "
                "lower gen_length"
            )
        key = int.from_bytes(blake2b(f"{task}\n{context}".encode(), digest_size=7).digest(), "big")
        protocol = bool(generation_settings(task))
        return Request(prompt, config, until, max_tokens, key, sample=0, keep_end=protocol)

    def configure(self, task: str, kwargs: dict[str, Any]) -> tuple[DecodingConfig, list[str], int]:
        """Decoding settings, stop strings and token limit of a request with these generation kwargs."""
        protocol = generation_settings(task)
        own = {key: value for key, value in kwargs.items() if key in SETTINGS}
        config = DecodingConfig().replace(**{**protocol, **self.settings, **own})
        general = normalize_gen_kwargs(kwargs, default_max_gen_toks=config.gen_length)
        known = {*SETTINGS, "until", "do_sample", "max_gen_toks"}
        for name in general:
            if name not in known:
                raise LiftError(f"lift_dlm: unknown gen_kwarg {name!r}; {did_you_mean(name, known)}")
        if kwargs.get("do_sample") is False or ("temperature" in kwargs and not protocol):
            config = config.replace(temperature=general["temperature"])
        limit = general["max_gen_toks"]
        if limit >= config.gen_length or limit == protocol.get("gen_length"):
            limit = config.gen_length  # our tasks' max_gen_toks says the same to other models
        self.used[task] = {**dataclasses.asdict(config), "until": general["until"], "max_gen_toks": limit}
        return config, general["until"], limit

    def rows(self, requests: Any) -> int:
        """Requests a batch."""
        if str(self.batch_size).isdigit():
            return int(self.batch_size)
        longest = max(len(request.prompt) + request.config.gen_length for request in requests)
        return max(1, min(TOKENS_A_PASS // longest, self.max_batch_size or TOKENS_A_PASS))

    def text(self, request: Request, out: Generation) -> str:
        """The generated text, up to the first end of text or stop string."""
        ids = out.ids[: request.max_tokens]
        if request.config.early_stop:
            stops = set(stop_ids(self.tokenizer))
            end = next((i for i, token in enumerate(ids) if token in stops), None)
            ids = ids if end is None else ids[: end + request.keep_end]
        text = self.tokenizer.decode(ids, skip_special_tokens=not request.keep_end)
        for stop in filter(None, request.until):
            text = text.split(stop)[0]
        return text

    def get_model_info(self) -> dict[str, Any]:
        """For the results file: what was decoded how."""
        return {
            "pretrained": self.pretrained,
            "peft": self.peft,
            "model_revision": self.revision,
            "model_dtype": str(self.model.dtype),
            "model_num_parameters": self.model.num_parameters(),
            "decoding": self.used,
            "decoding_counts": dict(self.counts),
        }

    # ------------------------------------------------------------ likelihood

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Not available yet."""
        raise LiftError(NO_LIKELIHOOD.format(requests[0].task_name))

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Not available yet."""
        raise LiftError(NO_LIKELIHOOD.format(requests[0].task_name))


def usable(device: str | None) -> str | None:
    """The device, unless it is the GPU that lm-eval's command line asks for by default and there is none."""
    return None if device and device.startswith("cuda") and not torch.cuda.is_available() else device
