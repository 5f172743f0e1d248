"""`lift_dlm` scores texts: the requests `loglikelihood` and `loglikelihood_rolling` (docs/likelihood.md)."""

from __future__ import annotations

import dataclasses
from collections import Counter
from itertools import count
from typing import TYPE_CHECKING, Any

from lm_eval.api.instance import Instance
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from lift_harness.decoding import DecodingConfig
from lift_harness.decoding.likelihood import Likelihood, Text, elbo, greedy_matches
from lift_harness.decoding.request import excess_tokens
from lift_harness.errors import LiftError
from lift_harness.lm.diffusion_gemma import DiffusionGemma
from lift_harness.lm.requests import text_key
from lift_harness.models.chat import encode_prompt

if TYPE_CHECKING:
    from lift_harness.lm.model import LiftDLM


def loglikelihood(lm: LiftDLM, instances: list[Instance], disable_tqdm: bool) -> list[tuple[float, bool]]:
    """The bound for each continuation, and whether greedy decoding gives it."""
    check_scores(lm)
    asked = [scored_text(lm, instance) for instance in instances]
    texts = list(dict.fromkeys(text for text, _ in asked))  # on several ranks lm-eval repeats some
    truncated = sum(excess > 0 for _, excess in set(asked))
    bounds = bound(lm, "loglikelihood", texts, disable_tqdm, truncated)
    matches = greedy(lm, texts, disable_tqdm) if lm.greedy_check else dict.fromkeys(texts, False)
    return [(bounds[text].value, matches[text]) for text, _ in asked]


def loglikelihood_rolling(lm: LiftDLM, instances: list[Instance], disable_tqdm: bool) -> list[float]:
    """The bound for each whole text, in windows of the context."""
    check_scores(lm)
    asked = [
        rolling_windows(lm.tokenizer, lm.context_length, instance.args[0], name_of(instance))
        for instance in instances
    ]
    texts = list(dict.fromkeys(text for windows in asked for text in windows))
    bounds = bound(lm, "loglikelihood_rolling", texts, disable_tqdm)
    sums = []
    for windows in asked:
        sums.append(sum((bounds[text].value for text in windows), 0.0))  # 0.0: a text without tokens
    return sums


def check_scores(lm: LiftDLM) -> None:
    """Refuse to score texts by a model that fills no masks.

    Raises:
        LiftError: it is one.
    """
    if isinstance(lm.model, DiffusionGemma):
        raise LiftError(
            "DiffusionGemma has no mask token, and its likelihood is not computed; take tasks that generate"
        )


# ---------------------------------------------------------------- texts


def scored_text(lm: LiftDLM, instance: Instance) -> tuple[Text, int]:
    """Context and continuation as tokens, and how many the context lost.

    Raises:
        LiftError: nothing to score, or too much for the model's context.
    """
    name = name_of(instance)
    where = f"{name}: "
    try:
        text = encode_pair(lm.tokenizer, *instance.args)
    except LiftError as error:
        raise LiftError(f"{where}{error}") from error
    cuts = lm.truncate == "left"
    excess = excess_tokens(
        len(text.context),
        len(text.target),
        lm.context_length,
        where=where,
        before="the context",
        after=f"a continuation of {len(text.target)}",
        remedy=None if cuts else "cut contexts from the left with the model arg truncate=left",
    )
    return dataclasses.replace(text, context=text.context[excess:], name=name), excess


def name_of(instance: Instance) -> str:
    """What messages call a text."""
    return f"{instance.task_name} doc {instance.doc_id}"


def encode_pair(tokenizer: Any, context: str, continuation: str) -> Text:
    """Context and continuation as tokens, split where lm-eval splits them.

    Spaces at the context's end belong to the continuation; the two are encoded together, so that the tokens
    are those of the whole text. An empty context is the token that begins or ends texts.

    Raises:
        LiftError: the continuation has no tokens.
    """
    kept = context.rstrip()
    continuation, context = context[len(kept) :] + continuation, kept
    before = encode_prompt(tokenizer, context)
    target = encode_prompt(tokenizer, context + continuation)[len(before) :]
    if not target:
        raise LiftError(f"the continuation {continuation!r} has no tokens of its own; nothing can be scored")
    return Text(tuple(before or [first_token(tokenizer)]), tuple(target), text_key(context, continuation))


def rolling_windows(tokenizer: Any, length: int, text: str, name: str = "a text") -> list[Text]:
    """A whole text in windows of `length` tokens: every token is scored once, after what fits before it."""
    windows = get_rolling_token_windows(
        token_list=encode_prompt(tokenizer, text),
        prefix_token=first_token(tokenizer),
        max_seq_len=length - 1,
        context_len=1,
    )
    pairs = [make_disjoint_window(window) for window in windows]
    return [
        Text(tuple(context), tuple(target), text_key(text, str(n)), name)
        for n, (context, target) in enumerate(pairs)
    ]


def first_token(tokenizer: Any) -> int:
    """What stands before a text that has nothing before it."""
    return tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id


# ---------------------------------------------------------------- passes


def bound(
    lm: LiftDLM, kind: str, texts: list[Text], disable_tqdm: bool, truncated: int = 0
) -> dict[Text, Likelihood]:
    """The bound for each distinct text; leaves the statistics of that kind of request in `lm.likelihood`."""
    done = count(1)
    with lm.bar("likelihood", "text", len(texts), disable_tqdm) as show:
        bounds = elbo(
            lm.model,
            texts,
            mask_id=lm.mask_id,
            mc_num=lm.mc_num,
            exact_tokens=lm.exact_tokens,
            seed=DecodingConfig(seed=lm.settings.get("seed", 0)).seed,  # checked as decoding's is
            token_budget=lm.budget,
            on_done=lambda i, one: show(next(done)),
        )
    known = dict(zip(texts, bounds, strict=True))
    lm.likelihood[kind] = statistics(lm, known, truncated)
    return known


def statistics(lm: LiftDLM, bounds: dict[Text, Likelihood], truncated: int) -> dict[str, Any]:
    """What the texts of all ranks took, and how sure their bounds are."""
    errors = [one.stderr for one in bounds.values() if not one.exact]
    sums: Any = {  # not all of them whole numbers
        "texts": len(bounds),
        "sampled": len(errors),
        "rows": sum(one.rows for one in bounds.values()),
        "truncated": truncated,
        "stderr": sum(errors) if lm.mc_num > 1 else 0.0,  # one sample has none
    }
    sums = lm.ranks.sum(Counter(sums))
    known = lm.mc_num > 1 and sums["sampled"]
    return {
        "texts": sums["texts"],
        "exact": sums["texts"] - sums["sampled"],
        "rows": sums["rows"],
        "truncated": sums["truncated"],
        "mc_num": lm.mc_num,
        "mean_stderr": sums["stderr"] / sums["sampled"] if known else None,
    }


def greedy(lm: LiftDLM, texts: list[Text], disable_tqdm: bool) -> dict[Text, bool]:
    """Whether greedy decoding gives each target."""
    done = count(1)
    with lm.bar("greedy check", "text", len(texts), disable_tqdm) as show:
        matches = greedy_matches(
            lm.model,
            texts,
            mask_id=lm.mask_id,
            token_budget=lm.budget,
            on_done=lambda i: show(next(done)),
        )
    return dict(zip(texts, matches, strict=True))
