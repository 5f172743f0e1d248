r"""From a dataset's row to a `Record`: which fields hold what, and the wording.

Mathematics and code are asked and answered as the evaluation does it (tasks/prompts.py): instruction,
question, then `<reasoning>` as the beginning of the answer. Conversations stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lift_harness.errors import LiftError, did_you_mean
from lift_harness.tasks import prompts
from lift_harness.tasks.scoring.tags import answer_tag, last_boxed
from lift_harness.tasks.worked import gsm8k_parts
from lift_harness.training.sources.fields import (
    NO_PLACE,
    SPANS_OF,
    Row,
    Spans,
    given_spans,
    is_missing,
    messages_of,
    require,
    span_column,
    stripped,
    tests_of,
    text_of,
    turns_of,
)
from lift_harness.training.sources.records import Record, response_hash
from lift_harness.training.sources.release import released_record


@dataclass(frozen=True)
class Layout:
    """Which columns of a row hold which parts of a record.

    Attributes:
        columns: part -> column. The parts are messages; prompt, response; or question, reasoning, answer.
        kind: math, code or chat.
    """

    columns: Mapping[str, str]
    kind: str


def _worked(kind: str, question: str, reasoning: str, answer: str) -> Layout:
    return Layout({"question": question, "reasoning": reasoning, "answer": answer}, kind)


# The first whose columns a row has is its layout.
LAYOUTS: tuple[Layout, ...] = (
    _worked("math", "question", "thinking_trajectories", "attempt"),  # s1K
    _worked("math", "question", "deepseek_thinking_trajectory", "deepseek_attempt"),  # s1K-1.1
    _worked("math", "question", "thinking_trajectories", "sol"),  # LIFT-SFT-12K
    _worked("math", "question", "reasoning", "answer"),
    # KodCode: the reasoning is in the assistant's turn.
    Layout({"question": "question", "answer": "solution", "tests": "test", "said": "conversations"}, "code"),
    Layout({"question": "question", "answer": "solution", "tests": "test"}, "code"),
    Layout({"messages": "messages"}, "chat"),
    Layout({"messages": "conversations"}, "chat"),
    Layout({"prompt": "prompt", "response": "response"}, "chat"),
    Layout({"prompt": "prompt", "response": "completion"}, "chat"),
    Layout({"question": "question", "answer": "answer"}, "math"),  # GSM8K: the reasoning is in the answer
)
REQUIRED = (("messages",), ("prompt", "response"), ("question", "answer"))
OPTIONAL = ("reasoning", "tests", "system", "priority_spans")
PARTS = (*(part for parts in REQUIRED for part in parts), *OPTIONAL)

# The benchmarks', and MBPP's for a question that shows no tests.
INSTRUCTIONS = prompts.INSTRUCTIONS | {
    "code": prompts.INSTRUCTIONS["mbpp"].replace(" so that the tests below it pass", "")
}


def find_layout(row: Row, origin: str, fields: Mapping[str, str], kind: str | None) -> Layout:
    """The layout of a file's rows, from its first one; `fields` (part -> column) and `kind` go first.

    Raises:
        LiftError: a part that does not exist, or columns that make no known layout.
    """
    for part, column in fields.items():
        if part not in PARTS:
            raise LiftError(f"fields: there is no part {part!r}; {did_you_mean(part, PARTS)}")
        require(row, column, origin)
    if fields:
        if not any(set(parts) <= set(fields) for parts in REQUIRED):
            raise LiftError(
                f"fields: {', '.join(fields)} is no example; name messages, prompt and response, or "
                "question and answer (and reasoning, if there is one)"
            )
        guessed = "math" if "question" in fields else "chat"
        return Layout(dict(fields), kind or ("code" if "tests" in fields else guessed))
    for layout in LAYOUTS:
        if all(column in row for column in layout.columns.values()):
            return Layout(layout.columns, kind or layout.kind)
    raise LiftError(
        f"{origin}: no known format: the fields are: {', '.join(row)}; expected messages, prompt and "
        "response, or question, reasoning and answer; or say which is which, as fields: {question: ...}"
    )


def make_record(row: Row, layout: Layout, origin: str, instruction: str | None = None) -> Record | None:
    """The record of a row; None if its question or its response is empty.

    Args:
        row: with values of all kinds.
        layout: of its file.
        origin: for messages.
        instruction: of the released code's text, which the record then has; None: the benchmark's.

    Raises:
        LiftError: a field is missing or holds something else than it should.
    """
    hashed, column = row.get(SPANS_OF), span_column(layout.columns)
    if is_missing(hashed):
        return own_record(row, layout, origin, instruction)
    record = own_record({**row, column: None}, layout, origin, instruction)
    if record is None:
        return None
    if hashed != response_hash(record):
        raise LiftError(
            f"{origin}: 'priority_spans' are those of another response; read the rows as `data annotate` did "
            "(kind, fields, format), or annotate them anew"
        )
    return replace(record, spans=given_spans(row, column, origin, record.response))


def own_record(row: Row, layout: Layout, origin: str, instruction: str | None) -> Record | None:
    """`make_record` of a row whose spans, if it has any, count in its own text."""
    if instruction is not None:
        return released_record(row, layout.columns, layout.kind, instruction, origin)
    if "question" in layout.columns:
        return worked_record(row, layout, origin)
    if is_missing(row.get(layout.columns.get("messages", ""), "")):
        return None
    messages, response = conversation(row, layout, origin)
    if not response.strip() or not any(said.strip() for role, said in messages if role == "user"):
        return None
    spans = given_spans(row, span_column(layout.columns), origin, response)
    if layout.kind == "chat":
        return Record(tuple(messages), response, "", "chat", origin, spans)
    if [role for role, _ in messages if role != "system"] != ["user"]:
        raise LiftError(
            f"{origin}: kind={layout.kind} needs one user turn and its answer; conversations are kind: chat"
        )
    if spans is not None:
        raise LiftError(f"{origin}: {NO_PLACE}")
    reasoning, answer = split_answer(response, layout.kind, origin)
    return asked_as_evaluated(layout, messages[:-1], messages[-1][1], reasoning, answer, (), None, origin)


# ---------------------------------------------------------------- question, reasoning, answer


def worked_record(row: Row, layout: Layout, origin: str) -> Record | None:
    """The record of a row with a question and an answer, and maybe a reasoning and tests."""
    question = text_of(row, layout.columns["question"], origin)
    answer = text_of(row, layout.columns["answer"], origin)
    tests: Sequence[str] = ()
    if "said" in layout.columns:
        reasoning, answer = kodcode_answer(row, answer, origin)
    elif "reasoning" in layout.columns:
        reasoning = text_of(row, layout.columns["reasoning"], origin)
    elif layout.kind == "math":
        reasoning, answer = split_gsm8k(answer, origin) if answer.strip() else ("", "")
    else:
        reasoning = ""
    if not question.strip() or not answer.strip():
        return None
    if "tests" in layout.columns:
        tests = tests_of(row, layout.columns["tests"], origin)
    spans = given_spans(row, span_column(layout.columns), origin, reasoning)
    if spans is not None and "reasoning" not in layout.columns:
        raise LiftError(f"{origin}: {NO_PLACE}")
    reasoning, spans = stripped(reasoning, spans)
    if layout.kind == "chat":
        response = "\n\n".join(part for part in (reasoning, answer.strip()) if part)
        return Record((("user", question),), response, "", "chat", origin, spans)
    return asked_as_evaluated(layout, [], question, reasoning, answer, tests, spans, origin)


def asked_as_evaluated(
    layout: Layout,
    before: Sequence[tuple[str, str]],
    question: str,
    reasoning: str,
    answer: str,
    tests: Sequence[str],
    spans: Spans | None,
    origin: str,
) -> Record:
    """The record whose prompt is that of the benchmark of its kind, and whose response is in its format."""
    if layout.kind == "code":
        task = "mbpp" if tests else "humaneval" if "def " in question else "code"
        question = prompts.mbpp_question(question, tests) if tests else question
        answer = fenced(answer)
    else:
        in_answer = "reasoning" not in layout.columns and "question" in layout.columns
        task = "gsm8k" if in_answer else "math"
        answer = boxed(answer)
    user = prompts.user_turn(INSTRUCTIONS[task], question)
    response = prompts.response(reasoning.strip(), answer)
    messages = (*before, ("user", user))
    return Record(messages, response, prompts.GEN_PREFIX, layout.kind, origin, spans)


def split_gsm8k(answer: str, origin: str) -> tuple[str, str]:
    """Reasoning and result of an answer of GSM8K's."""
    if "####" not in answer:
        raise LiftError(
            f"{origin}: 'answer' holds no '####' before the result, and there is no 'reasoning'; to train "
            "on it as it is: fields: {prompt: question, response: answer}"
        )
    return gsm8k_parts(answer)


def boxed(answer: str) -> str:
    r"""A result in the protocol's `\boxed{...}`; a text that has a box, or several lines, stays as it is."""
    answer = answer.strip()
    return answer if "\n" in answer or r"\boxed" in answer else rf"\boxed{{{answer}}}"


def fenced(answer: str) -> str:
    """A program in one ```python block: that of the text, else all of it."""
    block = python_block(answer)
    if block is None and "```" in answer:
        return answer.strip()  # another language's
    return f"```python\n{(answer if block is None else block).strip()}\n```"


def python_block(text: str) -> str | None:
    """What the first Python code block holds."""
    fenced = re.search(r"```(?:python3?|py)?[ \t]*\n(.*?)```", text, re.DOTALL)
    return fenced.group(1) if fenced else None


def split_answer(text: str, kind: str, origin: str) -> tuple[str, str]:
    """Reasoning and answer of one text: at `</think>` or `</reasoning>`, else before the result."""
    parts = re.split(r"</think>|</reasoning>", text, maxsplit=1)
    if len(parts) == 2:
        reasoning = re.sub(r"^\s*(?:<think>|<reasoning>)", "", parts[0])
        tagged = answer_tag(parts[1])
        return reasoning, parts[1] if tagged is None else tagged
    if kind == "math" and (result := last_boxed(text)) is not None:
        return text, rf"\boxed{{{result}}}"
    if kind == "code" and (block := python_block(text)) is not None:
        return text.split("```", 1)[0], f"```python\n{block}```"
    wanted = r"a \boxed result" if kind == "math" else "a ```python block"
    raise LiftError(f"{origin}: kind={kind}: the response has neither </think> nor {wanted}; use kind: chat")


def kodcode_answer(row: Row, solution: str, origin: str) -> tuple[str, str]:
    """Reasoning and program of a KodCode row: the assistant's, else the solution without a reasoning."""
    answers = [turn for turn in turns_of(row, origin) if turn.get("from") in ("gpt", "assistant")]
    text = text_of(answers[-1], "value", f"{origin}: conversations") if answers else ""
    if not text.strip():
        return "", solution
    if "</think>" in text or python_block(text) is not None:
        reasoning, answer = split_answer(text, "code", origin)
    else:
        reasoning, answer = text, ""
    if python_block(answer) is not None:
        return reasoning, answer
    own = text_of(row, "r1_solution", origin) if "r1_solution" in row else ""
    return reasoning, own if own.strip() else solution


# ---------------------------------------------------------------- conversations


def conversation(row: Row, layout: Layout, origin: str) -> tuple[list[tuple[str, str]], str]:
    """The turns before the last of the assistant's, and its text; what follows that is left out."""
    columns = layout.columns
    if "messages" in columns:
        turns = messages_of(row, columns["messages"], origin)
    else:
        prompt, response = (require(row, columns[part], origin) for part in ("prompt", "response"))
        turns = said_by("user", prompt, row, columns["prompt"], origin)
        turns += said_by("assistant", response, row, columns["response"], origin)
    last = max((i for i, (role, _) in enumerate(turns) if role == "assistant"), default=None)
    if last is None or not any(role == "user" for role, _ in turns[:last]):
        missing = "no assistant's turn" if last is None else "no user's turn before the response"
        roles = ", ".join(role for role, _ in turns)
        raise LiftError(f"{origin}: {missing}; the roles are: {roles or 'none'}")
    system = row.get(columns.get("system", "system"))
    if isinstance(system, str) and system.strip() and turns[0][0] != "system":
        return [("system", system), *turns[:last]], turns[last][1]
    return turns[:last], turns[last][1]


def said_by(role: str, value: Any, row: Row, column: str, origin: str) -> list[tuple[str, str]]:
    """A prompt or a response, which is a text or (in TRL's format) a list of messages."""
    if isinstance(value, list):
        return messages_of(row, column, origin)
    return [(role, text_of(row, column, origin))]
