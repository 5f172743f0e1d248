"""A helper process that answers questions one by one, and is killed and replaced when one takes too long.

A time limit that holds: an alarm works only in the main thread, and does not interrupt Python's big
integers; a process can be killed at any moment. Its limits on processor time and memory are set by the
process itself (`serve`) and kept by the operating system. Only the standard library.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lift_harness.errors import LiftError

STARTING = 120.0  # seconds until it has loaded its libraries, on a very busy machine
WAITING = 10  # times the processor time: the time on the clock after which it is given up


class KillableWorker:
    """One process, started at the first question.

    The processor time is the limit, so that a busy machine gives the same verdicts; the clock only
    catches a process that sleeps.
    """

    def __init__(self, script: Path, cpu_seconds: float, memory_bytes: int) -> None:
        """A worker that runs `script CPU_SECONDS MEMORY_BYTES`: JSON lines in, JSON lines out."""
        self.script = script.name
        self.command = [sys.executable, str(script), str(cpu_seconds), str(memory_bytes)]
        self.wall_seconds = WAITING * cpu_seconds
        self.process: subprocess.Popen[str] | None = None
        self.owner = 0
        self.lock = threading.Lock()
        atexit.register(self.close)
        if hasattr(os, "register_at_fork"):  # a lock held by another thread would stay locked in the child
            os.register_at_fork(after_in_child=self._forget)

    def ask(self, question: dict[str, Any]) -> Any:
        """The answer, None when there was none within the limits."""
        with self.lock:
            if self.process is None or self.process.poll() is not None:
                self._start()
            answer = self._exchange(json.dumps(question), self.wall_seconds)
            if answer is None:
                self._stop()
            return answer

    def close(self) -> None:
        """End the process; the next question starts another."""
        with self.lock:
            self._stop()

    def _start(self) -> None:
        self._stop()
        # One hash seed, since sympy's order of terms may depend on it.
        env = {**os.environ, "PYTHONHASHSEED": "0", "LIFT_HARNESS_NO_PLUGIN": "1"}
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            env=env,
        )
        self.owner = os.getpid()
        ready = self._exchange("", STARTING)
        if ready != "ready":
            self._stop()
            raise LiftError(f"the process of {self.script} did not start: {ready or 'it died'}")

    def _exchange(self, line: str, seconds: float) -> Any:
        assert self.process is not None and self.process.stdin is not None and self.process.stdout is not None
        timer = threading.Timer(seconds, self.process.kill)
        timer.start()
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
            return json.loads(answer) if answer.endswith("\n") else None
        except OSError:  # it died
            return None
        finally:
            timer.cancel()

    def _stop(self) -> None:
        if self.process is not None and self.owner == os.getpid():
            self.process.kill()
            self.process.communicate()
        self.process = None

    def _forget(self) -> None:
        """In a forked child: the process is the parent's."""
        self.process, self.lock = None, threading.Lock()


# ---------------------------------------------------------------- inside the process


def serve(answer: Callable[[dict[str, Any]], Any], cpu_seconds: float, memory_bytes: int) -> None:
    """Answer the questions on stdin, one JSON line each, until it ends.

    Args:
        answer: from a question to what is replied; it raises nothing.
        cpu_seconds: of each answer; the kernel ends the process after that.
        memory_bytes: of the process.
    """
    logging.disable(logging.CRITICAL)
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the libraries print does not go among the replies
    limit_memory(memory_bytes)
    for line in sys.stdin:
        reply: Any = "ready"
        if line.strip():
            limit_time(cpu_seconds)
            reply = answer(json.loads(line))
            limit_time(0)
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def limit_memory(size: int) -> None:
    """Let the operating system refuse more than `size` bytes."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
    except (ImportError, ValueError, OSError):  # Windows has none, macOS refuses
        return


def limit_time(seconds: float) -> None:
    """Let the kernel kill this process after so much processor time, whatever it is doing; 0: no limit."""
    if hasattr(signal, "ITIMER_PROF"):
        signal.setitimer(signal.ITIMER_PROF, seconds)
