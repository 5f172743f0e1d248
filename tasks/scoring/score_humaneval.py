"""The verdict on a HumanEval or HumanEval+ answer: its program passes the tests or it does not."""

from __future__ import annotations

import re
import textwrap

from lift_harness.tasks import prompts
from lift_harness.tasks.benchmarks import Doc
from lift_harness.tasks.sandbox import Program
from lift_harness.tasks.scoring.programs import (
    Programs,
    code_benchmark,
    cpu_seconds,
    defines_one,
    require_fields,
)


def check(doc: Doc) -> None:
    """Refuse a row of another benchmark."""
    require_fields(doc, "prompt", "test", "entry_point")


def program(doc: Doc, code: str) -> Program:
    """A function, or only its body: what stands above the function in the prompt holds for both.

    (Imports and helpers: the tests of some problems call a helper too.)
    """
    prompt, name = str(doc["prompt"]), str(doc["entry_point"])
    start = re.search(rf"^def\s+{re.escape(name)}\b", prompt, re.M)
    above = prompt[: start.start()] if start else ""
    code = textwrap.dedent(code)
    if not defines_one((name,), code):
        code = prompt[len(above) :] + textwrap.indent(code, "    ")
    tests = f"{doc['test']}\n\ncheck({name})\n"
    return Program(code, tests, (name,), above, cpu_seconds(tests))


BENCHMARK = code_benchmark(
    instruction=prompts.INSTRUCTIONS["humaneval"],
    question=lambda doc: doc["prompt"],
    target=lambda doc: doc["canonical_solution"],
    programs=Programs(check, program, lambda doc: (str(doc["entry_point"]),)),
)
