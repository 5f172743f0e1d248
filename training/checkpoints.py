"""Resumable checkpoints: whole or not there.

A checkpoint is written into a folder beside its place, gets a list of its files with sizes and sha256
(`files.json`), goes to disk, and is renamed. One that was damaged later is found by that list, and the one
before it is used.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from pathlib import Path

from lift_harness.files import files_sha256, give_usual_modes

LIST = "files.json"
PREFIX = "checkpoint-"


def seal(folder: Path) -> None:
    """List the files of a finished checkpoint in it, and have all of it on disk, with the usual modes."""
    give_usual_modes(folder)
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    listed = {str(file.relative_to(folder)): [file.stat().st_size, files_sha256(file)] for file in files}
    (folder / LIST).write_text(json.dumps(listed, indent=1), encoding="utf-8")
    for path in (*files, folder / LIST, folder):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint; None: nothing."""
    try:
        listed = json.loads((folder / LIST).read_text(encoding="utf-8"))
        for name, (size, sha256) in listed.items():
            file = folder / name
            if not file.is_file():
                return f"{name} is missing"
            if file.stat().st_size != size:
                return f"{name} has {file.stat().st_size} bytes instead of {size}"
            if files_sha256(file) != sha256:
                return f"{name} is not as it was written"
    except (OSError, ValueError, TypeError, AttributeError) as error:
        return f"{LIST} cannot be read ({error})"
    return None


def steps(folder: Path) -> list[int]:
    """The steps that checkpoints of a folder are of, damaged ones too, the newest first."""
    names = [path.name.removeprefix(PREFIX) for path in folder.glob(f"{PREFIX}*")]
    return sorted((int(name) for name in names if name.isdigit()), reverse=True)


def newest(folder: Path) -> Path | None:
    """The newest whole checkpoint of a folder; warns of damaged ones."""
    for step in steps(folder):
        checkpoint = folder / f"{PREFIX}{step}"
        wrong = damage(checkpoint)
        if wrong is None:
            return checkpoint
        warnings.warn(
            f"{checkpoint}: {wrong}; the checkpoint before it is used", RuntimeWarning, stacklevel=2
        )
    return None


def remove_old(folder: Path, keep: int | None, best: int | None) -> None:
    """Leave the newest `keep` checkpoints and the one of step `best`."""
    if keep is not None:
        for step in steps(folder)[keep:]:
            if step != best:
                shutil.rmtree(folder / f"{PREFIX}{step}")
