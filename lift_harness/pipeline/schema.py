"""Recipes: what to train on what, and how to evaluate it (`recipe.load_recipe` reads them)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from lift_harness.errors import LiftError, did_you_mean
from lift_harness.tasks import presets
from lift_harness.tasks.data import DEFAULT_SUBSET
from lift_harness.tasks.wording import read_prompts
from lift_harness.training.settings import DataSource, LoraSettings, Strict, TrainSettings

if TYPE_CHECKING:
    from lift_harness.training.objectives import Objective


class NewModel(Strict):
    """A model trained from scratch, with a tokenizer made from the recipe's data.

    In LLaDA's format, or with a block size, for block diffusion, in SDAR's.
    """

    d_model: int = Field(128, ge=32, le=2**15, multiple_of=32, description="width")
    n_layers: int = Field(4, ge=1, le=1000, description="depth")
    mlp_hidden_size: int = Field(512, ge=1, le=2**17, description="width inside of a layer's MLP")
    block_size: int | None = Field(None, ge=1, description="tokens a block; null: bidirectional")

    @property
    def shape(self) -> dict[str, int]:
        """What is set of it, as results name it."""
        return self.model_dump(exclude_none=True)


class ObjectiveSettings(BaseModel):
    """An objective by name, with its options beside it (`{name: lift, H: 3}`)."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(description="of the objective (lift-harness settings objective)")


class Method(Strict):
    """One row of the results: an objective, and what it trains differently from the others."""

    name: str = Field(pattern=r"^[A-Za-z0-9][\w.+-]*$", description="names a folder")
    objective: ObjectiveSettings = Field(
        description="its name, and its options beside it: {name: lift, H: 3}"
    )
    training: dict[str, Any] = Field({}, description="overrides of the recipe's training settings")
    gpu_hours: float | None = Field(
        None, ge=0, description="of an H100, expected; the paper's where it has it"
    )

    def build_objective(self) -> Objective:
        """The objective with its options.

        Raises:
            LiftError: an unknown name or option, or a bad value.
        """
        from lift_harness.training.objectives import get_objective  # imports torch

        return get_objective(self.objective.name, **(self.objective.model_extra or {}))


class EvalSettings(Strict):
    """How the base model and every checkpoint are evaluated, through lm-eval.

    `acc` comes from the protocol's settings (one answer a problem at temperature 0; AIME 16 answers); pass@k
    of the other tasks from `samples` answers at `temperature` to the first `sample_limit` problems.
    """

    preset: str | None = Field(
        None, description="a published protocol by name (docs/presets.md); without `tasks`: its tasks"
    )
    tasks: list[str] = Field(
        ["lift_sudoku_mini", "lift_countdown_mini"],
        min_length=1,
        description="tasks or groups; gsm8k@512: with that gen_length, at the model's pace",
    )
    limit: int | None = Field(None, ge=1, description="problems a task; null: all")
    samples: int = Field(8, ge=0, description="answers a problem for pass@k; 0: no pass@k")
    sample_limit: int | None = Field(None, ge=1, description="problems a task for pass@k; null: as `limit`")
    temperature: float = Field(0.7, gt=0, description="of the answers for pass@k")
    num_fewshot: int = Field(
        0, ge=0, description="worked examples before each question (docs/tasks.md); 0: the preset's or task's"
    )
    batch_size: int | str = Field("auto", description="requests in a pass; auto: what memory admits")
    gen_kwargs: dict[str, Any] = Field({}, description="decoding settings, over those of the protocol")
    model_args: dict[str, Any] = Field({}, description="of lift_dlm: loading, and weaker decoding settings")
    prompts: dict[str, Any] | None = Field(
        None, description="other words, or the JSON file that holds them (docs/tasks.md); null: the project's"
    )
    subset: Literal["d1", "lift", "all"] = Field("d1", description="whose draw of the Sudoku puzzles")
    traces: int = Field(16, ge=0, description="problems a task whose decoding is kept step by step")

    @model_validator(mode="before")
    @classmethod
    def _the_presets_tasks(cls, given: Any) -> Any:
        if not isinstance(given, dict) or given.get("preset") is None:
            return given
        names = presets.preset(given["preset"]).names()
        return {"tasks": names, **given}

    @field_validator("prompts", mode="before")
    @classmethod
    def _read(cls, prompts: Any) -> Any:
        return None if prompts is None else read_prompts(prompts)  # the recipe then holds what the file does

    @field_validator("model_args")
    @classmethod
    def _not_the_recipes(cls, model_args: dict[str, Any]) -> dict[str, Any]:
        for name in ("pretrained", "peft", "batch_size", "response_cache", "block_size"):
            if name in model_args:
                raise ValueError(f"{name} is set by the recipe and the run; leave it out")
        return model_args

    @property
    def metadata(self) -> dict[str, Any]:
        """What is said to the tasks, as `--metadata` says it to lm-eval's command line."""
        subset = self.subset if self.subset != DEFAULT_SUBSET else None
        said = {"preset": self.preset, "prompts": self.prompts, "subset": subset}
        return {name: value for name, value in said.items() if value is not None}


METHODS = 1000  # of a recipe, and trainings: methods times seeds
FILES = ("recipe.yaml", "results.json", "manifest.json", "report.md", "report.html")  # of a run's folder


class Recipe(Strict):
    """A whole experiment. A file may also have `base`, `select` and `sweep` (docs/runs.md)."""

    name: str = Field(pattern=r"^[A-Za-z0-9][\w.-]*$", description="names the default output folder")
    description: str = Field("", description="a line; made from the recipe, if it has none")
    reproduces: str = Field("", description='a paper and its tables, e.g. "LIFT, tables 1 and 3"')
    seed: int = Field(0, ge=0, lt=2**31, description="of the split, a new model, and the first training")
    seeds: int = Field(1, ge=1, le=1000, description="trainings of each method: with seed, seed + 1, ...")
    model: str | NewModel = Field(
        "lift-tiny", description="folder, Hub id, the package's, or a new one's shape"
    )
    block_size: int | None = Field(None, ge=1, description="of a model whose files name none (dllm's BD3LM)")
    data: list[DataSource] = Field(min_length=1, description="what is trained on, together")
    validation: float = Field(0, ge=0, description="share of the data, or a count, that is not trained on")
    training: TrainSettings = Field(TrainSettings(), description="optimisation")
    methods: list[Method] = Field(min_length=1, max_length=METHODS, description="what is compared")
    eval: EvalSettings | None = Field(EvalSettings(), description="null: no evaluation")

    @model_validator(mode="after")
    def _names_differ(self) -> Recipe:
        taken = {"base"}
        for name in (method.name for method in self.methods):
            if name.lower() in taken or name.lower().removesuffix(".part") in FILES:
                raise ValueError(f"methods: the name {name!r} is taken; give each method its own")
            taken.add(name.lower())  # some file systems take A for a
        return self

    @model_validator(mode="after")
    def _can_be_done(self) -> Recipe:
        trainings = len(self.methods) * self.seeds
        if trainings > METHODS:
            raise ValueError(
                f"{len(self.methods)} methods with {self.seeds} seeds are {trainings:,} trainings; at most "
                f"{METHODS:,} in a recipe"
            )
        return self

    @model_validator(mode="after")
    def _blocks_of_a_checkpoint(self) -> Recipe:
        if self.block_size is not None and isinstance(self.model, NewModel):
            raise ValueError(f"block_size={self.block_size}: of a new model it is model.block_size")
        return self

    @model_validator(mode="after")
    def _described(self) -> Recipe:
        self.description = self.description or made_title(self)
        return self

    @property
    def loading(self) -> dict[str, Any]:
        """How its checkpoint is loaded: arguments of `load_model`."""
        return {} if self.block_size is None else {"block_size": self.block_size}

    def training_of(self, method: Method) -> TrainSettings:
        """The training settings of one method."""
        return validated(TrainSettings, merged(self.training.model_dump(), method.training), method.name)

    def all_seeds(self) -> list[int]:
        """The seeds of each method's trainings."""
        return list(range(self.seed, self.seed + self.seeds))


def made_title(recipe: Recipe) -> str:
    """What a recipe is, in a line: its model, data and methods."""
    model = last_part(recipe.model) if isinstance(recipe.model, str) else "A new model"
    data = " and ".join(dict.fromkeys(last_part(source.source) for source in recipe.data))
    return f"{model} on {data}: {', '.join(method.name for method in recipe.methods)}."


def last_part(name: str) -> str:
    """Of a Hub id or a path."""
    return name.rstrip("/").rpartition("/")[2] or name


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`below` with the values of `above`, mapping by mapping."""
    together = dict(below)
    for key, value in above.items():
        mappings = isinstance(value, Mapping) and isinstance(together.get(key), Mapping)
        together[key] = merged(together[key], value) if mappings else value
    return together


def validated(kind: type[Any], raw: dict[str, Any], where: str) -> Any:
    """`raw` as a `kind`; the first thing wrong with it as one line."""
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        errors = error.errors()
        # Of a union's two errors the one that a mapping asks for: model={d_model: 3} is a NewModel.
        first = next(
            (one for one in errors if one["loc"][1:2] == ("NewModel",) and one["loc"][2:]), errors[0]
        )
        path = [str(part) for part in first["loc"] if part not in ("NewModel", "str")]
        key = ".".join(path)
        if first["type"] == "extra_forbidden":
            raise LiftError(f"{where}: unknown key {key!r}; {_meant(kind, path)}") from None
        if first["type"] == "missing":
            raise LiftError(f"{where}: {key!r} is missing") from None
        message = first["msg"].removeprefix("Value error, ")
        given = first["input"]
        shown = f"{key}={given!r}: " if not isinstance(given, Mapping) else f"{key}: "
        shown = shown if key else ""
        raise LiftError(f"{where}: {shown}{message}") from None


SECTIONS: dict[str, type[BaseModel]] = {
    "": Recipe,
    "model": NewModel,
    "data": DataSource,
    "methods": Method,
    "training": TrainSettings,
    "training.lora": LoraSettings,
    "eval": EvalSettings,
}


def _meant(kind: type[BaseModel], path: list[str]) -> str:
    """What an unknown key may have been meant as: one of its section, or one of that name in another."""
    section = ".".join(part for part in path[:-1] if not part.isdigit())
    own = (SECTIONS.get(section, kind) if kind is Recipe else kind).model_fields
    sections = SECTIONS if kind in SECTIONS.values() else {}
    places = [place for place, part in sections.items() if path[-1] in part.model_fields]
    elsewhere = [f"{place}.{path[-1]}" if place else path[-1] for place in places]
    return f"did you mean {' or '.join(elsewhere)}?" if elsewhere else did_you_mean(path[-1], own)
