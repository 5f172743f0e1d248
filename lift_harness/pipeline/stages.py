"""A run's folder: who writes to it, what is done in it, what is still valid.

Each stage has a key, the hash of all that it depends on. Its record (`train.json`, `eval.json`) holds the
key: a stage whose key is the same is not done again, one that was interrupted goes on, one whose key has
changed is redone.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lift_harness.errors import LiftError
from lift_harness.files import read_json, write_json, write_whole
from lift_harness.pipeline.display import Display
from lift_harness.results.lock import clear, contents

Progress = Callable[..., None]  # progress(done, total, note="")
Work = Callable[[Path, Progress], dict[str, Any]]  # -> {"result": ..., "cost": {...}}
KEY = "key"


def stage_key(**parts: Any) -> str:
    """sha256 of what a stage depends on, JSON values by name."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def run_stage(folder: Path, kind: str, key: str, display: Display, label: str, work: Work) -> dict[str, Any]:
    """Do a stage, or take its record: {"key", "result", "cost", "seconds"}.

    Args:
        folder: of the method; the stage's files go to `folder/kind`, its record to `folder/kind.json`.
        kind: "train" or "eval".
        key: of what it depends on.
        display: shows progress.
        label: names it there.
        work: does it. It finds what an interrupted attempt with the same key left, and may go on from there.
    """
    record = folder / f"{kind}.json"
    if known := done_stage(folder, kind, key):
        display.skip(label)
        return known
    place = folder / kind
    display.lead(lambda: begin(place, record, key))
    started = time.perf_counter()
    with display.stage(label) as progress:
        done = work(place, progress)
    done_record = {"key": key, **done, "seconds": round(time.perf_counter() - started, 1)}
    display.lead(lambda: write_json(record, done_record))
    return done_record


def done_stage(folder: Path, kind: str, key: str) -> dict[str, Any] | None:
    """A stage's record; None if it is of another key, is damaged or not there, or its weights are gone."""
    try:
        known = read_json(folder / f"{kind}.json")
        checkpoint = known["result"].get("checkpoint")
        there = checkpoint is None or any((folder / kind / checkpoint).glob("*.safetensors"))
        return known if there and known["key"] == key and known["cost"] is not None else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def begin(place: Path, record: Path, key: str) -> None:
    """Make a stage's folder, without what another key left in it."""
    mark = place / KEY
    if not mark.is_file() or mark.read_text(encoding="utf-8") != key:
        shutil.rmtree(place, ignore_errors=True)
        if place.exists():  # no folder
            place.unlink()
    record.unlink(missing_ok=True)
    place.mkdir(parents=True, exist_ok=True)
    mark.write_text(key, encoding="utf-8")


def prepare_output(folder: Path, recipe_text: str, resume: bool, overwrite: bool) -> None:
    """Begin in the output folder, whose lock is held. The same recipe goes on in it; another one if asked to.

    Raises:
        LiftError: the folder holds a run of another recipe, or something that is not a run.
    """
    resolved = folder / "recipe.yaml"
    if contents(folder):
        if not resolved.is_file():
            raise LiftError(
                f"output folder {str(folder)!r} holds files that are not a run; give another --output"
            )
        if overwrite:
            clear(folder)
        elif not resume and resolved.read_bytes() != recipe_text.encode():
            raise LiftError(
                f"output folder {str(folder)!r} holds a run of another recipe; --resume keeps the stages "
                "that are the same in both and redoes the others, --overwrite replaces all, --output chooses "
                "another folder"
            )
    write_whole(resolved, recipe_text)
