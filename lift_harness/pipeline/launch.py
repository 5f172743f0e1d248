"""`--nproc` and `--strategy`: the same command in several processes on this machine, one of several perhaps.

Of how many machines, and where they meet, torchrun's own variables say (PET_NNODES, PET_RDZV_ENDPOINT, ...;
docs/slurm).
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

from lift_harness.errors import LiftError

CONFIGS = Path(__file__).parent.parent / "recipes" / "accelerate"
STRATEGIES = ("ddp", "fsdp", "zero2", "zero3")
OWN = ("--nproc", "--strategy")  # of the command line, not handed on
GRACE = "600"  # seconds that a process has after SIGTERM for the step, and the checkpoint, that it is at
SAYS = "LIFT_HARNESS_LAUNCHER_SAYS"  # set for the processes whose error lines are said by `launch`


def starts_others(nproc: int, strategy: str) -> bool:
    """Whether this process is to start those that do the work."""
    return nproc > 1 or strategy != "ddp" or (several_machines() and SAYS not in os.environ)


def several_machines() -> bool:
    """Whether torchrun's variables tell of more than this machine."""
    return os.environ.get("PET_NNODES", "1") != "1"


def launch(arguments: Sequence[str], nproc: int, strategy: str) -> None:
    """Run `lift-harness ARGUMENTS` in `nproc` processes and end as they do, with one line where they fail.

    Raises:
        LiftError: more processes than GPUs; or a signal ended one of them.
        SystemExit: with their exit code.
    """
    import torch
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    gpus = torch.cuda.device_count()
    if gpus and nproc > gpus:
        raise LiftError(f"--nproc {nproc}: there are {gpus} GPUs; give at most as many processes")
    if strategy != "ddp" and several_machines():
        raise LiftError(
            f"--strategy {strategy}: over several machines only ddp is started here; run `accelerate launch` "
            "with a configuration of your own"
        )
    logging.disable()  # what the launcher tells of its processes; this one does nothing else
    os.environ.update(environment(nproc))
    try:
        start(handed_on(arguments), nproc, strategy)
    except ChildFailedError as error:
        sys.exit(told(error.failures))
    except SignalException as stop:
        sys.exit(128 + stop.sigval)
    except CalledProcessError as error:
        sys.exit(error.returncode)


def start(arguments: Sequence[str], nproc: int, strategy: str) -> None:
    """Start the processes and wait: torchrun for DDP, else accelerate with the configuration of that name."""
    command = ["-m", "lift_harness", *arguments]
    if strategy == "ddp":
        from torch.distributed.run import parse_args, run

        alone = [] if several_machines() else ["--standalone"]
        run(parse_args([*alone, f"--nproc_per_node={nproc}", *command]))
    else:
        from accelerate.commands.launch import launch_command, launch_command_parser

        config = ["--config_file", str(CONFIGS / f"{strategy}.yaml"), "--num_processes", str(nproc)]
        launch_command(launch_command_parser().parse_args([*config, *command]))


def told(failures: Mapping[int, Any]) -> int:
    """Say what a process that failed left to be said; the exit code.

    Raises:
        LiftError: a signal ended one.
    """
    lines = [one for one in failures.values() if str(one.message).startswith("error: ")]
    for one in lines[:1]:  # what is wrong with the input, all of them find
        sys.stderr.write(f"{one.message}\n")
        return int(one.exitcode)
    rank, first = min(failures.items(), key=lambda failed: failed[1].timestamp)
    if first.exitcode < 0:
        raise LiftError(
            f"process {rank} of the launch was ended by {first.signal_name()}; where nobody sent it, the "
            "machine was out of memory"
        )
    return int(first.exitcode)


def complain(line: str) -> None:
    """Write a line to standard error; a process of `launch` leaves it to that one, which says it once."""
    file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if file and os.environ.get(SAYS):
        said = {"message": line, "timestamp": int(time.time())}
        Path(file).write_text(json.dumps(said), encoding="utf-8")
    else:
        sys.stderr.write(f"{line}\n")


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
    """For the processes: threads shared between them, and time to end in, unless the user says how much."""
    threads = max(1, (os.cpu_count() or 1) // nproc)
    usual = {"OMP_NUM_THREADS": str(threads), "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": GRACE}
    return {**usual, **os.environ, SAYS: "1"}
