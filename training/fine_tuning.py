"""`train`: fine-tuning of a masked diffusion model, from examples to weights."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback, TrainingArguments, set_seed
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from lift_harness.errors import LiftError, out_of_memory
from lift_harness.files import write_whole
from lift_harness.models.base import DiffusionLM
from lift_harness.models.experts import router_weights
from lift_harness.training import checkpoints
from lift_harness.training.data import Example
from lift_harness.training.objectives import Loss, Objective
from lift_harness.training.order import SlotCollator
from lift_harness.training.settings import LoraSettings, TrainSettings
from lift_harness.training.stopping import StopOnSignal
from lift_harness.training.tracking import Tracked, check_trackers, tracking
from lift_harness.training.trainer import LOGGED, ObjectiveTrainer
from lift_harness.training.vocabulary import columns_of_a_block

CONFIDENCE = "confidence.json"
PASSES = "passes.json"


def with_lora(model: nn.Module, settings: LoraSettings) -> nn.Module:
    """The model with trainable adapters on the named projections, or on attention's; all else frozen."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=settings.target_modules or list(attention_modules(model)),
    )
    try:
        adapted = get_peft_model(model, config)  # type: ignore[arg-type]
    except ValueError as error:
        raise LiftError(f"training.lora.target_modules={settings.target_modules}: {error}") from error
    # Whether the embedding was resized, peft asks the Hub, at every checkpoint: it was not.
    adapted.save_pretrained = partial(adapted.save_pretrained, save_embedding_layers=False)  # type: ignore
    return adapted


def attention_modules(model: Any) -> Sequence[str]:
    """The projections that get adapters by default."""
    return getattr(model, "attention_modules", DiffusionLM.attention_modules)


def check_router(model: Any, settings: TrainSettings) -> None:
    """Refuse to freeze the router of a model that has none.

    Raises:
        LiftError: it has none.
    """
    if settings.router == "frozen" and not list(router_weights(model)):
        raise LiftError("training.router='frozen': the model has no experts, and no router; leave it out")


def check_packing(model: Any, settings: TrainSettings) -> None:
    """Refuse rows that several examples share where a model sees all of a row.

    Raises:
        LiftError: it does.
    """
    if settings.pack_to is not None and columns_of_a_block(model) is None:
        raise LiftError(
            f"training.pack_to={settings.pack_to}: the model has no blocks: it sees whole rows; leave it out"
        )


def train(
    model: Any,
    tokenizer: Any,
    examples: Sequence[Example],
    objective: Callable[..., Loss],
    settings: TrainSettings,
    output: Path,
    seed: int,
    callbacks: Sequence[TrainerCallback] = (),
    *,
    validation: Sequence[Example] = (),
    resume: bool = False,
    tracked: Tracked | None = None,
) -> tuple[nn.Module, list[dict[str, float]]]:
    """Train and return the model (with adapters, if any) and the log.

    One process saves the model, by its `save_pretrained`: whole, also where each has only a part of it.

    Args:
        model: a masked diffusion model; changed in place.
        tokenizer: for the mask and end-of-text ids.
        examples: training data; the order is a function of `seed`.
        objective: from `get_objective`, or any function that is called as one.
        settings: optimisation.
        output: folder for the log and resumable checkpoints.
        seed: of data order, adapters, dropout and noise.
        callbacks: of transformers, e.g. for progress.
        validation: examples for `eval_steps`.
        resume: continue from the newest whole checkpoint of `output`, if there is one.
        tracked: what experiment trackers call it; None: after `output`.

    Raises:
        LiftError: an example is longer than the context; the loss or the weights are no longer finite; a
            checkpoint cannot be written.
        Stopped: SIGTERM or Ctrl-C, after a checkpoint.
    """
    check_lengths([*examples, *validation], model.config.max_position_embeddings)
    check_validation(settings, bool(validation))
    set_seed(seed)
    arguments = training_arguments(settings, output, seed)
    if isinstance(objective, Objective) and objective.needs_reference and settings.lora is None:
        frozen = copy.deepcopy(model).eval().requires_grad_(False).to(arguments.device)
        objective = objective.with_reference(frozen)
    check_router(model, settings)
    check_packing(model, settings)
    for weight in router_weights(model) if settings.router == "frozen" else ():
        weight.requires_grad_(False)
    if settings.lora is not None:
        model = with_lora(model, settings.lora)
    output.mkdir(parents=True, exist_ok=True)
    stop = StopOnSignal()
    check_trackers(settings.report_to)
    trainer = ObjectiveTrainer(
        model=model,
        args=arguments,
        data_collator=SlotCollator(tokenizer.eos_token_id, settings.pack_to),
        callbacks=[*callbacks, stop, LogAtTheEnd()],
        examples=examples,
        validation=validation,
        objective=objective,
        settings=settings,
        mask_id=tokenizer.mask_token_id,
        noise_seed=seed,
        folder=output,
    )
    for printing in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(printing)
    if settings.eval_steps and trainer.sharded and not trainer.accelerator.is_fsdp2:
        raise LiftError(
            f"training.eval_steps={settings.eval_steps}: under ZeRO-3 and FSDP 1 there is no evaluation "
            "while training; set it to null, or take --strategy fsdp, zero2 or ddp"
        )
    checkpoint = checkpoints.newest(output) if resume else None
    trainer.restore_log(checkpoint)
    counting = trainer.statistics.count_passes(trainer.accelerator.unwrap_model(model))
    tracked = tracked or Tracked(output.name, output.parent.name)
    step = int(checkpoint.name.removeprefix(checkpoints.PREFIX)) if checkpoint else 0
    with (
        stop.listening(),
        memory_for(settings, longest(examples, settings)),
        tracking(trainer, tracked, output, step),
    ):
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    counting.remove()
    stop.check(output)
    if settings.select == "best" and trainer.state.best_global_step:  # none in fewer than eval_steps
        trainer.take_best(output / f"{checkpoints.PREFIX}{trainer.state.best_global_step}")
    trainer.check_weights()
    trainer.gather_for_saving()
    sequences, tokens = trainer.total(trainer.statistics.passes).tolist()
    by_t = trainer.statistics.confidence_by_t(trainer.total)
    if trainer.is_world_process_zero():
        passes = {"forward_passes": sequences, "tokens": tokens}
        write_whole(output / PASSES, json.dumps(passes) + "\n")
    if by_t and trainer.is_world_process_zero():
        write_whole(output / CONFIDENCE, json.dumps(by_t) + "\n")
    return trainer.model, [line for line in trainer.state.log_history if LOGGED & line.keys()]


@contextmanager
def memory_for(settings: TrainSettings, tokens: int) -> Iterator[None]:
    """Say what to lower where a training on rows of so many tokens does not fit into memory.

    Raises:
        LiftError: it does not.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        raise LiftError(
            f"out of memory while training with training.batch_size={settings.batch_size} rows of up to "
            f"{tokens} tokens; lower training.batch_size (training.gradient_accumulation_steps higher by as "
            "much takes the same steps), or training.max_length, or set training.gradient_checkpointing"
        ) from error


def longest(examples: Sequence[Example], settings: TrainSettings) -> int:
    """Tokens of the longest row."""
    return settings.pack_to or settings.pad_to or max(map(len, examples), default=0)


class LogAtTheEnd(TrainerCallback):
    """Log the last steps, too few for `logging_steps` as they may be."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the Trainer after each optimiser step."""
        if state.global_step >= state.max_steps:
            control.should_log = True


def check_lengths(examples: Sequence[Example], context: int) -> None:
    """Refuse an example that is longer than the model's context."""
    for example in examples:
        if len(example) > context:
            raise LiftError(
                f"training example {example.origin or example.id} has {len(example)} tokens, more than the "
                f"model's context of {context}; leave such examples out (long: drop) or shorten it"
            )


def check_validation(settings: TrainSettings, there: bool) -> None:
    """Refuse to evaluate where there are no validation examples."""
    if settings.eval_steps and not there:
        raise LiftError(
            f"training.eval_steps={settings.eval_steps}: there are no validation examples; set `validation`"
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
        logging_nan_inf_filter=False,  # a loss that is not finite is an error
        save_strategy="steps" if settings.save_steps else "no",
        save_steps=settings.save_steps or 500,
        eval_strategy="steps" if settings.eval_steps else "no",
        eval_steps=settings.eval_steps,
        metric_for_best_model="eval_nelbo" if settings.eval_steps else None,
        greater_is_better=False if settings.eval_steps else None,
        average_tokens_across_devices=True,
        ddp_find_unused_parameters=False,
        use_cpu=not torch.cuda.is_available(),  # as load_model chooses; MPS has no float64 for the noise
        report_to=settings.report_to,
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        accelerator_config={"even_batches": False},  # `Steps` does it, with rows that teach nothing
        # Passed only when wanted: transformers 5 is renaming it. Reentrant checkpoints would need inputs
        # with a gradient, which a model with adapters does not have.
        **(
            {
                "gradient_checkpointing": True,
                "gradient_checkpointing_kwargs": {"use_reentrant": False},
            }
            if settings.gradient_checkpointing
            else {}
        ),
    )
