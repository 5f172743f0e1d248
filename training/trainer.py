"""Fine-tuning on top of transformers.Trainer, with any objective and noise keyed by example."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from lift_harness.errors import LiftError
from lift_harness.training.data import Collator, Example, LengthGrouped
from lift_harness.training.objectives import Batch, Loss, NoiseKey, Objective
from lift_harness.training.settings import LoraSettings, TrainSettings


class ObjectiveTrainer(Trainer):
    """A Trainer whose loss is an objective of `lift_harness.training.objectives`."""

    def __init__(
        self,
        *args: Any,
        objective: Objective,
        mask_id: int,
        noise_seed: int,
        group_by_length: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.objective, self.mask_id, self.noise_seed = objective, mask_id, noise_seed
        self.model_accepts_loss_kwargs = True  # the Trainer counts the response tokens of a whole step
        self.group_by_length = group_by_length
        self.last: Loss | None = None

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """Data order: a function of the seed and the epoch."""
        lengths = [len(e.prompt) + len(e.response) for e in self.train_dataset]  # type: ignore[union-attr]
        step = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        return LengthGrouped(lengths, step, self.noise_seed, batches=8 if self.group_by_length else 1)

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
        # The tokens are those of all processes, whose gradients are averaged: make the average a sum.
        loss = self.last.loss * (1 if num_items_in_batch is None else self.accelerator.num_processes)
        return (loss, self.last) if return_outputs else loss


def with_lora(model: nn.Module, settings: LoraSettings) -> nn.Module:
    """The model with trainable adapters on the named projections, all else frozen."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=settings.target_modules,
    )
    try:
        return get_peft_model(model, config)  # type: ignore[arg-type]
    except ValueError as error:
        raise LiftError(f"training.lora.target_modules={settings.target_modules}: {error}") from error


def train(
    model: Any,
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
    check_lengths(examples, model.config.max_position_embeddings)
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
        group_by_length=settings.group_by_length,
    )
    for printer in (PrinterCallback, ProgressCallback):  # progress is shown by the caller
        trainer.remove_callback(printer)
    trainer.train()
    return model, [entry for entry in trainer.state.log_history if "loss" in entry]


def check_lengths(examples: Sequence[Example], context: int) -> None:
    """Refuse an example that is longer than the model's context."""
    for example in examples:
        if (length := len(example.prompt) + len(example.response)) > context:
            raise LiftError(
                f"training example {example.id} has {length} tokens, more than the model's context "
                f"of {context}; leave it out or shorten it"
            )


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
        logging_steps=settings.logging_steps,
        save_strategy="steps" if settings.save_steps else "no",
        save_steps=settings.save_steps or 500,
        save_only_model=True,
        average_tokens_across_devices=True,
        use_cpu=not torch.cuda.is_available(),  # as load_model chooses; MPS has no float64 for the noise
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        # Passed only when wanted: transformers 5 is renaming it.
        **({"gradient_checkpointing": True} if settings.gradient_checkpointing else {}),
    )
