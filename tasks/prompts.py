r"""The wording of the evaluation prompts, and the text that a correct answer has.

One user turn (instruction, blank line, question); the assistant's text begins with `GEN_PREFIX`.
Training data is built by the same functions, so that a model is asked at evaluation exactly what it
was asked in training. The protocol is d1's (arXiv 2504.12216, section 4), the wording our own.
"""

from __future__ import annotations

from collections.abc import Sequence

GEN_PREFIX = "<reasoning>"

_FORMAT = "Write your reasoning between <reasoning> and </reasoning>, then {} between <answer> and </answer>."

INSTRUCTIONS: dict[str, str] = {
    "sudoku": (
        "Fill the empty cells (zeros) of this four by four Sudoku so that every row, column and two by two "
        "box holds the digits from one to four once. "
        + _FORMAT.format("the sixteen digits of the solved grid, row by row,")
    ),
    "countdown": (
        "Combine the given numbers with + - * / and parentheses, each exactly once, to reach the target. "
        + _FORMAT.format(r"the expression as \boxed{...}")
    ),
    "gsm8k": "Solve this word problem step by step. " + _FORMAT.format(r"the final number as \boxed{...}"),
    "math": "Solve this mathematics problem step by step. " + _FORMAT.format(r"the result as \boxed{...}"),
    "humaneval": (
        "Complete this Python function so that it does what its docstring says. "
        + _FORMAT.format("the whole function with its imports, in one ```python block,")
    ),
    "mbpp": (
        "Write a Python function for this task so that the tests below it pass. "
        + _FORMAT.format("the function with its imports, in one ```python block,")
    ),
    "parallel": (
        "Follow the rule. Write nothing but the result between <answer> and </answer>, its items with single "
        "spaces between them."
    ),
    "arithmetic": "Compute the result. " + _FORMAT.format(r"the number as \boxed{...}"),
}


def user_turn(instruction: str, question: str) -> str:
    """The user's message; without an instruction the question alone."""
    return f"{instruction}\n\n{question}" if instruction else question


def sudoku_question(puzzle: str) -> str:
    """The question of a 4x4 Sudoku given as 16 digits."""
    return f"Puzzle: {puzzle}"


def countdown_question(numbers: str, target: str) -> str:
    """The question of a Countdown puzzle given as "30,100,93" and "23"."""
    return f"Numbers: {countdown_numbers(numbers)}\nTarget: {target}"


def countdown_numbers(numbers: str) -> str:
    """The numbers "30,100,93" as a question shows them."""
    return f"[{', '.join(numbers.split(','))}]"


def mbpp_question(prompt: str, tests: Sequence[str]) -> str:
    """The question of an MBPP problem: what is asked, and the tests, which name the function."""
    return "\n".join([prompt, "", *tests])


def response(reasoning: str, answer: str) -> str:
    """The assistant's text after `GEN_PREFIX`."""
    return f"{reasoning}</reasoning>\n<answer>\n{answer}\n</answer>"
