"""`--nproc` and `--strategy`: the same command in several processes on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from lift_harness.errors import LiftError

CONFIGS = Path(__file__).parent.parent / "recipes" / "accelerate"
STRATEGIES = ("ddp", "fsdp", "zero2", "zero3")
OWN = ("--nproc", "--strategy")  # of the command line, not handed on


def launch(arguments: Sequence[str], nproc: int, strategy: str) -> None:
    """Run `lift-harness ARGUMENTS` in `nproc` processes and end as they do.

    Raises:
        LiftError: more processes than GPUs.
        SystemExit: with their exit code.
    """
    import torch

    gpus = torch.cuda.device_count()
    if gpus and nproc > gpus:
        raise LiftError(f"--nproc {nproc}: there are {gpus} GPUs; give at most as many processes")
    done = subprocess.run(command(handed_on(arguments), nproc, strategy), env=environment(nproc), check=False)
    sys.exit(done.returncode)


def command(arguments: Sequence[str], nproc: int, strategy: str) -> list[str]:
    """The launcher's command line: torchrun for DDP, else accelerate with the configuration of that name."""
    module = ["-m", "lift_harness", *arguments]
    if strategy == "ddp":
        run = ["torch.distributed.run", "--standalone", f"--nproc_per_node={nproc}"]
        return [sys.executable, "-m", *run, *module]
    config = ["--config_file", str(CONFIGS / f"{strategy}.yaml"), "--num_processes", str(nproc)]
    return [sys.executable, "-m", "accelerate.commands.launch", *config, *module]


def handed_on(arguments: Sequence[str]) -> list[str]:
    """The arguments without `--nproc` and `--strategy`."""
    kept, skip = [], False
    for argument in arguments:
        if skip:
            skip = False
        elif argument in OWN:
            skip = True
        elif not argument.startswith(tuple(f"{name}=" for name in OWN)):
            kept.append(argument)
    return kept


def environment(nproc: int) -> dict[str, str]:
    """Threads shared between the processes, unless the user has said how many."""
    threads = max(1, (os.cpu_count() or 1) // nproc)
    return {"OMP_NUM_THREADS": str(threads), **os.environ}
