"""Files with one thing wrong in them, and commands run on them in this process, each within a time limit."""

import copy
import io
import json
import os
import random
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import yaml

from lift_harness.cli import main

SECONDS = 60  # of one command; the slowest takes about two, on a busy machine ten times that
CODES = (0, 1, 2)  # done; other numbers than before (reproduce); bad input


def nested(depth, kind=list):
    """Lists or mappings in one another."""
    value = 1
    for _ in range(depth):
        value = [value] if kind is list else {"a": value}
    return value


HOSTILE = "a\x1b]0;t\x07\x9b2J\u202e\u200b[/x][bold]=1|\n\rb"
VALUES = [
    None,
    True,
    -1,
    0,
    7,
    1.5,
    1e308,
    -(10**30),
    10**400,
    float("nan"),
    float("inf"),
    "",
    "0",
    "nan",
    "x" * 100_000,
    "é" * 300,
    HOSTILE,
    "\ud800",
    "a\0b",
    "../../../etc/passwd",
    "/dev/zero",
    "~nobody-here/x",
    "{{ 1/0 }}",
    "[" * 50,
    [],
    {},
    [None],
    [1, "a", {}],
    ["a"] * 2000,
    {"a": 1},
    {"": None},
    {"name": {"name": []}},
    nested(60),
    nested(60, dict),
    nested(150),
]


def places(data, at=()):
    """The paths of everything in a document."""
    yield at
    pairs = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in pairs:
        yield from places(value, (*at, key))


def changed(data, at, do):
    """A copy in which do(parent, key) was done at a path."""
    top = {"top": copy.deepcopy(data)}
    here, key = top, "top"
    for part in at:
        here, key = here[key], part
    do(here, key)
    return top.get("top")


def mutate(data, draw):
    """(what was done, a document with one thing changed)."""
    at = draw.choice(list(places(data)))
    kind = draw.choice(["value"] * 8 + ["without", "wrapped", "renamed", "shuffled"])
    if kind == "value":
        value = draw.choice(VALUES)
        return f"{at} = {short(value)}", changed(data, at, lambda here, key: here.__setitem__(key, value))
    if kind == "without" and at:
        return f"without {at}", changed(data, at, lambda here, key: here.pop(key))
    if kind == "renamed" and at and isinstance(at[-1], str):
        return f"{at} renamed", changed(data, at, lambda here, key: here.__setitem__(HOSTILE, here.pop(key)))
    if kind == "shuffled" and at:
        other = draw.choice(list(places(data)))
        return f"{at} = that of {other}", changed(
            data, at, lambda here, key: here.__setitem__(key, copy.deepcopy(value_at(data, other)))
        )
    return f"[{at}]", changed(data, at, lambda here, key: here.__setitem__(key, [here[key]]))


def value_at(data, at):
    for key in at:
        data = data[key]
    return data


def short(value):
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**50 else "10**400"
    return text if len(text) < 60 else f"{text[:50]}... ({len(text)})"


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
)


def spoiled(content, draw):
    """(what was done, bytes that are no longer a whole file of their kind)."""
    cut = draw.randrange(len(content) + 1)
    flipped = bytearray(content)
    for _ in range(min(len(flipped), 3)):
        flipped[draw.randrange(len(flipped))] = draw.randrange(256)
    return draw.choice(
        [
            ("empty", b""),
            (f"cut at {cut}", content[:cut]),
            (f"from {cut}", content[cut:]),
            ("bytes flipped", bytes(flipped)),
            ("UTF-16", content.decode("utf-8", "replace").encode("utf-16")),
            ("byte order mark", b"\xef\xbb\xbf" + content),
            ("not UTF-8", b"\xff\xfe\xfa" + content),
            ("null bytes", b"\0" * 100 + content),
            ("null inside", content[:cut] + b"\0" + content[cut:]),
            ("twice", content + content),
            ("lists without end", b"[" * 100_000),
            ("mappings without end", b'{"a":' * 100_000),
            ("YAML mappings without end", b"{a: " * 5000),
            ("alias bomb", BOMB.encode()),
            ("alias in itself", b"a: &a [*a]\nb: &b {c: *b}\n"),
            ("tags", b"a: !!int ''\nb: !!python/name:os.system x\n"),
            ("a date", b"a: 2026-99-99\n"),
            ("a number of many digits", b"[" + b"9" * 5000 + b"]"),
            ("not a number", b'{"a": NaN, "b": -Infinity}'),
            ("a long line", b"x" * 3_000_000),
            ("a scalar", b"7"),
            ("carriage returns", content.replace(b"\n", b"\r\n")),
        ]
    )


@contextmanager
def replaced(file: Path, content: bytes | None) -> Iterator[None]:
    """The file with other bytes, or gone (None), for a while."""
    before = file.read_bytes()
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
        file.write_bytes(before)


@contextmanager
def odd_files(file: Path) -> Iterator[list[str]]:
    """Puts what is no file in the place of one: yields a function for each kind."""
    before = file.read_bytes()

    def clear():
        if file.is_dir() and not file.is_symlink():
            file.rmdir()
        else:
            file.unlink(missing_ok=True)

    def put(make):
        clear()
        make(file)

    kinds = {
        "a folder": lambda path: path.mkdir(),
        "a pipe": os.mkfifo,
        "/dev/zero": lambda path: path.symlink_to("/dev/zero"),
        "a link to itself": lambda path: path.symlink_to(path.name),
        "gone": lambda path: None,
    }
    try:
        yield [(name, lambda make=make: put(make)) for name, make in kinds.items()]
    finally:
        clear()
        file.write_bytes(before)


class TooSlow(BaseException):
    """A command ran past its time; not an Exception, which something might catch."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Stop what takes longer; also where something takes that for an error of its own."""
    over = []

    def stop(*_):
        over.append(True)
        raise TooSlow

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if over:
            raise TooSlow


def command(*arguments) -> tuple[int, str]:
    """The exit code of a command and all that it wrote; raises what escapes from it."""
    out, argv = io.StringIO(), sys.argv
    sys.argv = ["lift-harness", *map(str, arguments)]
    code = 0
    try:
        with within(SECONDS), redirect_stdout(out), redirect_stderr(out):
            main()
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.argv = argv
    return code, out.getvalue()


def complaint(what, *arguments) -> str | None:
    """What is wrong with how a command took a bad file; None: nothing."""
    try:
        code, text = command(*arguments)
    except TooSlow:
        return f"{what}: {arguments[0]}: longer than {SECONDS} s"
    except Exception:  # noqa: BLE001 (what is looked for)
        return f"{what}: {arguments[0]}: {traceback.format_exc(limit=-4)}"
    if code not in CODES or "Traceback" in text:
        return f"{what}: {arguments[0]}: exit code {code}: {text[-300:]}"
    if code == 2 and not text.strip():
        return f"{what}: {arguments[0]}: exit code 2 without a word"
    raw = sorted(set(text) & set("\x1b\x9b\x07\u202e\u200b\0"))
    return f"{what}: {arguments[0]}: raw {raw} in {text[:300]!r}" if raw else None


def lines_of(content):
    return [json.loads(line) for line in content.decode().splitlines() if line.strip()]


def dump_yaml(data):
    return yaml.safe_dump(data, allow_unicode=True).encode("utf-8", "surrogatepass")


def dump_json(data):
    return json.dumps(data).encode("utf-8")


def dump_lines(lines):
    lines = lines if isinstance(lines, list) else [lines]
    return b"".join(dump_json(line) + b"\n" for line in lines)


READ = {
    ".json": (json.loads, dump_json),
    ".jsonl": (lines_of, dump_lines),
    ".yaml": (yaml.safe_load, dump_yaml),
}


def mutations(file: Path, count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """(what was done, the bytes) of so many ways to be wrong; three of four are well formed."""
    draw = random.Random(f"{file.name} {seed}")
    content = file.read_bytes()
    load, dump = READ.get(file.suffix, (None, None))
    for i in range(count):
        if load is None or i % 4 == 3:
            what, bad = spoiled(content, draw)
        else:
            what, data = mutate(load(content), draw)
            bad = dump(data)
        yield f"{file.name}: {what}", bad


def complaints(file: Path, count: int, *commands, seed: int = 0) -> list[str]:
    """What is wrong with how commands take a file with things wrong in it, or something else in its place."""
    found = []
    for what, content in mutations(file, count, seed):
        with replaced(file, content):
            found += [complaint(what, *arguments) for arguments in commands]
    with odd_files(file) as kinds:
        for name, put in kinds:
            put()
            found += [complaint(f"{file.name}: {name}", *arguments) for arguments in commands]
    return [one for one in found if one]
