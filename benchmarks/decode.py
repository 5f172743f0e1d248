"""Times the decoding engine against the published loops, on the same weights and prompts, in one run.

    python benchmarks/decode.py                      # `mid` on the CPU: one batch of equal requests
    python benchmarks/decode.py --workload ragged    # requests of different lengths that end early
    python benchmarks/decode.py --workload blocks    # a model with blocks of 32
    python benchmarks/decode.py --model 8b --dtype bfloat16 --device cuda

Ratios are of throughput (tokens of text per second) to the plain loop of the same algorithm. Each round runs
every variant once, in an order that changes, and a variant's time is its median over the rounds. `limit` is
the share of the machine's matrix multiplication rate, measured in the same run, that its products reach.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from measure import peak_memory, product_rate, reset_peak
from plain import plain, plain_blocks
from rich.console import Console
from rich.table import Table
from shapes import SHAPES, random_block_model, random_model, sizes

from lift_harness.decoding import DecodingConfig, Request, run, settings_for

# Tokens before the end of text in 1,130 GSM8K answers of LLaDA-8B-Instruct at gen_length 128 (the recorded
# generations), at the quantiles 1/64, 3/64, ... 63/64: most would have used more than 128.
ANSWER_TOKENS = [91, 98, 105, 109, 113, 116, 119, 122, *[126] * 24]


@dataclass
class Variant:
    """One way to decode the workload."""

    name: str
    work: Callable[[Counter[str]], dict[int, list[int]]]  # request -> its text's tokens
    baseline: str  # the plain loop of the same algorithm
    seconds: list[float] = field(default_factory=list)
    memory: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    answers: dict[int, list[int]] = field(default_factory=dict)


def requests_of(prompts: list[list[int]], config: DecodingConfig, lengths: list[int] | None) -> list[Request]:
    """Requests that end once their answer's length is reached, as an end-of-text token would end them."""
    found = []
    for i, prompt in enumerate(prompts):
        stop = None if lengths is None else lambda tokens, n=lengths[i]: len(tokens) > n
        found.append(Request(tuple(prompt), config, key=i, finished=stop))
    return found


def engine(
    model: Any, mask_id: int, prompts: list[list[int]], lengths: list[int] | None, **options: Any
) -> Callable[[Counter[str]], dict[int, list[int]]]:
    """The engine on some prompts; `batch_size`, `compile` and decoding settings."""
    how = {name: options.pop(name) for name in ("batch_size", "compile") if name in options}
    wanted = requests_of(prompts, settings_for(model, options), lengths)

    def work(counts: Counter[str]) -> dict[int, list[int]]:
        outs = run(model, wanted, mask_id=mask_id, counts=counts, **how)
        return {i: out.ids[: lengths[i]] if lengths else out.ids for i, out in enumerate(outs)}

    return work


def published(
    model: Any, mask_id: int, prompts: list[list[int]], lengths: list[int] | None, **options: Any
) -> Callable[[Counter[str]], dict[int, list[int]]]:
    """The plain loop on some prompts. It decodes whole canvases, as the published code does."""
    config = settings_for(model, options)
    loop = plain if model.block_size is None else plain_blocks

    def work(counts: Counter[str]) -> dict[int, list[int]]:
        outs = [loop(model, prompt, config, mask_id, counts) for prompt in prompts]
        return {i: out[: lengths[i]] if lengths else out for i, out in enumerate(outs)}

    return work


def uniform(model: Any, mask_id: int, args: argparse.Namespace) -> list[Variant]:
    """Requests of one length: the targets' workload."""
    settings = dict(gen_length=128, block_length=32, steps=64, early_stop=False)
    four = [torch.randint(0, mask_id - 1, (256,)).tolist() for _ in range(args.batch)]
    one, n = four[:1], args.batch
    found = []
    for cache in ("none", "prefix", "dual"):
        base = f"plain {cache}"
        found.append(Variant(base, published(model, mask_id, one, None, cache=cache, **settings), base))
        for label, prompts in (("batch 1", one), (f"batch {n}", four)):
            work = engine(model, mask_id, prompts, None, cache=cache, batch_size=n, **settings)
            found.append(Variant(f"{cache}, {label}", work, base))
    for drafts in (2, 4):
        work = engine(model, mask_id, one, None, speculate=drafts, **settings)
        found.append(Variant(f"none, speculate {drafts}, batch 1", work, "plain none"))
    if args.compile:
        for cache in ("none", "dual"):
            work = engine(model, mask_id, one, None, cache=cache, compile=True, batch_size=1, **settings)
            work(Counter())  # compiles
            found.append(Variant(f"{cache}, compiled, batch 1", work, f"plain {cache}"))
    return found


def in_blocks(model: Any, mask_id: int, args: argparse.Namespace) -> list[Variant]:
    """Requests of one length to a model with blocks."""
    settings = dict(gen_length=128, schedule="llada2", steps=64, early_stop=False)
    four = [torch.randint(0, mask_id - 1, (256,)).tolist() for _ in range(args.batch)]
    base = "plain"
    found = [Variant(base, published(model, mask_id, four[:1], None, **settings), base)]
    for cache in ("none", "blocks"):
        for label, prompts in (("batch 1", four[:1]), (f"batch {args.batch}", four)):
            work = engine(model, mask_id, prompts, None, cache=cache, batch_size=args.batch, **settings)
            found.append(Variant(f"{cache}, {label}", work, base))
    return found


def ragged(model: Any, mask_id: int, args: argparse.Namespace) -> list[Variant]:
    """Prompts of 64 to 312 tokens on a canvas of 256, with answers as long as real ones."""
    settings = dict(gen_length=256, block_length=32, steps=128)
    draw = random.Random(0)
    step = 32 // args.requests
    prompts = [[draw.randrange(mask_id - 1) for _ in range(64 + 8 * i)] for i in range(0, 32, step)]
    lengths = draw.sample(ANSWER_TOKENS, len(prompts))
    found = []
    for cache in ("none", "dual"):
        base = f"plain {cache}"
        some = range(0, len(prompts), 4) if args.quick else range(len(prompts))
        work = published(
            model,
            mask_id,
            [prompts[i] for i in some],
            [lengths[i] for i in some],
            cache=cache,
            **settings,
        )
        found.append(Variant(base, relabelled(work, list(some)), base))
        work = engine(model, mask_id, prompts, lengths, cache=cache, batch_size=8, **settings)
        found.append(Variant(f"{cache}, batch 8", work, base))
    return found


def relabelled(
    work: Callable[[Counter[str]], dict[int, list[int]]], index: list[int]
) -> Callable[[Counter[str]], dict[int, list[int]]]:
    """The same work, its results under other numbers."""
    return lambda counts: {index[i]: ids for i, ids in work(counts).items()}


def measure(
    variants: list[Variant], rounds: int, device: str, console: Console, clock: Callable[[], float]
) -> None:
    """Run every variant once a round."""
    for n in range(rounds):
        for variant in variants[n % len(variants) :] + variants[: n % len(variants)]:
            reset_peak(device)
            before, variant.counts = peak_memory(device), Counter()
            start = clock()
            variant.answers = variant.work(variant.counts)
            variant.seconds.append(clock() - start)
            variant.memory = max(variant.memory, peak_memory(device) - before)
            console.log(f"round {n + 1} of {rounds}: {variant.name}: {variant.seconds[-1]:.2f} s")


def report(variants: list[Variant], model: Any, rate: float, console: Console) -> None:
    """The table."""
    by_name = {variant.name: variant for variant in variants}
    table = Table("variant", "tokens/s", "x plain", "passes", "canvases", "limit", "ids equal", "peak MB")
    blocks, head = sizes(model)
    for variant in variants:
        base = by_name[variant.baseline]
        seconds = statistics.median(variant.seconds)
        speed = sum(map(len, variant.answers.values())) / seconds
        base_speed = sum(map(len, base.answers.values())) / statistics.median(base.seconds)
        both = variant.answers.keys() & base.answers.keys()
        equal = sum(variant.answers[i] == base.answers[i] for i in both)
        work = 2 * (blocks * variant.counts["columns"] + head * variant.counts["projected"])
        table.add_row(
            variant.name,
            f"{speed:.1f}",
            f"{speed / base_speed:.2f}",
            str(variant.counts["calls"]),
            str(variant.counts["canvases"]),
            f"{work / seconds / rate:.0%}",
            f"{equal}/{len(both)}",
            f"{variant.memory:.0f}",
        )
    console.print(table)


WORKLOADS = {"uniform": uniform, "ragged": ragged, "blocks": in_blocks}


CLOCKS = {"wall": time.perf_counter, "process": time.process_time}


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--workload", choices=WORKLOADS, default="uniform")
    parser.add_argument("--model", choices=SHAPES, default="mid")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--batch", type=int, default=4, help="of the uniform workload")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--clock",
        choices=CLOCKS,
        default="wall",
        help="process: the process's own time, for one thread beside other jobs",
    )
    parser.add_argument("--compile", action="store_true", help="also compiled passes (uniform)")
    parser.add_argument("--requests", type=int, default=32, help="of the ragged workload, at most 32")
    parser.add_argument("--quick", action="store_true", help="ragged: the plain loop on a quarter of it")
    args = parser.parse_args()
    console = Console(width=110)
    dtype = getattr(torch, args.dtype)
    if args.workload == "blocks":
        model = random_block_model(args.model, 32, dtype, args.device)
    else:
        model = random_model(args.model, dtype, args.device)
    mask_id = model.config.mask_token_id
    rate = product_rate(dtype, args.device)
    console.print(
        f"{args.model}: {model.num_parameters() / 1e6:.0f} M parameters, {args.dtype}, {args.device}, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}; product: {rate / 1e9:.0f} GFLOP/s"
    )
    variants = WORKLOADS[args.workload](model, mask_id, args)
    measure(variants, args.rounds, args.device, console, CLOCKS[args.clock])
    report(variants, model, rate, console)


if __name__ == "__main__":
    main()
