"""One evaluation of one task, from what lm-eval wrote: the problems, the answers, how each was judged."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from lift_harness.sample_logs import SAMPLED, as_text, json_lines, number

Score = tuple[float, float]  # points, of


@dataclass(frozen=True)
class Item:
    """One problem and what was answered to it.

    Attributes:
        key: what the problem is: a hash of its dataset row, with a number when the row comes again.
        doc_id: as in the log.
        doc: the dataset row.
        target: the reference answer.
        prompt: hash of the text the model was given; None: not in the log.
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
    texts: tuple[str, ...]
    scores: Mapping[str, Score]
    verdicts: Mapping[str, tuple[Any, ...]]
    right: int | None

    @property
    def n(self) -> int:
        """Number of answers."""
        return len(self.texts)


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
        settings: {"decoding": {...}, "generation": {...}, "dtype", "instruction", "version", "fewshot",
            "sandbox"}, each only where it is known.
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

    @property
    def samples(self) -> int:
        """Answers a problem: the fewest, should they differ."""
        if self.items:
            return min(item.n for item in self.items.values())
        return max([1, *(int(m[2]) for name in self.aggregates if (m := SAMPLED.fullmatch(name)))])

    @property
    def gen_length(self) -> int | None:
        """Tokens generated, where the results say so."""
        found = number((self.settings.get("decoding") or {}).get("gen_length"))
        return None if found is None else int(found)


# ---------------------------------------------------------------- sample logs


def read_items(file: Path, notes: list[str]) -> tuple[dict[str, Item], str | None]:
    """The problems of a log by key, sorted, and the task that the log names, if it does."""
    task = None
    groups: dict[tuple[str, str], list[Item]] = {}  # lm-eval writes a problem once for each filter
    for line in read_lines(file, notes):
        task = task or (line["task"] if isinstance(line.get("task"), str) else None)
        item = read_item(line)
        groups.setdefault((str(line.get("filter")), item.key), []).append(item)
    found: dict[str, Item] = {}
    for (_, key), same in groups.items():
        for i, item in enumerate(sorted(same, key=in_order), start=1):
            name = key if i == 1 else f"{key} #{i}"
            found[name] = renamed(merged(found[name], item) if name in found else item, name)
    return dict(sorted(found.items())), task


def in_order(item: Item) -> tuple[int, str]:
    """A sorting key: doc_id as a number where it is one."""
    return (int(item.doc_id), "") if item.doc_id.isdigit() else (0, item.doc_id)


def read_item(line: Mapping[str, Any]) -> Item:
    """One line of a log."""
    doc = line["doc"] if isinstance(line.get("doc"), dict) else {}
    row = {key: value for key, value in doc.items() if key != "verdicts"}
    doc_id = str(line.get("doc_id", ""))
    if row:
        key = hashed(json.dumps(row, sort_keys=True, ensure_ascii=False, default=str))
    else:
        key = str(line.get("doc_hash") or doc_id)
    texts = texts_of(line.get("resps"), mapping(doc.get("verdicts")).get("n_samples"))
    verdicts, right = verdicts_of(line, doc.get("verdicts"), len(texts))
    return Item(
        key=key[:16],
        doc_id=doc_id,
        doc=row,
        target=as_text(line.get("target", "")),
        prompt=prompt_hash(line),
        texts=texts,
        scores={name: score for name, values in verdicts.items() if (score := over_samples(values))},
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
        lists = {name: value for name, value in judged.items() if isinstance(value, list)}
        right = judged.get("n_correct")
        known = isinstance(right, int) and 0 <= right <= n
        return {name: tuple(v) for name, v in lists.items() if len(v) == n}, right if known else None
    found: dict[str, tuple[Any, ...]] = {}
    named = line.get("metrics")
    suffix = "" if line.get("filter") in (None, "none") else f",{line['filter']}"
    for name in named if isinstance(named, list) else []:
        value = line.get(name)
        if number(value) is not None and not SAMPLED.fullmatch(str(name)):
            found[f"{name}{suffix}"] = (value,)
    return found, None


def over_samples(values: tuple[Any, ...]) -> Score | None:
    """(points, of) of a problem from its answers': means of numbers, sums of (right, empty) counts."""
    if values and all(isinstance(value, (list, tuple)) and len(value) == 2 for value in values):
        pairs = [(number(right), number(empty)) for right, empty in values]
        sums = [[part for part in column if part is not None] for column in zip(*pairs, strict=True)]
        return (sum(sums[0]), sum(sums[1])) if len(sums[0]) == len(sums[1]) == len(values) else None
    known = [found for value in values if (found := number(value)) is not None]
    return (sum(known) / len(known), 1.0) if known and len(known) == len(values) else None


def merged(a: Item, b: Item) -> Item:
    """The same problem with the metrics of both filters."""
    return Item(**{**vars(a), "scores": {**a.scores, **b.scores}, "verdicts": {**a.verdicts, **b.verdicts}})


def renamed(item: Item, key: str) -> Item:
    """The item under another key."""
    return item if item.key == key else Item(**{**vars(item), "key": key})


def texts_of(resps: Any, n: Any = None) -> tuple[str, ...]:
    """The answers of a line; what a likelihood task has instead, as one text; n empty ones without any."""
    texts = resps[0] if isinstance(resps, list) and len(resps) == 1 else None
    if isinstance(texts, list) and texts and all(isinstance(text, str) for text in texts):
        return tuple(texts)
    if not resps:
        return ("",) * (n if isinstance(n, int) and 0 < n < 10_000 else 1)
    return (as_text(resps),)


def prompt_hash(line: Mapping[str, Any]) -> str | None:
    """The hash of the prompt: the log's, or made from its text as lm-eval does."""
    if isinstance(line.get("prompt_hash"), str):
        return line["prompt_hash"]
    arguments = line.get("arguments")
    request = arguments.get("gen_args_0") if isinstance(arguments, dict) else None
    prompt = request.get("arg_0") if isinstance(request, dict) else None
    return hashed(prompt) if isinstance(prompt, str) else None


# ---------------------------------------------------------------- results files


def read_results(data: Mapping[str, Any], file: Path, label: str) -> Iterator[Evaluation]:
    """The tasks of a results_*.json, without their items."""
    rows, configs = mapping(data.get("results")), mapping(data.get("configs"))
    for task, row in rows.items():
        if (configs and task not in configs) or not isinstance(row, dict):  # groups have no configuration
            continue
        counts = mapping(mapping(data.get("n-samples")).get(task))
        yield Evaluation(
            task=task,
            label=label,
            source=file,
            aggregates=aggregates_of(row),
            n_items=counts.get("effective") or row.get("sample_len"),
            n_total=counts.get("original"),
            settings=settings_of(data, task, mapping(configs.get(task))),
        )


def aggregates_of(row: Mapping[str, Any]) -> dict[str, tuple[float, float | None]]:
    """lm-eval's "acc,none" and "acc_stderr,none" as {"acc": (value, standard error)}."""
    found = {}
    for key, value in row.items():
        name, comma, kind = key.partition(",")
        if comma and not name.endswith("_stderr") and (known := number(value)) is not None:
            shown = name if kind == "none" else f"{name},{kind}"
            found[shown] = (known, number(row.get(f"{name}_stderr,{kind}")))
    return found


def settings_of(data: Mapping[str, Any], task: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """What a task was done with (`Evaluation.settings`)."""
    run, metadata = mapping(data.get("config")), mapping(config.get("metadata"))
    found = {
        "decoding": mapping(mapping(run.get("decoding")).get(task)),
        "generation": mapping(config.get("generation_kwargs")),
        "dtype": run.get("model_dtype"),
        "instruction": metadata.get("instruction"),
        "version": mapping(data.get("versions")).get(task, metadata.get("version")),
        "fewshot": mapping(data.get("n-shot")).get(task),
        "sandbox": metadata.get("sandbox"),
    }
    return {name: value for name, value in found.items() if value not in (None, {})}


def model_of(data: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """(checkpoint, adapter) that a results file was made with."""
    run = mapping(data.get("config"))
    arguments = run.get("model_args")
    if isinstance(arguments, str):
        arguments = dict(part.partition("=")[::2] for part in arguments.split(","))
    arguments = mapping(arguments)
    model = run.get("pretrained") or arguments.get("pretrained")
    adapter = run.get("peft") or arguments.get("peft")
    return (str(model) if model else None), (str(adapter) if adapter else None)


# ---------------------------------------------------------------- files and values


def read_lines(file: Path, notes: list[str]) -> Iterator[dict[str, Any]]:
    """The objects of a JSON-lines file; what cannot be read is noted."""
    broken = 0
    try:
        for line in json_lines(file):
            if isinstance(line, dict):
                yield line
            else:
                broken += 1
    except OSError as error:
        notes.append(f"{file} cannot be read: {error.strerror}")
    if broken:
        notes.append(f"{file}: {broken} of its lines cannot be read and are left out")


def read_object(file: Path, notes: list[str]) -> dict[str, Any]:
    """The object in a JSON file; {} and a note where there is none."""
    try:
        found = json.loads(file.read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        notes.append(f"{file} cannot be read: {error.strerror}")
        return {}
    except (ValueError, RecursionError):
        notes.append(f"{file} is not JSON and was not read")
        return {}
    if not isinstance(found, dict):
        notes.append(f"{file} holds no object and was not read")
        return {}
    return found


def mapping(value: Any) -> dict[str, Any]:
    """A dict as it is, anything else as an empty one."""
    return value if isinstance(value, dict) else {}


def hashed(text: str) -> str:
    """As lm-eval hashes."""
    return sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()
