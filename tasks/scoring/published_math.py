r"""The published verdict on a MATH500 or AIME answer: that of the scorer which LIFT's authors released.

It accepts an answer in either of two ways. Its text equals the reference's in the normal form of the MATH
benchmark (arXiv 2103.03874, section 3.2; d1's own scorer stops here). Or a judge finds the two of the same
value: lists in any order, `\pm` as two elements, numbers also a hundred times larger or smaller, formulas by
sympy. What text alone tells is here; the rest is asked of `latex_worker`, a process that can be killed.

The judge is not followed in four things that no table should depend on: values that are not finite are equal
as texts only; numerals to two different bases are never equal (27_6, 27_7), nor are words of the same letters
("no", "on"), nor what takes longer to compare than the limits.
"""

from __future__ import annotations

import re

LONGEST = 400  # characters of an item; the longest answer of MATH500 has 53
MOST = 100 * LONGEST  # of all that the judge reads; boxes may stand in each other

# The judge's own list, in its order.
_REPLACED = {
    r"\left": "",
    r"\right": "",
    "\u2236": ":",
    "\uff0c": ",",
    "$": "",
    r"\approx": "=",
    r"\simeq": "=",
    r"\sim": "=",
    r"^\prime": "'",
    r"^{\prime}": "'",
    r"^\circ": "",
    "%": "",
}
_AT_THE_ENDS = "\n$,.:;^_=+`!@#%&*~\uff0c\u3002"
_CHINESE = re.compile("[\u4e00-\u9fff]+")


# ---------------------------------------------------------------- the benchmark's normal form


def typeset_alike(gold: str, answer: str) -> bool:
    """Whether both have one normal form; where the benchmark's code gives up, whether they are the same."""
    try:
        return normal_form(gold) == normal_form(answer)
    except ValueError:
        return gold == answer


def normal_form(text: str) -> str:
    r"""One text for the ways to typeset an answer: "\dfrac 12\text{ cm}" is "\frac{1}{2}".

    Raises:
        ValueError: the benchmark's code gives up: two units, a root or a fraction of nothing, a "/" between
            what are not whole numbers.
    """
    text = text.replace("\n", "").replace(r"\!", "").replace("\\\\", "\\")
    text = text.replace("tfrac", "frac").replace("dfrac", "frac")
    for nothing in (r"\left", r"\right", r"^{\circ}", r"^\circ", r"\$"):
        text = text.replace(nothing, "")
    text, *units = text.split(r"\text{ ")
    if len(units) > 1:
        raise ValueError("two units")
    text = text.replace(r"\%", "").replace(r"\%", "")  # twice, as published: of "\\%%" nothing is left
    text = text.replace(" .", " 0.").replace("{.", "{0.")
    if not text:
        return text
    text = re.sub(r"^\.", "0.", text)
    name, *value = text.split("=")
    if len(value) == 1 and len(name) <= 2:
        text = value[0]
    text = braced_fractions(braced_roots(text).replace(" ", ""))
    return quotient(r"\frac{1}{2}" if text == "0.5" else text)


def braced_roots(text: str) -> str:
    r"""`\sqrt3` as `\sqrt{3}`."""
    done, *roots = text.split(r"\sqrt")
    for root in roots:
        if not root:
            raise ValueError("a root of nothing")
        done += rf"\sqrt{root}" if root[0] == "{" else rf"\sqrt{{{root[0]}}}{root[1:]}"
    return done


def braced_fractions(text: str) -> str:
    r"""`\frac12` and `\frac1{72}` with braces; as it is where a fraction is cut off."""
    done, *fractions = text.split(r"\frac")
    for fraction in fractions:
        if not fraction:
            raise ValueError("a fraction of nothing")
        if len(fraction) < 2 and fraction != "{":
            return text
        done += rf"\frac{braced_arguments(fraction)}"
    return done


def braced_arguments(text: str) -> str:
    """The two arguments of a fraction, each in braces, and what follows."""
    if text[0] == "{":
        return text
    below = text[1:] if text[1] == "{" else f"{{{text[1]}}}{text[2:]}"
    return f"{{{text[0]}}}{below}"


def quotient(text: str) -> str:
    r"""`3/4` as `\frac{3}{4}`."""
    parts = text.split("/")
    if len(parts) != 2:
        return text
    above, below = map(int, parts)
    return rf"\frac{{{above}}}{{{below}}}" if text == f"{above}/{below}" else text


# ---------------------------------------------------------------- what the judge reads


def judged_text(text: str) -> str | None:
    """What the judge takes for the answer in a text; None where a box is not closed, or it is too much."""
    closed = braces(text)
    starts = [box.end() for box in re.finditer(r"\\boxed\{", text)]
    if not all(start - 1 in closed for start in starts):
        return None
    if sum(closed[start - 1] - start for start in starts) > MOST:
        return None
    boxes = [text[start : closed[start - 1]] for start in starts]
    in_dollars = re.findall(r"\$(.*?)\$", text.strip().split("\n")[-1])
    answers = boxes or in_dollars
    text = "".join(f"{answer}," for answer in answers) if answers else text
    if len(text) > MOST:
        return None
    if r"\in " in text:
        text = text.split(r"\in ")[1]
    for written, read in _REPLACED.items():
        text = text.replace(written, read)
    return re.sub(r"\\(?:mathrm|mathbf)\{~?([^}]*)\}", r"\1", text.strip(_AT_THE_ENDS))


def braces(text: str) -> dict[int, int]:
    """Where each brace that is closed opens, and where it closes."""
    opened: list[int] = []
    closed: dict[int, int] = {}
    for brace in re.finditer(r"[{}]", text):
        if brace[0] == "{":
            opened.append(brace.start())
        elif opened:
            closed[opened.pop()] = brace.start()
    return closed


def items(text: str) -> list[str]:
    r"""The elements of a list: what commas outside of ( ) and [ ] separate, `\pm` twice."""
    parts, depth, start = [], 0, 0
    for sign in re.finditer(r"[()\[\],]", text):
        depth += (sign[0] in "([") - (sign[0] in ")]")
        if sign[0] == "," and depth == 0:
            parts.append(text[start : sign.start()].strip())
            start = sign.end()
    if start < len(text):
        parts.append(text[start:].strip())
    signed = [[part.replace(r"\pm", sign) for sign in "+-"] if r"\pm" in part else [part] for part in parts]
    return [item for several in signed for item in several]


def judged_items(text: str) -> list[str]:
    """The elements of a judged text, without Chinese characters."""
    return items(_CHINESE.sub("", text))


# ---------------------------------------------------------------- what is not followed


def is_hostile(text: str) -> bool:
    """Whether the text is too long, or its numbers too large, to be worth a computation.

    A pre-check only, which saves starting a new worker: its limits hold for what passes.
    """
    if len(text) > LONGEST:
        return True
    tower = re.search(r"[\d)}]\s*\^\s*[{(]*\s*\d+\s*[})]*\s*\^", text)
    huge = re.search(r"\^\s*[{(]*[+-]?[\d,]{6,}|\d{5,}\s*[})]*!|!\s*[})]*!", text)
    program = re.search(r"\\(?:sum|prod|int|lim|binom\{?[^{}]*\d{4,})(?![a-zA-Z])", text)
    deep = text.count("^") > 30 or max(text.count("{"), text.count("("), text.count("[")) > 60
    return bool(tower or huge or program or deep)


def other_words(gold: str, answer: str) -> bool:
    """Whether the words differ: to a parser "east" is e a s t, and so equal to "seat"."""
    return words(gold) != words(answer)


def words(item: str) -> list[str]:
    r"""Runs of three or more letters that are no LaTeX command, or all of an item of two letters."""
    plain = re.sub(r"\\[a-zA-Z]+|\{[pbvB]?matrix\}", " ", item)
    bare = re.sub(r"[\s{}]", "", plain)
    return [bare] if re.fullmatch(r"[^\W\d_]{2}", bare) else re.findall(r"[^\W\d_]{3,}", plain)


def other_bases(gold: str, answer: str) -> bool:
    """Whether both are numerals and their bases differ, 27_6 and 27_7: a parser stops at the "_"."""
    bases = [re.search(r"\d\s*_\s*\{?\s*(\d+)", item) for item in (gold, answer)]
    return all(bases) and len({base[1] for base in bases if base}) == 2
