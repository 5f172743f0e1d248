"""transformers.Trainer with an objective for its loss, and checkpoints that are whole or not there."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from transformers import Trainer, TrainerControl
from transformers.integrations import is_deepspeed_zero3_enabled

from lift_harness.decoding.likelihood import Text, elbo
from lift_harness.errors import LiftError, first_line
from lift_harness.files import write_whole
from lift_harness.training import checkpoints
from lift_harness.training.data import Example, describe
from lift_harness.training.objectives import Batch, Loss, NoiseKey
from lift_harness.training.objectives.base import scoring
from lift_harness.training.order import Slots, Steps
from lift_harness.training.settings import TrainSettings
from lift_harness.training.statistics import Statistics

STATISTICS = "statistics.json"
LOG = "log.jsonl"
LOGGED = {"loss", "eval_nelbo"}  # what a line of it has, one or the other


class ObjectiveTrainer(Trainer):
    """A Trainer whose loss is an objective of `lift_harness.training.objectives`.

    Args:
        examples: what to train on.
        validation: what the NELBO is evaluated on.
        objective: the loss.
        settings: optimisation.
        mask_id: the id that hides a token.
        noise_seed: of noise and order.
        folder: where checkpoints and logs go.
        kwargs: of `Trainer`.
    """

    def __init__(
        self,
        *,
        examples: Sequence[Example],
        validation: Sequence[Example],
        objective: Callable[..., Loss],
        settings: TrainSettings,
        mask_id: int,
        noise_seed: int,
        folder: Path,
        **kwargs: Any,
    ) -> None:
        super().__init__(train_dataset=Slots(examples), eval_dataset=list(validation) or None, **kwargs)
        self.examples, self.validation = examples, validation
        self.objective, self.settings = objective, settings
        self.mask_id, self.noise_seed, self.folder = mask_id, noise_seed, folder
        self.model_accepts_loss_kwargs = True  # the Trainer counts the response tokens of a whole step
        self.control: TrainerControl
        self.statistics = Statistics(self.args.device)
        self.staging: Path | None = None

    # ------------------------------------------------------------ the loss

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """Data order: a function of the seed and the epoch."""
        processes, batch = self.args.world_size, self.args.train_batch_size
        return Steps(
            [len(example) for example in self.examples],
            step_size=batch * self.args.gradient_accumulation_steps * processes,
            multiple=batch * processes if processes > 1 else 1,
            seed=self.noise_seed,
            epoch=self.epoch,
            steps=8 if self.settings.group_by_length else 1,
            pad_to=self.settings.pad_to,
        )

    def epoch(self) -> int:
        """The number of the epoch, also in a resumed one."""
        return int(self.state.epoch or 0)

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> tuple[list[Any], Any]:
        """The micro-batches of a step; none after the last.

        The Trainer asks whether it is at its end only after a step: one that goes on from the checkpoint of
        the last step, inside an epoch, would take another.
        """
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
            return [], None
        return super().get_batch_samples(*args, **kwargs)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The objective's loss of one micro-batch, over the response tokens of the whole step."""
        response, ids = inputs["labels"] != -100, inputs["example_id"]
        others: dict[str, Any] = {
            name: inputs.get(name) for name in ("priority", "padding", "segment", "place")
        }
        batch = Batch(inputs["input_ids"], response, ids, self.mask_id, **others)
        key = NoiseKey(self.noise_seed, self.epoch())
        made: Loss = self.objective(model, batch, key, num_items_in_batch)
        if not made.loss.isfinite():
            raise LiftError(
                f"training diverged: the loss of step {self.state.global_step + 1} is {made.loss.item()}, "
                f"learning rate {self._get_learning_rate():.3g}, examples: "
                f"{describe(self.examples, ids.tolist())}; lower training.learning_rate, or look at these"
            )
        self.statistics.add(made)
        # The tokens are those of all processes, whose gradients are averaged: make the average a sum.
        loss = made.loss * (1 if num_items_in_batch is None else self.accelerator.num_processes)
        return (loss, made) if return_outputs else loss

    # ------------------------------------------------------------ evaluation

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Negative evidence lower bound of the validation responses, nats a token: "eval_nelbo".

        The noise is a function of the example alone, so that two evaluations differ by the model only. Each
        process takes its share of the examples.
        """
        texts = [Text(tuple(one.prompt), tuple(one.response), one.id) for one in self.validation]
        mine = texts[self.args.process_index :: self.args.world_size]
        model = self.accelerator.unwrap_model(self.model)
        with self.whole_weights(), scoring(model):
            bounds = elbo(
                model, mine, mask_id=self.mask_id, mc_num=self.settings.eval_samples, on_done=self.evaluated
            )
        sums = torch.tensor(
            [-sum(one.value for one in bounds), sum(len(text.target) for text in mine)], dtype=torch.float64
        )
        nats, tokens = self.total(sums.to(self.args.device)).tolist()
        metrics = {"eval_nelbo": nats / tokens}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def evaluated(self, *of_text: Any) -> None:
        """Tell the callbacks that a text of an evaluation is done."""
        handler = self.callback_handler
        self.control = handler.on_prediction_step(self.args, self.state, self.control)

    # ------------------------------------------------------------ weights in parts

    @property
    def sharded(self) -> bool:
        """Whether each process holds a part of the weights, which are whole only inside a pass."""
        return bool(self.is_fsdp_enabled or is_deepspeed_zero3_enabled())

    @contextmanager
    def whole_weights(self) -> Iterator[None]:
        """FSDP 2: all weights in every process meanwhile.

        Inside, passes need no other process: evaluations of several lengths make different numbers of them.
        """
        parts = [module for module in self.model.modules() if isinstance(module, FSDPModule)]
        for part in parts:
            part.set_reshard_after_forward(False, recurse=False)
            part.unshard()
        try:
            yield
        finally:
            for part in parts:
                part.reshard()
                part.set_reshard_after_forward(self.accelerator.state.fsdp_plugin.reshard_after_forward)

    def gather_for_saving(self) -> None:
        """Let the model's `save_pretrained`, which one process calls, write the weights of all of them."""
        if self.sharded:
            whole = self.accelerator.get_state_dict(self.model_wrapped)
            self.model.save_pretrained = partial(self.model.save_pretrained, state_dict=whole)

    def take_best(self, checkpoint: Path) -> None:
        """Put the weights of a checkpoint into the model."""
        if self.sharded:
            self._load_from_checkpoint(str(checkpoint), self.model_wrapped)
        else:
            load_weights(self.model, checkpoint)

    # ------------------------------------------------------------ sums over processes

    def total(self, tensor: Tensor) -> Tensor:
        """Added up over processes."""
        return self.accelerator.reduce(tensor.to(self.args.device), "sum")

    # ------------------------------------------------------------ logs

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add what the method did, and keep a line of it in `log.jsonl`."""
        if "loss" in logs:
            logs |= self.statistics.take(self.state.global_step, self.total)
        super().log(logs, start_time)
        if self.is_world_process_zero() and LOGGED & logs.keys():
            with (self.folder / LOG).open("a", encoding="utf-8") as file:
                file.write(as_line(self.state.log_history[-1]))

    def restore_log(self, checkpoint: Path | None) -> None:
        """Begin the log, or cut it back to a checkpoint; and go on counting from there.

        What a killed training left of a checkpoint goes.
        """
        lines = []
        if checkpoint is not None:
            state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
            lines = [line for line in state["log_history"] if LOGGED & line.keys()]
            sums = json.loads((checkpoint / STATISTICS).read_text(encoding="utf-8"))
            self.statistics.restore(sums, first=self.is_world_process_zero())
        if self.is_world_process_zero():
            shutil.rmtree(self.folder / checkpoints.PART, ignore_errors=True)
            write_whole(self.folder / LOG, "".join(map(as_line, lines)))

    # ------------------------------------------------------------ checkpoints

    def _get_output_dir(self, trial: Any) -> str:
        """Where a checkpoint is written: beside its place, until it is whole."""
        return str(self.staging or self.folder)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """Write a resumable checkpoint, whole or not at all, and remove old ones."""
        step, main = self.state.global_step, self.is_world_process_zero()
        self.check_weights()
        self.staging = self.folder / checkpoints.PART
        try:
            if main:
                shutil.rmtree(self.staging, ignore_errors=True)
            self.accelerator.wait_for_everyone()
            super()._save_checkpoint(model, trial)
            sums = self.statistics.state(self.total)
            self.accelerator.wait_for_everyone()
            if main:
                part = self.staging / f"{checkpoints.PREFIX}{step}"
                (part / STATISTICS).write_text(json.dumps(sums), encoding="utf-8")
                checkpoints.seal(part)
                place = self.folder / part.name
                shutil.rmtree(place, ignore_errors=True)  # a damaged one that this run went back behind
                os.replace(part, place)
                checkpoints.remove_old(
                    self.folder, self.settings.save_total_limit, self.state.best_global_step
                )
            self.accelerator.wait_for_everyone()
        except Exception as error:  # OSError, safetensors' or torch's own: a full disk, a lost share
            known = checkpoints.steps(self.folder)
            usable = f"the one of step {known[0]} is usable" if known else "there is none before it"
            raise LiftError(
                f"the checkpoint of step {step} could not be written to {self.folder}: {first_line(error)}; "
                f"{usable}; make room, and the same command goes on"
            ) from error
        finally:
            if main:
                shutil.rmtree(self.staging, ignore_errors=True)
            self.staging = None

    def check_weights(self) -> None:
        """Refuse to keep weights that are not numbers.

        Raises:
            LiftError: some are not.
        """
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad and not parameter.isfinite().all():
                raise LiftError(
                    f"training diverged: {name} is not finite after step {self.state.global_step}, learning "
                    f"rate {self._get_learning_rate():.3g}; lower training.learning_rate"
                )


def load_weights(model: Any, checkpoint: Path) -> None:
    """Put the weights of a checkpoint into the model that was trained."""
    if hasattr(model, "peft_config"):
        from peft import set_peft_model_state_dict

        set_peft_model_state_dict(model, load_file(checkpoint / "adapter_model.safetensors"))
    else:
        for file in sorted(checkpoint.glob("model*.safetensors")):
            model.load_state_dict(load_file(file), strict=False)


def as_line(logged: dict[str, Any]) -> str:
    """An entry of the log as a line of `log.jsonl`."""
    return json.dumps(logged, sort_keys=True) + "\n"
