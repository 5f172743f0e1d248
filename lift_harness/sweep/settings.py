"""The rows of a sweep: every combination of its grid that can be decoded, and no two that are the same."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lift_harness.decoding import DecodingConfig
from lift_harness.decoding.config import unread
from lift_harness.decoding.resolve import asked_for, exactness, settings_for
from lift_harness.decoding.schedules import OPTIONS
from lift_harness.errors import LiftError, did_you_mean
from lift_harness.lm.before_loading import Unloaded, check_requests, check_sandbox
from lift_harness.models.adapters import check_adapter
from lift_harness.models.checkpoint import find_adapter, find_folder
from lift_harness.models.loading import empty_model
from lift_harness.pipeline.evaluation import Evaluation, asked_of, evaluations, load_tasks, model_args
from lift_harness.results.layout import is_plain
from lift_harness.sweep.schema import Sweep

if TYPE_CHECKING:
    from lift_harness.tasks.protocol import ProtocolTask

PROTOCOL = "protocol"  # the row with nothing changed
UNSAID = object()  # of a setting that another row takes
Values = dict[str, Any]  # a combination: decoding setting -> value
Asked = Mapping[str, Any]  # decoding settings from somewhere


@dataclass(frozen=True)
class Checkpoint:
    """A model of a sweep.

    Attributes:
        label: before the names of its rows; "" where there is one model.
        model: folder, Hub id or a model inside the package.
        peft: folder of an adapter.
        seed: of sampling.
        block_size: of a checkpoint whose files name none.
    """

    label: str
    model: str
    peft: str | None
    seed: int
    block_size: int | None

    @property
    def loading(self) -> dict[str, Any]:
        """How it is loaded: arguments of `load_model`."""
        return {} if self.block_size is None else {"block_size": self.block_size}

    @property
    def adapter(self) -> Path | None:
        """The folder of its adapter."""
        return None if self.peft is None else find_adapter(self.peft)


@dataclass(frozen=True)
class Setting:
    """A row of a sweep.

    Attributes:
        name: says in what it differs from the others; names its folder.
        checkpoint: whose.
        values: what of the grid it takes; {}: the protocol.
        configs: (label of the lm-eval run, task) -> how it is decoded.
        exactness: "exact", "approximate" or "other schedule" (`decoding.resolve.exactness`).
    """

    name: str
    checkpoint: Checkpoint
    values: Values
    configs: dict[tuple[str, str], DecodingConfig]
    exactness: str


@dataclass(frozen=True)
class Rows:
    """The rows of a sweep, in order.

    Attributes:
        settings: the rows.
        baselines: name of a row -> that of the row that it is compared with.
        notes: what is to be said of the combinations that are none.
    """

    settings: list[Setting]
    baselines: dict[str, str]
    notes: list[str]


def rows_of(sweep: Sweep) -> Rows:
    """The rows: of each model the protocol, unless another row is the baseline, then the grid's.

    Raises:
        LiftError: whatever is wrong for all of them (tasks, models, the settings that they share), no
            combination can be decoded, or no row is called as the baseline.
    """
    settings: list[Setting] = []
    notes: list[str] = []
    for checkpoint in checkpoints(sweep):
        ours, said = Combinations(sweep, checkpoint).rows()
        settings += ours
        notes += said
    names = names_of([setting.values for setting in settings])
    named = []
    for setting, name in zip(settings, names, strict=True):
        named.append(replace(setting, name=labelled(setting.checkpoint, name)))
        if not is_plain(named[-1].name):
            raise LiftError(f"the row {name!r:.300} cannot name a folder; sweep fewer settings at a time")
    taken = [setting.name for setting in named]
    if twice := next((name for name in taken if taken.count(name) > 1), None):
        raise LiftError(f"two rows are called {twice!r}; rename the folder of one of the models")
    return Rows(named, {setting.name: baseline_of(setting, sweep, taken) for setting in named}, notes)


def names_of(rows: Sequence[Values]) -> list[str]:
    """What each row is called: the settings in which they differ, a schedule if its options do not tell."""
    changed = list(filter(None, rows))
    keys = dict.fromkeys(key for values in changed for key in values)
    varying = [key for key in keys if len({repr(values.get(key, UNSAID)) for values in changed}) > 1]

    def named(shown: Sequence[str]) -> list[str]:
        return [", ".join(described({key: values[key] for key in shown if key in values})) for values in rows]

    def tells(names: Sequence[str]) -> bool:
        pairs = {(name, repr(values)) for name, values in zip(names, rows, strict=True)}
        return len({name for name, _ in pairs}) == len(pairs)

    schedules = {values["schedule"] for values in changed if "schedule" in values}
    options = [option for schedule in schedules for option in OPTIONS.get(schedule, ())]
    without = named([key for key in varying if key != "schedule"])
    if len(set(options)) == len(options) and tells(without):
        names = without
    else:
        names = named(varying) if tells(named(varying)) else named(list(keys))
    whole = named(list(keys))
    return [name or all_of_it or PROTOCOL for name, all_of_it in zip(names, whole, strict=True)]


def checkpoints(sweep: Sweep) -> list[Checkpoint]:
    """The models: each of `model`, or the only one with each of `peft`."""
    pairs = [(model, peft) for model in sweep.model for peft in sweep.peft or [None]]
    labels = short_names([peft or model for model, peft in pairs])
    named = zip(labels, pairs, strict=True)
    return [Checkpoint(label, *pair, sweep.seed, sweep.block_size) for label, pair in named]


def short_names(paths: Sequence[str]) -> list[str]:
    """Of each path the part that tells it from the others; "" for the only one."""
    if len(paths) == 1:
        return [""]
    split = [Path(path).parts for path in paths]
    while len({parts[-1] for parts in split}) == 1 and min(map(len, split)) > 1:
        split = [parts[:-1] for parts in split]
    names = [parts[-1] for parts in split]
    if len(set(names)) < len(names):
        names = ["-".join(parts) for parts in split]
    return [re.sub(r"[^\w.+-]+", "-", name).strip("-.") or "model" for name in names]


def baseline_of(setting: Setting, sweep: Sweep, names: Sequence[str]) -> str:
    """The row that a row is compared with: the one that `baseline` names, or its own model's of that name.

    Raises:
        LiftError: there is no such row.
    """
    wanted = sweep.baseline or PROTOCOL
    for name in (wanted, labelled(setting.checkpoint, wanted)):
        if name in names:
            return name
    raise LiftError(f"baseline: no row {wanted!r}; {did_you_mean(wanted, names)}")


def labelled(checkpoint: Checkpoint, name: str) -> str:
    """A row's name with its model's before it, where there are several."""
    return ", ".join(filter(None, [checkpoint.label, name]))


@dataclass
class Combinations:
    """The combinations of a sweep's grid for one of its models."""

    sweep: Sweep
    checkpoint: Checkpoint

    @cached_property
    def model(self) -> Unloaded:
        """Stands for the model whose weights are not loaded yet."""
        args, name = model_args(self.checkpoint, self.sweep), self.checkpoint.model
        model = Unloaded({**args, "batch_size": self.sweep.batch_size})
        if hasattr(model.model, "own_settings"):
            raise LiftError(f"{name} is decoded by transformers, which has none of these settings; use eval")
        if adapter := self.checkpoint.adapter:
            folder = find_folder(name, args.get("revision"), weights=False)
            check_adapter(empty_model(folder, name, args.get("block_size"))[1], str(adapter))
        return model

    @cached_property
    def tasks(self) -> dict[str, list[ProtocolTask]]:
        """The tasks of each lm-eval run by its label, which are the same under every combination."""
        return {run.label: load_tasks(run, self.sweep) for run in self.runs({})}

    def rows(self) -> tuple[list[Setting], list[str]]:
        """The rows of the model, and what is said of what is left out."""
        same: dict[tuple[Any, ...], Setting] = {}
        refused: dict[str, list[Values]] = {}
        notes: dict[str, None] = {}
        self.check_tasks()
        if self.sweep.baseline in (None, PROTOCOL, labelled(self.checkpoint, PROTOCOL)):
            protocol = self.setting({})
            self.check(protocol)
            same[tuple(protocol.configs.values())] = protocol
        checked: set[tuple[Any, ...]] = set()
        combinations = list(product_of(self.sweep.grid))
        for values in combinations:
            read, idle = self.read(values)
            notes |= dict.fromkeys(f"{name} changes nothing with {beside}" for name, beside in idle.items())
            try:
                setting = self.setting(read)
                decisive = tuple((one.gen_length, one.temperature > 0) for one in setting.configs.values())
                if decisive not in checked:
                    self.check(setting)
                    checked.add(decisive)
            except LiftError as error:
                refused.setdefault(str(error), []).append(values)
                continue
            first = same.setdefault(tuple(setting.configs.values()), setting).values
            if first != read:
                notes[f"{', '.join(described(read))} is {', '.join(described(first)) or PROTOCOL}"] = None
        if sum(map(len, refused.values())) == len(combinations):
            all_of_them = f"none of the {len(combinations)} combinations of the grid can be decoded"
            raise LiftError(f"{all_of_them}: {next(iter(refused))}")
        said = [*(f"{note}: one row" for note in notes), *left_out(refused, combinations)]
        return list(same.values()), [labelled(self.checkpoint, note) for note in said]

    def read(self, values: Values) -> tuple[Values, dict[str, str]]:
        """What of a combination is read, and of the others beside what they are not."""
        idle: dict[str, str] = {}
        for name in values:
            besides = [
                unread(name, asked_for(self.model.model, *sources, task=own))
                for _, sources, own in self.sources(values)
            ]
            if all(besides):
                idle[name] = str(besides[0])
        return {name: value for name, value in values.items() if name not in idle}, idle

    def sources(self, values: Values) -> Iterator[tuple[tuple[str, str], Sequence[Asked], Values]]:
        """(label of the run, task), what is asked for under a combination, the task's own settings."""
        for run in self.runs(values):
            for task in self.tasks[run.label]:
                asked = asked_of(task, run, self.model.settings)
                yield (run.label, task.task_name), asked, task.decoding

    def setting(self, values: Values) -> Setting:
        """A combination as a row, which is called something when all of them are known.

        Raises:
            LiftError: it cannot be decoded.
        """
        configs: dict[tuple[str, str], DecodingConfig] = {}
        for key, sources, own in self.sources(values):
            configs[key] = settings_for(self.model.model, *sources, task=own)
        kind = exactness(next(iter(configs.values())), self.model.model)
        return Setting("", self.checkpoint, values, configs, kind)

    def runs(self, values: Values) -> list[Evaluation]:
        """The lm-eval runs under a combination."""
        return evaluations(self.checkpoint, with_values(self.sweep, values))

    def check_tasks(self) -> None:
        """Refuse tasks whose problems or sandbox cannot be had, under whatever settings."""
        for tasks in self.tasks.values():
            check_sandbox(tasks, False)

    def check(self, setting: Setting) -> None:
        """Refuse what only the requests show: prompts that do not fit, samples that would be one text."""
        for run in self.runs(setting.values):
            counts = {"samples": run.samples, "limit": run.limit}
            check_requests(load_tasks(run, self.sweep), self.model, gen_kwargs=run.gen_kwargs, **counts)


def with_values(sweep: Sweep, values: Mapping[str, Any]) -> Sweep:
    """The settings of an evaluation under a combination; its temperature is that of pass@k as well."""
    changes: dict[str, Any] = {"gen_kwargs": {**sweep.gen_kwargs, **values}}
    if values.get("temperature"):
        changes["temperature"] = values["temperature"]
    return sweep.model_copy(update=changes)


def product_of(grid: Mapping[str, Sequence[Any]]) -> Iterator[Values]:
    """Every combination of the values of a grid."""
    for values in product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def word(value: Any) -> str:
    """A value in a row's name, which is a folder's too."""
    text = "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return re.sub(r"[^\w.+;-]+", "-", text)


def left_out(refused: Mapping[str, Sequence[Values]], combinations: Sequence[Values]) -> Iterator[str]:
    """What is left out and why: by the values that only those have in common, else one by one."""
    everywhere = in_common(combinations)
    for reason, those in refused.items():
        shared = [item for item in in_common(those) if item not in everywhere] or in_common(those)
        having = [values for values in combinations if {*shared} <= {*described(values)}]
        names = [", ".join(shared)] if len(having) == len(those) else map(", ".join, map(described, those))
        yield f"left out: {'; '.join(names)}: {reason}"


def in_common(combinations: Sequence[Values]) -> list[str]:
    """The values that all of some combinations have."""
    return [
        item for item in described(combinations[0]) if all(item in described(one) for one in combinations)
    ]


def described(values: Values) -> list[str]:
    """A combination as "key=value" each."""
    return [f"{key}={word(value)}" for key, value in values.items()]
