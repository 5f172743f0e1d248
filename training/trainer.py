"""Fine-tuning on top of transformers.Trainer, with any objective and noise keyed by example."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed

from lift_harness.training.data import Collator, Example
from lift_harness.training.objectives import Batch, Loss, NoiseKey, Objective


class LoraSettings(BaseModel):
    """Low-rank adapters; the defaults are the paper's."""

    model_config = ConfigDict(extra="forbid")

    r: int = Field(128, ge=1)
    alpha: float = Field(256, gt=0)
    dropout: float = Field(0.05, ge=0, lt=1)
    target_modules: list[str] = ["q_proj", "k_proj", "v_proj"]


class TrainSettings(BaseModel):
    """Optimisation; the defaults are the paper's where it states them (arXiv 2605.22939, appendix)."""

    model_config = ConfigDict(extra="forbid")

    learning_rate: float = Field(1e-5, gt=0)
    batch_size: int = Field(2, ge=1, description="examples a device and step")
    gradient_accumulation_steps: int = Field(4, ge=1)
    epochs: float = Field(20, gt=0)
    max_steps: int | None = Field(None, ge=1, description="optimiser steps; takes the place of epochs")
    lr_scheduler: str = Field("linear", description="a transformers scheduler name")
    warmup_steps: int = Field(0, ge=0)
    weight_decay: float = Field(0.1, ge=0)
    adam_betas: tuple[float, float] = (0.9, 0.999)
    max_grad_norm: float = Field(1.0, gt=0)
    lora: LoraSettings | None = Field(default_factory=LoraSettings, description="null: train all weights")
    pad_to: int | None = Field(None, ge=1, description="fixed length; null: the longest in the batch")
    bf16: bool = False
    gradient_checkpointing: bool = False
    save_steps: int | None = Field(None, ge=1, description="keep the weights every so many steps")
    logging_steps: int = Field(10, ge=1)


class ObjectiveTrainer(Trainer):
    """A Trainer whose loss is an objective of `lift_harness.training.objectives`."""

    def __init__(self, *args: Any, objective: Objective, mask_id: int, noise_seed: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.objective, self.mask_id, self.noise_seed = objective, mask_id, noise_seed
        self.model_accepts_loss_kwargs = True  # the Trainer counts the response tokens of a whole step
        self.last: Loss | None = None

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The objective's loss of one micro-batch, over the response tokens of the whole step."""
        batch = Batch(inputs["input_ids"], inputs["labels"] != -100, inputs["example_id"], self.mask_id)
        key = NoiseKey(self.noise_seed, int(self.state.epoch or 0))
        self.last = self.objective(model, batch, key, num_items_in_batch)
        return (self.last.loss, self.last) if return_outputs else self.last.loss


def with_lora(model: nn.Module, settings: LoraSettings) -> nn.Module:
    """The model with trainable adapters on the named projections, all else frozen."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=settings.target_modules,
    )
    return get_peft_model(model, config)  # type: ignore[arg-type]


def train(
    model: nn.Module,
    tokenizer: Any,
    examples: Sequence[Example],
    objective: Objective,
    settings: TrainSettings,
    output: Path,
    seed: int,
    callbacks: Sequence[TrainerCallback] = (),
) -> tuple[nn.Module, list[dict[str, float]]]:
    """Train and return the model (with adapters, if any) and the Trainer's log history.

    Args:
        model: a masked diffusion model; changed in place.
        tokenizer: for the mask and end-of-text ids.
        examples: training data; the order is a function of `seed`.
        objective: from `get_objective`.
        settings: optimisation.
        output: folder for `save_steps` checkpoints; not touched without them.
        seed: of data order, adapters, dropout and noise.
        callbacks: of transformers, e.g. for progress.
    """
    set_seed(seed)
    if settings.lora is not None:
        model = with_lora(model, settings.lora)
    trainer = ObjectiveTrainer(
        model=model,
        args=training_arguments(settings, output, seed),
        train_dataset=list(examples),
        data_collator=Collator(tokenizer.eos_token_id, settings.pad_to),
        callbacks=list(callbacks),
        objective=objective,
        mask_id=tokenizer.mask_token_id,
        noise_seed=seed,
    )
    for unwanted in _default_printers():
        trainer.remove_callback(unwanted)
    trainer.train()
    return model, [entry for entry in trainer.state.log_history if "loss" in entry]


def training_arguments(settings: TrainSettings, output: Path, seed: int) -> TrainingArguments:
    """Our settings in transformers' terms."""
    return TrainingArguments(
        output_dir=str(output),
        seed=seed,
        data_seed=seed,
        learning_rate=settings.learning_rate,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation_steps,
        num_train_epochs=settings.epochs,
        max_steps=settings.max_steps or -1,
        lr_scheduler_type=settings.lr_scheduler,
        warmup_steps=settings.warmup_steps,
        weight_decay=settings.weight_decay,
        adam_beta1=settings.adam_betas[0],
        adam_beta2=settings.adam_betas[1],
        max_grad_norm=settings.max_grad_norm,
        bf16=settings.bf16,
        gradient_checkpointing=settings.gradient_checkpointing,
        logging_steps=settings.logging_steps,
        save_strategy="steps" if settings.save_steps else "no",
        save_steps=settings.save_steps or 500,
        save_only_model=True,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
    )


def _default_printers() -> list[Callable[..., Any]]:
    """transformers' callbacks that print to the terminal; progress is shown by the caller."""
    from transformers.trainer_callback import PrinterCallback, ProgressCallback

    return [PrinterCallback, ProgressCallback]
