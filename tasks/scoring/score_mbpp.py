"""The verdict on an MBPP or MBPP+ answer: its program passes the tests or it does not.

The question shows the tests of `test_list`; a row of MBPP+ has those and many more in `test`, which are run.
"""

from __future__ import annotations

import re
import textwrap

from lift_harness.errors import LiftError
from lift_harness.tasks import prompts
from lift_harness.tasks.benchmarks import Doc
from lift_harness.tasks.sandbox import Program
from lift_harness.tasks.scoring.programs import Programs, code_benchmark, cpu_seconds, require_fields


def check(doc: Doc) -> None:
    """Refuse a row of another benchmark, or without tests."""
    require_fields(doc, "code", "test_imports", "test_list")
    tests = doc["test_list"]
    if not isinstance(tests, list) or not tests or not all(isinstance(test, str) for test in tests):
        raise LiftError("not a row of MBPP: test_list must be a list of tests")


def program(doc: Doc, code: str) -> Program:
    """A function with the tests that call it."""
    tests = doc.get("test") or "\n".join(doc["test_list"])
    context = "\n".join(doc["test_imports"])
    return Program(textwrap.dedent(code), tests, names(doc), context, cpu_seconds(tests))


def names(doc: Doc) -> tuple[str, ...]:
    """What the reference defines and the tests call."""
    tests = "\n".join(doc["test_list"])
    defined = re.findall(r"^(?:def|class)\s+(\w+)", str(doc["code"]), re.M)
    return tuple(dict.fromkeys(name for name in defined if re.search(rf"\b{name}\b", tests)))


BENCHMARK = code_benchmark(
    instruction=prompts.INSTRUCTIONS["mbpp"],
    question=lambda doc: prompts.mbpp_question(doc["prompt"], doc["test_list"]),
    target=lambda doc: doc["code"],
    programs=Programs(check, program, names),
    parts={"prompt": lambda doc: doc["prompt"], "tests": lambda doc: "\n".join(doc["test_list"])},
)
