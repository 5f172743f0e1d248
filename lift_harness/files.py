"""Files that are whole or not there, and what is in them by hash. Only the standard library."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def whole(file: Path, write: Callable[[Path], Any]) -> None:
    """Let `write(path)` make the file beside its place, then put it there: whole or not at all.

    A link stays one. What is no file (/dev/stdout) is written to as it is.

    Raises:
        OSError: as `write`, and for a folder; nothing is left behind.
    """
    if file.exists() and not file.is_file():
        write(file)
        return
    file = file.resolve()
    part = file.with_name(f"{file.name}.part")
    try:
        write(part)
        os.replace(part, file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_whole(file: Path, text: str) -> None:
    """A text file, in UTF-8 and with the line ends it has, whole or not at all."""
    whole(file, lambda part: part.write_text(text, encoding="utf-8", newline="\n"))


def files_sha256(*files: Path) -> str:
    """sha256 of the bytes of some files, one after the other."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as handle:
            while chunk := handle.read(1 << 22):
                digest.update(chunk)
    return digest.hexdigest()
