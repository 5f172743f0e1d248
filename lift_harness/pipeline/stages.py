"""A run's folder: who writes to it, what is done in it, what is still valid.

Each stage has a key, the hash of all that it depends on. Its record (`train.json`, `eval.json`) holds the
key: a stage whose key is the same is not done again, one that was interrupted goes on, one whose key has
changed is redone. The record also lists, by sha256, the files that others read of the stage, and carries a
checksum of itself: what is not as it was written is not taken, but done again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from lift_harness.errors import LiftError, Stopped
from lift_harness.files import damage, listing, read_json, write_json, write_whole
from lift_harness.pipeline.display import Display
from lift_harness.results.lock import clear, contents

Progress = Callable[..., None]  # progress(done, total, note="", kept=False), see `Display.stage`
Work = Callable[[Path, Progress], dict[str, Any]]  # -> {"result": ..., "cost": {...}}
KEY = "key"
RESPONSES = "responses.sqlite"
RECIPE = "recipe.yaml"
CARD = "README.md"  # beside weights (`hub.card`)


class Found(NamedTuple):
    """What an earlier run left of a stage.

    Attributes:
        record: its record; None: it is not done, is of another key, or is damaged.
        damage: what is not as it was written, where something is.
    """

    record: dict[str, Any] | None
    damage: str | None = None


def stage_key(**parts: Any) -> str:
    """sha256 of what a stage depends on, JSON values by name."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def run_stage(folder: Path, kind: str, key: str, display: Display, name: str, work: Work) -> dict[str, Any]:
    """Do a stage, or take its record: {"key", "result", "cost", "seconds", "files", "checksum"}.

    Args:
        folder: of the method; the stage's files go to `folder/kind`, its record to `folder/kind.json`.
        kind: "train" or "eval".
        key: of what it depends on.
        display: shows progress.
        name: of the stage, "METHOD/train".
        work: does it. It finds what an interrupted attempt with the same key left, and may go on from there.
    """
    record, place = folder / f"{kind}.json", folder / kind
    found: Found = display.ask(lambda: find_stage(folder, kind, key))
    if found.record:
        display.skip(name)
        return found.record
    if found.damage:
        display.redo(name, found.damage)
    display.lead(lambda: begin(place, record, key))
    started = time.perf_counter()
    with display.stage(name) as progress:
        done = work(place, progress)
    done_record = {"key": key, **done, "seconds": round(time.perf_counter() - started, 1)}
    display.lead(lambda: write_record(record, done_record))
    return done_record


def write_record(file: Path, done: dict[str, Any]) -> None:
    """Write the record of a stage whose files are all there."""
    place = file.with_suffix("")
    record = {**done, "files": listing(place, read_later(place, done["result"]))}
    write_json(file, {**record, "checksum": checksum(record)})


def read_later(place: Path, result: dict[str, Any]) -> list[Path]:
    """The files of a stage that others read: of a training its weights, else all but the responses.

    Not their card, which is for people, who may go on writing it.
    """
    if "checkpoint" in result:
        files = (place / result["checkpoint"]).rglob("*")
        return [file for file in files if file.is_file() and file.name != CARD]
    own = [path for path in place.rglob("*") if path.is_file()]
    return [path for path in own if path.name != KEY and not path.name.startswith(RESPONSES)]


def checksum(record: dict[str, Any]) -> str:
    """sha256 of a record without its checksum, however it is laid out."""
    content = {name: value for name, value in record.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def find_stage(folder: Path, kind: str, key: str) -> Found:
    """Look for a stage of that key, and whether it is as it was written."""
    file = folder / f"{kind}.json"
    try:
        known = read_json(file)
        if checksum(known) != known.get("checksum", checksum(known)):  # earlier versions wrote none
            return Found(None, f"{file} is not as it was written")
        if known["key"] != key or known["cost"] is None:
            return Found(None)
        wrong = damage_of(known, folder / kind)
    except FileNotFoundError:
        return Found(None)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return Found(None, f"{file} cannot be read ({type(error).__name__})")
    return Found(None, f"{folder / kind}: {wrong}") if wrong else Found(known)


def damage_of(known: dict[str, Any], place: Path) -> str | None:
    """What is wrong with the files that others read of a stage; None: nothing.

    Earlier versions listed none: their weights are told by the hash among the results, so that what was
    trained is not lost.
    """
    from lift_harness.models.identity import weights_hash

    if "files" in known:
        return damage(place, known["files"])
    checkpoint = known["result"].get("checkpoint")
    if checkpoint is None or weights_hash(place / checkpoint) == known["result"]["sha256"]:
        return None
    return f"the weights in {checkpoint} are not those that were written"


def begin(place: Path, record: Path, key: str) -> None:
    """Make a stage's folder, without what another key left in it."""
    mark = place / KEY
    record.unlink(missing_ok=True)
    if mark.is_file() and mark.read_bytes() == key.encode():
        return
    shutil.rmtree(place, ignore_errors=True)
    if place.exists():  # no folder
        place.unlink()
    place.mkdir(parents=True)
    write_whole(mark, key)


def prepare_output(folder: Path, recipe_text: str, resume: bool, overwrite: bool) -> None:
    """Begin in the output folder, whose lock is held. The same recipe goes on in it; another one if asked to.

    Raises:
        LiftError: the folder holds a run of another recipe, or something that is not a run.
    """
    resolved = folder / RECIPE
    if contents(folder):
        if not resolved.is_file():
            raise LiftError(
                f"output folder {str(folder)!r} holds files that are not a run; give another --output"
            )
        if overwrite:
            clear(folder, last=(RECIPE,))
        elif not resume and resolved.read_bytes() != recipe_text.encode():
            raise LiftError(
                f"output folder {str(folder)!r} holds a run of another recipe; --resume keeps the stages "
                "that are the same in both and redoes the others, --overwrite replaces all, --output chooses "
                "another folder"
            )
    write_whole(resolved, recipe_text)


@contextmanager
def no_trace_of_bad_input(output: Path) -> Iterator[None]:
    """Bad input that is found late, with nothing done yet, leaves no folder behind."""
    there_before = contents(output)
    try:
        yield
    except Stopped:
        raise
    except (LiftError, OSError):
        kept = ("train.json", "eval.json", "checkpoint-*")
        if not there_before and not any(any(output.rglob(name)) for name in kept):
            clear(output, last=(RECIPE,))
        raise
