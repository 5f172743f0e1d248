"""`lift-harness doctor` without a model: whether this installation can do its work, as a report to paste.

What would make a command fail is a problem (exit code 2); what is missing but optional is a note. Nothing is
downloaded, and home folders are written as ~.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import psutil
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from lift_harness import __version__
from lift_harness.doctor.report import Report, Tables, gib
from lift_harness.errors import LiftError, first_line
from lift_harness.pipeline.hardware import version_of

PACKAGE = "lift-harness"
EXTRAS = ("gpu", "track")
PROBE_SECONDS = 120
# Runs in the Python of the `lm_eval` command, as that command would: only the start-up hook can have acted.
PROBE = """
import json, sys
known = {"python": sys.executable, "model": False, "tasks": False, "error": None}
try:
    from lm_eval import models
    from lm_eval.api.registry import model_registry
    from lm_eval.tasks import TaskManager
    known["model"] = "lift_dlm" in model_registry
    known["tasks"] = "lift_gsm8k" in TaskManager(include_defaults=False).all_tasks
except BaseException as error:
    known["error"] = f"{type(error).__name__}: {error}"
print(json.dumps(known))
"""


@dataclass
class InstallationReport(Report):
    """An installation, in sections as they are printed."""

    sections: Tables = field(default_factory=dict)

    def tables(self) -> Tables:
        """The sections."""
        return self.sections

    def add(self, section: str, label: str, text: str) -> None:
        """A line of a section."""
        self.sections.setdefault(section, {})[label] = text


def examine_installation() -> InstallationReport:
    """Look at everything; a look that fails is itself a problem."""
    report = InstallationReport()
    for look in (_system, _packages, _extras, _plugin, _devices, _model, _data, _sandbox):
        try:
            look(report)
        except Exception as error:  # the report must come out of a broken installation, too
            report.problems.append(f"{look.__name__[1:]}: cannot be checked: {first_line(error)}")
    return report


# ---------------------------------------------------------------- versions


def _system(report: InstallationReport) -> None:
    report.add("system", PACKAGE, f"{__version__} in {tilde(Path(__file__).parent)}")
    version = platform.python_version()
    report.add("system", "python", f"{version} ({tilde(sys.executable)})")
    report.add("system", "platform", platform.platform())
    requirements()  # says so if it is not installed
    wanted = importlib.metadata.metadata(PACKAGE)["Requires-Python"]
    if wanted and not SpecifierSet(wanted).contains(version, prereleases=True):
        report.problems.append(f"Python {version} is outside of the supported {wanted}")


def requirements() -> list[Requirement]:
    """What the installed package says that it needs."""
    try:
        lines = importlib.metadata.requires(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        raise LiftError(
            f"{PACKAGE} is imported from {tilde(Path(__file__).parent)} but not installed; pip install it"
        ) from None
    return [Requirement(line) for line in lines]


def _packages(report: InstallationReport) -> None:
    for need in requirements():
        if need.marker is not None and not need.marker.evaluate({"extra": ""}):
            continue
        version = version_of(need.name)
        report.add("packages", need.name, version or "missing")
        if version is None:
            report.problems.append(f"{need.name} is not installed; pip install '{need_text(need)}'")
        elif not need.specifier.contains(version, prereleases=True):
            report.problems.append(
                f"{need.name} {version} is outside of the supported {need.specifier}; "
                f"pip install '{need_text(need)}'"
            )


def _extras(report: InstallationReport) -> None:
    for extra in EXTRAS:
        for need in requirements():
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                continue
            if not need.marker.evaluate({"extra": extra}):
                continue
            version = version_of(need.name)
            report.add("optional", need.name, version or f"not installed ({PACKAGE}[{extra}])")
            if version is not None and not need.specifier.contains(version, prereleases=True):
                report.notes.append(f"{need.name} {version} is outside of the supported {need.specifier}")
    if (version := version_of("bitsandbytes")) is not None:
        report.add("optional", "bitsandbytes", version)


def need_text(need: Requirement) -> str:
    """A requirement as pip takes it."""
    return f"{need.name}{need.specifier}"


# ---------------------------------------------------------------- lm-eval


def _plugin(report: InstallationReport) -> None:
    """Whether the stock `lm_eval` command knows our model and tasks: asked of its own Python."""
    command = shutil.which("lm_eval")
    python = sys.executable if command is None else interpreter(Path(command))
    beside = shutil.which("lm_eval", path=str(Path(sys.executable).parent))
    report.add("lm-eval", "command", "not on PATH" if command is None else tilde(command))
    if command is None:
        where = f"; it is in {tilde(Path(beside).parent)}" if beside else ""
        report.notes.append(f"the lm_eval command is not on PATH{where}; python -m lm_eval works, too")
    elif python is None:
        report.notes.append(f"{tilde(command)} names no Python in its first line; checked is this Python")
        python = sys.executable
    known = probe(python or sys.executable)
    active = known["model"] and known["tasks"]
    report.add("lm-eval", "plugin", "active" if active else "not active")
    if active:
        return
    if os.environ.get("LIFT_HARNESS_NO_PLUGIN") == "1":
        reason = "LIFT_HARNESS_NO_PLUGIN=1 is set; unset it"
    elif known["error"]:
        reason = f"lm_eval cannot be imported there ({known['error']})"
    elif python and Path(python).parent != Path(sys.executable).parent:
        reason = (
            f"that command belongs to another Python ({tilde(python)}); activate the environment of "
            f"{tilde(sys.executable)}, or install {PACKAGE} there"
        )
    else:
        missing = [name for name in ("model", "tasks") if not known[name]]
        reason = (
            f"lm_eval knows no {' and no '.join(missing)} of ours: lift_harness_startup.pth is not in "
            f"site-packages, or is not run; pip install --force-reinstall --no-deps {PACKAGE}"
        )
    report.problems.append(f"the plugin is not active in the lm_eval command: {reason}")


def interpreter(script: Path) -> str | None:
    """The Python that a console script runs in, from its first line; None if that names none."""
    with script.open("rb") as stream:
        line = stream.readline(4096)
    if not line.startswith(b"#!"):
        return None
    words = line[2:].decode(errors="replace").split()
    if words and Path(words[0]).name == "env":
        return shutil.which(words[-1])
    return words[0] if words and Path(words[0]).is_file() else None


def probe(python: str) -> dict[str, Any]:
    """What the given Python's lm_eval knows of us."""
    failed = {"model": False, "tasks": False}
    try:
        done = subprocess.run(
            [python, "-c", PROBE], capture_output=True, text=True, timeout=PROBE_SECONDS, check=False
        )
        return json.loads(done.stdout.strip().splitlines()[-1])
    except subprocess.TimeoutExpired:
        return {**failed, "error": f"no answer in {PROBE_SECONDS} s"}
    except (OSError, IndexError, ValueError) as error:
        return {**failed, "error": first_line(error)}


# ---------------------------------------------------------------- devices


def _devices(report: InstallationReport) -> None:
    import torch

    threads = torch.get_num_threads()
    usable = len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else None
    cores = usable or psutil.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS")
    report.add("devices", "cpu", f"{cores} cores, torch uses {threads} threads, OMP_NUM_THREADS={limit}")
    if threads > cores:
        report.notes.append(f"torch uses {threads} threads on {cores} cores; set OMP_NUM_THREADS={cores}")
    memory = psutil.virtual_memory()
    report.add("devices", "memory", f"{gib(memory.available)} of {gib(memory.total)} free")
    built = torch.version.cuda or torch.version.hip
    report.add("devices", "torch", f"{torch.__version__}, built for {built or 'the CPU'}")
    if torch.cuda.is_available():
        for i in range(torch.cuda.device_count()):
            _gpu(report, torch, i)
    else:
        report.add("devices", "cuda", "none")
        if shutil.which("nvidia-smi") and built is None:
            report.notes.append("there is an NVIDIA driver, but this torch is built for the CPU only")
    if torch.backends.mps.is_available():
        report.add("devices", "mps", "available")


def _gpu(report: InstallationReport, torch: Any, i: int) -> None:
    """Name and memory of a GPU, and whether it computes."""
    free, total = torch.cuda.mem_get_info(i)
    half = "bfloat16" if torch.cuda.is_bf16_supported() else "no bfloat16"
    text = f"{torch.cuda.get_device_name(i)}, {gib(free)} of {gib(total)} free, {half}"
    report.add("devices", f"cuda:{i}", text)
    try:
        ones = torch.ones(16, 16, device=f"cuda:{i}")
        if float((ones @ ones).sum()) != 16**3:
            report.problems.append(f"cuda:{i} computes a wrong product")
    except RuntimeError as error:
        report.problems.append(f"cuda:{i} cannot compute: {first_line(error)}")


# ---------------------------------------------------------------- files


def _model(report: InstallationReport) -> None:
    from lift_harness.models.checkpoint import BUILT_IN

    for name, folder in BUILT_IN.items():
        files = ("config.json", "model.safetensors", "tokenizer.json")
        missing = [file for file in files if not (folder / file).is_file()]
        report.add("data", name, "inside the package" if not missing else f"lacks {', '.join(missing)}")
        if missing:
            report.problems.append(
                f"the model {name} inside the package lacks {', '.join(missing)}; install {PACKAGE} again"
            )


def _data(report: InstallationReport) -> None:
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    free = shutil.disk_usage(next(path for path in (cache, *cache.parents) if path.exists())).free
    offline = ", HF_HUB_OFFLINE" if constants.HF_HUB_OFFLINE else ""
    report.add("data", "cache", f"{tilde(cache)}{offline}, {gib(free)} free")
    folder = os.environ.get("LIFT_DATA_DIR")
    report.add("data", "LIFT_DATA_DIR", "not set" if not folder else tilde(folder))
    if folder and not Path(folder).is_dir():
        report.problems.append(f"LIFT_DATA_DIR={tilde(folder)} is not a folder; every benchmark reads it")
        return
    files = dict(benchmark_files(Path(folder) if folder else None, cache, report.problems.append))
    for label, text in files.items():
        report.add("data", label, text)
    if absent := [label for label, text in files.items() if text.endswith("is absent")]:
        report.notes.append(f"LIFT_DATA_DIR has no data of {', '.join(absent)}; those tasks cannot run")


def benchmark_files(
    folder: Path | None, cache: Path, complain: Callable[[str], None]
) -> Iterator[tuple[str, str]]:
    """(benchmark, where its data is): LIFT_DATA_DIR, or else the Hub's cache. An altered one is a problem."""
    from lift_harness.tasks.data import SOURCES

    for name, source in SOURCES.items():
        if folder is None:
            kept = cache.parent / "lift_harness" / source.file
            if source.hub is not None:
                kept = cache / f"datasets--{source.hub[0].replace('/', '--')}"
            yield (
                name,
                "in the cache" if kept.exists() else "not in the cache; read from its source when used",
            )
            continue
        file = folder / source.file
        if not file.is_file():
            yield name, f"{source.file} is absent"
            continue
        if source.unhashed:
            yield name, f"{source.file}, which has no hash to check it by"
            continue
        digest = sha256(file.read_bytes()).hexdigest()
        if digest == source.file_sha256:
            yield name, f"{source.file} as published"
        else:
            yield name, f"{source.file} is altered"
            complain(
                f"LIFT_DATA_DIR: {source.file} is not the published file: its sha256 is {digest}, not "
                f"{source.file_sha256}"
            )


def _sandbox(report: InstallationReport) -> None:
    from lift_harness.tasks.sandbox import isolation

    kind = isolation()
    report.add("sandbox", "isolation", kind)
    if kind == "none":
        report.notes.append(
            "no isolation for generated code: humaneval and mbpp run only with --confirm_run_unsafe_code "
            "(docs/sandbox.md)"
        )


def tilde(path: Any) -> str:
    """A path with ~ for the home folder: reports are pasted where others read them."""
    home, text = str(Path.home()), str(path)
    inside = len(home) > 1 and (text == home or text.startswith(home + os.sep))
    return f"~{text[len(home) :]}" if inside else text
