"""`lift_dlm`: masked diffusion decoding as an lm-eval model.

Settings come, weakest first, from `DecodingConfig`, the file of a task of ours (`metadata.decoding`), the
model args, and a request's generation kwargs (`--gen_kwargs`, any other task's own). What was used goes into
the results file under config / decoding, what it took under config / decoding_statistics.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Callable
from functools import cached_property
from typing import Any

import lm_eval.models  # noqa: F401  (lm-eval's own models must be registered before ours)
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model

from lift_harness.decoding import Generation, Request, run
from lift_harness.errors import LiftError, did_you_mean
from lift_harness.lm.loglikelihood import Scoring
from lift_harness.lm.requests import SETTINGS, Asked, configure, text_key
from lift_harness.lm.response_cache import ResponseCache, response_key
from lift_harness.models import load_model
from lift_harness.models.chat import encode_prompt, render_chat, stop_ids
from lift_harness.models.identity import checkpoint_id
from lift_harness.ranks import Ranks
from lift_harness.tasks.catalog import decoding_settings

DEFAULT_MODEL = "GSAI-ML/LLaDA-8B-Instruct"
# Model args that go to `load_model` as they are.
LOADING = (
    "device_map",
    "attn_implementation",
    "load_in_8bit",
    "load_in_4bit",
    "mask_token_id",
    "eos_token_id",
    "pad_token_id",
)


@register_model("lift_dlm")
class LiftDLM(Scoring, LM):
    """A masked diffusion language model.

    Args:
        pretrained: folder, Hub id or "lift-tiny"; LLaDA-8B-Instruct by default.
        batch_size: requests decoded together, or "auto": as many as `token_budget` admits.
        max_batch_size: bound on "auto".
        token_budget: canvas tokens in a pass with "auto"; by default what memory admits.
        device: of torch; the GPU if there is one.
        dtype: of the weights; "auto": as stored.
        revision: of a Hub id.
        peft: folder of a LoRA adapter.
        chat_template: whether the protocol's tasks use the chat template; by default if there is one.
        truncate: "left" cuts the beginning of prompts that do not fit (and counts them); otherwise they are
            an error.
        response_cache: file that keeps every response as soon as it is there (`--use_cache` sets it too).
        compile: compile the passes with torch.compile (True or its mode).
        trust_remote_code: accepted because lm-eval passes it; no remote code is ever run.
        chat_template_file: file (or text) of a template, in place of the checkpoint's.
        mc_num: Monte-Carlo samples of a likelihood.
        exact_tokens: continuations of up to so many tokens are averaged over all orders instead.
        greedy_check: whether to tell if greedy decoding gives the continuation (a pass for each token).
        settings: fields of `DecodingConfig`, and those of `load_model` that `LOADING` lists.
    """

    # Its public place: lm-eval's registry takes a class for an entry point's only where the two are equal.
    __module__ = "lift_harness.lm"
    takes_protocol = True  # tasks of ours hand over their settings apart from what the user asked for

    def __init__(
        self,
        pretrained: str = DEFAULT_MODEL,
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
        token_budget: int | None = None,
        device: str | None = None,
        dtype: str = "auto",
        revision: str | None = None,
        peft: str | None = None,
        chat_template: bool | None = None,
        truncate: str | None = None,
        response_cache: str | None = None,
        compile: bool | str = False,
        chat_template_file: str | None = None,
        mc_num: int = 128,
        exact_tokens: int = 4,
        greedy_check: bool = True,
        trust_remote_code: bool = False,
        **settings: Any,
    ) -> None:
        super().__init__()
        loading = {name: settings.pop(name) for name in LOADING if name in settings}
        for name in settings:
            if name not in SETTINGS:
                near = did_you_mean(name, {*SETTINGS, *LOADING})
                raise LiftError(f"lift_dlm: unknown model arg {name!r}; {near}")
        if truncate not in (None, "left"):
            raise LiftError(f"truncate={truncate!r} must be left, or absent: a prompt too long is an error")
        for name, value, least, most in (("mc_num", mc_num, 1, 2**20), ("exact_tokens", exact_tokens, 0, 10)):
            if type(value) is not int or not least <= value <= most:
                raise LiftError(f"{name}={value!r} must be a whole number from {least} to {most}")
        if not isinstance(greedy_check, bool):
            raise LiftError(f"greedy_check={greedy_check!r} must be True or False")
        self.batch_size = checked_batch_size(batch_size)
        self.max_batch_size, self.token_budget = max_batch_size, token_budget
        self.ranks = Ranks(device)
        self.pretrained, self.peft, self.revision = pretrained, peft, revision
        self.loading = {**loading, "chat_template": chat_template_file}
        self.model, self.tokenizer = load_model(
            pretrained,
            dtype=dtype,
            device=None if "device_map" in loading else self.ranks.device or usable(device),
            revision=revision,
            peft=peft,
            **self.loading,
        )
        self.settings, self.truncate, self.compile = settings, truncate, compile
        self.use_chat_template = chat_template
        self.responses = None if response_cache is None else ResponseCache(response_cache)
        self.mc_num, self.exact_tokens, self.greedy_check = mc_num, exact_tokens, greedy_check
        self.likelihood: dict[str, Any] = {}
        self.used: dict[str, dict[str, Any]] = {}
        self.counts: Counter[str] = Counter()  # of the last call, over all ranks
        self.seconds = 0.0
        self.on_progress: Callable[[int, int], None] | None = None
        self.on_response: Callable[[Asked, Generation], None] | None = (
            None  # of every one, kept before or not
        )

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    # ------------------------------------------------------------ several processes

    @property
    def rank(self) -> int:
        """Number of this process."""
        return self.ranks.rank

    @property
    def world_size(self) -> int:
        """Number of processes."""
        return self.ranks.world_size

    def all_gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """The ranks' tensors, one after the other."""
        return self.ranks.all_gather(tensor)

    def gather_object(self, obj: Any, dst: int = 0) -> list[Any] | None:
        """The ranks' objects on rank `dst`."""
        return self.ranks.gather_object(obj, dst)

    def barrier(self) -> None:
        """Wait for all ranks."""
        self.ranks.barrier()

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
        asked = self.resolve(requests)
        texts: dict[Asked, str] = {}
        started = time.perf_counter()
        self.counts = Counter(truncated_prompts=sum(one.truncated > 0 for one in set(asked)))
        with self.bar("decoding", "request", len(set(asked)), disable_tqdm) as advance:

            def finish(one: Asked, out: Generation) -> None:
                texts[one] = one.text(self.tokenizer, out)
                if self.on_response:
                    self.on_response(one, out)
                rate = self.counts["tokens"] / (time.perf_counter() - started)
                advance(f"{rate:.1f} tokens/s, {self.counts['calls']} passes")

            missing = []
            for one in dict.fromkeys(asked):
                known = self.responses.get(self.response_key(one)) if self.responses else None
                if known is None:
                    missing.append(one)
                else:
                    finish(one, known)
                    self.counts["from_cache"] += 1
            self.decode(missing, finish)
        self.counts, self.seconds = self.ranks.sum(self.counts), time.perf_counter() - started
        return [texts[one] for one in asked]

    def decode(self, asked: list[Asked], finish: Callable[[Asked, Generation], None]) -> None:
        """Decode, and keep each response before it is reported."""

        def done(i: int, out: Generation) -> None:
            if self.responses:
                self.responses.put(self.response_key(asked[i]), out)
            self.counts.update(
                requests=1,
                forward_passes=out.forward_passes,
                tokens=len(asked[i].text_ids(self.tokenizer, out)),
                decoded_tokens=len(out.ids),
            )
            finish(asked[i], out)

        batch_size, token_budget = self.batching()
        run(
            self.model,
            [one.request for one in asked],
            mask_id=self.mask_id,
            eos_id=stop_ids(self.tokenizer),
            batch_size=batch_size,
            token_budget=token_budget,
            compile=self.compile,
            on_done=done,
            counts=self.counts,
        )

    def batching(self) -> tuple[int | None, int | None]:
        """Requests and canvas tokens in a pass, None: no bound."""
        if self.batch_size == "auto":
            return self.max_batch_size, self.budget
        return int(self.batch_size), None

    def resolve(self, instances: list[Instance]) -> list[Asked]:
        """Prompts, settings and noise keys; all errors come before the first forward pass."""
        first: dict[int, Asked] = {}  # lm-eval repeats the same object for each sample of a problem
        seen: Counter[int] = Counter()
        made: dict[tuple[int, int], Asked] = {}
        found = []
        for instance in instances:
            same = id(instance)
            if same not in first:
                first[same] = self.first_sample(instance)
            # On several ranks lm-eval pads with more of the last Instance: those are samples it has had.
            sample = seen[same] % (instance.repeats or 1)
            seen[same] += 1
            if (same, sample) not in made:
                request = dataclasses.replace(first[same].request, sample=sample)
                made[same, sample] = dataclasses.replace(first[same], request=request)
            found.append(made[same, sample])
        return found

    def first_sample(self, instance: Instance) -> Asked:
        """The first sample of a problem."""
        context, kwargs = instance.args
        task = instance.task_name or ""
        # A task of ours that is not bound (the plugin is off) does not hand over its settings.
        kwargs = {"protocol": decoding_settings(task), **kwargs}
        config, until, max_tokens = configure(kwargs, self.settings)
        self.used[task] = {
            **dataclasses.asdict(config),
            "exact": config.exact,
            "until": list(until),
            "max_gen_toks": max_tokens,
        }
        if (instance.repeats or 1) > 1 and config.temperature == 0:
            raise LiftError(
                f"{task}: {instance.repeats} samples a problem at temperature 0 would be identical; "
                "set a temperature (--gen_kwargs temperature=0.5) or repeats: 1"
            )
        prompt = encode_prompt(self.tokenizer, context)
        room = self.context_length - config.gen_length
        excess = max(0, len(prompt) - room)
        where = f"{task} doc {instance.doc_id}"
        if room < 1:
            raise LiftError(
                f"{where}: gen_length={config.gen_length} leaves no room for a prompt in the model's context "
                f"of {self.context_length}; lower gen_length"
            )
        if not prompt:
            raise LiftError(f"{where}: the prompt is empty; a request needs at least one token")
        if excess and self.truncate != "left":
            raise LiftError(
                f"{where}: the prompt has {len(prompt)} tokens, more than the {room} that the model's "
                f"context leaves beside gen_length={config.gen_length}; lower gen_length, or cut prompts "
                "from the left with the model arg truncate=left"
            )
        key = text_key(task, context)
        stopped = (lambda ids: any(stop in self.tokenizer.decode(ids) for stop in until)) if until else None
        request = Request(tuple(prompt[excess:]), config, key, max_tokens=max_tokens, finished=stopped)
        return Asked(request, until, max_tokens, bool(kwargs["protocol"]), task, instance.doc_id, excess)

    # ------------------------------------------------------------ what was done

    def use_response_cache(self, path: str) -> None:
        """Keep responses in that file (`lm_eval --use_cache`, through `lift_harness.plugin.hooks`)."""
        self.responses = ResponseCache(path)

    @cached_property
    def checkpoint(self) -> str:
        """What the weights are."""
        return checkpoint_id(self.model, self.pretrained, self.peft)

    def response_key(self, asked: Asked) -> str:
        """The key of a response: all that it depends on."""
        request = asked.request
        return response_key(
            checkpoint=self.checkpoint,
            dtype=str(self.model.dtype),
            loading={name: str(value) for name, value in self.loading.items()},
            config=dataclasses.asdict(request.config),
            prompt=request.ids,
            key=request.key,
            until=asked.until,
            max_tokens=asked.max_tokens,
            task=asked.task,
            doc_id=asked.doc_id,
            sample=request.sample,
        )

    def get_model_info(self) -> dict[str, Any]:
        """For the results file: what was decoded how, and what it took."""
        counts = self.counts
        statistics = {"truncated_prompts": 0, "from_cache": 0, **counts, "seconds": round(self.seconds, 3)}
        if counts["forward_passes"]:
            statistics["tokens_per_second"] = round(counts["tokens"] / self.seconds, 2)
            statistics["tokens_per_forward_pass"] = round(
                counts["decoded_tokens"] / counts["forward_passes"], 3
            )
        return {
            "pretrained": self.pretrained,
            "peft": self.peft,
            "model_revision": self.revision,
            "model_dtype": str(self.model.dtype),
            "model_num_parameters": self.model.num_parameters(),
            "decoding": self.used,
            "decoding_statistics": statistics,
            "likelihood_statistics": self.likelihood,
        }


def checked_batch_size(value: int | str) -> int | str:
    """A number of requests, or "auto" (lm-eval's "auto:N" means the same here)."""
    if str(value).partition(":")[0] == "auto":
        return "auto"
    if str(value).isdigit() and int(value) > 0:
        return int(value)
    raise LiftError(f"batch_size={value!r} must be auto or a whole number of at least 1")


def usable(device: str | None) -> str | None:
    """The device, unless it is the GPU that lm-eval's command line asks for by default and there is none."""
    return None if device and device.startswith("cuda") and not torch.cuda.is_available() else device
