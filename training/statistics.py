"""What a training run logs beside the loss: what the method did with the rows and tokens of its batches.

The sums are kept on the device and read only when something is logged, and they are part of a checkpoint: a
resumed run logs what an uninterrupted one does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lift_harness.training.objectives import Loss

REGIMES = ("hardest", "random", "easiest")  # -1, 0, 1 of `objectives.lookahead`
T_BINS = 10
SUMS = ("loss", "rows", "confidence", "tokens", "passes")


def means(sums: list[float], counts: list[int]) -> list[float | None]:
    """Each sum over its count; None of nothing."""
    return [total / n if n else None for total, n in zip(sums, counts, strict=True)]


class Statistics:
    """Sums since the last log, and of confidences since the beginning."""

    def __init__(self, device: torch.device) -> None:
        self.loss = torch.zeros((), dtype=torch.float64, device=device)
        self.rows = torch.zeros(len(REGIMES), dtype=torch.int64, device=device)
        self.confidence = torch.zeros(2, T_BINS, dtype=torch.float64, device=device)  # kept, dropped
        self.tokens = torch.zeros(2, T_BINS, dtype=torch.int64, device=device)
        self.passes = torch.zeros(2, dtype=torch.int64)  # sequences and tokens that went through the model
        self.logged_step = 0

    def count_passes(self, model: nn.Module) -> Any:
        """Count what goes through a model; returns the handle that ends it."""

        def seen(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            ids, clean = kwargs["input_ids"] if "input_ids" in kwargs else args[0], kwargs.get("clean")
            self.passes += torch.tensor([ids.shape[0], ids.numel()])
            if clean is not None and clean.kept is None:  # it reads the clean text itself
                self.passes += torch.tensor([clean.ids.shape[0], clean.ids.numel()])

        return model.register_forward_pre_hook(seen, with_kwargs=True)

    def add(self, loss: Loss) -> None:
        """Count one micro-batch."""
        self.loss += loss.loss.detach().double()
        if loss.regime is not None:
            real = loss.supervised.any(-1)  # a filler row has no regime
            self.rows += torch.bincount(loss.regime[real] + 1, minlength=len(REGIMES))
        if loss.confidence is not None:
            scored = ~loss.confidence.isnan()
            bins = (loss.t * T_BINS).long().clamp(max=T_BINS - 1)[:, None].expand_as(scored)
            for i, tokens in enumerate((scored & loss.supervised, scored & ~loss.supervised)):
                values = loss.confidence[tokens].double()
                self.confidence[i] += torch.bincount(bins[tokens], weights=values, minlength=T_BINS)
                self.tokens[i] += torch.bincount(bins[tokens], minlength=T_BINS)

    def take(self, step: int, total: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """What goes into the log at an optimiser step, and begin again.

        Args:
            step: of the optimiser.
            total: adds a tensor up over processes.
        """
        rows = total(self.rows).tolist()
        logged = {"loss": float(total(self.loss)) / max(1, step - self.logged_step)}
        if sum(rows):
            logged |= {f"regime_{name}": n / sum(rows) for name, n in zip(REGIMES, rows, strict=True)}
        self.loss, self.rows, self.logged_step = self.loss * 0, self.rows * 0, step
        return logged

    def confidence_by_t(self, total: Callable[[Tensor], Tensor]) -> dict[str, Any] | None:
        """Mean confidence of kept and dropped tokens in bins of t; None where the method looks at none."""
        sums, counts = total(self.confidence).tolist(), total(self.tokens).tolist()
        if not any(map(any, counts)):
            return None
        kept, dropped = map(means, sums, counts)
        edges = [i / T_BINS for i in range(T_BINS + 1)]
        return {"t_edges": edges, "kept": kept, "dropped": dropped, "count": counts}

    # ------------------------------------------------------------ in a checkpoint

    def state(self, total: Callable[[Tensor], Tensor]) -> dict[str, Any]:
        """As JSON, added up over processes."""
        tensors = {name: total(getattr(self, name)).tolist() for name in SUMS}
        return {**tensors, "logged_step": self.logged_step}

    def restore(self, state: dict[str, Any], first: bool) -> None:
        """Go on from a state; the sums are the `first` process's."""
        self.logged_step = state["logged_step"]
        if first:
            for name in SUMS:
                sums = getattr(self, name)
                sums.copy_(torch.tensor(state[name], dtype=sums.dtype))
