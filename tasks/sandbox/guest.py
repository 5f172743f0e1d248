"""What runs inside the two sandboxes of a program: the solution in one, its tests in the other.

They exchange values as plain data, one JSON line each: a call, then what it returned. Nothing of the
solution but data reaches the process that judges it: no object with an `__eq__` of its own, no patched
builtin. The source of this module is executed by `launch`: only the standard library here.
"""

from __future__ import annotations

import builtins
import collections
import json
import operator
import os
import sys
import types
from typing import Any, BinaryIO

MAX_LINE = 1 << 24  # bytes of one call or one result
MAX_ITEMS = 100_000  # of an iterator, which may have no end
MAX_DEPTH = 100
EXACT_FLOAT = 1 << 53
LINEAR = {"tuple": tuple, "set": set, "frozenset": frozenset, "deque": collections.deque}


class NoAnswer(BaseException):
    """The solution cannot be asked any more; no `except Exception` of a test stops it."""


class Opaque:
    """Stands for a returned object that is not plain data: equal to nothing, true or false as that is."""

    def __init__(self, name: str, truth: bool) -> None:
        self.name, self.truth = name, truth

    def __bool__(self) -> bool:
        return self.truth

    def __repr__(self) -> str:
        return f"<{self.name} object>"


# ---------------------------------------------------------------- values as JSON


def encode(value: Any, depth: int = 0) -> Any:
    """A value as JSON: lists, texts, floats, truth values and None as they are, others as {kind: content}."""
    if depth > MAX_DEPTH:
        raise ValueError(f"a value nested more than {MAX_DEPTH} deep")
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, float):
        return float(value)
    if isinstance(value, int) or hasattr(type(value), "__index__"):
        number = int(operator.index(value))
        return number if -EXACT_FLOAT < number < EXACT_FLOAT else {"int": hex(number)}
    if isinstance(value, list):
        return [encode(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {"dict": [[encode(k, depth + 1), encode(v, depth + 1)] for k, v in value.items()]}
    for kind, made in LINEAR.items():
        if isinstance(value, made):
            return {kind: [encode(item, depth + 1) for item in value]}
    return encode_rare(value, depth)


def encode_rare(value: Any, depth: int) -> Any:
    """`encode` for the kinds that few programs return."""
    kind = type(value).__name__
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": bytes(value).hex()}
    if isinstance(value, range):
        return {"range": [encode(number) for number in (value.start, value.stop, value.step)]}
    if kind in ("Decimal", "Fraction"):
        return {kind: str(value)}
    if kind == "array":
        return {"array": [value.typecode, [encode(item) for item in value]]}
    if kind in ("dict_keys", "dict_values", "dict_items"):
        return {kind: [encode(item, depth + 1) for item in value]}
    if type(value).__module__ == "numpy" and kind != "ndarray" and hasattr(value, "item"):
        return encode(value.item(), MAX_DEPTH)
    if hasattr(type(value), "__next__"):
        items = [item for _, item in zip(range(MAX_ITEMS), value)]  # noqa: B905 (an iterator may be endless)
        return {"iterator": [encode(item, depth + 1) for item in items]}
    try:
        truth = bool(value)
    except Exception:
        truth = False
    return {"opaque": [kind, truth]}


def decode(value: Any) -> Any:
    """The value `encode` was given: only types of the standard library, whatever the JSON says."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "int":
        return int(content, 16)
    if kind == "dict":
        return {decode(k): decode(v) for k, v in content}
    if kind in LINEAR:
        return LINEAR[kind](map(decode, content))
    return decode_rare(kind, content)


def decode_rare(kind: str, content: Any) -> Any:
    """`decode` for the kinds of `encode_rare`."""
    if kind == "complex":
        return complex(*content)
    if kind == "bytes":
        return bytes.fromhex(content)
    if kind == "range":
        return range(*map(decode, content))
    if kind == "Decimal":
        from decimal import Decimal

        return Decimal(content)
    if kind == "Fraction":
        from fractions import Fraction

        return Fraction(content)
    if kind == "array":
        from array import array

        return array(content[0], map(decode, content[1]))
    if kind == "dict_keys":
        return dict.fromkeys(map(decode, content)).keys()
    if kind == "dict_values":
        return dict(enumerate(map(decode, content))).values()
    if kind == "dict_items":
        return dict(map(decode, content)).items()
    if kind == "iterator":
        return iter([decode(item) for item in content])
    if kind == "opaque":
        return Opaque(str(content[0]), content[1] is True)
    raise ValueError(f"no kind of value: {kind}")


def send(channel: int, message: dict[str, Any]) -> None:
    """Write one message to a pipe."""
    line = memoryview(json.dumps(message).encode() + b"\n")
    if len(line) > MAX_LINE:
        raise ValueError(f"a value of more than {MAX_LINE} bytes")
    while line:
        line = line[os.write(channel, line) :]


def receive(stream: BinaryIO) -> dict[str, Any] | None:
    """The next message, None at the end or when it is none."""
    line = stream.readline(MAX_LINE)
    try:
        message = json.loads(line) if line.endswith(b"\n") else None
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None


def said(error: BaseException) -> str:
    """An exception as one short line; its own `__str__` may do anything."""
    try:
        return f"{type(error).__name__}: {error}"[:300]
    except BaseException:
        return type(error).__name__


# ---------------------------------------------------------------- the solution


def serve(task: dict[str, Any]) -> None:
    """Run the solution, then answer calls of its functions until there are no more."""
    requests, answers = os.fdopen(task["requests"], "rb"), task["answers"]
    module = types.ModuleType("solution")
    sys.modules["solution"] = module  # where dataclasses, typing and pickle look for it
    try:
        for source in (task["context"], task["solution"]):
            exec(compile(source, "<solution>", "exec", dont_inherit=True), module.__dict__)
    except BaseException as error:
        send(answers, {"failed": said(error)})
        return
    send(answers, {"ready": True})
    while (request := receive(requests)) is not None:
        try:
            function = module.__dict__[request["call"]]
            args, kwargs = decode(request["args"]), decode(request["kwargs"])
            answer = {"value": encode(function(*args, **kwargs))}
            send(answers, answer)
        except BaseException as error:
            send(answers, {"error": type(error).__name__, "said": said(error)})


# ---------------------------------------------------------------- its tests


class Solution:
    """The solution, seen from its tests."""

    def __init__(self, requests: int, answers: int) -> None:
        self.requests, self.answers = requests, os.fdopen(answers, "rb")
        self.lost = ""  # why there are no more answers

    def wait(self) -> None:
        """Until it has been executed."""
        message = self.ask(None)
        if message.get("ready") is not True:
            self.give_up(str(message.get("failed")))

    def ask(self, request: dict[str, Any] | None) -> dict[str, Any]:
        """The answer to a call."""
        if self.lost:
            raise NoAnswer(self.lost)
        try:
            if request is not None:
                send(self.requests, request)
            message = receive(self.answers)
        except OSError:
            message = None
        if message is None:
            self.give_up("the solution's process ended")
        assert message is not None
        return message

    def give_up(self, why: str) -> None:
        """Fail now, and whatever the tests do after that."""
        self.lost = why
        raise NoAnswer(why)

    def function(self, name: str) -> Any:
        """A function that calls the solution's; arguments go by value."""

        def call(*args: Any, **kwargs: Any) -> Any:
            message = self.ask({"call": name, "args": encode(list(args)), "kwargs": encode(kwargs)})
            if "value" in message:
                return decode(message["value"])
            kind = getattr(builtins, str(message.get("error")), None)
            if isinstance(kind, type) and issubclass(kind, Exception):
                raise kind(str(message.get("said")))
            self.give_up(str(message.get("said")))

        return call


def judge(task: dict[str, Any]) -> None:
    """Run the tests against the solution, and report."""
    report = task["report"]
    solution = Solution(task["requests"], task["answers"])
    names: dict[str, Any] = {"__name__": "tests"}
    reason, detail = "error", ""
    try:
        exec(compile(task["context"], "<context>", "exec", dont_inherit=True), names)
        solution.wait()
        names.update({name: solution.function(name) for name in task["names"]})
        exec(compile(task["tests"], "<tests>", "exec", dont_inherit=True), names)
        reason = "passed"
    except AssertionError as error:
        reason, detail = "wrong answer", said(error)
    except BaseException as error:
        detail = said(error)
    if solution.lost:
        reason, detail = "error", solution.lost
    send(report, {"reason": reason, "detail": detail})


def main(task: dict[str, Any]) -> None:
    """Be the one or the other."""
    (serve if task["role"] == "solution" else judge)(task)
