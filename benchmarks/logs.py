"""What `score`, `compare` and `report` take on a run with many logged samples: time and memory of each.

    python benchmarks/logs.py FOLDER [--rows 200000] [--methods 1] [--only compare]

Writes a run of a base model and some methods, which answered rows / (methods + 1) problems each, and a log of
all rows for `score`. Rows have the fields and the sizes of GSM8K's as lm-eval logs them.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

TASK, TIME = "lift_gsm8k", "2026-11-20T10-00-00.000000"
INSTRUCTION = "Reason step by step, then give the final number in a box inside of the answer's tags. " * 3
NAMES = ("Ada", "Ben", "Carla", "Dmitri", "Elif", "Femi", "Grace", "Hugo", "Ines", "Jonas")
THINGS = ("apples", "tickets", "stamps", "marbles", "pages", "coins", "eggs", "books", "bottles")
SENTENCES = (
    "{name} has {a} boxes, and in each of them there are {b} {thing}.",
    "On Monday {name} gives {a} {thing} to a friend, who had {b} before that.",
    "The price of the {thing} is {a} dollars, of which {b} percent are taken off.",
    "That makes {a} * {b} = {c} {thing} in all.",
)


def sentences(r: random.Random, n: int) -> str:
    """So many sentences with names and numbers."""
    made = []
    for _ in range(n):
        a, b = r.randint(2, 90), r.randint(2, 90)
        made.append(
            r.choice(SENTENCES).format(name=r.choice(NAMES), thing=r.choice(THINGS), a=a, b=b, c=a * b)
        )
    return " ".join(made)


def row(i: int, method: str, skill: float) -> dict[str, Any]:
    """The line of a sample log for a problem, 2 to 4 KB of JSON."""
    r = random.Random(i)
    target = r.randint(2, 900)
    doc = {"question": f"{i}: {sentences(r, 4)}", "answer": f"{sentences(r, 4)}\n#### {target}"}
    r = random.Random(f"{method} {i}")
    right = r.random() < skill
    number = target if right else target + r.randint(1, 90)
    text = f"{sentences(r, r.randint(4, 9))}\n</reasoning>\n<answer>\n\\boxed{{{number}}}\n</answer>"
    prompt = (
        f"<|start_header_id|>user<|end_header_id|>\n\n{INSTRUCTION}\n\n{doc['question']}<|eot_id|><reasoning>"
    )
    metrics = {"acc": float(right), "math_verify": float(right), "format": 1.0}
    verdicts = {"n_samples": 1, "n_correct": int(right), **{name: [value] for name, value in metrics.items()}}
    return {
        "doc_id": i,
        "doc": {**doc, "verdicts": verdicts},
        "target": str(target),
        "arguments": {"gen_args_0": {"arg_0": prompt, "arg_1": {"until": [], "do_sample": False}}},
        "resps": [[text]],
        "filtered_resps": [[text]],
        "filter": "none",
        "metrics": list(metrics),
        "doc_hash": sha256(json.dumps(doc).encode()).hexdigest(),
        "prompt_hash": sha256(prompt.encode()).hexdigest(),
        "target_hash": sha256(str(target).encode()).hexdigest(),
        **metrics,
    }


def write_log(file: Path, rows: Iterable[dict[str, Any]]) -> None:
    """The lines of a log, one at a time."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)


def rows_of(method: str, n: int) -> Iterator[dict[str, Any]]:
    """What a method answered to n problems."""
    return (row(i, method, 0.5 if method == "base" else 0.52) for i in range(n))


def write_run(folder: Path, rows: int, methods: int) -> None:
    """The run, and `all.jsonl` beside it with as many rows in one log."""
    names = [f"method-{i}" for i in range(1, methods + 1)]
    run = folder / "run"
    for name in ("base", *names):
        n = rows // (methods + 1)
        write_log(run / name / "eval" / "one" / f"samples_{TASK}_{TIME}.jsonl", rows_of(name, n))
    recipe = {"name": "logs", "model": "lift-tiny", "methods": [{"name": name} for name in names]}
    (run / "recipe.yaml").write_text(json.dumps(recipe), encoding="utf-8")  # JSON is YAML
    (run / "results.json").write_text(json.dumps({"recipe": "logs", "scores": {}}), encoding="utf-8")
    write_log(folder / "all.jsonl", rows_of("base", rows))


def measure(command: list[str]) -> tuple[float, float, float]:
    """Seconds, seconds of processor time and peak memory in GB of a command and of what it waited for."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "lift_harness", *command], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e6


def main() -> None:
    """Write the run unless it is there, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--methods", type=int, default=1)
    parser.add_argument("--only", choices=("score", "compare", "report"))
    wanted = parser.parse_args()
    run, log = wanted.folder / "run", wanted.folder / "all.jsonl"
    if not log.exists():
        write_run(wanted.folder, wanted.rows, wanted.methods)
    commands = {
        "score": ["score", str(log), "--task", TASK],
        "compare": ["compare", str(run)],
        "report": ["report", str(run)],
    }
    print("command    seconds     CPU   GB")
    for name, command in commands.items():
        if wanted.only in (None, name):
            seconds, cpu, peak = measure(command)
            print(f"{name:10} {seconds:7.1f} {cpu:7.1f} {peak:4.2f}", flush=True)
    if (run / "report.html").exists():
        print(f"report.html: {(run / 'report.html').stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
