"""Settings of a training run. Imports neither torch nor transformers."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Scheduler = Literal["linear", "cosine", "constant", "constant_with_warmup", "inverse_sqrt"]


class Strict(BaseModel):
    """A part of a recipe: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid")


class LoraSettings(Strict):
    """Low-rank adapters; the defaults are the paper's."""

    r: int = Field(128, ge=1)
    alpha: float = Field(256, gt=0)
    dropout: float = Field(0.05, ge=0, lt=1)
    target_modules: list[str] = ["q_proj", "k_proj", "v_proj"]


class TrainSettings(Strict):
    """Optimisation; the defaults are the paper's where it states them (arXiv 2605.22939)."""

    learning_rate: float = Field(1e-5, gt=0)
    batch_size: int = Field(2, ge=1, description="examples a device and micro-batch")
    gradient_accumulation_steps: int = Field(4, ge=1)
    epochs: float = Field(20, gt=0)
    max_steps: int | None = Field(None, ge=1, description="optimiser steps; takes the place of epochs")
    lr_scheduler: Scheduler = Field("linear", description="a transformers scheduler")
    warmup_steps: int = Field(0, ge=0)
    weight_decay: float = Field(0.1, ge=0)
    adam_betas: tuple[float, float] = (0.9, 0.999)
    max_grad_norm: float = Field(1.0, gt=0)
    lora: LoraSettings | None = Field(LoraSettings(), description="null: train all weights")
    pad_to: int | None = Field(None, ge=1, description="fixed length; null: the longest in the batch")
    group_by_length: bool = Field(True, description="examples of about the same length share a step")
    bf16: bool = False
    gradient_checkpointing: bool = False
    save_steps: int | None = Field(None, ge=1, description="keep the weights every so many steps")
    logging_steps: int = Field(10, ge=1)
