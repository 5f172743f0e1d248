"""The verdict on a HumanEval answer: its program passes the tests or it does not."""

from __future__ import annotations

import re
import textwrap

from lift_harness.tasks import prompts
from lift_harness.tasks.benchmarks import Doc
from lift_harness.tasks.sandbox import Program
from lift_harness.tasks.scoring.programs import Programs, code_benchmark, require_fields


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
    if not defines(name, code):
        code = prompt[len(above) :] + textwrap.indent(code, "    ")
    return Program(code, f"{doc['test']}\n\ncheck({name})\n", (name,), above)


def defines(name: str, code: str) -> bool:
    """Whether a line of the code defines, assigns or imports the name at the top level."""
    n = re.escape(name)
    return bool(re.search(rf"^(?:(?:async\s+def|def|class)\s+{n}\b|{n}\s*[:=]|from\s.*\b{n}\b)", code, re.M))


BENCHMARK = code_benchmark(
    instruction=prompts.INSTRUCTIONS["humaneval"],
    question=lambda doc: doc["prompt"],
    target=lambda doc: doc["canonical_solution"],
    programs=Programs(check, program),
)
