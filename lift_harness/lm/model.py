"""`lift_dlm`: masked diffusion decoding as an lm-eval model.

Settings come, weakest first, from `DecodingConfig`, the file of a task of ours (`metadata.decoding`), the
authors of a model with blocks (`decoding.resolve`), the model args, and a request's generation kwargs
(`--gen_kwargs`, any other task's own). What was used goes into the results file under config / decoding, what
it took under config / decoding_statistics.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import lm_eval.models  # noqa: F401  (lm-eval's own models must be registered before ours)
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model
from tqdm import tqdm

from lift_harness.decoding import Generation, run
from lift_harness.decoding.batching import default_budget
from lift_harness.lm import diffusion_gemma
from lift_harness.lm.arguments import DEFAULT_MODEL, LOADING, check_arguments, checked_batch_size, usable
from lift_harness.lm.diffusion_gemma import DiffusionGemma
from lift_harness.lm.loglikelihood import loglikelihood, loglikelihood_rolling
from lift_harness.lm.requests import GenerationRequest, generation_requests
from lift_harness.lm.response_cache import ResponseCache, response_key
from lift_harness.models import load_model
from lift_harness.models.chat import render_chat, stop_ids
from lift_harness.models.identity import checkpoint_id
from lift_harness.models.loading import embedding_rows
from lift_harness.models.without_weights import is_diffusion_gemma
from lift_harness.ranks import Ranks

Finish = Callable[[GenerationRequest, Generation], None]


@register_model("lift_dlm")
class LiftDLM(LM):
    """A masked diffusion language model.

    Args:
        pretrained: folder, Hub id or a model inside the package; LLaDA-8B-Instruct by default.
        batch_size: requests decoded together, or "auto": as many as `token_budget` admits.
        max_batch_size: bound on "auto".
        token_budget: canvas tokens in a pass with "auto"; by default what memory admits.
        device: of torch; the GPU if there is one.
        dtype: of the weights; "auto": as stored.
        revision: of a Hub id.
        peft: folder or Hub id (owner/name@REVISION) of an adapter.
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
        check_arguments(settings, truncate, mc_num, exact_tokens, greedy_check)
        self.batch_size = checked_batch_size(batch_size)
        self.max_batch_size, self.token_budget = max_batch_size, token_budget
        self.responses = None if response_cache is None else ResponseCache(response_cache)
        self.ranks = Ranks(device)
        self.pretrained, self.peft, self.revision = pretrained, peft, revision
        self.loading = {**loading, "chat_template": chat_template_file}
        load: Any = diffusion_gemma.load if is_diffusion_gemma(pretrained, revision) else load_model
        self.model, self.tokenizer = load(
            pretrained,
            dtype=dtype,
            device=None if "device_map" in loading else self.ranks.device or usable(device),
            revision=revision,
            peft=peft,
            **self.loading,
        )
        self.settings, self.truncate, self.compile = settings, truncate, compile
        self.use_chat_template = chat_template
        self.mc_num, self.exact_tokens, self.greedy_check = mc_num, exact_tokens, greedy_check
        # For who watches: (done, total, whether by an earlier run) of tokens or texts; each response, kept
        # from before or not.
        self.on_progress: Callable[[int, int, bool], None] | None = None
        self.on_response: Callable[[GenerationRequest, Generation], None] | None = None
        # For the results file: the settings of each task, and what the last call took, over all ranks.
        self.used: dict[str, dict[str, Any]] = {}
        self.counts: Counter[str] = Counter()
        self.by_task: Counter[tuple[str, str]] = Counter()  # the same of each task, kept responses too
        self.seconds = 0.0
        self.likelihood: dict[str, Any] = {}

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.model.device

    @property
    def mask_id(self) -> int:
        """The token that stands for what is not decoded yet."""
        return self.tokenizer.mask_token_id

    @property
    def context_length(self) -> int:
        """Tokens that the model can see at a time."""
        return self.model.config.max_position_embeddings

    @property
    def budget(self) -> int:
        """Canvas tokens in a pass."""
        return self.token_budget or default_budget(self.model)

    def use_response_cache(self, path: str) -> None:
        """Keep responses in that file (`lm_eval --use_cache`, through `lift_harness.plugin.hooks`)."""
        self.responses = ResponseCache(path)

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
        wanted = self.resolve(requests)
        distinct = list(dict.fromkeys(wanted))
        texts: dict[GenerationRequest, str] = {}
        started, tokens = time.perf_counter(), 0
        self.by_task = Counter()
        self.counts = Counter(truncated_prompts=sum(one.truncated > 0 for one in distinct))
        length = sum(one.config.gen_length for one in distinct)
        with self.bar("decoding", "token", length, disable_tqdm) as show:

            def finish(one: GenerationRequest, out: Generation) -> None:
                nonlocal tokens
                texts[one] = one.text(self.tokenizer, out)
                for name, amount in one.cost(self.tokenizer, out).items():
                    self.by_task[one.task, name] += amount
                tokens += one.config.gen_length  # also where its text ended before
                if self.on_response:
                    self.on_response(one, out)

            def passed(filled: int) -> None:
                show(tokens + filled, f"{len(texts)}/{len(distinct)} answers")

            try:
                missing = self.not_kept(distinct, finish)
                show(tokens, kept=True)
                self.decode(missing, finish, passed)
                show(tokens)
            finally:
                if self.responses:
                    self.responses.close()
        self.counts, self.seconds = self.ranks.sum(self.counts), time.perf_counter() - started
        self.by_task = self.ranks.sum(self.by_task)
        return [texts[one] for one in wanted]

    def resolve(self, instances: list[Instance]) -> list[GenerationRequest]:
        """Prompts, settings and noise keys; all errors come before the first forward pass."""
        wanted = generation_requests(self, instances)
        last = {one.task: one for one in wanted}
        for task, one in last.items():
            self.used[task] = one.settings
        return wanted

    def not_kept(self, wanted: list[GenerationRequest], finish: Finish) -> list[GenerationRequest]:
        """Finish what the response cache has; the others, in their order."""
        missing, cache, vocabulary = [], self.responses, embedding_rows(self.model)
        for one in wanted:
            out = cache.get(self.response_key(one), vocabulary) if cache else None
            if out is None:
                missing.append(one)
            else:
                finish(one, out)
                self.counts["from_cache"] += 1
        if cache:
            cache.report_damage()
        return missing

    def decode(self, wanted: list[GenerationRequest], finish: Finish, passed: Callable[[int], None]) -> None:
        """Decode, and keep each response before it is reported."""

        def done(i: int, out: Generation) -> None:
            one = wanted[i]
            if self.responses:
                self.responses.put(self.response_key(one), out)
            self.counts.update(one.cost(self.tokenizer, out), decoded_tokens=len(out.ids))
            finish(one, out)

        asked = [one.canvas(self.tokenizer) for one in wanted]
        if isinstance(self.model, DiffusionGemma):
            for i, request in enumerate(asked):
                out = self.model.decode(request)
                self.counts["calls"] += out.forward_passes
                done(i, out)
            return
        auto = self.batch_size == "auto"
        run(
            self.model,
            asked,
            mask_id=self.mask_id,
            eos_id=stop_ids(self.tokenizer),
            batch_size=self.max_batch_size if auto else int(self.batch_size),
            token_budget=self.budget if auto else None,
            compile=self.compile,
            on_done=done,
            on_pass=passed,
            counts=self.counts,
        )

    @contextmanager
    def bar(self, what: str, unit: str, total: int, disable_tqdm: bool) -> Iterator[Callable[..., None]]:
        """A progress bar; gives `show(done, note="", kept=False)`: so many are done (`kept`: before)."""
        hidden = disable_tqdm or self.on_progress is not None or self.ranks.rank > 0
        seconds = 0.1 if sys.stderr.isatty() else 30  # a log has a line now and then
        with tqdm(total=total, desc=what, unit=unit, disable=hidden, mininterval=seconds) as bar:

            def show(done: int, note: str = "", kept: bool = False) -> None:
                bar.set_postfix_str(note, refresh=False)
                bar.update(done - bar.n)
                if self.on_progress:
                    self.on_progress(done, total, kept)

            yield show

    # ------------------------------------------------------------ likelihood

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """The bound (docs/likelihood.md) for each continuation, and whether greedy decoding gives it."""
        return loglikelihood(self, requests, disable_tqdm)

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """The bound for each whole text, in windows of the context."""
        return loglikelihood_rolling(self, requests, disable_tqdm)

    # ------------------------------------------------------------ what was done

    @cached_property
    def checkpoint(self) -> str:
        """What the weights are."""
        return checkpoint_id(self.model, self.pretrained, self.peft)

    def response_key(self, one: GenerationRequest) -> str:
        """The key of a response: all that it depends on."""
        return response_key(
            checkpoint=self.checkpoint,
            dtype=str(self.model.dtype),
            loading={name: str(value) for name, value in self.loading.items()},
            config=one.config.recorded,
            prompt=one.prompt,
            key=one.key,
            until=one.until,
            max_tokens=one.max_tokens,
            task=one.task,
            doc_id=one.doc_id,
            sample=one.sample,
        )

    def get_model_info(self) -> dict[str, Any]:
        """For the results file: what was decoded how, and what it took."""
        counts = self.counts
        statistics: dict[str, Any] = {"truncated_prompts": 0, "from_cache": 0, **counts}
        statistics["seconds"] = round(self.seconds, 3)
        if counts["forward_passes"]:
            statistics["tokens_per_second"] = round(counts["tokens"] / self.seconds, 2)
            statistics["tokens_per_forward_pass"] = round(counts["tokens"] / counts["forward_passes"], 3)
        for (task, name), amount in self.by_task.items():
            statistics.setdefault("tasks", {}).setdefault(task, {})[name] = amount
        return {
            "pretrained": self.pretrained,
            "peft": self.peft,
            "model_revision": self.revision,
            "model_dtype": str(self.model.dtype),
            "model_device": str(self.device),
            "model_num_parameters": self.model.num_parameters(),
            "decoding": self.used,
            "decoding_statistics": statistics,
            "likelihood_statistics": self.likelihood,
        }
