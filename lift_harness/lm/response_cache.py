"""Responses on disk, one row each as soon as it is there: a killed evaluation goes on where it was.

lm-eval's own `--use_cache` knows neither which checkpoint answered nor with which settings
(lm-evaluation-harness#4063), and keeps one response for all the samples of a problem (#3046). Here
the key holds all that the response depends on, and a row a checksum: what is damaged is decoded again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import sqlite3
from itertools import count
from pathlib import Path
from typing import Any

from lift_harness.decoding import Generation
from lift_harness.errors import LiftError
from lift_harness.results.lock import locked

VERSION = 1  # of what the engine makes of a key; to be raised when the same key means other tokens
LOG_FILES = ("-wal", "-shm")  # that SQLite keeps beside an open database
FIELDS = [field.name for field in dataclasses.fields(Generation)]
log = logging.getLogger(__name__)


def response_key(**parts: Any) -> str:
    """sha256 of what a response depends on, JSON values by name."""
    text = json.dumps({"version": VERSION, **parts}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


class ResponseCache:
    """Generations by key, in an SQLite file. Several processes may use it at a time.

    Attributes:
        path: the file.
        found: rows that were asked for and were there, since `report_damage`.
        damaged: those of them that cannot be used.
    """

    def __init__(self, path: str | Path) -> None:
        """Open or make the file; a database that is damaged is moved aside, to FILE.damaged.

        Raises:
            LiftError: it cannot be made, or is something else.
        """
        self.path = Path(path)
        self.found = self.damaged = 0
        self.open: sqlite3.Connection | None = None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # One after the other: SQLite waits for no lock when it changes the kind of its log.
            with locked(self.path.with_name(f"{self.path.name}.lock")):
                self._prepare()
        except (OSError, sqlite3.Error) as error:
            self.close()
            raise self.unusable(error) from error

    def _prepare(self) -> None:
        """Have a sound database with our table."""
        if is_damaged(self.path):
            aside = move_aside(self.path)
            log.warning("response cache %s is damaged; it is now %s, and begun anew", self.path, aside)
        self.database.execute("PRAGMA journal_mode=WAL")
        self.database.execute("CREATE TABLE IF NOT EXISTS responses (key TEXT PRIMARY KEY, value TEXT)")
        self.database.execute("SELECT key, value FROM responses LIMIT 0")  # and not another's table

    @property
    def database(self) -> sqlite3.Connection:
        """The connection, made again where it was closed."""
        if self.open is None:
            self.open = sqlite3.connect(self.path, timeout=60, isolation_level=None)
            self.open.text_factory = bytes  # a damaged text need not be UTF-8
            self.open.execute("PRAGMA synchronous=NORMAL")
        return self.open

    def close(self) -> None:
        """Let go of the file: the last process that does so leaves nothing beside it.

        Two that do so at the same moment may leave SQLite's log, which is the next one's to put in.
        """
        if self.open is not None:
            self.open.close()
            self.open = None

    def unusable(self, error: Exception) -> LiftError:
        """What to say when the file cannot be read or written."""
        return LiftError(
            f"response cache {str(self.path)!r} cannot be used ({error}); give another file, or delete it"
        )

    def get(self, key: str, vocabulary: int | None = None) -> Generation | None:
        """The generation of that key; None if there is none yet, or it is damaged.

        Args:
            key: of `response_key`.
            vocabulary: number of tokens that the model knows; None: any.

        Raises:
            LiftError: the file cannot be read.
        """
        try:
            row = self.database.execute("SELECT value FROM responses WHERE key = ?", (key,)).fetchone()
        except sqlite3.Error as error:
            raise self.unusable(error) from error
        if row is None:
            return None
        kept = unpacked(key, row[0], vocabulary)
        self.found += 1
        self.damaged += kept is None
        return kept

    def put(self, key: str, generation: Generation) -> None:
        """Keep a generation; it is in the file when this returns.

        Raises:
            LiftError: the file cannot be written.
        """
        try:
            row = (key, packed(key, generation))
            self.database.execute("INSERT OR REPLACE INTO responses (key, value) VALUES (?, ?)", row)
        except sqlite3.Error as error:
            raise self.unusable(error) from error

    def report_damage(self) -> None:
        """Say how many rows could not be used, if any, and begin to count again."""
        if self.damaged:
            log.warning(
                "%d of %d cached responses were damaged (or an earlier version's) and are decoded again: %s",
                *(self.damaged, self.found, self.path),
            )
        self.found = self.damaged = 0


# ---------------------------------------------------------------- a row


def packed(key: str, generation: Generation) -> str:
    """A generation as a row has it: the checksum, a space, JSON."""
    value = json.dumps(dataclasses.asdict(generation))
    return f"{checksum(key, value.encode())} {value}"


def checksum(key: str, value: bytes) -> str:
    """sha256 of what a row holds, its key included."""
    return hashlib.sha256(key.encode() + value).hexdigest()


def unpacked(key: str, row: Any, vocabulary: int | None) -> Generation | None:
    """The generation of a row; None if that is not what was put in, or no such model's."""
    found, _, value = row.partition(b" ") if isinstance(row, bytes) else (b"", b"", b"")
    if found != checksum(key, value).encode():
        return None
    data = json.loads(value)
    if not isinstance(data, dict) or sorted(data) != sorted(FIELDS):
        return None
    kept = Generation(**data)
    alike = len(kept.ids) == len(kept.step) == len(kept.confidence)
    known = all(0 <= token < (vocabulary or token + 1) for token in kept.ids)
    return kept if alike and known else None


# ---------------------------------------------------------------- a damaged file


def is_damaged(file: Path) -> bool:
    """Whether it is an SQLite database of which parts cannot be read.

    Raises:
        OSError: it cannot be opened.
        sqlite3.Error: it is no database, or another process holds it.
    """
    if not file.exists():
        return False
    with file.open("rb") as handle:
        is_database = handle.read(16) == b"SQLite format 3\0"
    database = sqlite3.connect(file, timeout=60)
    try:
        return database.execute("PRAGMA quick_check(1)").fetchone() != ("ok",)
    except sqlite3.OperationalError:  # locked, unreadable, ...
        raise
    except sqlite3.DatabaseError:
        if is_database:
            return True
        raise
    finally:
        database.close()


def move_aside(file: Path) -> Path:
    """Rename a database, with what SQLite keeps beside it, to FILE.damaged, FILE.damaged-2, ..."""
    names = (file.with_name(f"{file.name}.damaged{f'-{i}' if i > 1 else ''}") for i in count(1))
    aside = next(name for name in names if not name.exists())
    for end in LOG_FILES:
        beside = file.with_name(file.name + end)
        if beside.exists():
            beside.rename(aside.with_name(aside.name + end))
    return file.rename(aside)
