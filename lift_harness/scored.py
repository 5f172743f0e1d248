"""The half of `lift_dlm` that scores texts instead of generating them (docs/likelihood.md)."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from typing import Any

from lm_eval.api.instance import Instance
from tqdm import tqdm

from lift_harness.asked import encode_pair, rolling_windows
from lift_harness.decoding.batching import default_budget
from lift_harness.errors import LiftError
from lift_harness.likelihood import Likelihood, Text, elbo, greedy_matches


class Scoring:
    """`loglikelihood` and `loglikelihood_rolling`, for `LiftDLM`."""

    model: Any
    tokenizer: Any
    settings: dict[str, Any]
    counts: Counter[str]
    likelihood: dict[str, Any]
    on_progress: Callable[[int, int], None] | None
    ranks: Any
    truncate: str | None
    mc_num: int
    exact_tokens: int
    greedy_check: bool
    token_budget: int | None
    batching: Callable[[], tuple[int | None, int | None]]

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """The bound (docs/likelihood.md) for each continuation, and whether greedy decoding gives it."""
        texts = [self.scored_text(instance) for instance in requests]
        found = self.score(texts, disable_tqdm)
        greedy = [False] * len(texts)
        if self.greedy_check:
            batch_size, budget = self.batching()
            greedy = greedy_matches(
                self.model, texts, mask_id=self.mask_id, batch_size=batch_size, token_budget=budget
            )
        return [(one.value, match) for one, match in zip(found, greedy, strict=True)]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """The bound for each whole text, in windows of the context."""
        windows = [rolling_windows(self.tokenizer, self.context_length, one.args[0]) for one in requests]
        found = iter(self.score([text for texts in windows for text in texts], disable_tqdm))
        return [sum(next(found).value for _ in texts) for texts in windows]

    def scored_text(self, instance: Instance) -> Text:
        """Context and continuation as tokens."""
        text = encode_pair(self.tokenizer, *instance.args)
        excess = text.length - self.context_length
        if excess <= 0:
            return text
        if self.truncate != "left" or excess >= len(text.context):
            raise LiftError(
                f"{instance.task_name} doc {instance.doc_id}: context and continuation have {text.length} "
                f"tokens, more than the model's {self.context_length}; cut contexts from the left with the "
                "model arg truncate=left"
            )
        self.counts["truncated_prompts"] += 1
        return dataclasses.replace(text, context=text.context[excess:])

    def score(self, texts: list[Text], disable_tqdm: bool) -> list[Likelihood]:
        """The bound for each text, with a progress bar; leaves the statistics."""
        hidden = disable_tqdm or self.on_progress is not None or self.ranks.rank > 0
        with tqdm(total=len(texts), desc="likelihood", unit="text", disable=hidden) as bar:
            found = elbo(
                self.model,
                texts,
                mask_id=self.mask_id,
                mc_num=self.mc_num,
                exact_tokens=self.exact_tokens,
                seed=self.settings.get("seed", 0),
                token_budget=self.token_budget or default_budget(self.model),
                on_done=lambda i, one: bar.update(),
            )
        sampled = [one.stderr for one in found if one.stderr]
        self.likelihood = {
            "texts": len(found),
            "exact": len(found) - len(sampled),
            "rows": sum(one.rows for one in found),
            "mc_num": self.mc_num,
            "mean_stderr": sum(sampled) / len(sampled) if sampled else 0.0,
        }
        return found

    @property
    def context_length(self) -> int:
        """Tokens that the model can see at a time."""
        return self.model.config.max_position_embeddings

    @property
    def mask_id(self) -> int:
        """The mask token."""
        return self.tokenizer.mask_token_id
