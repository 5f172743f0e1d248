"""Which isolation the machine offers, and the command that starts a process in it."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
NOBODY = 65534
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache")
# All that the program's environment holds. One hash seed: the order of a set is part of some answers.
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/tmp",
    "TMPDIR": "/tmp",
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",
    "OPENBLAS_NUM_THREADS": "1",  # a thread counts as a process
    "OMP_NUM_THREADS": "1",
}


@cache
def source(name: str) -> str:
    """The text of a script beside this module."""
    return (HERE / name).read_text(encoding="utf-8")


@cache
def interpreter() -> str:
    """This Python, not the virtual environment's link to it: nothing of the environment's start-up runs."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


@cache
def packages() -> tuple[str, ...]:
    """Where installed packages are: a solution may use numpy."""
    paths = (os.path.realpath(sysconfig.get_paths()[key]) for key in ("purelib", "platlib"))
    return tuple(dict.fromkeys(path for path in paths if os.path.isdir(path)))


@cache
def a_package() -> str:
    """An installed package for the trial run to import: numpy, or another that is quick."""
    names = ("numpy", "yaml", "packaging", "pip")
    return next((name for name in names if importlib.util.find_spec(name)), "json")


@cache
def environment() -> dict[str, str]:
    """The environment of what runs inside."""
    libraries = os.environ.get("LD_LIBRARY_PATH")
    return {**ENVIRONMENT, **({"LD_LIBRARY_PATH": libraries} if libraries else {})}


@cache
def read_only() -> tuple[str, ...]:
    """What of the host's files is in sight: the system's programs and libraries, and Python's."""
    paths = [*SYSTEM, *map(os.path.realpath, (sys.base_prefix, sys.base_exec_prefix)), *packages()]
    paths += filter(os.path.isabs, environment().get("LD_LIBRARY_PATH", "").split(":"))
    kept: list[str] = []
    for path in paths:
        inside = any(path == other or path.startswith(other + "/") for other in kept)
        if os.path.exists(path) and not inside and path not in ("/", "/tmp", "/proc", "/dev"):
            kept.append(path)
    return tuple(kept)


@cache
def seccomp() -> dict[str, str] | None:
    """A Python binding of libseccomp, if one is installed: {"module", "path"}."""
    for name in ("seccomp", "pyseccomp"):
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin:
            return {"module": name, "path": str(Path(spec.origin).parent)}
    return None


def kinds() -> list[str]:
    """What might work here, the best first."""
    if not sys.platform.startswith("linux"):
        return []
    programs = {"bubblewrap": "bwrap", "unshare": "unshare"}
    return [kind for kind, name in programs.items() if shutil.which(name)]


def program(name: str) -> str:
    """The path of a program, by the harness's PATH and not by the sandbox's."""
    return shutil.which(name) or name


def command(kind: str, scratch_bytes: int) -> list[str]:
    """The command line up to Python's arguments."""
    python = [interpreter(), "-u", "-S", "-s", "-B", "-c", source("launch.py")]
    if kind == "bubblewrap":
        return [*bubblewrap(scratch_bytes), *python]
    if kind == "unshare":
        # Root needs no user namespace to start with: it makes one as nobody (`launch.become_nobody`).
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        flags = ["--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child"]
        return [program("unshare"), *user, *flags, "--", *python]
    return python


def bubblewrap(scratch_bytes: int) -> list[str]:
    """Bubblewrap with nothing shared; for root as nobody, since the limit on processes does not bind root."""
    words = [
        program("bwrap"),
        "--unshare-user",
        "--unshare-ipc",
        "--unshare-pid",
        "--unshare-net",
        "--unshare-uts",
    ]
    if os.geteuid() == 0:
        words = [program("setpriv"), f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *words]
    if "--disable-userns" in bubblewrap_help():
        words.append("--disable-userns")
    words += ["--die-with-parent", "--cap-drop", "ALL"]
    # Without --size (before 0.7) the option is refused, the trial run fails, and unshare is used.
    words += ["--proc", "/proc", "--dev", "/dev", "--size", str(scratch_bytes), "--tmpfs", "/tmp"]
    for path in read_only():  # after these, not below them: an environment may lie in /tmp
        if os.path.islink(path):
            words += ["--symlink", os.readlink(path), path]
        else:
            words += ["--ro-bind", path, path]
    return [*words, "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp", "--"]


@cache
def bubblewrap_help() -> str:
    """What this version can do."""
    return subprocess.run([program("bwrap"), "--help"], capture_output=True, text=True, check=False).stdout


def process_limit(processes: int) -> int:
    """RLIMIT_NPROC for `processes` of them: since Linux 5.14 counted in the user namespace, before in all."""
    release = platform.release().split(".")
    if tuple(int("".join(filter(str.isdigit, part)) or 0) for part in release[:2]) >= (5, 14):
        return processes
    uid = NOBODY if os.geteuid() == 0 else os.getuid()
    return processes + _tasks_of(uid)


def _tasks_of(uid: int) -> int:
    count = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            count += len(list((process / "task").iterdir())) if process.stat().st_uid == uid else 0
        except OSError:  # it ended meanwhile
            continue
    return count


def job(kind: str, task: dict[str, Any], limits: dict[str, int], *, scratch_bytes: int, seconds: int) -> Any:
    """What `launch` reads from its standard input."""
    return {
        "mode": kind,
        "real_root": os.geteuid() == 0,
        "read_only": list(read_only()),
        "packages": list(packages()),
        "scratch_bytes": scratch_bytes,
        "seconds": seconds,
        "limits": limits,
        "seccomp": seccomp(),
        "guest": source("guest.py"),
        "task": task,
    }
