"""A process that stops dead at a moment at which it writes below a folder.

The moments are seen from outside of what is tested: Python's audit events of files and folders, SQLite's
trace of statements, and the two functions that write in native code. A process that stops right before a
moment has just finished the one before it; one that has begun it leaves a file with its first byte.
"""

import json
import os
import re
import sqlite3
import sys

import safetensors.torch
import torch
from support.report_runs import embedded

STOPPED = 77  # the exit code
OPENED = ("open", "append", "native")
PATHS = {"os.rename": 2, "os.remove": 1, "os.mkdir": 1, "os.rmdir": 1, "os.truncate": 1, "os.chmod": 1}
SELDOM = re.compile(r"\d{4}-\d\d-\d\dT[\d.:-]+|\d{2,}")  # times and process ids, in the names of files


def watch(folder, reached):
    """Call reached(what, path) before each write below a folder, for as long as this process lives.

    `what` is "open", "append", "native", "sql" or the audit event; nothing is reported inside of `reached`.
    """
    root, busy = f"{folder.resolve()}{os.sep}", False

    def report(what, path):
        nonlocal busy
        if not busy and f"{path}{os.sep}".startswith(root):
            busy = True
            reached(what, path)
            busy = False

    def audit(event, args):
        if event == "open" and isinstance(args[0], (str, bytes, os.PathLike)):
            path, flags = os.path.abspath(os.fsdecode(args[0])), args[2]
            nameless = os.path.isdir(path)  # a file without a name: a try whether the folder takes any
            if flags & (os.O_WRONLY | os.O_RDWR) and not nameless:
                report("append" if flags & os.O_APPEND else "open", path)
        elif event in PATHS:
            folder_of = args[-1] if event != "os.truncate" else -1
            report(event, absolute(args[PATHS[event] - 1], folder_of))

    def before(function, argument):
        def wrapped(*args, **kwargs):
            place = kwargs.get("filename", args[argument] if len(args) > argument else None)
            if isinstance(place, (str, os.PathLike)):
                report("native", os.path.abspath(place))
            return function(*args, **kwargs)

        return wrapped

    def traced(file, *args, **kwargs):
        connection = connect(file, *args, **kwargs)
        connection.set_trace_callback(lambda sql: is_change(sql) and report("sql", os.path.abspath(file)))
        return connection

    connect, sqlite3.connect = sqlite3.connect, traced
    safetensors.torch.serialize_file = before(safetensors.torch.serialize_file, 1)
    torch.save = before(torch.save, 1)
    sys.addaudithook(audit)


def is_change(sql):
    """Whether a statement writes."""
    return sql.split()[0].upper() in ("INSERT", "CREATE", "PRAGMA", "DELETE", "UPDATE")


def absolute(path, folder):
    """A path of an audit event, whose folder may be an open one."""
    text = os.fsdecode(path)
    if isinstance(folder, int) and folder >= 0:
        text = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), text)
    return os.path.abspath(text)


def stop_at(folder, n, begun):
    """Stop this process at its n-th write, from 0; `begun`: with the file there, and nothing in it yet."""
    count = 0

    def reached(what, path):
        nonlocal count
        if count == n:
            if begun:
                with open(path, "ab" if what == "append" else "wb") as file:
                    file.write(b"{")
            os._exit(STOPPED)
        count += 1

    watch(folder, reached)


def stop_where(folder, pattern):
    """Stop this process before the first write whose line, as `list_writes` has it, holds a pattern."""

    def reached(what, path):
        if re.search(pattern, f"{what} {os.path.relpath(path, folder)}"):
            os._exit(STOPPED)

    watch(folder, reached)


def list_writes(folder, file):
    """Write what this process writes, a line each, to a file elsewhere."""
    watch(folder, lambda what, path: note(file, f"{what} {os.path.relpath(path, folder)}"))


def note(file, line):
    with file.open("a") as lines:
        lines.write(line + "\n")


def telling(lines, same):
    """(number, whether begun) of the writes to stop at: the first and the last of each kind.

    Writes are of a kind when they differ in a time, a process or what the pattern `same` finds; and what is
    removed from one folder is. A file is opened, which tells the same as right before it, and more.
    """
    kinds = {}
    for number, line in enumerate(lines):
        kind = re.sub(same, "", SELDOM.sub("N", line))
        removed = kind.startswith("os.remove")
        kinds.setdefault(os.path.dirname(kind) if removed else kind, []).append(number)
    chosen = set()
    for kind, numbers in kinds.items():
        chosen |= {numbers[0]} if kind.startswith("os.mkdir") else {numbers[0], numbers[-1]}
    return [(number, lines[number].startswith(OPENED)) for number in sorted(chosen)]


def rows(database):
    """All that is in an SQLite file."""
    connection = sqlite3.connect(database)
    try:
        return sorted(connection.execute("SELECT * FROM responses"))
    finally:
        connection.close()


# ---------------------------------------------------------------- the same at the end

COMMIT = re.compile(r", commit [0-9a-f]{12}( with uncommitted changes)?")
# Of the clock, the memory, and the commit that is checked out.
TIMES = {"seconds", "gpu_hours", "peak_memory_bytes", "made", "checksum", "costs", "code"}


def contents(folder):
    """What is in a run's folder by name, without what the clock and the memory say."""
    return {
        SELDOM.sub("N", str(file.relative_to(folder))): content(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file() or not any(file.iterdir())
    }


def content(file):
    """What a file holds: its bytes, or what of them is the same in every run."""
    if file.is_dir():
        return "an empty folder"
    if file.suffix == ".sqlite":
        return rows(file)
    if file.name == "traces.jsonl":  # those from the cache come first
        return sorted(file.read_text().splitlines())
    if file.name.startswith("results_"):  # lm-eval's, full of times
        found = json.loads(file.read_text())
        return [found["results"], found["n-samples"], found["config"]["decoding"]]
    if file.suffix == ".json":
        return without_times(json.loads(file.read_text()))
    if file.suffix == ".html":
        return without_times(embedded(COMMIT.sub("", file.read_text())))
    if file.name == "report.md":
        return re.sub(r"(?s)###? (Speed|Wall time).*?(?=\n## )", "", file.read_text())
    return file.read_bytes()


def without_times(tree):
    """A tree without what differs from run to run."""
    if isinstance(tree, dict):
        kept = {SELDOM.sub("N", name): value for name, value in tree.items() if name not in TIMES}
        return {name: without_times(value) for name, value in kept.items() if "results_N" not in name}
    return [without_times(one) for one in tree] if isinstance(tree, list) else tree
