"""What a server has answered, in a file: nothing is asked (and paid) twice, and a killed run goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout, UnixFileLock

from lift_harness.errors import LiftError, first_line
from lift_harness.training.sources.records import canonical


@dataclass(frozen=True)
class Reply:
    """An answer of the server.

    Attributes:
        text: what the model says.
        refused: why it does not, in the server's words.
        unanswered: why there is no answer; a later run asks again.
        cut: whether the text ends at a limit of tokens.
        prompt_tokens, completion_tokens: as the server counts them, if it does.
    """

    text: str = ""
    refused: str | None = None
    unanswered: str | None = None
    cut: bool = False
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


BEGINNING = b'{"key": "'


def key_of(body: Mapping[str, Any]) -> str:
    """The hash of a request: of model, rules, question, answer and all settings, wherever it is sent to."""
    return sha256(canonical(sorted(body.items()))).hexdigest()


class Replies:
    """The replies in a file, a line of JSON each, by the hash of their request; new ones are added at once.

    To be used in a `with`. A last line that a killed process has left half-written is taken away.

    Args:
        file: need not exist.

    Raises:
        LiftError: a file of something else, or another process has it.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.known: dict[str, Reply] = {}
        self.lock = FileLock(f"{file}.lock", timeout=0)

    def __enter__(self) -> Replies:
        try:
            self.lock.acquire()
        except Timeout:
            raise LiftError(f"{self.file}: another process is adding to it; wait, or give another") from None
        try:
            self.read()
            self.stream = self.file.open("ab")
        except BaseException:
            self.release()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.stream.close()
        self.release()

    def release(self) -> None:
        """Let others have the file."""
        if isinstance(self.lock, UnixFileLock):
            Path(self.lock.lock_file).unlink(missing_ok=True)  # before: who waits for it makes another
        self.lock.release()

    def read(self) -> None:
        """Fill `known`."""
        *lines, rest = (self.file.read_bytes() if self.file.exists() else b"").split(b"\n")
        for number, line in enumerate(lines, start=1):
            self.known.update([self.parsed(line, number)])
        if not rest.startswith(BEGINNING[: len(rest)]):
            raise self.foreign(len(lines) + 1, "the line does not end")
        if rest:
            os.truncate(self.file, self.file.stat().st_size - len(rest))

    def parsed(self, line: bytes, number: int) -> tuple[str, Reply]:
        """(hash, reply) of a line."""
        try:
            entry = json.loads(line)
            key, reply = entry.pop("key"), Reply(**entry)
            if not isinstance(key, str):
                raise TypeError("its key is no text")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self.foreign(number, first_line(error)) from None
        return key, reply

    def foreign(self, number: int, reason: str) -> LiftError:
        """What to say of a file that is none of ours."""
        return LiftError(
            f"{self.file}:{number}: no reply of `data annotate` ({reason}); give another --cache, "
            "or remove the file"
        )

    def add(self, key: str, reply: Reply) -> None:
        """Keep a reply."""
        self.known[key] = reply
        self.stream.write(json.dumps({"key": key, **asdict(reply)}).encode() + b"\n")
        self.stream.flush()
