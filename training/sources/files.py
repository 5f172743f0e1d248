"""Rows of local files, one at a time: JSON lines, JSON lists, parquet, or a folder of them.

Every row comes with the name of its file and its line (in parquet and lists: its number from 1), which
all messages about it begin with.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lift_harness.errors import LiftError, first_line
from lift_harness.files import bounded, decoded, lines_of, parse_json

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".parquet")
LIST = 1 << 30  # bytes of a JSON list, which is read whole; JSON lines may be longer
Row = dict[str, Any]


def read_rows(file: Path) -> Iterator[tuple[str, Row]]:
    """(origin, row) of each row.

    Raises:
        LiftError: no such file, a kind that is not known, unreadable, empty, or a row that is no object.
    """
    if not file.is_file():
        raise LiftError(f"{file}: no such file")
    if not file.name.endswith(SUFFIXES):
        raise LiftError(f"{file}: training data is read from {', '.join(SUFFIXES)}")
    kind = parquet_rows if file.name.endswith(".parquet") else json_rows
    empty = True
    for number, row in kind(file):
        empty = False
        if not isinstance(row, dict):
            raise LiftError(f"{file}:{number}: a row is an object with fields, not {str(row)[:60]!r}")
        yield f"{file}:{number}", row
    if empty:
        raise LiftError(f"{file}: empty; give a file with at least one row")


def data_files(folder: Path, split: str | None = None, config: str | None = None) -> list[Path]:
    """The data files in a folder, in the order of their names; as the Hub lays out a dataset.

    Args:
        folder: searched with its sub-folders.
        split: only files with this word in their path (data/train-00000-of-00002.parquet); None: those of
            "train" if there are any, else all.
        config: only this sub-folder.
    """
    root = folder / config if config else folder
    if not root.is_dir():
        raise LiftError(f"{root}: no such folder, for config={config!r}")
    files = sorted(path for path in root.rglob("*") if path.name.endswith(SUFFIXES))
    word = re.compile(rf"(?<![a-z]){re.escape(split or 'train')}(?![a-z])", re.IGNORECASE)
    of_split = [path for path in files if word.search(str(path.relative_to(root)))]
    chosen = of_split or ([] if split else files)
    if not chosen:
        of = f" of split {split!r}" if split else ""
        raise LiftError(f"{root}: holds no data files{of} ({', '.join(SUFFIXES)})")
    return chosen


def json_rows(file: Path) -> Iterator[tuple[int, Any]]:
    """The objects of JSON lines, or of one list, numbered."""
    try:
        with gzip.open(file) if file.name.endswith(".gz") else file.open("rb") as stream:
            if ".jsonl" not in file.name and first_byte(stream) == b"[":
                yield from enumerate(parsed(bounded(stream, str(file), LIST), str(file)), start=1)
                return
            for number, line in lines_of(stream, str(file)):
                if line.strip():
                    yield number, parsed(line, f"{file}:{number}")
    except (OSError, EOFError, zlib.error) as error:  # a damaged .gz raises any of them
        raise LiftError(f"{file}: cannot be read: {first_line(error)}") from error


def first_byte(stream: Any) -> bytes:
    """The first byte that is not white space; leaves the stream at its beginning."""
    while (byte := stream.read(1)).isspace():
        pass
    stream.seek(0)
    return byte


def parsed(text: bytes, where: str) -> Any:
    """A JSON value."""
    return parse_json(decoded(text, where), where)


def parquet_rows(file: Path) -> Iterator[tuple[int, Row]]:
    """The rows of a parquet file, numbered from 1; a few hundred in memory at a time."""
    import pyarrow
    from pyarrow import parquet

    number = 0
    try:
        with parquet.ParquetFile(file) as opened:
            for batch in opened.iter_batches(batch_size=256):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pyarrow.ArrowException, OSError) as error:
        raise LiftError(f"{file}: not a readable parquet file: {first_line(error)}") from error
