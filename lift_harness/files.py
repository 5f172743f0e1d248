"""Files that are whole or not there, what is in them by hash, and reading within bounds.

Whatever comes from outside is read here (YAML: `yaml_values`): of bounded size and nesting, and never from
what has no end (/dev/zero) or waits for a writer (a pipe). Only the standard library.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from gzip import GzipFile
from pathlib import Path
from typing import IO, Any

from lift_harness.errors import LiftError

DOCUMENT = 64 << 20  # bytes of a file that is read whole
LINE = 16 << 20  # bytes of a line of JSON
LONGEST = 120  # characters of a folder's name that is made here
DEPTH = 100  # lists and mappings in one another; Python gives up at some 300, in the middle of things


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


def named_after(*parts: str | None) -> str:
    """A name for a folder, of what is in it: a path or Hub id by its last two parts that say something."""
    names = []
    for part in filter(None, parts):
        telling = [
            name for name in Path(part).parts if name not in ("/", "runs", "results", "train", "adapter")
        ]
        names += telling[-2:]
    name = re.sub(r"[^\w.=+-]+", "-", "-".join(names)).strip("-.")
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return name if len(name) <= LONGEST else f"{name[:LONGEST]}-{digest}"


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


# ---------------------------------------------------------------- reading within bounds


def check_regular(file: Path, called: str | None = None) -> None:
    """Refuse, before it is opened, what is no file.

    Raises:
        OSError: nothing is there, or it may not be looked at.
        LiftError: a folder, a device, a pipe or a socket.
    """
    try:
        mode = file.stat().st_mode
    except ValueError as error:  # a null byte in the path
        raise LiftError(f"{called or file}: no path: {error}") from error
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a device, a pipe or a socket"
        raise LiftError(f"{called or file}: {kind} and not a file")


def read_bytes(file: Path, called: str | None = None, most: int = DOCUMENT) -> bytes:
    """All of a file.

    Args:
        file: the file.
        called: how messages name it; by default its path.
        most: bytes that it may have.

    Raises:
        OSError: it is not there, or may not be read.
        LiftError: it is no file, or has more bytes.
    """
    check_regular(file, called)
    with file.open("rb") as stream:
        return bounded(stream, called or str(file), most)


def bounded(stream: IO[bytes] | GzipFile, called: str, most: int = DOCUMENT) -> bytes:
    """All that is left in a stream, which may say nothing of its size (a .gz)."""
    content = stream.read(most + 1)
    if len(content) > most:
        raise LiftError(f"{called}: larger than {most:,} bytes, more than is read")
    return content


def read_text(file: Path, called: str | None = None, most: int = DOCUMENT) -> str:
    """The text of a file; arguments and errors as `read_bytes`, and a LiftError where it is not UTF-8."""
    return decoded(read_bytes(file, called, most), called or str(file))


def decoded(content: bytes, called: str) -> str:
    """Bytes as text, with or without a mark of their order before it."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LiftError(f"{called}: not UTF-8 ({error.reason} at byte {error.start})") from error


def read_json(file: Path, called: str | None = None, *, only_finite: bool = False) -> Any:
    """What a JSON file holds; errors as `read_text` and `parse_json`."""
    return parse_json(read_text(file, called), called or str(file), only_finite=only_finite)


def parse_json(text: str, called: str, *, only_finite: bool = False) -> Any:
    """What a JSON text holds.

    Args:
        text: the text.
        called: how messages name it.
        only_finite: refuse NaN and infinity, which Python's reader takes for numbers.

    Raises:
        LiftError: no JSON, or lists and objects more than DEPTH deep.
    """
    number = finite if only_finite else float
    try:
        value = json.loads(text, parse_float=number, parse_constant=number)
    except RecursionError as error:
        raise LiftError(f"{called}: {nested_too_deeply()}") from error
    except ValueError as error:  # a number of thousands of digits, too
        raise LiftError(f"{called}: not JSON: {error}") from error
    if text.count("[") + text.count("{") > DEPTH:
        check_depth(value, called)
    return value


def finite(number: str) -> float:
    """A number of a JSON text.

    Raises:
        ValueError: NaN or infinity, written so or too large.
    """
    if not math.isfinite(value := float(number)):
        raise ValueError(f"{number} is not a finite number")
    return value


def check_depth(value: Any, called: str) -> None:
    """Refuse what is nested more than DEPTH deep: copies, hashes and comparisons of it would fail later."""
    level = [value]
    for _ in range(DEPTH + 1):
        level = [child for parent in level for child in children(parent)]
        if not level:
            return
    raise LiftError(f"{called}: {nested_too_deeply()}")


def children(value: Any) -> Iterable[Any]:
    """What a list or a mapping holds."""
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def nested_too_deeply() -> str:
    """The end of a message."""
    return f"lists and mappings in one another, more than {DEPTH} deep"


def numbered_lines(file: Path, called: str | None = None) -> Iterator[tuple[int, bytes]]:
    r"""The lines of a file, from 1, with their \n, which alone ends a line.

    Raises:
        OSError, LiftError: as `read_bytes`; a line has more than LINE bytes.
    """
    check_regular(file, called)
    with file.open("rb") as stream:
        yield from lines_of(stream, called or str(file))


def lines_of(stream: IO[bytes] | GzipFile, called: str) -> Iterator[tuple[int, bytes]]:
    """The lines of a stream, as `numbered_lines`."""
    number = 0
    while line := stream.readline(LINE + 1):
        number += 1
        if len(line) > LINE:
            raise LiftError(f"{called}:{number}: a line of more than {LINE:,} bytes, more than is read")
        yield number, line
