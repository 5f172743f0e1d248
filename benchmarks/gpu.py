"""Everything about a GPU in eight minutes: is it right, how fast is it, how much memory does it take.

    python benchmarks/gpu.py --make-bundle ../shared/golden     # once, here: reference files into .bundle/
    python benchmarks/gpu.py --rehearse                         # here: tiny shapes on the CPU
    python benchmarks/gpu.py --seconds 420 --out $OUT/gpu.json  # there, in a copy of the checkout

`.bundle/` (6 MiB, ignored by git) has to travel with the copy. Nothing has to be installed but torch,
transformers, peft and what they need: the package is taken from the checkout, and only models, decoding and
objectives are imported (no lm-eval, no datasets, no pydantic).

Each stage below is a process of its own with a bound on its time: one that fails, hangs or leaves the GPU in
an error says so, and the next one runs. A result is a line as it comes, and the whole of the results is
written to the JSON file with each of them. A variant that runs out of memory is a result.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START = time.monotonic()
ROOT = Path(__file__).resolve().parent.parent
BUNDLE = ROOT / ".bundle"
GOLDEN = ("llada-tiny", "llada-tiny-gqa", "dream-tiny")


@dataclass(frozen=True)
class Stage:
    """A function of a module in `stages/`, and the most seconds it may take of 420."""

    module: str
    function: str
    seconds: float


STAGES = [  # in order of worth
    Stage("machine", "machine", 20),  # what it is, and what it can do at most
    Stage("golden", "golden", 45),  # logits and transcripts of the published codes
    Stage("gradients", "gradients", 20),  # loss and gradients of a step against the CPU's
    Stage("answers", "answers", 60),  # lift-tiny against the CPU, and batch 1 against batch 16
    Stage("decoding", "decoding", 100),  # 8B: caches, schedules, drafts, batches, against the plain loop
    Stage("training", "lora", 110),  # 8B: methods against vanilla
    Stage("attention", "attention", 15),  # which kernels
    Stage("memory", "memory", 40),  # batch_size=auto, and what happens beyond
    Stage("training", "full", 45),  # 1B, all weights
    Stage("decoding", "compiled", 90),  # 8B with CUDA graphs: compiling takes long
]


def main() -> int:
    """Parse, run the stages, say where the results are."""
    as_written = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("--seconds", type=float, default=420, help="for everything, start-up included")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rehearse", action="store_true", help="tiny shapes on the CPU")
    parser.add_argument("--only", nargs="+", metavar="STAGE", help="these functions of the stages")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="the results (default: gpu.json)")
    parser.add_argument("--make-bundle", type=Path, metavar="GOLDEN", help="copy what travels along")
    args = parser.parse_args()
    if args.make_bundle:
        return make_bundle(args.make_bundle)
    find_package()
    warm_up_imports()
    device = "cpu" if args.rehearse else args.device
    results = Results(args.out, {"device": device, "rehearsal": args.rehearse})
    stages = [stage for stage in STAGES if not args.only or stage.function in args.only]
    start = "fork"
    for stage in stages:
        bound = stage.seconds * args.seconds / 420
        run_stage(stage, bound, args.seconds, start, results)
        if device != "cpu" and start == "fork" and "error" in results.of("machine").get("card", {}):
            start = "spawn"  # something started CUDA before the fork: imports cost time again, but it runs
            run_stage(stage, bound, args.seconds, start, results)
    wrong = results.failed()
    print(f"{len(stages)} stages, {len(wrong)} failed: {', '.join(wrong) or 'none'}; results: {args.out}")
    return 1 if wrong else 0


# ---------------------------------------------------------------- what travels, and what is imported


def make_bundle(golden: Path) -> int:
    """Copy the small reference files into `.bundle/`, which git ignores."""
    for name in GOLDEN:
        target = BUNDLE / "golden" / name
        target.mkdir(parents=True, exist_ok=True)
        for file in sorted((golden / name).iterdir()):
            shutil.copyfile(file, target / file.name)
    size = sum(file.stat().st_size for file in BUNDLE.rglob("*") if file.is_file())
    print(f"{BUNDLE}: {size / 2**20:.1f} MiB; take it along with the checkout")
    return 0


def find_package() -> None:
    """Make `lift_harness` importable from the checkout where it is not installed.

    Its parts decoding, training and tasks lie beside it there (setup.py): the checkout's root joins the
    places where subpackages are looked for.
    """
    if importlib.util.find_spec("lift_harness") is None:
        sys.path.insert(0, str(ROOT))
    package = importlib.import_module("lift_harness")
    if importlib.util.find_spec("lift_harness.decoding") is None:
        package.__path__.append(str(ROOT))


def warm_up_imports() -> None:
    """Import what every stage needs before they fork from this process.

    Nothing here may start CUDA, which no forked process could use: libraries that ask whether there is a GPU
    are answered by NVML.
    """
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    for stage in STAGES:
        try:
            importlib.import_module(f"stages.{stage.module}")
        except Exception as error:  # its own process will fail at the same place, and the others run
            print(f"stages/{stage.module}.py: {type(error).__name__}: {error}", flush=True)
    importlib.import_module("transformers").utils.logging.disable_progress_bar()


# ---------------------------------------------------------------- stages and results


class Results:
    """What was found, by stage and variant; the file has all of it at any time."""

    def __init__(self, path: Path, head: dict[str, Any]) -> None:
        self.path = path
        self.data: dict[str, Any] = {**head, "stages": {}}

    def begin(self, stage: str) -> None:
        """A stage that has not ended."""
        self.data["stages"][stage] = {"status": "unfinished", "results": {}}
        print(f"== {stage} ({time.monotonic() - START:.0f} s)", flush=True)

    def of(self, stage: str) -> dict[str, Any]:
        """What a stage found so far, by variant."""
        return dict(self.data["stages"].get(stage, {}).get("results", {}))

    def add(self, stage: str, variant: str, figures: dict[str, Any]) -> None:
        """A line, and the file."""
        figures = {
            name: None if value != value else value for name, value in figures.items()
        }  # JSON has no NaN
        self.data["stages"][stage]["results"][variant] = figures
        shown = "  ".join(f"{name} {shorten(value)}" for name, value in figures.items())
        print(f"   {variant}: {shown}", flush=True)
        self.write()

    def end(self, stage: str, status: str) -> None:
        """How a stage ended."""
        self.data["stages"][stage]["status"] = status
        if status != "done":
            print(f"   {stage}: {status}", flush=True)
        self.write()

    def write(self) -> None:
        """Replace the file, whole."""
        self.data["seconds"] = round(time.monotonic() - START, 1)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_name(self.path.name + ".part")
        part.write_text(json.dumps(self.data, indent=1) + "\n", encoding="utf-8")
        os.replace(part, self.path)

    def failed(self) -> list[str]:
        """Stages that broke, and variants that raised something else than out of memory."""
        broken = []
        for name, stage in self.data["stages"].items():
            errors = [variant for variant, figures in stage["results"].items() if "error" in figures]
            if stage["status"].startswith("failed"):
                errors.append(stage["status"])
            broken += [f"{name}/{error}" for error in errors]
        return broken


def shorten(value: Any) -> str:
    """A figure for a line."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def run_stage(stage: Stage, bound: float, total: float, start: str, results: Results) -> None:
    """Run a stage in a process of its own, for `bound` seconds at most and within the `total`."""
    name = stage.function
    results.begin(name)
    bound = min(bound, total - (time.monotonic() - START))
    if bound < 5:
        return results.end(name, "skipped: no time left")
    deadline = time.monotonic() + bound
    context: Any = multiprocessing.get_context(start)
    receiver, sender = context.Pipe(duplex=False)
    device, rehearse = results.data["device"], results.data["rehearsal"]
    process = context.Process(
        target=work, args=(stage, deadline, device, rehearse, results.of("machine"), sender)
    )
    process.start()
    sender.close()  # the process's end is its own: its death ends the pipe
    status = "done"
    while True:
        if not receiver.poll(max(0.0, deadline - time.monotonic())):
            status = f"out of time after {bound:.0f} s"
            process.kill()
            break
        try:
            results.add(name, *receiver.recv())
        except EOFError:
            break
    process.join()
    if status == "done" and process.exitcode:
        status = f"failed: exit status {process.exitcode}"
    results.end(name, status)


def work(
    stage: Stage, deadline: float, device: str, rehearse: bool, machine: dict[str, Any], sender: Any
) -> None:
    """What the process of a stage does."""
    find_package()  # a spawned process knows nothing of what its parent did
    from stages.bench import Bench

    bench = Bench(device, rehearse, deadline, machine, lambda *found: sender.send(found))
    function: Callable[[Bench], None] = getattr(
        importlib.import_module(f"stages.{stage.module}"), stage.function
    )
    function(bench)


if __name__ == "__main__":
    sys.exit(main())
