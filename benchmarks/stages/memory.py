"""batch_size=auto: what it picks, that this fits, and what happens where it does not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from measure import finish, on_gpu, peak_memory, reset_peak

from lift_harness.decoding import Request, run
from lift_harness.decoding.batching import default_budget
from stages.bench import Bench, Figures
from stages.decoding import clock, config_of, prompts_of, shaped

CPU_ROWS = 4  # of a pass, above which a rehearsal's model runs out of memory


def memory(bench: Bench) -> None:
    """One block of as many requests as the budget admits, then of eight times as many."""
    model = shaped(bench)
    for cache in ("none", "dual"):
        bench.attempt(f"auto, {cache}", admitted, bench, model, cache, 1, needs=6)
    with scarce(bench, model):
        bench.attempt("eight times too much, dual", admitted, bench, model, "dual", 8, needs=6)


def admitted(bench: Bench, model: Any, cache: str, factor: int) -> Figures:
    """Decode the first block of requests that fill the budget; one step a block."""
    budget = bench.small(1024, None) or default_budget(model)
    config = config_of(bench, {"cache": cache, "steps": bench.small(64, 256) // 32})
    columns = bench.small(32, 256) + config.gen_length
    number = max(1, factor * budget // columns)
    prompts = prompts_of(bench, model, number)
    requests = [
        Request(tuple(prompt), config, key=i, max_tokens=config.block_length)
        for i, prompt in enumerate(prompts)
    ]
    counts: Counter[str] = Counter()
    reset_peak(bench.device)
    start = clock(bench)
    outs = run(
        model,
        requests,
        mask_id=model.config.mask_token_id,
        batch_size=None,
        token_budget=factor * budget,
        counts=counts,
    )
    finish(bench.device)
    return {
        "budget": factor * budget,
        "requests": number,
        "answered": sum(len(out.ids) == config.block_length for out in outs),
        "passes": counts["calls"],
        "out_of_memory_times": counts["out_of_memory"],
        "s": clock(bench) - start,
        "peak_GiB": peak_memory(bench.device) / 2**10,
    }


@contextmanager
def scarce(bench: Bench, model: Any) -> Iterator[None]:
    """Where memory is real, nothing; in a rehearsal a model that runs out of it."""
    if on_gpu(bench.device):
        yield
        return
    pass_ = model.hidden_states

    def limited(input_ids: Any, *args: Any, **kwargs: Any) -> Any:
        if len(input_ids) > CPU_ROWS:
            raise torch.OutOfMemoryError("rehearsed")
        return pass_(input_ids, *args, **kwargs)

    model.hidden_states = limited
    try:
        yield
    finally:
        del model.hidden_states
