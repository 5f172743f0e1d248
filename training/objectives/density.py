"""Information-density driven masking with complementary views (arXiv 2603.15803).

Priority tokens (control flow, numbers, results: training/priority.py, or spans in the data) are masked with
probability min(w p, 1), the others with p, where p makes the mean over the response t: with f the share of
priority tokens, f min(w p, 1) + (1 - f) p = t, so that
p = t / (1 + (w - 1) f) while w p <= 1, else p = (t - f) / (1 - f).
With w < 1 they are masked less often, which is the others masked 1/w times as often: those are capped at 1.
Hard masking is w -> infinity, priority tokens before all others: min(t/f, 1), and max(0, (t - f)/(1 - f)).

The complementary view masks exactly the response tokens that the first did not. Its mean rate is 1 - t, so
it is a sample at time 1 - t, and each view is weighted as vanilla is, by one over its mean rate:
L = 1/2 E_t [ 1/t sum over masked i of -log p(x0_i | view) + 1/(1 - t) the same of the complement ].
Of n response tokens t n and (1 - t) n are masked on average, so the weights of either view sum to n, and
the mean of the two is on the scale of vanilla; with w = 1 it is vanilla's own bound, estimated at the
antithetic pair of times t and 1 - t. 1 - t is at least EPS there, as t is. (The weights are our choice.)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lift_harness.errors import LiftError
from lift_harness.training.objectives.base import EPS, Batch, Loss, NoiseKey
from lift_harness.training.objectives.definition import Options, objective
from lift_harness.training.objectives.options import boolean, number
from lift_harness.training.objectives.views import OPTIONS, learn_views, refuse_rows_of_blocks, views


def refuse_w_of_hard(given: Options) -> None:
    """Refuse a `w` beside `hard`, which is w -> infinity, and what vanilla refuses."""
    refuse_rows_of_blocks(given)
    if given.get("hard") and "w" in given:
        raise LiftError(f"objective.w={given['w']!r}: hard: true is w -> infinity; leave out one")


@objective(
    passes=views,
    options={
        "w": number("above 0", lambda w: w > 0).means("how many times as often priority tokens are masked"),
        "hard": boolean.means("priority tokens before all others: w without an end"),
        **OPTIONS,
    },
    together=refuse_w_of_hard,
    priority=True,
)
def density(
    model: nn.Module,
    batch: Batch,
    key: NoiseKey,
    num_items: int | None = None,
    *,
    w: float = 2.0,
    hard: bool = False,
    complementary: bool = True,
    weight: str = "one_over_t",
    normalise: str = "response",
) -> Loss:
    """Vanilla with priority tokens masked w times as often (or, w < 1, as rarely); 2 B rows in one pass.

    The result's rows are the B views at t, then the B complements at 1 - t.
    """
    if batch.priority is None:
        raise LiftError(
            "objective density: the batch does not say which tokens are priority; tokenize the data with "
            "priority (math, code or auto), or mark spans in the data (priority_spans)"
        )
    rate = rates(key.t(batch), batch.priority, batch.response, w, hard)
    return learn_views(model, batch, key, num_items, rate, complementary, weight, normalise)


def rates(t: Tensor, priority: Tensor, response: Tensor, w: float, hard: bool) -> Tensor:
    """Masking probability of each token, t on average over each row's response: float64 [B, N].

    Args:
        t: float64 [B].
        priority: bool [B, N]; only response tokens count.
        response: bool [B, N].
        w: how much more often priority tokens are masked, above 0.
        hard: w -> infinity.
    """
    if w < 1 and not hard:
        return rates(t, ~priority, response, 1 / w, hard)
    f = (priority & response).sum(-1) / response.sum(-1).clamp(min=1).double()
    # Beyond w p = 1 all priority tokens are masked, and the others make up the rest. (f = 1: no others.)
    beyond = (t - f) / (1 - f).clamp(min=EPS / response.shape[-1])
    if hard:
        first, others = (t / f).clamp(max=1), beyond.clamp(min=0)
    else:
        p = t / (1 + (w - 1) * f)
        first, others = (w * p).clamp(max=1), torch.where(w * p > 1, beyond, p)
    return torch.where(priority, first[:, None], others[:, None])
