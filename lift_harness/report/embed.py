"""Problems, answers and decoding histories as the page holds them: all verdicts, what text fits."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from lift_harness.report.answers import LABELS, Problem, frame
from lift_harness.report.breakdown import features
from lift_harness.report.run import Run, counted
from lift_harness.results.layout import kind_and_task
from lift_harness.results.logs import Item, number, read_lines


class Rule(NamedTuple):
    """How much text is kept.

    Attributes:
        limit: characters of a text; of a longer one the first two thirds and the last third of that.
        samples: problems of each task with the texts of their n samples, None: all.
        problems: problems of each task with any text, None: all.
        listed: problems of each task that are there at all, None: all.
    """

    limit: int
    samples: int | None = None
    problems: int | None = None
    listed: int | None = None


# The first with which all fits; under those without `listed` every verdict is kept. docs/report.md and the
# page say so.
RULES = (
    *(Rule(20_000), Rule(8_000), Rule(4_000), Rule(4_000, 100), Rule(2_000, 100), Rule(2_000, 0)),
    *(Rule(1_000, 0), Rule(500, 0), *(Rule(500, 0, n) for n in (1_000, 300, 100, 30, 0))),
    *(Rule(500, 0, 300, n) for n in (30_000, 10_000, 3_000, 1_000)),
    *(Rule(500, 0, n, n) for n in (100, 30, 0)),
)
TRACE_BYTES = 3_000_000  # of decoding histories
TOKEN_LIMIT = 80  # characters of one token of a history

# In a script element a text may neither end it nor open a comment or another script; half a surrogate pair
# has no UTF-8, and the others of these some reader takes for the end of a line.
OPENING = re.compile(r"<(?=[/!?a-zA-Z])")
UNSAFE = re.compile("[\x7f\u2028\u2029\ud800-\udfff]")


def encode(data: Any) -> str:
    """JSON that can stand in a script element whatever the texts hold."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    text = OPENING.sub(r"\\u003c", text)
    return UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def size(data: Any) -> int:
    """Bytes of the encoded data."""
    return len(encode(data).encode())


def browser(run: Run, problems: Sequence[Problem], budget: int) -> dict[str, Any]:
    """What the sample browser shows, in at most `budget` bytes: what does not fit is left out (RULES)."""
    traces, dropped = histories(run, problems)
    prompts: dict[str, list[str]] = {}
    for problem in problems:
        prompts.setdefault(problem.task, []).append(problem.prompt)
    frames = {task: frame(those) for task, those in prompts.items()}
    shown, cut = {}, Cut(RULES[0].limit)
    for task, (before, after) in frames.items():
        shown[task] = cut(before), cut(after)
    budget -= size(traces) + size(shown)
    ranked, sizes = ranks(problems), Sizes(problems)
    items: list[Any] = []
    rule, there = RULES[-1], []
    for rule in RULES:
        cut = Cut(rule.limit)
        if sizes.least(rule) > budget and rule is not RULES[-1]:
            continue
        there = [i for i, (rank, _) in enumerate(ranked) if rule.listed is None or rank < rule.listed]
        items = [entry(run, problems[i], frames, cut, rule, ranked[i][0]) for i in there]
        if size(items) <= budget:
            break
    places = {i: place for place, i in enumerate(there)}
    return {
        "frames": shown,
        "items": items,
        "traces": [{**trace, "item": places[trace["item"]]} for trace in traces if trace["item"] in places],
        "left_out": [*cut.said(), *said(rule), *dropped],
    }


class Sizes:
    """At least how many bytes the problems take under a rule, without making them.

    Attributes:
        problems: the rank of each problem, [problems].
        answers: rank and number of verdicts of each evaluation of a problem, [answers, 2].
        texts: of each text the rank of its problem, whether it is one of n samples, and its characters, each
            of which is at least a byte, [texts, 3].
    """

    ENTRY, ANSWER, VERDICT = 60, 14, 2  # bytes of what is around them

    def __init__(self, problems: Sequence[Problem]) -> None:
        ranked, answers, texts = ranks(problems), [], []
        for rank, problem in ranked:
            for (_, label), item in problem.answers.items():
                answers.append((rank, item.n))
                texts += [(rank, label == LABELS[1], len(text)) for text in item.texts]
        self.problems = np.array([rank for rank, _ in ranked], dtype=np.int64)
        self.answers = np.array(answers, dtype=np.int64).reshape(-1, 2)
        self.texts = np.array(texts, dtype=np.int64).reshape(-1, 3)

    def least(self, rule: Rule) -> int:
        """The bytes under a rule."""
        everything = len(self.problems)
        listed = everything if rule.listed is None else rule.listed
        rank, n = self.answers.T
        there = rank < listed
        around = self.ENTRY * np.count_nonzero(self.problems < listed) + self.ANSWER * np.count_nonzero(there)
        rank_of, sampled, characters = self.texts.T
        most = np.where(sampled == 1, everything if rule.samples is None else rule.samples, everything)
        most = np.minimum(most, everything if rule.problems is None else rule.problems)
        of_texts = np.minimum(characters, rule.limit)[(rank_of < most) & (rank_of < listed)]
        return int(around + self.VERDICT * n[there].sum() + of_texts.sum())


def kept(rule: Rule, rank: int, label: str) -> bool:
    """Whether the texts of an evaluation are kept of the problem of that rank in its task."""
    limits = (rule.problems, rule.samples if label == LABELS[1] else None)
    return all(limit is None or rank < limit for limit in limits)


def said(rule: Rule) -> list[str]:
    """What to say when whole texts or problems are left out."""
    if rule.listed is not None:
        texts = f", the one answer's text of the first {rule.problems:,}" if rule.problems else ""
        here = f"the verdicts on the first {rule.listed:,} problems of each task are here{texts}"
        return [f"Of too many problems {here if rule.listed else 'none is here'}; the tables count all."]
    if rule.problems is not None:
        of = f"the first {rule.problems:,} problems of each task" if rule.problems else "no problem"
        return [f"The texts of {of} are here, the verdicts of all."]
    if rule.samples is not None:
        of = f"the first {rule.samples:,} problems of each task" if rule.samples else "no problem"
        return [f"The texts of the n samples are here for {of}, their verdicts for all."]
    return []


def ranks(problems: Sequence[Problem]) -> list[tuple[int, Problem]]:
    """Each problem with its rank in its task: 0 for the first."""
    seen: Counter[str] = Counter()
    ranked = []
    for problem in problems:
        ranked.append((seen[problem.task], problem))
        seen[problem.task] += 1
    return ranked


class Cut:
    """Cuts texts to a length and counts what it cut."""

    def __init__(self, limit: int) -> None:
        self.limit, self.texts, self.characters = limit, 0, 0

    def __call__(self, text: str) -> str:
        """The text, without its middle where it is too long."""
        gone = len(text) - self.limit
        if gone <= 0:
            return text
        self.texts += 1
        self.characters += gone
        head = 2 * self.limit // 3
        return f"{text[:head]}\n[... {gone:,} characters left out ...]\n{text[head + gone :]}"

    def said(self) -> list[str]:
        """What was cut, as a sentence."""
        if not self.texts:
            return []
        return [
            f"{counted(self.texts, 'text')} of more than {self.limit:,} characters: "
            f"{counted(self.characters, 'character')} left out of their middles."
        ]


def entry(
    run: Run, problem: Problem, frames: dict[str, Any], cut: Callable[[str], str], rule: Rule, rank: int
) -> dict[str, Any]:
    """One problem: {"task", "id", "question", "target", "facts", "answers"}.

    "answers" are [arm, label, [verdict...], [accuracy...] or null, [text...] or null].
    """
    before, after = frames[problem.task]
    question = problem.prompt[len(before) : len(problem.prompt) - len(after)]
    arms = {arm.name: i for i, arm in enumerate(run.arms)}
    answers = []
    for (arm, label), item in problem.answers.items():
        texts = list(map(cut, item.texts)) if kept(rule, rank, label) else None
        answers.append([arms[arm], LABELS.index(label), item.correct, partial(item), texts])
    whole = rule.problems is None or rank < rule.problems
    return {
        "task": problem.task,
        "id": shorter(problem.doc_id),
        "question": cut(question) if whole else "",
        "target": cut(problem.target) if whole else "",
        "facts": features(problem) if whole else {},
        "answers": answers,
    }


def partial(item: Item) -> list[str] | None:
    """What a verdict leaves out: "3 of 9" cells."""
    scores = item.accuracies
    if all(score in (None, (0, 1), (1, 1)) for score in scores):
        return None
    return [f"{score[0]:g} of {score[1]:g}" if score else "" for score in scores]


# ---------------------------------------------------------------- decoding histories


def histories(run: Run, problems: Sequence[Problem]) -> tuple[list[dict[str, Any]], list[str]]:
    """The decoding histories (eval/traces.jsonl) that fit, and what to say of those that do not."""
    places = {(problem.task, problem.doc_id): i for i, problem in enumerate(problems)}
    logged, broken = [], 0
    for i, arm in enumerate(run.arms):
        for line in read_lines(arm.folder / "eval" / "traces.jsonl", run.notes):
            label, task = kind_and_task(str(line.get("label")), str(line.get("task")))
            problem = places.get((task, str(line.get("doc_id"))))
            history = read_history(line, LABELS.index(label))
            if problem is None or history is None:
                broken += 1
            else:
                logged.append({"item": problem, "arm": i, **history})
    if broken:
        which = counted(broken, "decoding history", "decoding histories")
        run.notes.add(f"{which} without a problem or not well formed.")
    if problems and not logged:
        run.notes.add("There are no decoding histories (eval/traces.jsonl): no replay.")
    # The first problems of every task, with all their methods, before other samples of the same.
    rank = [rank for rank, _ in ranks(problems)]
    logged.sort(
        key=lambda history: (history["label"], history["sample"], rank[history["item"]], history["item"])
    )
    used, fitting = 0, []
    for history in logged:
        used += size(history)
        if used > TRACE_BYTES:
            break
        fitting.append(history)
    gone = len(logged) - len(fitting)
    return fitting, [f"{gone:,} of {len(logged):,} decoding histories are left out."] if gone else []


def read_history(line: dict[str, Any], label: int) -> dict[str, Any] | None:
    """One history, checked: {"label", "sample", "tokens", "step", "confidence"}."""
    columns = [line.get(name) for name in ("tokens", "step", "confidence")]
    if not all(isinstance(column, list) for column in columns):
        return None
    tokens, steps, sure = ([*(column or [])] for column in columns)
    known = list(map(number, steps))
    if not tokens or not len(tokens) == len(steps) == len(sure) or None in known:
        return None
    return {
        "label": label,
        "sample": int(number(line.get("sample")) or 0),
        "tokens": [shorter(str(token)) for token in tokens],
        "step": [int(step) for step in known if step is not None],
        "confidence": [None if value is None else round(value, 3) for value in map(number, sure)],
    }


def shorter(token: str) -> str:
    """A token, its end left out where it is longer than any tokenizer's."""
    return token if len(token) <= TOKEN_LIMIT else token[:TOKEN_LIMIT] + "\u2026"
