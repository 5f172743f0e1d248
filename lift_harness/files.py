"""Files that are whole or not there, and what is in them by hash. Only the standard library."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lift_harness.errors import LiftError


def whole(file: Path, write: Callable[[Path], Any], *, named: bool = False) -> None:
    """Let `write(path)` make the file beside its place, then put it there: whole or not at all.

    Args:
        file: the place. A link there is replaced, wherever it leads: the folder may be somebody else's.
        write: makes the file at the path that it is given.
        named: the user named the file itself. Then a link stays one, and what is no file (/dev/stdout) is
            written to as it is.

    Raises:
        OSError: as `write`, and for a folder; nothing is left behind.
    """
    if named and file.exists() and not file.is_file():
        write(file)
        return
    file = file.resolve() if named else file
    part = file.with_name(f"{file.name}.part")
    try:
        part.unlink(missing_ok=True)  # it may be a link, too
        write(part)
        os.replace(part, file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_whole(file: Path, text: str, *, named: bool = False) -> None:
    """A text file, in UTF-8 and with the line ends it has, as `whole` writes it."""
    whole(file, lambda part: part.write_text(text, encoding="utf-8", newline="\n"), named=named)


def check_writable(*places: Path | None, folder: bool = False, named: bool = True) -> None:
    """Refuse what a command could not write in the end, before it begins to work.

    Args:
        places: files; None is none.
        folder: they are folders, to be made where they are not there.
        named: as `whole` takes it.

    Raises:
        LiftError: one cannot be written: no folder, no permission, no space left, something else is there.
    """
    for place in filter(None, places):
        try:
            (_try_folder if folder else _try_file)(place.resolve() if named else place)
        except OSError as error:
            raise LiftError(f"{place}: cannot be written: {error.strerror}; give another place") from error


def _try_file(file: Path) -> None:
    if file.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if file.exists() and not os.access(file, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    if file.is_file() or not file.exists():
        _try(file.parent)


def _try_folder(folder: Path) -> None:
    _try(next(path for path in (folder, *folder.absolute().parents) if path.exists()))


def _try(folder: Path) -> None:
    with tempfile.TemporaryFile(dir=folder) as probe:
        probe.write(bytes(4096))


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


def files_sha256(*files: Path) -> str:
    """sha256 of the bytes of some files, one after the other."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as handle:
            while chunk := handle.read(1 << 22):
                digest.update(chunk)
    return digest.hexdigest()
