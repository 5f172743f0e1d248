"""The machine and the software that a run depends on, and what it took of the machine."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lift_harness.ranks import launched_processes

PACKAGES = (
    *("lm-eval", "torch", "transformers", "peft", "accelerate", "tokenizers", "safetensors", "datasets"),
    *("numpy", "sympy", "math-verify", "antlr4-python3-runtime"),
)


def packages() -> dict[str, str | None]:
    """Versions of what numbers depend on."""
    return {name: version_of(name) for name in PACKAGES} | {"python": platform.python_version()}


def version_of(name: str) -> str | None:
    """The installed version of a package."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def hardware() -> dict[str, Any]:
    """Processor, GPUs and threads."""
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "cpu": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": gpus,
        "cuda": torch.version.cuda if gpus else None,
        "processes": launched_processes(),
    }


def processor() -> str:
    """The processor's name."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        return next(line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name"))
    except (OSError, StopIteration, IndexError):
        return platform.processor() or platform.machine()


def peak_memory() -> int:
    """Bytes: of the GPU where there is one, else resident; since this process, or a stage of it, began."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def reset_peak_memory() -> None:
    """Let `peak_memory` begin anew, where the system can: each of several stages in a process has its own."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    else:
        with suppress(OSError):  # not Linux
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def git_state() -> dict[str, Any]:
    """Commit and cleanness of this package's checkout; None outside of one."""
    import lift_harness

    folder = Path(lift_harness.__file__).resolve().parent.parent

    def git(*args: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(folder), *args], capture_output=True, text=True, check=False
            )
        except OSError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # An installed package may lie inside somebody else's repository.
    if git("ls-files", "--error-unmatch", "lift_harness/__init__.py") is None:
        return {"git_commit": None, "git_dirty": None}
    return {"git_commit": git("rev-parse", "HEAD"), "git_dirty": bool(git("status", "--porcelain", "-uno"))}
