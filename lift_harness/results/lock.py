"""One writer at a time in a folder of results, told apart by a lock of the operating system.

The kernel gives such a lock up when its process ends, however it ends: none is ever stale. Who holds it
stands in a file beside it, for the message to the others. Readers are not asked: files appear whole.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout, UnixFileLock

from lift_harness.errors import LiftError
from lift_harness.files import read_json, write_json

LOCK, WRITER = ".lock", ".writer.json"

# Folders that this process has the lock of: a stage that is called inside another one has it already.
HELD: set[Path] = set()


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Have a folder to oneself while something is written to it; made if it is not there.

    Of the processes of one launch only the first one may ask. A folder that was made, and into which nothing
    was written, is removed again.

    Raises:
        LiftError: another process is writing to it, or it is a file.
    """
    place = folder.resolve()
    if place in HELD:
        yield
        return
    made = make_folder(folder)
    with ExitStack() as stack:
        if made:
            stack.callback(remove_empty, place)
        try:
            stack.enter_context(locked(place / LOCK, timeout=0))
        except Timeout:
            raise LiftError(busy(folder)) from None
        HELD.add(place)
        try:
            write_json(place / WRITER, this_process())
            yield
        finally:
            HELD.discard(place)
            (place / WRITER).unlink(missing_ok=True)


@contextmanager
def locked(file: Path, timeout: float = -1) -> Iterator[None]:
    """Hold a lock, of which no file is left.

    Args:
        file: the lock's.
        timeout: seconds to wait for who has it; -1: as long as it takes.

    Raises:
        Timeout: somebody has it all that time.
    """
    lock = FileLock(file, timeout=timeout)
    with lock:
        try:
            yield
        finally:
            # Before the release: who has opened it meanwhile finds it without a name, and opens the next one.
            if isinstance(lock, UnixFileLock):
                file.unlink(missing_ok=True)


def make_folder(folder: Path) -> bool:
    """Make a folder; False if it was there."""
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        if not folder.is_dir():
            raise LiftError(f"output {str(folder)!r} is a file; give a folder with --output") from None
        return False
    return True


def this_process() -> dict[str, Any]:
    """Who writes: host, pid, since when."""
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"host": platform.node(), "pid": os.getpid(), "since": now}


def remove_empty(folder: Path) -> None:
    """Remove a folder if nothing was written into it."""
    with suppress(OSError):
        folder.rmdir()


def busy(folder: Path) -> str:
    """What is said of a folder that another process writes to."""
    try:
        writer = read_json(folder / WRITER)
        who = f"process {writer['pid']} on {writer['host']} since {writer['since']}"
    except (OSError, ValueError, KeyError, TypeError):  # it has not said so yet
        who = "another process"
    return (
        f"output folder {str(folder)!r} is being written to by {who}; wait for it, or give another --output"
    )


def contents(folder: Path) -> list[Path]:
    """What is in a folder, but for the lock and files that a killed process left half written."""
    return [path for path in everything(folder) if path.suffix != ".part" or path.is_dir()]


def everything(folder: Path) -> list[Path]:
    """What is in a folder, but for the lock."""
    return [path for path in folder.iterdir() if path.name not in (LOCK, WRITER)]


def clear(folder: Path, last: Collection[str] = ()) -> None:
    """Remove everything in a folder but the lock; at the end the files that tell whose folder it is."""
    for path in sorted(everything(folder), key=lambda path: path.name in last):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
