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

from lift_harness import files

LIST = "files.json"
PART = "part"  # the folder in which one is written
PREFIX = "checkpoint-"


def seal(folder: Path) -> None:
    """List the files of a finished checkpoint in it, and have all of it on disk, with the usual modes."""
    files.give_usual_modes(folder)
    written = [file for file in folder.rglob("*") if file.is_file()]
    listed = json.dumps(files.listing(folder, written), indent=1)
    (folder / LIST).write_text(listed, encoding="utf-8")
    for path in (*written, folder / LIST, folder):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint; None: nothing."""
    try:
        return files.damage(folder, files.read_json(folder / LIST))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        return f"{LIST} cannot be read ({error})"


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
