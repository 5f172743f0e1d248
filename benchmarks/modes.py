"""What each decoding mode costs in accuracy and saves in work, on the mini tasks with lift-tiny.

    python benchmarks/modes.py [--limit 64] [--model FOLDER] [--dtype bfloat16] [--only exact]

Real prompts, real end-of-text lengths, real scoring; the `plain` line is the published loop, one request at a
time. `equal` counts the answers that are those of the first line, text for text.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from typing import Any

from lm_eval.api.task import Task
from plain import plain
from rich.console import Console
from rich.table import Table

from lift_harness.decoding import Generation
from lift_harness.lm.model import LiftDLM
from lift_harness.tasks.protocol import load_task

TASKS = {"lift_sudoku_mini": "solved", "lift_countdown_mini": "acc"}
# Settings over those of the task. Blocks of 8 give the caches several blocks to work with.
MODES: dict[str, dict[str, Any]] = {
    "plain loop": {},
    "exact, batch 1": {},
    "exact, batch 16": {},
    "exact, speculate 4, batch 1": {"speculate": 4},
    "threshold 0.9": {"schedule": "threshold", "threshold": 0.9},
    "threshold 0.7": {"schedule": "threshold", "threshold": 0.7},
    "factor 1": {"schedule": "factor", "factor": 1.0},
    "entropy bound 0.1": {"schedule": "entropy_bound", "entropy_bound": 0.1},
    "blocks of 8": {"block_length": 8},
    "blocks of 8, prefix": {"block_length": 8, "cache": "prefix"},
    "blocks of 8, dual": {"block_length": 8, "cache": "dual"},
    "blocks of 8, dual, threshold 0.9": {
        "block_length": 8,
        "cache": "dual",
        "schedule": "threshold",
        "threshold": 0.9,
    },
}


def answers(lm: LiftDLM, task: Task, mode: str) -> tuple[list[str], int, int]:
    """Texts, forward passes and tokens of the texts."""
    instances = task.instances
    if mode != "plain loop":
        texts = lm.generate_until(instances, disable_tqdm=True)
        return texts, lm.counts["canvases"], lm.counts["tokens"]
    counts: Counter[str] = Counter()
    texts, tokens = [], 0
    for one in lm.resolve(instances):
        ids = plain(lm.model, list(one.prompt), one.config, lm.tokenizer.mask_token_id, counts)
        out = Generation(ids, [], [], 0)
        texts.append(one.text(lm.tokenizer, out))
        tokens += len(one.text_ids(lm.tokenizer, out))
    return texts, counts["calls"], tokens


def main() -> None:
    """Run every mode on every task and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--limit", type=int, default=256)
    parser.add_argument("--model", default="lift-tiny")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--only", help="modes whose name begins so")
    args = parser.parse_args()
    lm, console = LiftDLM(pretrained=args.model, dtype=args.dtype), Console(width=120)
    for name, metric in TASKS.items():
        task = load_task(name)
        task.bind(lm, False)
        task.build_all_requests(limit=args.limit, rank=0, world_size=1)
        table = Table("mode", f"{metric} %", "passes a request", "tokens/s", "x plain", "equal", title=name)
        exact: list[str] = []
        base = 0.0
        for mode, settings in MODES.items():
            if args.only and not mode.startswith(args.only):
                continue
            lm.settings, lm.batch_size = settings, 1 if mode.endswith("batch 1") else 16
            start = time.perf_counter()
            texts, passes, tokens = answers(lm, task, mode)
            speed = tokens / (time.perf_counter() - start)
            base, exact = base or speed, exact or texts
            right = [
                task.process_results(instance.doc, [[text]])[metric]
                for instance, text in zip(task.instances, texts, strict=True)
            ]
            table.add_row(
                mode,
                f"{100 * sum(right) / len(right):.1f}",
                f"{passes / len(texts):.1f}",
                f"{speed:.0f}",
                f"{speed / base:.2f}",
                f"{sum(a == b for a, b in zip(texts, exact, strict=True))}/{len(texts)}",
            )
        console.print(table)


if __name__ == "__main__":
    main()
