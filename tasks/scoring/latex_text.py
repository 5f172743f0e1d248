r"""LaTeX answers as text: the normal form in the style of the MATH benchmark, plain numbers, hostile input.

The benchmark counts two answers equal when they differ only in how they are typeset. What is normalised
is what its paper lists (arXiv 2103.03874, section 3.2): spacing, sizes of brackets, kinds of fraction,
units, degrees, percent and dollar signs, a variable before "=", fractions and roots without braces.
"""

from __future__ import annotations

import re
from fractions import Fraction

LONGEST = 400  # characters; the longest answer of MATH500 has 53

_SIGNS = str.maketrans(
    {"\u2212": "-", "\u2013": "-", "\u00d7": r"\times ", "\u00f7": r"\div ", "\u03c0": r"\pi "}
)
_SPACING = re.compile(r"(?<!\\)\\[!,;: ]|\\q?quad(?![a-zA-Z])|~")
_SIZES = re.compile(r"\\(?:left|right|[bB]igg?[lr]?)(?![a-zA-Z])")
_FRACTIONS = re.compile(r"\\[dtc]frac(?![a-zA-Z])")
_DEGREES = re.compile(r"\^\s*\{?\s*\\circ\s*\}?|\\degree(?![a-zA-Z])|\u00b0")
_WORDS = re.compile(r"\\(?:text|mbox|textbf|textit|mathrm|mathbf)\s*\{([^{}]*)\}")
_NAMED = re.compile(r"[a-zA-Z](?:\([a-zA-Z]\))?(?:=|\\in(?![a-zA-Z]))")
_NUMBER = re.compile(r"([+-]?)(\d{1,60}|\d{0,60}\.\d{1,60}|\d{1,60}\.)")
_QUOTIENT = re.compile(r"([+-]?)\\frac\{([+-]?\d{1,60})\}\{([+-]?\d{1,60})\}")


def normalise(text: str) -> str:
    r"""One form for all ways to typeset an answer: "\dfrac 12 \text{ cm}" is "\frac{1}{2}"."""
    text = _SPACING.sub("", text.translate(_SIGNS))
    text = _FRACTIONS.sub(r"\\frac", _SIZES.sub("", text))
    text = re.sub(r"\\?[$%]", "", _DEGREES.sub("", text))
    text = without_words(text.strip())
    text = re.sub(r"(\\[a-zA-Z]+)\s+(?=[a-zA-Z])", r"\1{} ", text)  # "\pi r" is not "\pir"
    text = re.sub(r"\s+", "", text).replace("{}", " ").rstrip(".")
    if named := _NAMED.match(text):
        text = text[named.end() :]
    text = re.sub(r"(?<![\d.])\.(?=\d)", "0.", text)
    text = re.sub(r"^(-?\d+)_(?:\d+|\{\d+\})$", r"\1", text)  # the base of a number: the published parser's
    return braced(text)


def without_words(text: str) -> str:
    r"""`\text{...}` after something is a unit and goes, with what follows; alone it is the answer."""
    word = _WORDS.search(text)
    if word and text[: word.start()].strip():
        return text[: word.start()].strip()
    return _WORDS.sub(lambda match: match.group(1).strip(), text)


def braced(text: str) -> str:
    r"""`\frac12`, `\frac1{72}`, `\sqrt3` and `3/4` with braces: `\frac{1}{2}`, ... (no white space left)."""
    text = re.sub(r"\\sqrt([^\[{\\ ])", r"\\sqrt{\1}", text)
    text = re.sub(r"\\frac ?([^{\\ ])", r"\\frac{\1}", text)
    text = re.sub(r"(\\frac\{[^{}]*\}) ?([^{\\ ])", r"\1{\2}", text)
    return re.sub(r"^(-?\d+)/(\d+)$", r"\\frac{\1}{\2}", text)


def plain_number(text: str) -> Fraction | None:
    r"""The value of a normalised "-12", "0.5" or "\frac{1}{2}", None of anything else."""
    if number := _NUMBER.fullmatch(text):
        return Fraction(number.group(1) + number.group(2).rstrip("."))
    if (quotient := _QUOTIENT.fullmatch(text)) and int(quotient.group(3)):
        return Fraction(int(quotient.group(1) + "1") * int(quotient.group(2)), int(quotient.group(3)))
    return None


def is_hostile(text: str) -> bool:
    """Whether the text is too long, or its numbers too large, to be worth a computation.

    A pre-check only, which saves starting a new worker: its limits hold for what passes.
    """
    if len(text) > LONGEST:
        return True
    tower = re.search(r"[\d)}]\s*\^\s*[{(]*\s*\d+\s*[})]*\s*\^", text)
    huge = re.search(r"\^\s*[{(]*[+-]?[\d,]{6,}|\d{5,}\s*[})]*!|!\s*[})]*!", text)
    program = re.search(
        r"\\(?:sum|prod|int|lim|binom\{?[^{}]*\d{4,})(?![a-zA-Z])", text
    )  # no form of an answer
    deep = text.count("^") > 30 or max(text.count("{"), text.count("("), text.count("[")) > 60
    return bool(tower or huge or program or deep)


def is_words(text: str) -> bool:
    """Whether the text holds a word, letters in a row that are no LaTeX command, or is a choice, "(C)".

    To a parser "east" is e * a * s * t, and so equal to "seat"; and "(C)" is C.
    """
    if re.fullmatch(r"\([A-Z]\)", text):
        return True
    formula = re.sub(r"\\[a-zA-Z]+|\{[pbvB]?matrix\}", " ", text)
    return re.search(r"[^\W\d_]{3,}", formula) is not None
