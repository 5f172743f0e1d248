"""Which characters of a response carry its information, by rules; for the density objective.

Mathematics: numbers, operators and boxed results. Code: control flow, from the syntax tree where the text is
Python, else by the keyword that a line begins with. Prose between blocks of code belongs to no block, and in
"auto" it is read as mathematics.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
import warnings
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any

from lift_harness.errors import LiftError

Span = tuple[int, int]  # characters from start up to, not with, end


def priority_spans(text: str, kind: str) -> list[Span]:
    """The priority characters of a text: spans in order, none empty, none touching another.

    Args:
        text: a response.
        kind: "math"; "code" (the fenced blocks if there are any, else all of it); "auto": code inside fences
            or if the whole text is a program, mathematics elsewhere.

    Raises:
        LiftError: another kind.
    """
    if kind == "math":
        return merged(math_spans(text))
    if kind not in ("code", "auto"):
        raise LiftError(f"priority kind {kind!r}: known are math, code and auto")
    blocks = list(fenced(text))
    if not blocks and (kind == "code" or is_program(text)):
        blocks = [(0, len(text))]
    spans = [span for block in blocks for span in inside(text, block, code_spans)]
    if kind == "auto":
        spans += [span for rest in between(blocks, len(text)) for span in inside(text, rest, math_spans)]
    return merged(spans)


def rule_spans(text: str, kind: str) -> list[Span]:
    """What the rules mark in a response that the data does not mark: in a chat nothing."""
    return [] if kind == "chat" else priority_spans(text, kind)


def token_flags(offsets: Sequence[Span], spans: Sequence[Span]) -> list[bool]:
    """For each token, whether any of its characters lies in a span.

    Args:
        offsets: (start, end) characters of each token, as a fast tokenizer gives them; an empty one (a
            special token) is not flagged.
        spans: in any order.
    """
    ordered = merged(spans)
    starts = [start for start, _ in ordered]

    def flagged(start: int, end: int) -> bool:
        before = bisect_right(starts, end - 1) - 1  # the last span that begins before the token's end
        return start < end and before >= 0 and ordered[before][1] > start

    return [flagged(start, end) for start, end in offsets]


# ---------------------------------------------------------------- spans


def merged(spans: Iterable[Span]) -> list[Span]:
    """The same characters as spans in order, none empty, none touching another."""
    joined: list[Span] = []
    for start, end in sorted(span for span in spans if span[0] < span[1]):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def between(blocks: Sequence[Span], length: int) -> Iterator[Span]:
    """What lies outside of blocks that are in order."""
    at = 0
    for start, end in blocks:
        yield at, start
        at = end
    yield at, length


def inside(text: str, part: Span, rules: Callable[[str], Iterator[Span]]) -> Iterator[Span]:
    """The spans that rules find in a part of a text, as characters of the whole."""
    start, end = part
    for a, b in rules(text[start:end]):
        yield start + a, start + b


FENCE = re.compile(r"^[ \t]*(```|~~~)[^\n`]*$", re.MULTILINE)


def fenced(text: str) -> Iterator[Span]:
    """The insides of fenced blocks; one that is not closed goes to the end."""
    opened: tuple[str, int] | None = None
    for fence in FENCE.finditer(text):
        if opened is None:
            opened = fence[1], min(fence.end() + 1, len(text))
        elif fence[1] == opened[0]:
            yield opened[1], fence.start()
            opened = None
    if opened is not None:
        yield opened[1], len(text)


# ---------------------------------------------------------------- mathematics

NUMBER = re.compile(r"\d+(?:[.,]\d+)*%?")
SIGNS = re.compile(r"[+=^<>*/×÷·±∓≤≥≠≈√∙⋅−-]+")
COMMANDS = re.compile(
    r"\\(?:[dt]?frac|sqrt|times|cdot|div|pm|mp|leq?|geq?|neq?|approx|equiv|sum|prod|int|binom|log|ln|sin|cos|tan)"
    r"(?![a-zA-Z])"
)
TAG = re.compile(r"</?[A-Za-z][A-Za-z_]*/?>")
BOXED = re.compile(r"\\f?box(?:ed)?[ \t]*\{")
SURE = set("=^×÷·±∓≤≥≠≈√∙⋅−")  # hardly ever anything but mathematics


def math_spans(text: str) -> Iterator[Span]:
    """Numbers, operators and whole boxes."""
    text = TAG.sub(lambda tag: " " * len(tag[0]), text)
    yield from boxes(text)
    for number in NUMBER.finditer(text):
        yield number.span()
    for command in COMMANDS.finditer(text):
        yield command.span()
    for sign in SIGNS.finditer(text):
        if is_operator(text, *sign.span()):
            yield sign.span()


def is_operator(text: str, start: int, end: int) -> bool:
    """Whether a run of signs stands between operands: not a hyphen, a bullet, a rule, or bold type."""
    run, near = text[start:end], 40  # characters to look at: long lines must not make this slow
    if SURE & set(run):
        return len(run) < 4  # longer ones underline headings
    before = text[max(0, start - near) : start].rpartition("\n")[2].rstrip()
    after = text[end : end + near].lstrip(" \t")
    if len(run) > 2 or not begins_operand(after):
        return False
    sign = run in "+-" and after == text[end : end + near] and (not before or before[-1] in "=([{,:;<>*/^$")
    return sign or ends_operand(before)


def ends_operand(text: str) -> bool:
    """Whether a number, a bracket or a variable ends here: no longer word."""
    last, before = text[-1:], text[-2:-1]
    return last.isdigit() or last in tuple(")]}%!|") or (last.isalpha() and not before.isalpha())


def begins_operand(text: str) -> bool:
    """Whether a number, a bracket, a variable, a sign or a LaTeX command begins here: no longer word."""
    first, after = text[:1], text[1:2]
    return first.isdigit() or first in tuple("([{\\|-+.$") or (first.isalpha() and not after.isalpha())


def boxes(text: str) -> Iterator[Span]:
    r"""From `\boxed{` to its closing brace; one that is not closed ends with its line."""
    at = 0
    while match := BOXED.search(text, at):
        depth, at = 1, match.end()
        while depth and at < len(text):
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            at += 1
        if depth:
            newline = text.find("\n", match.end())
            at = len(text) if newline < 0 else newline
        yield match.start(), at


# ---------------------------------------------------------------- code

PYTHON = "if elif else for while try except finally with match case return break continue raise assert yield"
OTHERS = "switch default do until catch throw loop goto then fi done esac"  # C, Java, Rust, shell and so on
LINE = re.compile(rf"^[ \t}}]*({'|'.join((PYTHON + ' ' + OTHERS).split())})\b[^\n]*", re.MULTILINE)
KEYWORDS = {"if", "elif", "else", "for", "while", "try", "except", "finally", "with"}
LEAVING = (ast.Return, ast.Raise, ast.Break, ast.Continue, ast.Assert, ast.Yield, ast.YieldFrom)
DEFINING = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)


def is_program(text: str) -> bool:
    """Whether a text is Python with a definition, an import or control flow in it."""
    tree = parsed(text)
    return tree is not None and any(
        isinstance(node, DEFINING) or (isinstance(node, ast.stmt) and header(node) is not None)
        for node in ast.walk(tree)
    )


def code_spans(text: str) -> Iterator[Span]:
    """Headers of compound statements, keywords of branches and loops, and what leaves a block or function."""
    text = re.sub(r"\r(?!\n)", "\n", text)  # as Python counts lines; of the same length
    tree = parsed(text)
    if tree is None:
        yield from lines_with_keywords(text)
        return
    lines = Lines(text)
    for node in ast.walk(tree):
        if isinstance(node, LEAVING):
            yield lines.start(node), lines.end(node)
        elif isinstance(node, ast.match_case):  # has no place of its own: from the `case` before the pattern
            first = lines.start(node.pattern)
            yield text.rfind("case", 0, first), lines.end(node.guard or node.pattern)
        elif (last := header(node)) is not None:
            yield lines.start(node), lines.end(last)
    yield from keywords(text, lines)


def parsed(text: str) -> ast.Module | None:
    """The syntax tree, or None where there is none: no Python, cut off, or too deep."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of invalid escapes and the like
            return ast.parse(text)
    except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError):
        return None


def header(node: ast.AST) -> ast.AST | None:
    """The last part of a compound statement's header, which begins where the statement does."""
    if isinstance(node, ast.If | ast.While):
        return node.test
    if isinstance(node, ast.For | ast.AsyncFor):
        return node.iter
    if isinstance(node, ast.With | ast.AsyncWith):
        return node.items[-1].optional_vars or node.items[-1].context_expr
    if isinstance(node, ast.ExceptHandler):
        return node.type
    if isinstance(node, ast.Match):
        return node.subject
    return None


def keywords(text: str, lines: Lines) -> Iterator[Span]:
    """Keywords that the tree has no place for (else, try, finally), and those in expressions."""
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.NAME and token.string in KEYWORDS:
                start = lines.starts[token.start[0] - 1] + token.start[1]
                yield start, start + len(token.string)
    except (tokenize.TokenError, SyntaxError):
        return


def lines_with_keywords(text: str) -> Iterator[Span]:
    """Lines that begin with a keyword of control flow, in whatever language."""
    for line in LINE.finditer(text):
        yield line.start(1), line.start() + len(line[0].rstrip(" \t\r{:;"))


class Lines:
    """Where the nodes of a syntax tree are, in characters (the tree counts lines, and bytes of UTF-8)."""

    def __init__(self, text: str) -> None:
        self.lines = text.split("\n")
        self.starts = [0, *accumulate(len(line) + 1 for line in self.lines)]

    def start(self, node: Any) -> int:
        """First character of a node."""
        return self.place(node.lineno, node.col_offset)

    def end(self, node: Any) -> int:
        """Character after a node."""
        return self.place(node.end_lineno, node.end_col_offset)

    def place(self, line: int, byte: int) -> int:
        """Index of a character."""
        content = self.lines[line - 1]
        column = byte if content.isascii() else len(content.encode()[:byte].decode(errors="ignore"))
        return self.starts[line - 1] + min(column, len(content))
