"""Worked examples for `num_fewshot`: questions with answers in the protocol's format, as earlier turns.

They are never questions that the task asks. Which ones is a function of the seed alone, so that every
problem, method and model sees the same; more of them begin with the fewer. Imports neither torch nor lm_eval.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from lift_harness.errors import LiftError, did_you_mean
from lift_harness.files import read_json
from lift_harness.tasks import countdown as countdown_puzzles
from lift_harness.tasks import data, prompts
from lift_harness.tasks import sudoku as sudoku_puzzles
from lift_harness.tasks.benchmarks import Doc
from lift_harness.tasks.catalog import task_config, task_names

SEED = 1234  # lm-eval's default for examples
PARTS = ("question", "reasoning", "answer")
Turns = list[tuple[str, str]]  # what the user asks, what the assistant says
Source = Callable[[int, Sequence[Doc]], Iterator[tuple[Doc, str]]]


class WorkedExamples:
    """Those that a task can show.

    Attributes:
        task: its name.
        source: (seed, the rows that are asked) -> (row, response after `prompts.GEN_PREFIX`), one after the
            other; a task's file names it (`worked_examples`). None: it has no training questions.
        given: the user's own (`--metadata examples=FILE.json`), taken from the first on; go before `source`.
        seed: of the draw.
    """

    def __init__(self, task: str, source: Source | None, given: str | Mapping[str, Any] | None) -> None:
        self.task, self.source, self.seed = task, source, SEED
        self.given = read_examples(given, task).get(task) if given else None

    def check(self, n: Any) -> None:
        """Refuse a number of examples that there cannot be."""
        if type(n) is not int or n < 0:
            raise LiftError(f"{self.task}: num_fewshot={n!r}: give a whole number of examples, 0 or more")
        if n and self.given is None and self.source is None:
            have = [name for name in task_names() if "worked_examples" in task_config(name)]
            raise LiftError(
                f"{self.task}: num_fewshot={n}: there are no training questions for it, only for "
                f"{', '.join(have)}; give your own, --metadata examples=FILE.json (docs/tasks.md)"
            )
        if self.given is not None and n > len(self.given):
            raise LiftError(
                f"{self.task}: num_fewshot={n}: the file of examples has {len(self.given)}; lower it"
            )

    def turns(self, n: int, asked: Sequence[Doc], ask: Callable[[Doc], str], instruction: str) -> Turns:
        """The first n examples.

        Args:
            n: how many.
            asked: the rows that the task asks, none of which is shown.
            ask: the user's message about a row.
            instruction: of the user's message about a question of the user's own.
        """
        if self.given is not None:
            return [
                (prompts.user_turn(instruction, one["question"]), said(one["reasoning"], one["answer"]))
                for one in self.given[:n]
            ]
        assert self.source is not None  # checked
        drawn = list(islice(self.source(self.seed, asked), n))
        if len(drawn) < n:
            raise LiftError(f"{self.task}: num_fewshot={n}: there are {len(drawn)} examples; lower it")
        return [(ask(doc), prompts.GEN_PREFIX + response) for doc, response in drawn]


def said(reasoning: str, answer: str) -> str:
    """All of the assistant's text."""
    return prompts.GEN_PREFIX + prompts.response(reasoning, answer)


def plain_text(turns: Turns, between: str, after: str) -> str:
    """Examples without a chat template; `between` question and answer, and `after` each."""
    return "".join(f"{user}{between}{assistant}{after}" for user, assistant in turns)


def messages(turns: Turns) -> list[dict[str, str]]:
    """Examples as turns of a chat."""
    pairs = [(("user", user), ("assistant", assistant)) for user, assistant in turns]
    return [{"role": role, "content": content} for pair in pairs for role, content in pair]


def read_examples(source: str | Path | Mapping[str, Any], own: str) -> dict[str, list[dict[str, str]]]:
    """Task name -> examples, from a JSON file {task: [{question, reasoning, answer}, ...]} or what one holds.

    Args:
        source: the file.
        own: a task that the file may name beside the project's.

    Raises:
        LiftError: a file that cannot be read, an unknown task, or an example that is none.
    """
    where, raw = "examples", source
    if isinstance(source, (str, Path)):
        where = f"examples={source}"
        try:
            raw = read_json(Path(source), where)
        except OSError as error:
            raise LiftError(f"{where}: {error.strerror}; give a JSON file (docs/tasks.md)") from error
        except LiftError as error:
            raise LiftError(f"{error}; docs/tasks.md shows one") from error
    if not isinstance(raw, Mapping):
        raise LiftError(f"{where}: not a JSON object {{task: examples}} but {type(raw).__name__}")
    for task, examples in raw.items():
        if task not in (own, *task_names()):
            raise LiftError(f"{where}: no task {task!r}: {did_you_mean(str(task), task_names())}")
        for i, one in enumerate(examples if isinstance(examples, list) else [examples]):
            if not isinstance(one, Mapping) or not all(isinstance(one.get(part), str) for part in PARTS):
                raise LiftError(f"{where}: {task}[{i}]: give texts: question, reasoning, answer; not {one!r}")
    return {task: list(examples) for task, examples in raw.items()}


# ---------------------------------------------------------------- where examples come from


def gsm8k(seed: int, asked: Sequence[Doc]) -> Iterator[tuple[Doc, str]]:
    """GSM8K's training questions in a random order."""
    rows = data.load("gsm8k_train")
    for i in np.random.default_rng(seed).permutation(len(rows)):
        reasoning, result = gsm8k_parts(rows[i]["answer"])
        yield rows[i], prompts.response(reasoning.strip(), rf"\boxed{{{result}}}")


def sudoku(seed: int, asked: Sequence[Doc]) -> Iterator[tuple[Doc, str]]:
    """Generated puzzles with as many empty cells; none with the solution of one that is asked."""
    empty = [doc["Puzzle"].count("0") for doc in asked]
    solved = {doc["Solution"] for doc in asked}
    for doc in sudoku_puzzles.generate("train", seed, (min(empty), min(max(empty), 12))):
        if doc["Solution"] not in solved:
            yield doc, sudoku_response(doc)


def countdown(seed: int, asked: Sequence[Doc]) -> Iterator[tuple[Doc, str]]:
    """Generated puzzles with as many numbers, no larger; none of those that are asked, in any order."""
    puzzles = {countdown_key(doc) for doc in asked}
    count = max(len(numbers) for numbers, _ in puzzles)
    number = max(max(numbers) for numbers, _ in puzzles)
    largest = max(target for _, target in puzzles)
    for doc in countdown_puzzles.generate("train", seed, count, number, max(number, largest)):
        if countdown_key(doc) not in puzzles:
            yield doc, countdown_response(doc, max(number, largest))


def countdown_key(doc: Doc) -> tuple[tuple[int, ...], int]:
    """Sorted numbers and target: what makes two puzzles the same."""
    return tuple(sorted(map(int, doc["input"].split(",")))), int(doc["output"])


# ---------------------------------------------------------------- their answers, which training learns too


def gsm8k_parts(answer: str) -> tuple[str, str]:
    """Reasoning and result of GSM8K's "48/2 = <<48/2=24>>24 clips ... #### 72", as its scorer reads it."""
    reasoning, _, result = answer.rpartition("####")
    return re.sub(r"<<[^<>]*>>", "", reasoning), result.strip().translate(str.maketrans("", "", ",$"))


def sudoku_response(doc: Doc) -> str:
    """The response to a puzzle: the cells in the order in which they can be deduced, and the grid."""
    return prompts.response(sudoku_puzzles.reasoning(doc["Puzzle"], doc["Solution"]), doc["Solution"])


def countdown_response(doc: Doc, largest: int = 99) -> str:
    """The response to a puzzle: each operation with its result, and the expression.

    Args:
        doc: a row that a generator yields.
        largest: bound on every result, the generator's.
    """
    solution = countdown_puzzles.solve(*countdown_key(doc), largest)
    assert solution is not None  # the generator only yields solvable puzzles
    return prompts.response(countdown_puzzles.reasoning(solution), rf"\boxed{{{solution.text}}}")
