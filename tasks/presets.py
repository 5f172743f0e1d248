"""Published protocols by name: `--preset NAME`, `lm_eval --metadata preset=NAME`, a recipe's `eval.preset`.

A preset is a file of `tasks/presets/`: for each of its tasks how it is asked, decoded and read, what was
published for it, and where each of these values is from. Imports neither torch nor lm_eval.

    preset("fast-dllm").tasks                                        # names of tasks -> `PresetTask`
    load_task("lift_gsm8k_plain", metadata={"preset": "fast-dllm"})  # the task as it says
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from lift_harness.errors import LiftError
from lift_harness.tasks.catalog import decoding_settings, expand

FOLDER = Path(__file__).parent / "presets"
UNCONFIRMED = "unconfirmed"  # what the source of a value begins with where nobody says it, or in other words


@dataclass(frozen=True)
class PresetTask:
    """A task under a preset. What is None is as in the task's own file.

    Attributes:
        decoding: fields of `DecodingConfig`, stronger than the task's and the model's own.
        instruction, question: its words (`tasks/wording.py`).
        gen_prefix: what answers are made to begin with; may name fields of the row in {{...}}.
        num_fewshot: worked examples.
        examples: the examples themselves: [{question, reasoning, answer}].
        one_turn: whether they stand in the user's one turn.
        subset: whose draw of the problems.
        samples: answers a problem.
        until: texts that end an answer.
        metric: the one that was published.
        published: Hub id of a model -> percent.
        table: where these numbers stand.
    """

    decoding: Mapping[str, Any] = field(default_factory=dict)
    instruction: str | None = None
    question: str | None = None
    gen_prefix: str | None = None
    num_fewshot: int = 0
    examples: tuple[Mapping[str, str], ...] = ()
    one_turn: bool | None = None
    subset: str | None = None
    samples: int | None = None
    until: tuple[str, ...] | None = None
    metric: str = "acc"
    published: Mapping[str, float] = field(default_factory=dict)
    table: str = ""

    def prompts(self, task: str) -> dict[str, dict[str, str]] | None:
        """Its words, as `tasks/wording.py` takes those of a task; None where they are the task's own."""
        words = {"instruction": self.instruction, "question": self.question}
        given = {key: text for key, text in words.items() if text is not None}
        return {task: given} if given else None


@dataclass(frozen=True)
class Preset:
    """A published protocol.

    Attributes:
        name: its file's.
        title: one line.
        paper: who published it, as the tables of `lift_harness.compare` name papers.
        tasks: task name -> how it is run.
        sources: value (a field of `PresetTask`, "decoding.steps", "end of text") -> where it is from.
    """

    name: str
    title: str
    paper: str
    tasks: Mapping[str, PresetTask]
    sources: Mapping[str, str]

    @property
    def unconfirmed(self) -> dict[str, str]:
        """The values that no source says."""
        return {name: text for name, text in self.sources.items() if text.startswith(UNCONFIRMED)}

    def task(self, name: str) -> PresetTask:
        """How a task is run.

        Raises:
            LiftError: it is not one of the preset's.
        """
        if name not in self.tasks:
            raise LiftError(f"preset {self.name} has no {name}; its tasks are {', '.join(self.tasks)}")
        return self.tasks[name]

    def names(self, asked: Iterable[str] = ()) -> list[str]:
        """Its tasks, or those of them that are asked for by name, each without `lift_` and `_plain` too."""
        short = {name.removeprefix("lift_").removesuffix("_plain"): name for name in self.tasks}
        wanted = [short.get(name, name) for name in asked]
        chosen = [name if name in self.tasks else expand([name])[0] for name in wanted]
        for name in chosen:
            self.task(name)
        return chosen or list(self.tasks)


@dataclass(frozen=True)
class OnTask:
    """A preset on one of its tasks.

    Attributes:
        preset: the whole.
        task: how the task is run.
        name: the task's.
    """

    preset: Preset
    task: PresetTask
    name: str

    @property
    def decoding(self) -> dict[str, Any]:
        """The settings that the preset says."""
        return dict(self.task.decoding)

    def applied(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """A task's configuration under the preset; what its metadata were given by the user stays."""
        made, metadata, task = dict(config), dict(config["metadata"]), self.task
        if words := task.prompts(self.name):
            metadata.setdefault("prompts", words)
        if task.examples:
            metadata.setdefault("examples", {self.name: list(task.examples)})
        if task.subset is not None:
            metadata.setdefault("subset", task.subset)
        if task.one_turn is not None:
            metadata["one_turn"] = task.one_turn
        metadata["decoding"] = {**decoding_settings(self.name), **task.decoding}
        metadata["unconfirmed"] = self.preset.unconfirmed
        made |= {
            "metadata": metadata,
            "num_fewshot": task.num_fewshot or None,
        }  # lm-eval lets nobody change a 0
        if task.samples is not None:
            made["repeats"] = task.samples
        if task.gen_prefix is not None:
            made["gen_prefix"] = task.gen_prefix
        if task.until is not None:
            made["generation_kwargs"] = {"until": list(task.until)}
        return made


def asked_for(config: Mapping[str, Any]) -> OnTask | None:
    """The preset that a task's metadata name, on this task.

    Raises:
        LiftError: there is none of that name, or it has no such task.
    """
    name = (config.get("metadata") or {}).get("preset")
    if name is None:
        return None
    found = preset(name)
    warn_of_unconfirmed(found.name)
    return OnTask(found, found.task(config["task"]), config["task"])


@cache
def warn_of_unconfirmed(name: str) -> None:
    """Say once in a process which values of a preset no source says."""
    if values := preset(name).unconfirmed:
        log = logging.getLogger("lm_eval")
        log.warning("preset %s: unconfirmed: %s (docs/presets.md)", name, ", ".join(values))


# ---------------------------------------------------------------- the files


def preset_names() -> list[str]:
    """The presets."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def preset(name: object) -> Preset:
    """The preset of a name.

    Raises:
        LiftError: there is none.
    """
    if not isinstance(name, str) or name not in preset_names():
        raise LiftError(f"preset={name}: give one of {', '.join(preset_names())} (docs/presets.md)")
    return _read(name)


@cache
def _read(name: str) -> Preset:
    raw = _raw(name)
    common = raw.get("common", {})
    tasks = {task: _task(common, own or {}) for task, own in raw["tasks"].items()}
    return Preset(name, raw["title"], raw["paper"], tasks, raw["sources"])


def _raw(name: str) -> dict[str, Any]:
    """A file with those parts of its `base` that it does not change; tasks are changed key by key."""
    raw = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    if "base" not in raw:
        return raw
    base = _raw(raw["base"])
    tasks = dict(base["tasks"])
    for task, own in raw.get("tasks", {}).items():
        tasks[task] = _over(tasks.get(task) or {}, own)
    common = _over(base.get("common", {}), raw.get("common", {}))
    return {**base, **raw, "common": common, "tasks": tasks, "sources": {**base["sources"], **raw["sources"]}}


def _over(weaker: Mapping[str, Any], stronger: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a task, whose decoding is merged key by key."""
    decoding = {**weaker.get("decoding", {}), **stronger.get("decoding", {})}
    return {**weaker, **stronger, "decoding": decoding}


def _task(common: Mapping[str, Any], own: Mapping[str, Any]) -> PresetTask:
    settings = _over(common, own)
    known = {one.name for one in fields(PresetTask)}
    assert set(settings) <= known, f"not fields of a preset's task: {set(settings) - known}"
    lists = {key: tuple(settings[key]) for key in ("examples", "until") if settings.get(key) is not None}
    return PresetTask(**{**settings, **lists})
