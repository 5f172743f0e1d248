"""One evaluation of one task, from what lm-eval wrote: the problems, the answers, how each was judged.

Whole or not: what cannot be read is noted and left out.
"""

from __future__ import annotations

import gc
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from hashlib import sha256
from pathlib import Path
from sys import intern
from typing import Any, NamedTuple

from lift_harness.errors import LiftError
from lift_harness.files import numbered_lines, parse_json, read_bytes
from lift_harness.results.metrics import SAMPLED
from lift_harness.tasks.passk import are_one_text

RESULTS = re.compile(r"results_(?P<time>\d{4}-\d\d-\d\dT[\d.:-]+)\.json")
LOG = re.compile(r"samples_(?P<task>.+)_(?P<time>\d{4}-\d\d-\d\dT[\d.:-]+?)(?P<again>\.scored)?\.jsonl")

SORTED = json.JSONEncoder(sort_keys=True, ensure_ascii=False, default=str)
Score = tuple[float, float]  # points, of: (1, 1), or (right cells, empty cells)


class Notes(list[str]):
    """What there is to say of what is missing or left out.

    Attributes:
        root: the folder that files are named from; None: by their whole path.
    """

    def __init__(self, lines: Iterable[str] = (), root: Path | None = None) -> None:
        super().__init__(lines)
        self.root = root

    def add(self, *lines: str) -> None:
        """Say something, unless it was said."""
        self.extend(line for line in dict.fromkeys(lines) if line not in self)

    def name(self, file: Path) -> str:
        """What a file is called."""
        inside = self.root is not None and file.is_relative_to(self.root)
        return str(file.relative_to(self.root) if self.root and inside else file)


class Item(NamedTuple):
    """One problem and what was answered to it.

    Attributes:
        key: what the problem is: a hash of its dataset row, with a number when the row comes again.
        doc_id: as in the log.
        doc: the dataset row.
        target: the reference answer.
        prompt: the text the model was given; None: not in the log.
        logged_hash: lm-eval's hash of it; None: not in the log.
        texts: the answers.
        scores: metric -> (points, of), over all answers: a share has (mean, 1), cells (right, empty).
        verdicts: metric -> what each answer scored.
        right: how many answers are right, for pass@k; None: not known.
    """

    key: str
    doc_id: str
    doc: Mapping[str, Any]
    target: str
    prompt: str | None
    logged_hash: str | None
    texts: tuple[str, ...]
    scores: Mapping[str, Score]
    verdicts: Mapping[str, tuple[Any, ...]]
    right: int | None

    @property
    def n(self) -> int:
        """Number of answers."""
        return len(self.texts)

    @property
    def prompt_hash(self) -> str | None:
        """The hash of the prompt: the log's, or made from its text as lm-eval does."""
        if self.logged_hash is not None or self.prompt is None:
            return self.logged_hash
        return hashed(self.prompt)

    @property
    def accuracies(self) -> list[Score | None]:
        """(points, of) of each answer in acc (of another task: in its first metric); None: not judged."""
        return self.judged("acc")

    @property
    def correct(self) -> list[int | None]:
        """Whether each answer is right (1) or wrong (0): whole grids of Sudokus; None: not judged."""
        scores = self.judged("solved") if "solved" in self.verdicts else self.accuracies
        return [None if score is None else int(score[0] >= score[1]) for score in scores]

    def judged(self, metric: str) -> list[Score | None]:
        """The verdicts of each answer as shares: None for what is none."""
        first = next(iter(self.verdicts.values()), ())
        verdicts = self.verdicts.get(metric, first)
        if len(verdicts) != self.n:  # one verdict on several answers says nothing of any of them
            return [None] * self.n
        try:
            return list(shares(tuple(verdicts)))
        except TypeError:  # lists, of cells
            return list(shares.__wrapped__(verdicts))


@dataclass
class Evaluation:
    """One task as one model did it.

    Attributes:
        task: its name; "lift_gsm8k@512" where a run did it at several generation lengths.
        label: "one", "samples" or another name of lm-eval's run.
        source: the file it was read from.
        log: the sample log, None without one.
        items: by key, sorted.
        aggregates: metric -> (value, standard error) as the results file has them.
        n_items: problems, None: not known.
        n_total: problems of the whole task.
        settings: {"decoding": {...}, "generation": {...}, "dtype", "instruction", "question" (its template),
            "subset", "preset", "version", "fewshot", "sandbox", "weights"}, each only where it is known.
        statistics: what its answers took: {"requests", "forward_passes", "tokens"} of this task, and
            "tokens_per_second" of the lm-eval run that it was part of, each only where it is known.
        made: what `scores` has computed from the items, once they are there.
    """

    task: str
    label: str
    source: Path
    log: Path | None = None
    items: dict[str, Item] = field(default_factory=dict)
    aggregates: dict[str, tuple[float, float | None]] = field(default_factory=dict)
    n_items: int | None = None
    n_total: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    statistics: dict[str, float] = field(default_factory=dict)
    made: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def samples(self) -> int:
        """Answers a problem: the fewest, should they differ."""
        if self.items:
            return min(item.n for item in self.items.values())
        sampled = filter(None, map(SAMPLED.fullmatch, self.aggregates))
        return max((int(match[2]) for match in sampled), default=1)

    @cached_property
    def one_text(self) -> bool:
        """Whether the several answers to each problem are one text: nothing was sampled."""
        return are_one_text(item.texts for item in self.items.values())

    @property
    def gen_length(self) -> int | None:
        """Tokens generated, where the results say so."""
        return whole(mapping(self.settings.get("decoding")).get("gen_length"))


# ---------------------------------------------------------------- sample logs


def read_items(file: Path, notes: Notes) -> tuple[dict[str, Item], str | None]:
    """The problems of a log by key, sorted, and the task that the log names, if it does."""
    task = None
    groups: dict[tuple[str, str], list[Item]] = {}  # lm-eval writes a problem once for each filter
    for line in read_lines(file, notes):
        if task is None and isinstance(line.get("task"), str):
            task = line["task"]
        item = read_item(line)
        groups.setdefault((str(line.get("filter")), item.key), []).append(item)
    items: dict[str, Item] = {}
    for (_, key), same in groups.items():
        for i, item in enumerate(sorted(same, key=in_log_order), start=1):
            name = key if i == 1 else f"{key} #{i}"
            if name in items:
                items[name] = merged(items[name], item)
            else:
                items[name] = item if item.key == name else item._replace(key=name)
    return dict(sorted(items.items())), task


def in_log_order(item: Item) -> tuple[int, str]:
    """A sorting key: doc_id as a number where it is one."""
    return (int(item.doc_id), "") if item.doc_id.isdecimal() else (0, item.doc_id)


def read_item(line: Mapping[str, Any]) -> Item:
    """One line of a log."""
    doc = mapping(line.get("doc"))
    judged = doc.get("verdicts")
    row = {intern(key): value for key, value in doc.items() if key != "verdicts"}  # one text for all lines
    doc_id = str(line.get("doc_id", ""))
    if row:
        key = hashed(SORTED.encode(row))
    else:
        key = str(line.get("doc_hash") or doc_id)
    texts = texts_of(line.get("resps"), mapping(judged).get("n_samples"))
    verdicts, right = verdicts_of(line, judged, len(texts))
    try:
        verdicts, scores = shared_scores(tuple(verdicts.items()))
    except TypeError:  # lists, of cells
        scores = scores_of(verdicts)
    request = mapping(mapping(line.get("arguments")).get("gen_args_0"))
    logged_hash = line.get("prompt_hash")
    return Item(
        key=key[:16],
        doc_id=doc_id,
        doc=row,
        target=as_text(line.get("target", "")),
        prompt=as_text(request["arg_0"]) if "arg_0" in request else None,
        logged_hash=logged_hash if isinstance(logged_hash, str) else None,
        texts=texts,
        scores=scores,
        verdicts=verdicts,
        right=right,
    )


def verdicts_of(
    line: Mapping[str, Any], judged: Any, n: int
) -> tuple[dict[str, tuple[Any, ...]], int | None]:
    """What each answer scored in each metric, and how many answers are right.

    `judged` is `doc.verdicts` of our tasks; other tasks have one value a problem in each metric.
    """
    if isinstance(judged, dict) and judged.get("n_samples") == n:
        lists = {name: tuple(value) for name, value in judged.items() if isinstance(value, list)}
        right = judged.get("n_correct")
        known = isinstance(right, int) and 0 <= right <= n
        return {name: values for name, values in lists.items() if len(values) == n}, right if known else None
    verdicts: dict[str, tuple[Any, ...]] = {}
    names = line.get("metrics")
    suffix = "" if line.get("filter") in (None, "none") else f",{line['filter']}"
    for name in names if isinstance(names, list) else []:
        value = line.get(name) if isinstance(name, str) else None
        if number(value) is not None and not SAMPLED.fullmatch(name):
            verdicts[f"{name}{suffix}"] = (value,)
    return verdicts, None


def scores_of(verdicts: Mapping[str, tuple[Any, ...]]) -> dict[str, Score]:
    """(points, of) of each metric that has them."""
    scores = {name: over_samples(values) for name, values in verdicts.items()}
    return {name: score for name, score in scores.items() if score}


@lru_cache(maxsize=10_000)
def shared_scores(
    verdicts: tuple[tuple[str, tuple[Any, ...]], ...],
) -> tuple[dict[str, tuple[Any, ...]], dict[str, Score]]:
    """Verdicts with their scores, once for all problems that were judged alike."""
    return dict(verdicts), scores_of(dict(verdicts))


def score_of(verdict: Any) -> Score | None:
    """A verdict as (points, of): a number is a share of 1, a pair are (right, empty) cells."""
    if isinstance(verdict, (list, tuple)) and len(verdict) == 2:
        right, empty = map(number, verdict)
        return None if right is None or empty is None else (right, empty)
    share = number(verdict)
    return None if share is None else (share, 1.0)


@lru_cache(maxsize=10_000)
def shares(verdicts: tuple[Any, ...]) -> tuple[Score | None, ...]:
    """Verdicts as (points, of): None for what is no share."""
    scores = map(score_of, verdicts)
    return tuple(score if score and 0 <= score[0] <= score[1] else None for score in scores)


def over_samples(verdicts: tuple[Any, ...]) -> Score | None:
    """(points, of) of a problem from its answers': means of numbers, sums of (right, empty) counts."""
    scores = [score for score in map(score_of, verdicts) if score]
    pairs = sum(isinstance(verdict, (list, tuple)) for verdict in verdicts)
    if not scores or len(scores) < len(verdicts) or pairs not in (0, len(verdicts)):
        return None
    points = sum(points for points, _ in scores)
    return (points, sum(of for _, of in scores)) if pairs else (points / len(scores), 1.0)


def merged(a: Item, b: Item) -> Item:
    """The same problem with the metrics of both filters."""
    return a._replace(scores={**a.scores, **b.scores}, verdicts={**a.verdicts, **b.verdicts})


def texts_of(resps: Any, n: Any = None) -> tuple[str, ...]:
    """The answers of a line; what a likelihood task has instead, as one text; n empty ones without any."""
    texts = resps[0] if isinstance(resps, list) and len(resps) == 1 else None
    if isinstance(texts, list) and texts and all(isinstance(text, str) for text in texts):
        return tuple(texts)
    if not resps:
        return ("",) * (n if isinstance(n, int) and 0 < n < 10_000 else 1)
    return (as_text(resps),)


# ---------------------------------------------------------------- files and values


@contextmanager
def without_collector() -> Iterator[None]:
    """Leave the garbage collector off: it would look at millions of plain values, which have no cycles."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def read_lines(file: Path, notes: Notes) -> Iterator[dict[str, Any]]:
    """The objects of a JSON-lines file, none where there is no file; what cannot be read is noted."""
    broken = 0
    called = notes.name(file)
    try:
        for _, text in numbered_lines(file, called):
            if not text.strip():
                continue
            if (line := line_object(text)) is not None:
                yield line
            else:
                broken += 1
    except FileNotFoundError:
        return
    except OSError as error:
        notes.add(f"{called} cannot be read: {error.strerror}")
    except LiftError as error:  # no file, or a line without end
        notes.add(str(error))
    if broken:
        notes.add(f"{called}: {broken} of its lines cannot be read and are left out")


def line_object(text: bytes) -> dict[str, Any] | None:
    """The object in a line of JSON; None where there is none."""
    try:
        line = parse_json(text.decode("utf-8", errors="replace"), "line")
    except LiftError:
        return None
    return line if isinstance(line, dict) else None


def read_object(file: Path, notes: Notes) -> dict[str, Any]:
    """The object in a JSON file, {} where there is no file; what cannot be read is noted."""
    called = notes.name(file)
    try:
        data = parse_json(read_bytes(file, called).decode("utf-8", errors="replace"), called)
    except FileNotFoundError:
        return {}
    except OSError as error:
        notes.add(f"{called} cannot be read: {error.strerror}")
        return {}
    except LiftError as error:
        notes.add(f"{error}; it was not read")
        return {}
    if not isinstance(data, dict):
        notes.add(f"{called} holds no object and was not read")
        return {}
    return data


def mapping(value: Any) -> dict[str, Any]:
    """A dict as it is, anything else as an empty one."""
    return value if isinstance(value, dict) else {}


def number(value: Any) -> float | None:
    """A finite number as a float, None for anything else."""
    if not isinstance(value, (int, float)):
        return None
    try:
        known = float(value)
    except OverflowError:
        return None
    return known if math.isfinite(known) else None


def whole(value: Any) -> int | None:
    """A finite number as a whole one, None for anything else."""
    known = number(value)
    return None if known is None else int(known)


def as_text(value: Any) -> str:
    """A text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def hashed(text: str) -> str:
    """As lm-eval hashes."""
    return sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()
