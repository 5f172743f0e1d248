"""Seconds a pass of LLaDA-8B's shape: caches, schedules, drafts, batches, graphs, and the plain loop.

Prompt 256, canvas of 256 in blocks of 32, 2 tokens a step. Only the first blocks are decoded where nothing
more is learnt from the others. Random weights are sure of nothing: `threshold` commits one token a pass.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from measure import finish, peak_memory, reset_peak
from plain import plain
from shapes import random_model, sizes

from lift_harness.decoding import DecodingConfig, Request, run
from stages.bench import Bench, Figures

CACHES = ("none", "prefix", "dual")


def decoding(bench: Bench) -> None:
    """Eager passes, the plain loop first."""
    model = shaped(bench)
    plain_seconds = {}
    for cache in CACHES:
        figures = bench.attempt(f"plain, {cache}", plain_loop, bench, model, cache, needs=8)
        plain_seconds[cache] = figures.get("s/token")
    batch = bench.small(4, 32)
    for cache in CACHES:
        for size in (1, batch):
            base = plain_seconds[cache]
            bench.attempt(
                f"fixed, {cache}, batch {size}", engine, bench, model, size, base, {"cache": cache}, 2
            )
    for drafts in (2, 4):
        settings = {"speculate": drafts}
        bench.attempt(
            f"speculate {drafts}, batch 1", engine, bench, model, 1, plain_seconds["none"], settings, 2
        )
    for cache in CACHES:
        settings = {"cache": cache, "schedule": "threshold", "threshold": 0.9}
        bench.attempt(f"threshold, {cache}, batch 1", engine, bench, model, 1, None, settings, 1)
    settings = {"temperature": 0.7}
    bench.attempt(f"sampled, none, batch {batch}", engine, bench, model, batch, None, settings, 1)


def compiled(bench: Bench) -> None:
    """Compiled passes, without and with CUDA graphs; the first run of each compiles."""
    model, needed = shaped(bench), bench.small(3, 20)
    for mode in bench.small(["static"], [True, "reduce-overhead"]):
        for cache in ("dual", "none"):
            settings = {"cache": cache}
            bench.attempt(
                f"compile={mode}, {cache}, batch 1", steady, bench, model, settings, mode, needs=needed
            )


def shaped(bench: Bench) -> Any:
    """The model."""
    return random_model(*bench.small(("nano", torch.float32), ("8b", torch.bfloat16)), bench.device)


def config_of(bench: Bench, settings: dict[str, Any]) -> DecodingConfig:
    """Settings of the protocol's pace, on a shorter canvas in a rehearsal."""
    length = bench.small(64, 256)
    return DecodingConfig(
        **{"gen_length": length, "block_length": 32, "steps": length // 2, "early_stop": False, **settings}
    )


def prompts_of(bench: Bench, model: Any, number: int) -> list[list[int]]:
    """Random prompts of one length."""
    draw = torch.Generator().manual_seed(0)
    shape = (number, bench.small(32, 256))
    return torch.randint(model.config.mask_token_id - 1, shape, generator=draw).tolist()


def plain_loop(bench: Bench, model: Any, cache: str) -> Figures:
    """The published loop, one request, the whole canvas."""
    (prompt,), config = prompts_of(bench, model, 1), config_of(bench, {"cache": cache})
    plain(
        model, prompt, config.replace(gen_length=32, steps=2), model.config.mask_token_id, Counter()
    )  # warms up
    counts: Counter[str] = Counter()
    start = clock(bench)
    ids = plain(model, prompt, config, model.config.mask_token_id, counts)
    spent = clock(bench) - start
    return {"s/pass": spent / counts["calls"], "s/token": spent / len(ids), "passes": counts["calls"]}


def engine(
    bench: Bench,
    model: Any,
    batch: int,
    plain_seconds: float | None,
    settings: dict[str, Any],
    blocks: int,
) -> Figures:
    """The engine on `batch` requests, the first `blocks` of their canvases; against the ceilings."""
    config = config_of(bench, settings)
    run_blocks(bench, model, batch, config, 1, False, stop_after(3 * batch))  # warms up
    reset_peak(bench.device)
    spent, counts = run_blocks(bench, model, batch, config, blocks, False)
    per_pass, tokens = spent / counts["calls"], batch * blocks * config.block_length
    figures = {"s/pass": per_pass, "tokens/s": tokens / spent, "passes": counts["calls"]}
    if plain_seconds:
        figures["x_plain"] = plain_seconds * tokens / spent
    body, head = sizes(model)
    weights = (body + head) * model.dtype.itemsize
    figures["of_weights_read_once"] = weights / (bench.rate("copy", "GB/s") * 1e9) / per_pass
    work = 2 * (body * counts["columns"] + head * counts["projected"])
    figures["of_product_rate"] = work / spent / (bench.rate("product bfloat16", "TFLOP/s") * 1e12)
    figures["peak_GiB"] = peak_memory(bench.device) / 2**10
    return figures


class Enough(Exception):
    """Ends a decoding early."""


def run_blocks(
    bench: Bench,
    model: Any,
    batch: int,
    config: DecodingConfig,
    blocks: int,
    compile: bool | str,
    on_step: Callable[[int, Any], None] | None = None,
) -> tuple[float, Counter[str]]:
    """Seconds and counts of decoding some blocks, or until `on_step` raises `Enough`."""
    counts: Counter[str] = Counter()
    most = blocks * config.block_length
    prompts = prompts_of(bench, model, batch)
    requests = [Request(tuple(prompt), config, key=i, max_tokens=most) for i, prompt in enumerate(prompts)]
    options = {"batch_size": batch, "compile": compile, "counts": counts, "on_step": on_step}
    start = clock(bench)
    with suppress(Enough):
        run(model, requests, mask_id=model.config.mask_token_id, **options)
    return clock(bench) - start, counts


def stop_after(calls: int) -> Callable[[int, Any], None]:
    """An `on_step` that ends a decoding after so many calls."""
    left = iter(range(calls - 1))

    def stop(index: int, result: Any) -> None:
        if next(left, None) is None:
            raise Enough

    return stop


def steady(bench: Bench, model: Any, settings: dict[str, Any], mode: bool | str) -> Figures:
    """A compiled decoding of one request: what its first run costs, and a pass once nothing is made any more.

    `run` compiles each time it is called, but code made for the same shapes is found again, and CUDA graphs
    are recorded anew for the new store of keys and values: hence the median of the second run's passes.
    """
    if mode == "static":  # rehearsal: without a compiler
        mode = False
    config, times = config_of(bench, settings), []
    first, _ = run_blocks(bench, model, 1, config, 1, mode)
    run_blocks(bench, model, 1, config, 2, mode, lambda index, result: times.append(clock(bench)))
    passes = [after - before for before, after in zip(times, times[1:], strict=False)]
    return {"first_run_s": first, "median_s/pass": statistics.median(passes), "passes": len(times)}


def clock(bench: Bench) -> float:
    """The time when all work is done."""
    finish(bench.device)
    return time.perf_counter()
