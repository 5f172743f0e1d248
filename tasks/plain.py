"""Benchmarks asked as lm-eval asks them: no tags, the examples and the question in the user's one turn.

The examples are lm-eval's own: of GSM8K some of the training questions, drawn anew for each problem; of MATH
and MBPP those that stand in the source of the installed lm-eval.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

from lift_harness.errors import LiftError
from lift_harness.tasks import data
from lift_harness.tasks.protocol import ProtocolTask
from lift_harness.tasks.wording import OWN
from lift_harness.tasks.worked import Turns

Shots = list[tuple[dict[str, Any], str]]  # a dataset row, and its answer


class PlainTask(ProtocolTask):
    """A task whose `worked_examples` are (how many, seed, problems) -> the examples of each problem."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        self._shots: dict[tuple[int, int], dict[str, Shots]] = {}

    def examples(self, n: int, doc: Mapping[str, Any] | None = None) -> Turns:
        """The worked examples before a question; the user's own, or those of its place among all."""
        if n == 0:
            return []
        if self.worked.given is not None:
            asked = [self.wording.question.replace(OWN, one["question"]) for one in self.worked.given[:n]]
            answers = [one["reasoning"] + one["answer"] for one in self.worked.given[:n]]
            return list(zip(asked, answers, strict=True))
        key = (n, self.worked.seed)
        if key not in self._shots:
            source: Any = self.worked.source  # there is one: checked
            texts = [self.doc_to_text(one) for one in self.eval_docs]
            self._shots[key] = dict(zip(texts, source(*key, len(texts)), strict=True))
        question = self.doc_to_text(self.eval_docs[0] if doc is None else doc)
        return [(self.doc_to_text(row), answer) for row, answer in self._shots[key][question]]


def gsm8k(n: int, seed: int, problems: int) -> Iterator[Shots]:
    """Training questions with their solutions, as lm-eval's `ContextSampler` draws them in one process."""
    rows, random = data.load("gsm8k_train"), Random(seed)
    for _ in range(problems):
        yield [(row, row["answer"]) for row in random.sample(rows, n)]


def math(n: int, seed: int, problems: int) -> list[Shots]:
    """The four that Minerva was shown (arXiv 2206.14858, appendix D.2), as lm-eval has them."""
    return [[(row, row["solution"]) for row in of_lm_eval("minerva_math", n)]] * problems


def mbpp(n: int, seed: int, problems: int) -> list[Shots]:
    """The three of MBPP's paper (arXiv 2108.07732), as lm-eval has them."""
    rows = of_lm_eval("mbpp", n)
    return [[({**row, "prompt": row["text"]}, f"{row['code']}\n[DONE]") for row in rows]] * problems


def of_lm_eval(task: str, n: int) -> list[dict[str, Any]]:
    """The first n examples in `lm_eval/tasks/TASK/utils.py`, read but not run.

    Importing it would ask the Hub for a metric.
    """
    spec = find_spec("lm_eval")
    assert spec is not None and spec.submodule_search_locations
    path = Path(next(iter(spec.submodule_search_locations))) / "tasks" / task / "utils.py"
    try:
        functions = ast.parse(path.read_text(encoding="utf-8")).body
        (found,) = (
            f for f in functions if isinstance(f, ast.FunctionDef) and f.name == "list_fewshot_samples"
        )
        (returned,) = (line for line in found.body if isinstance(line, ast.Return))
        rows = ast.literal_eval(returned.value) if returned.value else []
    except (OSError, ValueError) as error:
        raise LiftError(
            f"lm-eval {version('lm_eval')} has no worked examples in tasks/{task}/utils.py; give your own, "
            "--metadata examples=FILE.json (docs/tasks.md)"
        ) from error
    if n > len(rows):
        raise LiftError(f"num_fewshot={n}: lm-eval's task {task} has {len(rows)} worked examples; lower it")
    return rows[:n]
