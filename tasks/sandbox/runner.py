"""Runs untrusted Python programs against their tests, and tells which pass (threat model: docs/sandbox.md).

A solution and its tests run in two processes, each in a sandbox of its own. The tests' process calls the
solution's functions over pipes that carry plain data only, and reports on a pipe that the solution's process
does not have. So there is no secret to find and no verdict to forge: all that a solution can send are
values, and the tests compare those.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import selectors
import signal
import subprocess
import tempfile
import threading
import time
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

from lift_harness.errors import LiftError
from lift_harness.tasks.sandbox import commands

GRACE = 2.0  # seconds beyond the time limit for processes to end by themselves
CHUNK = 1 << 16
ENDED = "the solution's process ended"  # as `guest.Solution` says it


@dataclass(frozen=True)
class Program:
    """A solution and how it is judged.

    Attributes:
        solution: untrusted source code.
        tests: source code that calls the functions `names` and raises if they are wrong.
        names: the functions that the tests take from the solution, builtins' names allowed.
        context: imports and helpers, executed before either of them, on both sides.
        cpu_s: seconds of processor time of each of its processes; None: those of all programs (`Limits`).
    """

    solution: str
    tests: str
    names: tuple[str, ...]
    context: str = ""
    cpu_s: float | None = None


@dataclass(frozen=True)
class Limits:
    """What a program may use; CPU time and memory are per process."""

    wall_s: float = 40.0
    cpu_s: float = 10.0
    memory_mb: int = 1024
    processes: int = 16
    scratch_mb: int = 16
    output_bytes: int = 1 << 16


@dataclass(frozen=True)
class Verdict:
    """What came of a program.

    Attributes:
        passed: its tests ran to their end.
        reason: "passed", "wrong answer" (an assertion failed), "error" or "time limit".
        detail: one line.
        output: the beginning of what the solution printed.
        seconds: on the clock.
    """

    passed: bool
    reason: str
    detail: str = ""
    output: str = ""
    seconds: float = 0.0


def run(
    programs: Iterable[Program],
    *,
    wall_s: float = Limits.wall_s,
    cpu_s: float = Limits.cpu_s,
    memory_mb: int = Limits.memory_mb,
    processes: int = Limits.processes,
    scratch_mb: int = Limits.scratch_mb,
    output_bytes: int = Limits.output_bytes,
    workers: int | None = None,
    allow_unisolated: bool = False,
) -> list[Verdict]:
    """The verdicts on programs, in their order.

    Args:
        programs: what to run.
        wall_s: seconds on the clock; generous, so that a busy machine gives the same verdicts.
        cpu_s: seconds of processor time of a process.
        memory_mb: address space of a process, MiB.
        processes: processes and threads at a time.
        scratch_mb: size of the private temporary folder, MiB; also of a file.
        output_bytes: how much of its output is kept; the rest is read and dropped.
        workers: programs at a time; None: one per processor this process may use.
        allow_unisolated: run, with a warning, where nothing but resource limits protects this machine.

    Raises:
        LiftError: no isolation, and not allowed to go without.
    """
    kind = require_isolation(allow_unisolated)
    limits = Limits(wall_s, cpu_s, memory_mb, processes, scratch_mb, output_bytes)
    if workers is None:
        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ThreadPoolExecutor(max_workers=max(1, workers), thread_name_prefix="sandbox") as pool:
        futures = [pool.submit(run_one, program, limits, kind) for program in programs]
        try:
            return [future.result() for future in futures]
        finally:  # interrupted: those that have not begun never do
            pool.shutdown(wait=False, cancel_futures=True)


def require_isolation(allow_unisolated: bool = False) -> str:
    """`isolation()`, if programs may be run with it."""
    kind = isolation()
    if kind == "none" and not allow_unisolated:
        raise LiftError(
            "generated code cannot be run safely here: neither bubblewrap (bwrap) nor unshare with user "
            "namespaces works; install bubblewrap, or pass --confirm_run_unsafe_code to run it unprotected"
        )
    if kind == "none":
        warnings.warn(
            "generated code runs without isolation: it can read and delete your files and use the network",
            RuntimeWarning,
            stacklevel=3,
        )
    return kind


# ---------------------------------------------------------------- which isolation

_isolation: str | None = None
_isolation_lock = threading.Lock()
TRIAL_SOLUTION = """
import os, socket, time
try:
    import PACKAGE
except Exception as error:
    print(type(error).__name__, error)
def pid():
    return os.getpid()
def forks():
    started = 0
    while started < 40:
        try:
            child = os.fork()
        except OSError:
            break
        if child == 0:
            time.sleep(60)
            os._exit(0)
        started += 1
    return started
def interfaces():
    return [name for _, name in socket.if_nameindex()]
def writes(folder):
    try:
        open(os.path.join(folder, "lift-harness-trial"), "x").close()
    except OSError:
        return False
    os.remove(os.path.join(folder, "lift-harness-trial"))
    return True
"""


def isolation() -> str:
    """What programs are isolated with here: "bubblewrap", "unshare" or "none", found by trial once."""
    global _isolation
    with _isolation_lock:
        if _isolation is None:
            _isolation = _first_that_holds()
        return _isolation


def _first_that_holds() -> str:
    for kind in commands.kinds():
        verdict = trial(kind)
        if verdict.passed and verdict.output:
            warnings.warn(
                f"solutions that import a package will fail, for the sandbox ({kind}) shows none of "
                f"{', '.join(commands.packages())}: {verdict.output.strip().splitlines()[-1]}",
                RuntimeWarning,
                stacklevel=3,
            )
        if verdict.passed:
            return kind
    return "none"


def trial(kind: str) -> Verdict:
    """Whether an isolation holds what it promises here; the output is why no package can be imported."""
    outside = [str(Path(commands.__file__).parent), "/usr", "/", "/dev", "/dev/shm"]
    if Path("/tmp") not in (home := Path.home(), *home.parents):  # else inside, it is the private one
        outside.append(str(home))
    tests = f"""
assert pid() < 10, "other processes are in sight"
assert forks() < 40, "the limit on processes does not hold"
assert set(interfaces()) <= {{"lo"}}, "the network is in sight"
assert writes("/tmp"), "the private folder cannot be written to"
assert not any(map(writes, {outside!r})), "files outside of the private folder can be written"
"""
    solution = TRIAL_SOLUTION.replace("PACKAGE", commands.a_package())
    program = Program(solution, tests, ("pid", "forks", "interfaces", "writes"))
    try:
        return run_one(program, Limits(), kind)
    except OSError as error:
        return Verdict(False, "error", str(error))


# ---------------------------------------------------------------- one program


def run_one(program: Program, limits: Limits, kind: str) -> Verdict:
    """The verdict on one program."""
    if program.cpu_s is not None:  # and so many times as long on the clock
        longer = program.cpu_s / limits.cpu_s
        limits = replace(limits, cpu_s=program.cpu_s, wall_s=limits.wall_s * max(1.0, longer))
    began = time.monotonic()
    with contextlib.ExitStack() as cleanup:  # processes end first, then the pipes close
        requests, answers, report, output = (pipe(cleanup) for _ in range(4))
        asked = {"requests": requests.read.fileno(), "answers": answers.write.fileno()}
        asking = {"requests": requests.write.fileno(), "answers": answers.read.fileno()}
        solution: dict[str, Any] = {
            "role": "solution",
            "context": program.context,
            "solution": program.solution,
            **asked,
        }
        tests: dict[str, Any] = {
            "role": "tests",
            "context": program.context,
            "tests": program.tests,
            "names": program.names,
        }
        tests |= {**asking, "report": report.write.fileno()}
        solving = start(solution, limits, kind, cleanup, output=output.write, keep=list(asked.values()))
        start(tests, limits, kind, cleanup, keep=[*asking.values(), report.write.fileno()])
        for end in (*requests, *answers, report.write, output.write):
            end.close()  # so that they end when the processes do
        said, printed, late = watch(report.read, output.read, began + limits.wall_s, limits.output_bytes)
        reason, detail = judged(said, late, solving)
    text = printed.decode("utf-8", "replace")
    return Verdict(reason == "passed", reason, detail, text, time.monotonic() - began)


class Pipe(NamedTuple):
    """Two ends, closed at the latest with the program."""

    read: FileIO
    write: FileIO


def pipe(cleanup: contextlib.ExitStack) -> Pipe:
    """A pipe that no process inherits unless told to."""
    read, write = os.pipe()
    return Pipe(cleanup.enter_context(FileIO(read, "rb")), cleanup.enter_context(FileIO(write, "wb")))


def start(
    task: dict[str, Any],
    limits: Limits,
    kind: str,
    cleanup: contextlib.ExitStack,
    *,
    keep: Sequence[int],
    output: FileIO | None = None,
) -> subprocess.Popen[bytes]:
    """Start one of the two processes; `cleanup` ends it.

    Args:
        task: what `guest.main` is to do.
        limits: of the program.
        kind: of isolation.
        cleanup: what ends it, and all that it started.
        keep: file descriptors it gets.
        output: where standard output and error go, nowhere if None.
    """
    mib = 1 << 20
    scratch = limits.scratch_mb * mib
    kernel = {
        "CPU": math.ceil(limits.cpu_s),
        "AS": limits.memory_mb * mib,
        "FSIZE": scratch,
        "NPROC": commands.process_limit(limits.processes),
        "NOFILE": 64,
        "CORE": 0,
        "MSGQUEUE": 0,
        "MEMLOCK": 0,
    }
    seconds = math.ceil(limits.wall_s + GRACE)
    job = commands.job(kind, task, kernel, scratch_bytes=scratch, seconds=seconds)
    environment, folder = commands.environment(), "/"
    if kind == "none":
        folder = cleanup.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        environment = {**environment, "HOME": folder, "TMPDIR": folder}
    with tempfile.TemporaryFile() as stdin:  # a file: a pipe would have to be fed while others are read
        stdin.write(json.dumps(job).encode())
        stdin.seek(0)
        process = subprocess.Popen(
            commands.command(kind, scratch),
            stdin=stdin,
            stdout=subprocess.DEVNULL if output is None else output,
            stderr=subprocess.DEVNULL if output is None else subprocess.STDOUT,
            pass_fds=keep,
            env=environment,
            cwd=folder,
            start_new_session=True,  # no terminal to write to, and one group to kill
        )
    cleanup.callback(end, process)
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process with its group; in a sandbox, its process 1 is in there and takes all others along."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def watch(report: FileIO, output: FileIO, deadline: float, kept: int) -> tuple[bytes, bytes, bool]:
    """What the tests reported, the first `kept` bytes that the solution printed, and whether time ran out."""
    said, printed = b"", b""
    with selectors.DefaultSelector() as ready:
        ready.register(report, selectors.EVENT_READ)
        ready.register(output, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            for key, _ in ready.select(left):
                chunk = os.read(key.fd, CHUNK)
                if key.fileobj is output:
                    printed = (printed + chunk)[:kept]
                    if not chunk:
                        ready.unregister(output)
                    continue
                said += chunk
                if not chunk or chunk.endswith(b"\n"):
                    return said, printed + rest(output, kept - len(printed)), False
    return said, printed, True


def rest(output: FileIO, kept: int) -> bytes:
    """What of the output is there already."""
    os.set_blocking(output.fileno(), False)
    try:
        return os.read(output.fileno(), kept) if kept > 0 else b""
    except BlockingIOError:
        return b""


def judged(said: bytes, late: bool, solution: subprocess.Popen[bytes]) -> tuple[str, str]:
    """Reason and detail; "passed" only if the tests' process said so itself."""
    if late:
        return "time limit", "the time on the clock ran out"
    try:
        report = json.loads(said)
        reason, detail = str(report["reason"]), str(report["detail"])
    except (ValueError, KeyError, TypeError):
        return "error", "the tests' process ended without a report"
    if reason != "passed" and detail == ENDED:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = solution.wait(1.0)
            if code in (128 + signal.SIGXCPU, -signal.SIGXCPU):
                return "time limit", "the processor time ran out"
            detail = f"{ENDED}, code {code}"
    return reason, detail
