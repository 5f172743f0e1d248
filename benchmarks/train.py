"""Times a training step of each objective against vanilla, and vanilla against the usual way, in one run.

    OMP_NUM_THREADS=1 python benchmarks/train.py               # full fine-tuning of `mid` on the CPU
    OMP_NUM_THREADS=1 python benchmarks/train.py --lora        # adapters only
    OMP_NUM_THREADS=1 python benchmarks/train.py --memory      # peaks, each variant in its own process
    OMP_NUM_THREADS=1 python benchmarks/train.py --profile lift-3
    OMP_NUM_THREADS=1 python benchmarks/train.py --block-size 32 --variants bidirectional vanilla lift-3
    python benchmarks/train.py --model 8b --lora --checkpointing --device cuda --dtype bfloat16 --autocast \\
        --length 4096 --accumulate 1 --variants vanilla lift-3

A step is that of the Trainer: `--accumulate` micro-batches of `--batch` examples, clipping, fused AdamW. Each
round times every variant once on the same examples, taking turns at each micro-batch; a ratio is the median
over the rounds of the ratios within a round. `plain` is vanilla as trainers usually compute it: logits of all
positions in float32, all rows padded to the longest example of the data.

Times t are spread evenly over the rows of a step (a variant's cost depends on them), rho and masks are drawn.
Lengths are those of GSM8K's training set, in words and signs, where LIFT_DATA_DIR has it, else drawn from a
log-normal fitted to them; `--length` makes all rows that long. Columns: operations are those of products and
attention, counted in the first step; `of rate` (with `--length`) is the share of the machine's rate that the
operations needed reach (operations.py; model FLOPs utilisation); `beyond` is memory beyond weights and
optimiser.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from measure import peak_memory, product_rate, reset_peak
from operations import Operations, counted
from rich.console import Console
from rich.table import Table
from shapes import SHAPES, random_block_model, random_model, to_train
from training_step import Objective, Spread, adamw, objective_of, update

from lift_harness.tasks.prompts import INSTRUCTIONS, user_turn
from lift_harness.training.data import Collator, Example
from lift_harness.training.objectives import OBJECTIVES, Batch
from lift_harness.training.order import Steps

TARGETS = {
    "plain": ">= 1.5",
    "lift-3": "<= 1.20",
    "lift-2": "<= 1.30",
    "lift_a-3": "<= 1.03",
    "cart": "<= 1.03",
    "gift": "<= 1.32",
}
BLOCK_TARGETS = {"bidirectional": ">= 1/2.1", "lift-3": "<= 1.13", "lift-2": "<= 1.20", "gift": "<= 1.20"}
# Logarithms of words and signs in GSM8K's training set: mean and standard deviation.
QUESTION, ANSWER = (3.895, 0.360), (4.507, 0.409)


@dataclass
class Variant:
    """One way to train."""

    name: str
    objective: Objective
    pad_to: int | None
    seconds: list[float] = field(default_factory=list)
    tokens: int = 0
    operations: Operations = field(default_factory=Operations)  # of one step
    memory: tuple[float, float] | None = None  # peak, and of it beyond weights and optimiser


# ---------------------------------------------------------------- what is trained


def model_to_train(args: argparse.Namespace) -> Any:
    """A random model with adapters if asked for."""
    where = getattr(torch, args.dtype), args.device
    if args.block_size:
        model: Any = random_block_model(args.model, args.block_size, *where)
    else:
        model = random_model(args.model, *where)
    rank = args.rank or max(4, SHAPES[args.model]["d_model"] // 32)  # 128 for 8b, as the paper's
    return to_train(model, rank if args.lora else 0, args.checkpointing, args.dropout)


def lengths_of(args: argparse.Namespace) -> list[tuple[int, int]]:
    """Lengths of prompt and response of some hundred examples."""
    if args.length:
        return [(args.length // 4, args.length - args.length // 4)] * 512
    around = words(user_turn(INSTRUCTIONS["gsm8k"], ""))
    if folder := os.environ.get("LIFT_DATA_DIR"):
        lines = (Path(folder) / "gsm8k_train.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        return [(around + words(row["question"]), words(row["answer"])) for row in rows]
    draw = random.Random(0).lognormvariate
    return [(around + round(draw(*QUESTION)), round(draw(*ANSWER))) for _ in range(7473)]


def words(text: str) -> int:
    """Words and signs: about its tokens."""
    return len(re.findall(r"\w+|[^\w\s]", text))


def steps_of(args: argparse.Namespace, vocabulary: int) -> list[list[Example]]:
    """The examples of each step, in the order of training."""
    rows = args.batch * args.accumulate
    lengths = lengths_of(args)
    steps = Steps([p + r for p, r in lengths], rows, 1, 0, lambda: 0)
    order = [slot.example for slot in steps]
    draw = random.Random(1)
    found = []
    for step in range(args.rounds + 1):
        ids = order[step * rows : (step + 1) * rows]
        found.append(
            [
                Example(
                    step * rows + row,
                    *([draw.randrange(vocabulary - 2) for _ in range(n)] for n in lengths[i]),
                )
                for row, i in enumerate(ids)
            ]
        )
    return found


# ---------------------------------------------------------------- one step


def micro_batches(
    variant: Variant, examples: list[Example], model: Any, args: argparse.Namespace
) -> list[Batch]:
    """A step's batches, as the Trainer's collator makes them."""
    collate = Collator(model.config.eos_token_id, variant.pad_to)
    found = []
    for begin in range(0, len(examples), args.batch):
        made = {k: v.to(args.device) for k, v in collate(examples[begin : begin + args.batch]).items()}
        response = made["labels"] != -100
        found.append(Batch(made["input_ids"], response, made["example_id"], model.config.mask_token_id))
    return found


def forward_backward(
    variant: Variant, batches: list[Batch], n: int, model: Any, args: argparse.Namespace
) -> None:
    """The n-th micro-batch of a step."""
    key = Spread(seed=0, epoch=0, rows=args.batch * args.accumulate)
    items = int(sum(batch.response.sum() for batch in batches))
    with torch.autocast(args.device.split(":")[0], torch.bfloat16, enabled=args.autocast):
        loss = variant.objective(model, batches[n], key, items).loss
    loss.backward()


def take_step(
    variant: Variant, examples: list[Example], model: Any, optimizer: Any, args: argparse.Namespace
) -> None:
    """One optimiser step."""
    batches = micro_batches(variant, examples, model, args)
    for n in range(args.accumulate):
        forward_backward(variant, batches, n, model, args)
    update(model, optimizer)
    optimizer.zero_grad(set_to_none=True)


# ---------------------------------------------------------------- measuring


def measure(variants: list[Variant], model: Any, args: argparse.Namespace, console: Console) -> None:
    """Every variant once a round, on the same examples.

    They take turns at each micro-batch, so that what else the machine does meets all alike; the gradients
    meanwhile add up in one place, which costs each what its own would.
    """
    optimizer, steps = adamw(model), steps_of(args, model.config.vocab_size)
    for variant in variants:  # warms up
        with counted(model) as variant.operations:
            take_step(variant, steps[0], model, optimizer, args)
    for n, examples in enumerate(steps[1:]):
        batches = {v.name: micro_batches(v, examples, model, args) for v in variants}
        spent = dict.fromkeys(batches, 0.0)
        for micro in range(args.accumulate):
            turn = (n + micro) % len(variants)
            for variant in variants[turn:] + variants[:turn]:
                if micro == 0:
                    optimizer.zero_grad(set_to_none=True)
                start = now(args)
                forward_backward(variant, batches[variant.name], micro, model, args)
                spent[variant.name] += now(args) - start
        for variant in variants:
            start = now(args)
            update(model, optimizer)
            variant.seconds.append(spent[variant.name] + now(args) - start)
            variant.tokens += sum(len(e.prompt) + len(e.response) for e in examples)
        optimizer.zero_grad(set_to_none=True)
        console.log(f"round {n + 1} of {args.rounds}", {v.name: round(v.seconds[-1], 2) for v in variants})


def now(args: argparse.Namespace) -> float:
    """Seconds: of one thread alone its own, which leave out what others on the machine take from it."""
    if args.device.startswith("cuda"):
        torch.cuda.synchronize()
    elif torch.get_num_threads() == 1:
        return time.process_time()
    return time.perf_counter()


def measure_memory(variant: Variant, model: Any, args: argparse.Namespace) -> tuple[float, float]:
    """Peak MB in use over all steps, and how much of it is beyond weights and optimiser."""
    optimizer, steps = adamw(model), steps_of(args, model.config.vocab_size)
    reset_peak(args.device)
    before = peak_memory(args.device)
    for examples in steps:
        take_step(variant, examples, model, optimizer, args)
    return peak_memory(args.device), peak_memory(args.device) - before


def memory_of(name: str, console: Console) -> tuple[float, float]:
    """`measure_memory` in a process of its own."""
    command = [sys.executable, __file__, *sys.argv[1:], "--memory-of", name]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    peak, beyond = json.loads(done.stdout.splitlines()[-1])
    console.log(f"{name}: {peak:.0f} MB, {beyond:.0f} beyond weights and optimiser")
    return peak, beyond


def profile(variant: Variant, model: Any, args: argparse.Namespace) -> None:
    """Where the time of a step goes."""
    optimizer, steps = adamw(model), steps_of(args, model.config.vocab_size)
    for examples in steps[:2]:
        take_step(variant, examples, model, optimizer, args)
    with torch.profiler.profile(record_shapes=args.shapes) as seen:
        take_step(variant, steps[2], model, optimizer, args)
    found = seen.key_averages(group_by_input_shape=args.shapes)
    print(found.table(sort_by="self_cpu_time_total", row_limit=40, max_shapes_column_width=60))


def report(variants: list[Variant], rate: float, args: argparse.Namespace, console: Console) -> None:
    """The table."""
    base = next((v for v in variants if v.name == "vanilla"), variants[0])
    table = Table("variant", "s/step", f"x {base.name}", "range", "target", "x operations", "tokens/s")
    for heading in ("of rate", "peak MB", "beyond"):
        table.add_column(heading)
    for variant in variants:
        row = [variant.name, *[""] * 7, *(f"{mb:.0f}" for mb in variant.memory or ())]
        if variant.seconds:
            ratios = sorted(a / b for a, b in zip(variant.seconds, base.seconds, strict=True))
            seconds = statistics.median(variant.seconds)
            row[1:3] = f"{seconds:.2f}", f"{statistics.median(ratios):.3f}"
            row[3] = f"{ratios[0]:.2f} to {ratios[-1]:.2f}"
            row[4] = (BLOCK_TARGETS if args.block_size else TARGETS).get(variant.name, "")
            row[5] = f"{variant.operations.computed / base.operations.computed:.3f}"
            row[6] = f"{variant.tokens / sum(variant.seconds):.0f}"
            if args.length:  # else the step that was counted is not as long as those that were timed
                row[7] = f"{variant.operations.needed / seconds / rate:.0%}"
        table.add_row(*row)
    console.print(table)


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    known = ["plain", "vanilla", "lift-3", "lift-2", "lift_a-3", "gift", "cart"]
    usual = [name for name in known if name == "plain" or name.partition("-")[0] in OBJECTIVES]
    parser.add_argument("--variants", nargs="+", default=usual, help=f"default: {' '.join(usual)}")
    parser.add_argument("--model", choices=SHAPES, default="mid")
    parser.add_argument("--block-size", type=int, help="a model with blocks, in SDAR's format, of that shape")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", help="of the weights")
    parser.add_argument("--autocast", action="store_true", help="bfloat16 where autocast has it")
    parser.add_argument("--lora", action="store_true", help="adapters on q, k, v; else all weights")
    parser.add_argument("--rank", type=int, help="of the adapters; default: 1/32 of d_model")
    parser.add_argument("--dropout", type=float, default=0.05, help="of the adapters")
    parser.add_argument("--checkpointing", action="store_true", help="activations again in the backward pass")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--accumulate", type=int, default=6)
    parser.add_argument("--length", type=int, help="of every row; default: as the data")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rate", type=float, help="TFLOP/s of the data sheet; default: of a large product")
    parser.add_argument("--memory", action="store_true", help="peaks, each variant in its own process")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    parser.add_argument("--profile", metavar="VARIANT", help="torch.profiler's table of one step")
    parser.add_argument("--shapes", action="store_true", help="--profile by shapes of the operands")
    args = parser.parse_args()
    longest = max(map(sum, lengths_of(args)))
    make = lambda name: Variant(name, objective_of(name), longest if name == "plain" else None)  # noqa: E731
    console = Console(width=130)
    if args.memory_of:
        print(json.dumps(measure_memory(make(args.memory_of), model_to_train(args), args)))
        return
    if args.profile:
        profile(make(args.profile), model_to_train(args), args)
        return
    variants = [make(name) for name in args.variants]
    if args.memory:
        for variant in variants:
            variant.memory = memory_of(variant.name, console)
        report(variants, 0, args, console)
        return
    model = model_to_train(args)
    rate = product_rate(getattr(torch, args.dtype), args.device)
    measure(variants, model, args, console)
    rate = max(rate, product_rate(getattr(torch, args.dtype), args.device))  # others may have disturbed it
    where = torch.cuda.get_device_name() if args.device.startswith("cuda") else platform.machine()
    console.print(
        f"{args.model}: {model.num_parameters() / 1e6:.0f} M parameters, {args.dtype}, "
        f"{'LoRA' if args.lora else 'all trained'}, {args.accumulate} x {args.batch} rows up to {longest}; "
        f"{where}, {torch.get_num_threads()} threads, torch {torch.__version__}; a product: {rate / 1e9:.0f} "
        "GFLOP/s"
    )
    report(variants, args.rate * 1e12 if args.rate else rate, args, console)


if __name__ == "__main__":
    main()
