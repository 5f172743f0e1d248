"""Settings of a training run. Imports neither torch nor transformers."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Scalar = str | int | float | bool
Scheduler = Literal["linear", "cosine", "constant", "constant_with_warmup", "inverse_sqrt"]


class Strict(BaseModel):
    """A part of a recipe: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class DataSource(Strict):
    """One part of the training data (docs/training-data.md)."""

    source: str = Field(
        min_length=1, description="a generator, a published dataset's short name or Hub id, or a path"
    )
    n: int | None = Field(None, ge=1, description="examples, drawn at random; null: all")
    seed: int = Field(0, ge=0, description="of the draw, or of the generator")
    kind: Literal["math", "code", "chat"] | None = Field(None, description="null: by the fields")
    format: Literal["ours", "release"] = Field(
        "ours", description="release: the text of LIFT's released code"
    )
    instruction: str | None = Field(
        None, min_length=1, description="of format: release; the text, or a file that holds it"
    )
    bad_rows: Literal["error", "drop"] = Field("error", description="what becomes of rows of no use")
    fields: dict[str, str] = Field({}, description="part -> column, e.g. {question: problem}; {}: found out")
    where: dict[str, Scalar | list[Scalar]] = Field({}, description="column -> value or values to keep")
    below: dict[str, float] = Field({}, description="column -> number that its value must be below")
    max_chars: int | None = Field(None, ge=1, description="longer examples are left out")
    min_tokens: int | None = Field(None, ge=1, description="of prompt and response; shorter are left out")
    max_tokens: int | None = Field(None, ge=1, description="of prompt and response; longer are left out")
    split: str | None = Field(None, description='null: "train"')
    config: str | None = Field(None, description="of a Hub dataset, or a sub-folder")
    revision: str | None = Field(None, description="of a Hub dataset; null: the pinned one, else the newest")
    priority: Literal["math", "code", "auto"] | None = Field(
        None, description="rules for priority tokens where none are marked; null: those of the kind"
    )
    priority_share: float = Field(1, ge=0, le=1, description="examples whose priority tokens count")
    options: dict[str, Any] = Field({}, description="of a generator, e.g. {blanks: [4, 6]}")

    @model_validator(mode="after")
    def _range(self) -> DataSource:
        if self.min_tokens and self.max_tokens and self.min_tokens > self.max_tokens:
            raise ValueError(f"min_tokens={self.min_tokens} is more than max_tokens={self.max_tokens}")
        if self.format == "release" and self.instruction is None:
            raise ValueError(
                "format=release needs its instruction: a text or a file (docs/training-data.md says whose)"
            )
        if self.format != "release" and self.instruction is not None:
            raise ValueError("instruction is of format: release; ours are those of the benchmarks")
        return self


class LoraSettings(Strict):
    """Low-rank adapters; the defaults are the paper's."""

    r: int = Field(128, ge=1, description="rank")
    alpha: float = Field(256, gt=0, description="an update is scaled by alpha / r")
    dropout: float = Field(0.05, ge=0, lt=1, description="of an adapter's input, in training")
    target_modules: list[str] | None = Field(
        None, min_length=1, description="null: attention's: q_proj, k_proj, v_proj, or what the family has"
    )


class TrainSettings(Strict):
    """Optimisation; the defaults are the paper's where it states them (arXiv 2605.22939)."""

    learning_rate: float = Field(1e-5, gt=0, description="of AdamW, at its highest")
    batch_size: int = Field(2, ge=1, description="examples a device and micro-batch")
    gradient_accumulation_steps: int = Field(4, ge=1, description="micro-batches an optimiser step")
    epochs: float = Field(20, gt=0, description="how often each example is seen")
    max_steps: int | None = Field(None, ge=1, description="optimiser steps; takes the place of epochs")
    lr_scheduler: Scheduler = Field("linear", description="a transformers scheduler")
    warmup_steps: int = Field(0, ge=0, description="optimiser steps until the rate is at its highest")
    weight_decay: float = Field(0.1, ge=0, description="of AdamW")
    adam_betas: tuple[float, float] = Field((0.9, 0.999), description="of AdamW, from 0 up to, not with, 1")
    max_grad_norm: float = Field(1.0, gt=0, description="longer gradients are cut to this norm")
    lora: LoraSettings | None = Field(LoraSettings(), description="null: train all weights")
    router: Literal["trained", "frozen"] = Field(
        "trained", description="of a mixture of experts where all weights are trained; LoRA leaves it alone"
    )
    max_length: int | None = Field(None, ge=2, description="tokens of an example; null: the model's context")
    long: Literal["error", "drop", "truncate"] = Field("error", description="what becomes of longer ones")
    pad_to: int | None = Field(None, ge=1, description="fixed length; null: the longest of the step")
    pack_to: int | None = Field(
        None, ge=2, description="tokens of a row that examples share; null: a row each"
    )
    group_by_length: bool = Field(True, description="examples of about the same length share a step")
    bf16: bool = Field(False, description="compute in bfloat16 (autocast); weights stay as they are")
    gradient_checkpointing: bool = Field(False, description="less memory for more time")
    logging_steps: int = Field(10, ge=1, description="a line in log.jsonl every so many steps")
    save_steps: int | None = Field(100, ge=1, description="a resumable checkpoint every so many steps")
    save_total_limit: int | None = Field(
        2, ge=1, description="of them are kept, none after the end; null: all, for good"
    )
    eval_steps: int | None = Field(None, ge=1, description="NELBO of the validation set every so many steps")
    eval_samples: int = Field(8, ge=1, description="of noise for an example, the same at every evaluation")
    select: Literal["last", "best"] = Field("last", description="best: the weights of the lowest NELBO")
    report_to: list[str] = Field([], description="as transformers': tensorboard, wandb")

    @model_validator(mode="after")
    def _consistent(self) -> TrainSettings:
        if not all(0 <= beta < 1 for beta in self.adam_betas):
            raise ValueError(f"adam_betas={list(self.adam_betas)}: both must be from 0 up to, not with, 1")
        if self.select == "best" and not (self.eval_steps and self.save_steps == self.eval_steps):
            raise ValueError("select=best needs eval_steps and an equal save_steps: the best is a checkpoint")
        if self.pack_to is not None and self.pad_to is not None:
            raise ValueError(
                f"pack_to={self.pack_to} and pad_to={self.pad_to}: packed rows have no padding; take one"
            )
        return self
