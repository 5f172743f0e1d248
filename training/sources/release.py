"""`format: release`: the training text of LIFT's released code (divelab/LIFT, SFT/sft_trainer.py at b2cacc0).

One instruction for all kinds of questions, which the user gives; the whole answer is learnt, `<reasoning>`
included; reasoning and answer stand as the data has them, without box or fence. How it becomes ids:
`models.chat.encode_released`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from lift_harness.errors import LiftError
from lift_harness.files import read_text
from lift_harness.training.sources.fields import (
    NO_PLACE,
    Row,
    Spans,
    given_spans,
    is_missing,
    span_column,
    text_of,
    turns_of,
)
from lift_harness.training.sources.records import Record

OPEN = "<reasoning>"
FILES = (".txt", ".md")  # a name with a space in it, and one of these, is no text


def read_instruction(given: str) -> str:
    """The instruction: what the file of that name holds, or the text itself; no white space is lost.

    Raises:
        LiftError: the name of a file that is not there, or that holds nothing.
    """
    words = " " in given and not given.endswith(FILES) and not os.path.isfile(given)
    if "\n" in given or words:
        return given
    try:
        text = read_text(Path(os.path.expanduser(given)), f"instruction={given!r}")
    except OSError as error:
        raise LiftError(f"instruction={given!r}: {error.strerror}; give a text file, or the text") from error
    if not text.strip():
        raise LiftError(f"instruction={given!r}: empty; give a file that holds the text")
    return text


def released_record(
    row: Row, columns: Mapping[str, str], kind: str, instruction: str, origin: str
) -> Record | None:
    """The record of a row; None if its question or its answer is empty.

    Args:
        row: of a dataset.
        columns: part -> column, as in `formats.Layout`.
        kind: math or code.
        instruction: what the user's turn begins with; a blank line and the question follow.
        origin: of the row.

    Raises:
        LiftError: a conversation, which the released code has no text for, or a bad field.
    """
    if "question" not in columns or kind == "chat":
        raise LiftError(f"{origin}: format=release is of questions and answers; conversations have no other")
    question = text_of(row, columns["question"], origin)
    spans, column = None, span_column(columns)
    if "reasoning" not in columns and not is_missing(row.get(column)):
        raise LiftError(f"{origin}: {NO_PLACE}")
    if kind == "code" and "reasoning" not in columns:
        question, response = released_code(row, columns, question, origin)
    else:
        reasoning, answer = released_mathematics(row, columns, origin)
        if not answer.strip():
            return None
        response = tagged(reasoning, answer)
        spans = moved(given_spans(row, column, origin, reasoning))
    if not question.strip() or not response:
        return None
    user = f"{instruction}\n\n{question}"
    return Record((("user", user),), response, "", kind, origin, spans, release=True)


def tagged(reasoning: str, answer: str) -> str:
    """The assistant's text."""
    return f"{OPEN}{reasoning}</reasoning>\n<answer>{answer}</answer>"


def moved(spans: Spans | None) -> Spans | None:
    """Spans of a reasoning as spans of the assistant's text."""
    return spans and tuple((start + len(OPEN), end + len(OPEN)) for start, end in spans)


def released_mathematics(row: Row, columns: Mapping[str, str], origin: str) -> tuple[str, str]:
    """Reasoning and answer as they are; of GSM8K what is around the first `####`, annotations included."""
    answer = text_of(row, columns["answer"], origin)
    if "reasoning" in columns:
        return text_of(row, columns["reasoning"], origin), answer
    reasoning, mark, result = answer.partition("####")
    if answer.strip() and not mark:
        raise LiftError(f"{origin}: 'answer' holds no '####' before the result, and there is no 'reasoning'")
    return reasoning.strip(), result.strip()


def released_code(row: Row, columns: Mapping[str, str], question: str, origin: str) -> tuple[str, str]:
    """Question and response of a KodCode row: those of the conversation, where it has them.

    An answer without a reasoning is one whole; the program is added in tags of its own, with no fence.
    """
    said = text = ""
    if "said" in columns:
        said = first_said(row, "human", origin)
        text = first_said(row, "gpt", origin)
    text = text.replace("<think>", "<reasoning>").replace("</think>", "</reasoning>")
    program = text_of(row, "r1_solution", origin) if "r1_solution" in row else ""
    program = (program or text_of(row, columns["answer"], origin)).strip()
    reasons = "<reasoning>" in text and "</reasoning>" in text
    answers = "<answer>" in text and "</answer>" in text
    if reasons and answers:
        response = text
    elif not program:
        response = ""
    elif reasons:
        response = f"{text}\n<answer>{program}</answer>"
    else:
        response = tagged(text, program)
    return said or question.strip(), response


def first_said(row: Row, speaker: str, origin: str) -> str:
    """What the first turn of a speaker says, without white space around it."""
    turns = [turn for turn in turns_of(row, origin) if turn.get("from") == speaker]
    return text_of(turns[0], "value", f"{origin}: conversations").strip() if turns else ""
