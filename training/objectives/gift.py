"""GIFT: guided importance-aware fine-tuning (arXiv 2509.20863).

Tokens that the model is uncertain about, before it has seen any of the response, are masked more often:
b_i = sqrt(H_i), H_i the entropy of the prediction with the whole response masked (equations 11 and 12);
r_i = b_i / mean(b); t_i = 1 - (1 - t)^r_i; token i is masked with probability t_i.
L = E_t [ sum over masked i of w_i * -log p(x0_i | x_t) ], w_i = 1/t_i as published (equation 10), or
w_i = r_i (1 - t)^(r_i - 1) / t_i = (d t_i / d t) / t_i, which makes L the negative evidence lower bound of
these token-wise schedules.

The paper's ablations: `metric` takes H_i (table 8) or -log p(x0_i) (equation 13) in the place of sqrt(H_i);
`form: weighting` (SW, equations 14 and 15) masks as vanilla does and weighs by importance: w_i = r_i / t.

`variant: release` is what LIFT's authors compare with: their code leaves padding out, takes mean(b) over the
micro-batch, and divides by the masked tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lift_harness.errors import LiftError
from lift_harness.training.objectives.base import EPS, Batch, Loss, NoiseKey, scoring, weighted_loss
from lift_harness.training.objectives.definition import Options, Passes, objective
from lift_harness.training.objectives.options import boolean, one_of
from lift_harness.training.vocabulary import token_entropy, token_nll

METRICS = ("sqrt_entropy", "entropy", "nll")


ONLY_OF_RELEASE = {"weight": "published", "reference": False, "metric": "sqrt_entropy", "form": "masking"}


def refuse_contradictions(given: Options) -> None:
    """Refuse what the code behind `variant: release` does not have, and a `weight` where nothing uses it."""
    if given.get("variant") == "release":
        for option, only in ONLY_OF_RELEASE.items():
            if given.get(option, only) != only:
                raise LiftError(
                    f"objective.{option}={given[option]!r}: variant: release has only {str(only).lower()}; "
                    "leave out one"
                )
    if given.get("form") == "weighting" and "weight" in given:
        raise LiftError(
            f"objective.weight={given['weight']!r}: form: weighting has weights of its own; leave out one"
        )


@objective(
    passes=Passes(trained=1, scored=1),
    options={
        "weight": one_of("published", "nelbo").means("1/t_i, or what makes it the evidence lower bound"),
        "reference": boolean.means("ask the initial model what is important (GIFT*)"),
        "metric": one_of(*METRICS).means("the uncertainty of a token"),
        "form": one_of("masking", "weighting").means(
            "what it changes: how often a token is masked, or its weight"
        ),
        "variant": one_of("paper", "release").means("release: what LIFT's authors compare with"),
    },
    together=refuse_contradictions,
    reference="reference",
)
def gift(
    model: nn.Module,
    batch: Batch,
    key: NoiseKey,
    num_items: int | None = None,
    reference_model: nn.Module | None = None,
    *,
    weight: str = "published",
    reference: bool = False,
    metric: str = "sqrt_entropy",
    form: str = "masking",
    variant: str = "paper",
) -> Loss:
    """GIFT; with `reference` GIFT*, whose importances are those of the initial model.

    Args:
        model: called once without gradient (unless there is a reference model), and once with.
        batch: clean text.
        key: noise.
        num_items: response tokens to divide by.
        reference_model: the initial model, frozen (`with_reference`); without it `reference` asks `model`
            with its adapters disabled.
        weight: "published" or "nelbo".
        reference: ask the initial model what is important.
        metric: one of METRICS.
        form: "masking", or "weighting" of vanilla's loss.
        variant: "paper", or "release": without padding, and with a mean(b) and a divisor of the micro-batch,
            so that what is learnt depends on which rows share it.
    """
    release = variant == "release"
    text = without_padding(batch) if release else batch
    t = key.t(batch)
    asked = uncertainties(model, text, reference_model, reference, metric)
    r = importance(asked, text.response, together=release)
    shown = (1 - t)[:, None]
    if form == "weighting":
        rate, slope = t[:, None].expand_as(r), r
    else:
        rate = 1 - shown**r  # t_i [B, N]
        # The slope has no bound as t goes to 1 where r_i < 1: there 1 - t is at least EPS, as t is.
        slope = r * shown.clamp(min=EPS) ** (r - 1) if weight == "nelbo" else torch.ones_like(r)
    masked = key.mask_below(rate, text)
    weights = torch.where(masked, slope / rate, 0.0).float()
    if release:
        # `weighted_loss` divides by the response tokens (of the whole step): make it the masked ones, and
        # the micro-batch's part of the step its share of the response tokens.
        weights = weights * (batch.response.sum() / masked.sum().clamp(min=1))
    inputs = batch.x0.masked_fill(masked, batch.mask_id)
    loss = weighted_loss(model, batch, inputs, masked, weights, num_items)
    return Loss(loss, inputs, masked, weights, t, t.new_zeros(t.shape))


def without_padding(batch: Batch) -> Batch:
    """The batch whose padding is no response: it is shown, like the prompt."""
    if batch.padding is None:
        return batch
    return replace(batch, response=batch.response & ~batch.padding)


def importance(b: Tensor, response: Tensor, together: bool = False) -> Tensor:
    """r_i = b_i / mean(b) of uncertainties b: float64 [B, N].

    The mean is over the row's response tokens (`together`: those of all rows). Where it is 0 (or not a
    number, so that the loss says it) r is 1, vanilla masking.
    """
    b = b * response
    over = (-2, -1) if together else (-1,)
    count = response.sum(over, keepdim=True).clamp(min=1)
    mean = b.sum(over, keepdim=True) / count
    return torch.where(mean > 0, b / mean, 1.0)


def uncertainties(
    model: nn.Module, batch: Batch, reference_model: Any, reference: bool, metric: str = "sqrt_entropy"
) -> Tensor:
    """b_i of each response token, when the whole response is masked: float64 [B, N], 0 in the prompt.

    Args:
        model: asked, unless it is the initial one that is.
        batch: clean text.
        reference_model: the initial model, if there is a copy of it.
        reference: ask the initial model.
        metric: one of METRICS.
    """
    inputs = batch.x0.masked_fill(batch.response, batch.mask_id)
    asked = reference_model if reference and reference_model is not None else model
    initial = without_adapters(model) if reference and reference_model is None else nullcontext()
    text = replace(batch, clean=None) if reference else batch  # what `model` has read is no part of another
    found = torch.zeros(batch.x0.shape, device=batch.x0.device)
    with scoring(asked), initial:
        if metric == "nll":
            found[batch.response] = token_nll(asked, text, inputs, batch.response)
        else:
            found[batch.response] = token_entropy(asked, text, inputs, batch.response)
    b = found.double().clamp(min=0)  # rounding can make an entropy negative
    return b.sqrt() if metric == "sqrt_entropy" else b


@contextmanager
def without_adapters(model: nn.Module) -> Iterator[None]:
    """The initial model of a LoRA fine-tuning, also inside DistributedDataParallel.

    Raises:
        LiftError: the model has no adapters, so that what it was before training is not known.
    """
    inner: Any = getattr(model, "module", model)
    if not hasattr(inner, "disable_adapter"):
        raise LiftError(
            "objective.reference=True: a model without adapters does not remember what it was before "
            "training; train with LoRA, or give the objective a frozen copy (with_reference)"
        )
    with inner.disable_adapter():
        yield
