"""How a task asks: its instruction, and its question as a template. The project's own, or those of a file.

A file (`--metadata prompts=FILE.json`, a recipe's `eval.prompts`) has for a task an instruction, or both:

    {"lift_gsm8k": "Solve it.", "lift_sudoku": {"instruction": "Solve it.", "question": "Grid: {puzzle}"}}

An instruction may be empty where there is a question.

Imports neither torch nor lm_eval.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from string import Formatter
from typing import Any

from lift_harness.errors import LiftError, did_you_mean
from lift_harness.files import read_json
from lift_harness.tasks.benchmarks import Benchmark, Doc, load_benchmark
from lift_harness.tasks.catalog import own_words, task_config, task_names
from lift_harness.tasks.prompts import user_turn

OWN = "{question}"  # the question as the benchmark words it
KEYS = ("instruction", "question")


@dataclass(frozen=True)
class Wording:
    """The words of a task.

    Attributes:
        instruction: what the user's turn begins with.
        question: below it; {question} stands for the benchmark's own wording, {puzzle} and the like for parts
            of the row (`Benchmark.parts`); {{ and }} are braces.
    """

    instruction: str
    question: str = OWN

    def turn(self, benchmark: Benchmark, doc: Doc) -> str:
        """The user's message about a row."""
        return user_turn(self.instruction, self.question.format_map(benchmark.parts_of(doc)))

    @property
    def sha256(self) -> str:
        """Tells wordings apart. White space around a message does not count: LLaDA's template drops it."""
        return sha256(user_turn(self.instruction, self.question).strip().encode()).hexdigest()


def wording_of(task: str, benchmark: Benchmark, replaced: str | Path | Mapping[str, Any] | None) -> Wording:
    """The words of a task: those of `replaced` (as for `read_prompts`), of its file, of its benchmark."""
    theirs = read_prompts(replaced).get(task, {}) if replaced else {}
    return Wording(**{"instruction": benchmark.instruction, **own_words(task), **theirs})


def read_prompts(source: str | Path | Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Task name -> {"instruction", "question"}, each only where it is given, from a file or what one holds.

    Raises:
        LiftError: a file that cannot be read, an unknown task, or words that are none.
    """
    is_file = isinstance(source, (str, Path))
    where = f"prompts={source}" if is_file else "prompts"
    raw = read_object(Path(source), where) if isinstance(source, (str, Path)) else source
    if not isinstance(raw, Mapping):
        raise LiftError(
            f"{where}: not a JSON object {{task: instruction}} but {type(raw).__name__} (docs/tasks.md)"
        )
    return {name: words_of(name, words, where) for name, words in raw.items()}


def read_object(path: Path, where: str) -> Any:
    """The JSON of a file."""
    try:
        return read_json(path, where)
    except OSError as error:
        raise LiftError(f"{where}: {error.strerror}; give a JSON file {{task: instruction}}") from error
    except LiftError as error:
        raise LiftError(f"{error}; give {{task: instruction}}") from error


def words_of(task: Any, words: Any, where: str) -> dict[str, str]:
    """The checked words of one task: a text is its instruction."""
    if task not in task_names():
        raise LiftError(f"{where}: no task {task!r}: {did_you_mean(str(task), task_names())}")
    given = words if isinstance(words, Mapping) else {"instruction": words}
    for key, text in given.items():
        if key not in KEYS:
            raise LiftError(f"{where}: {task}: no key {key!r}: {did_you_mean(str(key), KEYS)}")
        empty = isinstance(text, str) and not text.strip()
        if not isinstance(text, str) or (empty and not (key == "instruction" and "question" in given)):
            raise LiftError(f"{where}: the {key} of {task} must be a text, not {text!r}")
    if "question" in given:
        check_template(given["question"], load_benchmark(task_config(task)["benchmark"]), f"{where}: {task}")
    return dict(given)


def check_template(template: str, benchmark: Benchmark, where: str) -> None:
    """Refuse a question that names what a row does not have, or nothing of it."""
    known = ["question", *benchmark.parts]
    fields = []
    try:
        for _, name, form, conversion in Formatter().parse(template):
            fields += [(name, form or conversion)] if name is not None else []
    except ValueError as error:
        raise LiftError(
            f"{where}: question: {template!r}: {error}; write {{{{ and }}}} for braces"
        ) from error
    for name, formatted in fields:
        if name not in known or formatted:
            raise LiftError(f"{where}: question: no part {{{name}}} of a row: {did_you_mean(name, known)}")
    if not fields:
        raise LiftError(f"{where}: question: {template!r} names no part of a row; known: {', '.join(known)}")
