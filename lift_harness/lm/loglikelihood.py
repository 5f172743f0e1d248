"""The half of `lift_dlm` that scores texts instead of generating them (docs/likelihood.md)."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from lm_eval.api.instance import Instance
from tqdm import tqdm

from lift_harness.decoding import DecodingConfig
from lift_harness.decoding.batching import default_budget
from lift_harness.decoding.likelihood import Likelihood, Text, elbo, greedy_matches
from lift_harness.errors import LiftError
from lift_harness.lm.requests import encode_pair, rolling_windows


class Scoring:
    """`loglikelihood` and `loglikelihood_rolling`, for `LiftDLM`."""

    model: Any
    tokenizer: Any
    settings: dict[str, Any]
    likelihood: dict[str, Any]
    on_progress: Callable[[int, int], None] | None
    ranks: Any
    truncate: str | None
    mc_num: int
    exact_tokens: int
    greedy_check: bool
    token_budget: int | None

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """The bound (docs/likelihood.md) for each continuation, and whether greedy decoding gives it."""
        asked = [self.scored_text(instance) for instance in requests]
        texts = list(dict.fromkeys(text for text, _ in asked))  # on several ranks lm-eval repeats some
        cut = sum(excess > 0 for _, excess in set(asked))
        found = self.score("loglikelihood", texts, disable_tqdm, truncated=cut)
        greedy = self.greedy(texts, disable_tqdm) if self.greedy_check else [False] * len(texts)
        known = {text: (found[text].value, match) for text, match in zip(texts, greedy, strict=True)}
        return [known[text] for text, _ in asked]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """The bound for each whole text, in windows of the context."""
        windows = [rolling_windows(self.tokenizer, self.context_length, one.args[0]) for one in requests]
        texts = list(dict.fromkeys(text for several in windows for text in several))
        found = self.score("loglikelihood_rolling", texts, disable_tqdm)
        return [sum((found[text].value for text in several), 0.0) for several in windows]

    def scored_text(self, instance: Instance) -> tuple[Text, int]:
        """Context and continuation as tokens, and how many the context lost.

        Raises:
            LiftError: nothing to score, or too much for the model's context.
        """
        where = f"{instance.task_name} doc {instance.doc_id}"
        try:
            text = encode_pair(self.tokenizer, *instance.args)
        except LiftError as error:
            raise LiftError(f"{where}: {error}") from error
        excess = text.length - self.context_length
        if excess <= 0:
            return text, 0
        if excess >= len(text.context):
            raise LiftError(
                f"{where}: the continuation has {len(text.target)} tokens, too many for the model's context "
                f"of {self.context_length} with a token before it; shorten it"
            )
        if self.truncate != "left":
            raise LiftError(
                f"{where}: context and continuation have {text.length} tokens, more than the model's "
                f"{self.context_length}; cut contexts from the left with the model arg truncate=left"
            )
        return dataclasses.replace(text, context=text.context[excess:]), excess

    def score(
        self, kind: str, texts: list[Text], disable_tqdm: bool, truncated: int = 0
    ) -> dict[Text, Likelihood]:
        """The bound for each distinct text, with a progress bar; leaves that kind of request's statistics."""
        with self.bar("likelihood", "text", len(texts), disable_tqdm) as advance:
            found = elbo(
                self.model,
                texts,
                mask_id=self.mask_id,
                mc_num=self.mc_num,
                exact_tokens=self.exact_tokens,
                seed=DecodingConfig().replace(seed=self.settings.get("seed", 0)).seed,
                token_budget=self.budget,
                on_done=lambda i, one: advance(),
            )
        sampled = [
            one.stderr for text, one in zip(texts, found, strict=True) if len(text.target) > self.exact_tokens
        ]
        sums: Any = {  # not all of them whole numbers
            "texts": len(found),
            "sampled": len(sampled),
            "rows": sum(one.rows for one in found),
            "truncated": truncated,
            "stderr": sum(sampled) if self.mc_num > 1 else 0.0,  # one sample has none
        }
        sums = self.ranks.sum(Counter(sums))
        known = self.mc_num > 1 and sums["sampled"]
        self.likelihood[kind] = {
            "texts": sums["texts"],
            "exact": sums["texts"] - sums["sampled"],
            "rows": sums["rows"],
            "truncated": sums["truncated"],
            "mc_num": self.mc_num,
            "mean_stderr": sums["stderr"] / sums["sampled"] if known else None,
        }
        return dict(zip(texts, found, strict=True))

    def greedy(self, texts: list[Text], disable_tqdm: bool) -> list[bool]:
        """Whether greedy decoding gives each target, with a progress bar."""
        with self.bar("greedy check", "text", len(texts), disable_tqdm) as advance:
            return greedy_matches(
                self.model,
                texts,
                mask_id=self.mask_id,
                token_budget=self.budget,
                on_done=lambda i: advance(),
            )

    @contextmanager
    def bar(self, what: str, unit: str, total: int, disable_tqdm: bool) -> Iterator[Callable[..., None]]:
        """A progress bar; gives what is to be called, with a note or without, for each unit that is done."""
        hidden = disable_tqdm or self.on_progress is not None or self.ranks.rank > 0
        with tqdm(total=total, desc=what, unit=unit, disable=hidden) as bar:
            done = count(1)

            def advance(note: str = "") -> None:
                if note:
                    bar.set_postfix_str(note, refresh=False)
                bar.update()
                if self.on_progress:
                    self.on_progress(next(done), total)

            yield advance

    @property
    def budget(self) -> int:
        """Canvas tokens in a pass."""
        return self.token_budget or default_budget(self.model)

    @property
    def context_length(self) -> int:
        """Tokens that the model can see at a time."""
        return self.model.config.max_position_embeddings

    @property
    def mask_id(self) -> int:
        """The mask token."""
        return self.tokenizer.mask_token_id
