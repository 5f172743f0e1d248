"""Whether two evaluations of a task may be compared: the same problems, prompts, settings and scoring."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from lift_harness.results.logs import Evaluation, Item, mapping, number
from lift_harness.results.names import UNNAMED

# They decide how fast the same tokens come, or which random numbers a sample gets, not how it is decoded.
NO_MATTER = {"seed", "early_stop", "speculate", "exact"}


@dataclass(frozen=True)
class Mismatch:
    """Something in which two evaluations of a task differ, so that their numbers do not compare.

    Attributes:
        kind: "problems", "prompts", "settings", "version" or "scoring".
        text: what differs.
        problems: how many problems it concerns.
    """

    kind: str
    text: str
    problems: int

    def __str__(self) -> str:
        """As it is printed."""
        return f"{KINDS[self.kind]}: {self.text}"


KINDS = {
    "problems": "other problems",
    "prompts": "other prompts",
    "settings": "other settings",
    "version": "another version of the task",
    "scoring": "another scoring",
}


def mismatches(row: Evaluation, base: Evaluation, across: str | None = None) -> list[Mismatch]:
    """All in which a row's evaluation differs from the baseline's; `across` "decoding": save its decoding."""
    settings = {} if across == "decoding" else settings_of(row, base)
    differ = [*other_problems(row, base), *other_prompts(row, base), *other_settings(row, base, settings)]
    versions = row.settings.get("version"), base.settings.get("version")
    if None not in versions and versions[0] != versions[1]:
        differ.append(Mismatch("version", f"{shown(versions[0])}, not {shown(versions[1])}", len(row.items)))
    return [*differ, *other_scoring(row, base)]


def unchecked(row: Evaluation, base: Evaluation) -> list[str]:
    """What could not be checked, because a log or a results file does not say it."""
    missing = []
    if any(item.prompt_hash is None for item in (*row.items.values(), *base.items.values())):
        missing.append("prompts")
    if not settings_of(row, base):
        missing.append("decoding settings")
    return missing


def other_problems(row: Evaluation, base: Evaluation) -> list[Mismatch]:
    """Problems that only one of the two answered."""
    if not (row.items and base.items):
        counts = row.n_items, base.n_items
        if None in counts or counts[0] == counts[1]:
            return []
        away = abs(int(counts[0] or 0) - int(counts[1] or 0))
        return [Mismatch("problems", f"{counts[0]}, not {counts[1]}", away)]
    both = len(row.items.keys() & base.items.keys())
    only, missing = len(row.items) - both, len(base.items) - both
    if not only and not missing:
        return []
    text = f"{both} in both, {only} only in the row, {missing} only in the baseline"
    return [Mismatch("problems", text, only + missing)]


def other_prompts(row: Evaluation, base: Evaluation) -> list[Mismatch]:
    """Problems that were asked in other words."""
    pairs = [(row.items[key], base.items[key]) for key in row.items.keys() & base.items.keys()]
    hashes = [(a.prompt_hash, b.prompt_hash) for a, b in pairs]
    differ = sum(ours != theirs for ours, theirs in hashes if ours and theirs)
    instructions = row.settings.get("instruction"), base.settings.get("instruction")
    other = None not in instructions and instructions[0] != instructions[1]
    if None not in instructions and not other:
        questions = row.settings.get("question"), base.settings.get("question")
        other = None not in questions and questions[0] != questions[1]
    shots = row.settings.get("fewshot"), base.settings.get("fewshot")
    if None not in shots and shots[0] != shots[1]:
        return [Mismatch("prompts", f"{shots[0]} examples in the prompt, not {shots[1]}", differ)]
    if not differ and not other:
        return []
    where = f"of {differ} of {len(pairs)} problems" if pairs else "of all problems"
    if other:
        what = "instruction" if instructions[0] != instructions[1] else "question's wording"
        return [Mismatch("prompts", f"{where}; the {what} differs", differ)]
    same = "; the instruction is the same: the chat template differs" if None not in instructions else ""
    return [Mismatch("prompts", where + same, differ)]


def other_settings(
    row: Evaluation, base: Evaluation, settings: Mapping[str, tuple[Any, Any]]
) -> list[Mismatch]:
    """Those of the decoding settings of both that change the text, and the precision of the weights."""
    differ = [
        f"{name} {shown(ours)}, not {shown(theirs)}"
        for name, (ours, theirs) in settings.items()
        if not same(ours, theirs)
    ]
    dtypes = row.settings.get("dtype"), base.settings.get("dtype")
    if None not in dtypes and dtypes[0] != dtypes[1]:
        differ.append(f"dtype {shown(dtypes[0])}, not {shown(dtypes[1])}")
    return [Mismatch("settings", "; ".join(differ), len(row.items))] if differ else []


def settings_of(row: Evaluation, base: Evaluation) -> dict[str, tuple[Any, Any]]:
    """The decoding settings of both, as far as they are known of both."""
    ours, theirs = mapping(row.settings.get("decoding")), mapping(base.settings.get("decoding"))
    if ours and theirs:
        ours, theirs = without_repetition(ours), without_repetition(theirs)
        names: Collection[str] = dict.fromkeys([*ours, *theirs])
        ours, theirs = {**UNNAMED, **ours}, {**UNNAMED, **theirs}
    else:  # another backend: what lm-eval asked it for
        ours, theirs = mapping(row.settings.get("generation")), mapping(base.settings.get("generation"))
        names = dict.fromkeys([*ours, *theirs])
    both = (name for name in names if name in ours and name in theirs and name not in NO_MATTER)
    return {name: (ours[name], theirs[name]) for name in both}


def without_repetition(decoding: Mapping[str, Any]) -> dict[str, Any]:
    """Without lm-eval's max_gen_toks where it says what gen_length says."""
    repeated = decoding.get("max_gen_toks") == decoding.get("gen_length")
    return {name: value for name, value in decoding.items() if not (repeated and name == "max_gen_toks")}


def other_scoring(row: Evaluation, base: Evaluation) -> list[Mismatch]:
    """Problems whose answers are the same text, and were judged differently."""
    pairs = [(row.items[key], base.items[key]) for key in row.items.keys() & base.items.keys()]
    differ = sum(judged_differently(a, b) for a, b in pairs)
    if not differ:
        return []
    return [Mismatch("scoring", f"{differ} problems with the same answers have other verdicts", differ)]


def judged_differently(a: Item, b: Item) -> bool:
    """Whether the same answers got other verdicts in a metric that both have."""
    if a.texts != b.texts or not any(a.texts):  # logs without answers have nothing to tell
        return False
    both = a.verdicts.keys() & b.verdicts.keys()
    return any(not same(list(a.verdicts[name]), list(b.verdicts[name])) for name in both)


def same(a: Any, b: Any) -> bool:
    """Equality of settings and verdicts as JSON has them: 1 is 1.0, a tuple a list."""
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    x, y = number(a), number(b)
    return x == y if x is not None and y is not None else a == b


def shown(value: Any) -> str:
    """A setting in a message."""
    return "none" if value is None else str(value).removeprefix("torch.")
