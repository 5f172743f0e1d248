"""Real steps of training on models of benchmarks/shapes.py: what they hold and what they compute."""

import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from operations import counted
from shapes import SHAPES, filled, random_block_model, random_model, to_train
from training_step import Spread, adamw, objective_of, update

from lift_harness.models.configuration_experts import SDARMoeConfig
from lift_harness.models.modeling_experts import SDARMoeForCausalLM
from lift_harness.training.objectives import Batch
from lift_harness.training.objectives.base import NoiseKey
from lift_harness.training.settings import LoraSettings

# Of benchmarks/, for tests that need the same models.
__all__ = ["SHAPES", "Step", "counted", "counted_training", "measured_training", "peak", "random_model"]

EXPERTS = dict(hidden_size=256, intermediate_size=512, num_hidden_layers=4, vocab_size=8000) | dict(
    num_attention_heads=8, num_key_value_heads=2, head_dim=32, block_size=16
)  # grouped queries, norms of heads, 2 of 8 experts a token


@dataclass(frozen=True)
class Step:
    """A step of training; a quarter of a row is prompt. Shapes: of benchmarks/shapes.py, or "experts"."""

    rows: int = 4
    length: int = 96
    shape: str = "small"
    rank: int = 0
    dropout: float = 0.0
    checkpointing: bool = False
    block: int = 0
    dtype: torch.dtype = torch.float32
    autocast: bool = False
    micro_batches: int = 2
    objective: str = "vanilla"

    @property
    def lora(self):
        return LoraSettings(r=self.rank, dropout=self.dropout) if self.rank else None

    @property
    def response(self):
        return self.length - self.length // 4

    def base(self, device="cpu"):
        if self.shape == "experts":
            ids = dict(mask_token_id=7999, eos_token_id=7998, pad_token_id=7998)
            mixture = dict(num_experts=8, num_experts_per_tok=2, moe_intermediate_size=256)
            return filled(SDARMoeForCausalLM, SDARMoeConfig(**EXPERTS, **ids, **mixture), self.dtype, device)
        if self.block:
            return random_block_model(self.shape, self.block, self.dtype, device)
        return random_model(self.shape, self.dtype, device)

    def model(self):
        return to_train(self.base(), self.rank, self.checkpointing, self.dropout)

    def batch(self, model, number):
        draw = torch.Generator().manual_seed(number)
        x0 = torch.randint(model.config.vocab_size - 2, (self.rows, self.length), generator=draw)
        response = (torch.arange(self.length) >= self.length // 4).expand(self.rows, -1)
        ids = torch.arange(self.rows) + self.rows * number
        return Batch(x0, response, ids, model.config.mask_token_id)

    def backward(self, model, number, key):
        with torch.autocast("cpu", torch.bfloat16, enabled=self.autocast):
            loss = objective_of(self.objective)(
                model, self.batch(model, number), key, self.rows * self.length
            )
        loss.loss.backward()


def peak(work):
    """Bytes that the allocator had given out at most while `work()` ran, as torch's profiler saw it."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        work()
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def measured_training(step):
    """(bytes of weights and optimiser, most bytes beyond them in a step in which nearly all is masked)."""
    model = step.model()
    optimizer = adamw(model)
    tensors = [*model.parameters(), *(t for state in optimizer.state.values() for t in state.values())]
    held = sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def work():
        for number in range(step.micro_batches):
            step.backward(model, number, NoiseKey(0, 0, t_range=(0.98, 1.0)))
        update(model, optimizer)
        optimizer.zero_grad(set_to_none=True)

    return held, peak(work)


def counted_training(step, micro_batches=4):
    """Operations of a row, by torch's counter, over times t that are spread evenly."""
    model, rows = step.model(), step.rows * micro_batches
    with counted(model) as operations:
        for number in range(micro_batches):
            step.backward(model, number, Spread(0, 0, rows=rows))
    return operations.computed / rows
