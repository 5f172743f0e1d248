"""Responses on disk, one row each as soon as it is there: a killed evaluation goes on where it was.

lm-eval's own `--use_cache` knows neither which checkpoint answered nor with which settings
(lm-evaluation-harness#4063), and keeps one response for all the samples of a problem (#3046). Here
the key holds all that the response depends on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sqlite3
from pathlib import Path
from typing import Any

from lift_harness.decoding import Generation
from lift_harness.errors import LiftError

VERSION = 1  # of what the engine makes of a key; to be raised when the same key means other tokens


def response_key(**parts: Any) -> str:
    """sha256 of what a response depends on, JSON values by name."""
    text = json.dumps({"version": VERSION, **parts}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


class ResponseCache:
    """Generations by key, in an SQLite file. Several processes may use it at a time."""

    def __init__(self, path: str | Path) -> None:
        """Open or make the file.

        Raises:
            LiftError: it cannot be made, or is something else.
        """
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.database = sqlite3.connect(self.path, timeout=60, isolation_level=None)
            self.database.execute("PRAGMA journal_mode=WAL")
            self.database.execute("PRAGMA synchronous=NORMAL")
            self.database.execute("CREATE TABLE IF NOT EXISTS responses (key TEXT PRIMARY KEY, value TEXT)")
        except (OSError, sqlite3.Error) as error:
            raise LiftError(
                f"response cache {str(path)!r} cannot be used ({error}); give another file, or delete it"
            ) from error

    def get(self, key: str) -> Generation | None:
        """The generation of that key, None if there is none yet."""
        row = self.database.execute("SELECT value FROM responses WHERE key = ?", (key,)).fetchone()
        return None if row is None else Generation(**json.loads(row[0]))

    def put(self, key: str, generation: Generation) -> None:
        """Keep a generation; it is in the file when this returns."""
        value = json.dumps(dataclasses.asdict(generation))
        self.database.execute("INSERT OR REPLACE INTO responses VALUES (?, ?)", (key, value))
