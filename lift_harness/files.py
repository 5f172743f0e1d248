"""Files that are whole or not there, and what is in them by hash. Only the standard library."""

from __future__ import annotations

import hashlib
import json
import os
import stat
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


def read_json(file: Path) -> Any:
    """What a JSON file holds."""
    return json.loads(file.read_text(encoding="utf-8"))


def write_json(file: Path, data: Any) -> None:
    """JSON, indented, whole or not at all."""
    write_whole(file, json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def give_usual_modes(folder: Path) -> None:
    """Let a folder, and all in it, be read and written by whom the umask lets.

    safetensors makes its files by way of temporary ones, which only their owner may read: mode 0600, whatever
    the umask (safetensors issue 782; 0.8.0 does so, earlier ones did not).
    """
    mask = os.umask(0o077)  # it cannot be read without being set; strict, for what a thread makes meanwhile
    os.umask(mask)
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode & 0o7000 | (0o777 if path.is_dir() else 0o666) & ~mask
            if mode != stat.S_IMODE(path.stat().st_mode):
                path.chmod(mode)


def listing(root: Path, files: list[Path]) -> dict[str, list[Any]]:
    """Name below a folder -> [bytes, sha256] of some files in it: what `damage` compares with."""
    return {
        file.relative_to(root).as_posix(): [file.stat().st_size, files_sha256(file)] for file in sorted(files)
    }


def damage(root: Path, listed: dict[str, list[Any]]) -> str | None:
    """What is wrong with files that `listing` was made of; None: nothing.

    Raises:
        OSError, ValueError, TypeError, AttributeError: a file cannot be read, or the list is none.
    """
    for name, (size, sha256) in listed.items():
        file = root / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != size:
            return f"{name} has {file.stat().st_size} bytes instead of {size}"
        if files_sha256(file) != sha256:
            return f"{name} is not as it was written"
    return None


def files_sha256(*files: Path) -> str:
    """sha256 of the bytes of some files, one after the other."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as handle:
            while chunk := handle.read(1 << 22):
                digest.update(chunk)
    return digest.hexdigest()
