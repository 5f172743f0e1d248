"""Does it fit, how long: one line for a stage, and what would make it fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from lift_harness.budget.machines import GIB, Machine
from lift_harness.budget.memory import Memory, Training, training_memory
from lift_harness.budget.shape import Shape
from lift_harness.training.settings import LoraSettings

MARGIN = 0.15  # what the formula may be off: a stage that needs more than 1 / 1.15 of the memory is tight
LONG = 60 * 86400  # seconds beyond which a number of days says nothing


def verdict(memory: Memory, machine: Machine, remedy: str = "") -> str:
    """Whether so many bytes fit into each card (or process) of a machine.

    Args:
        memory: of one process.
        machine: that it runs on.
        remedy: what to do where it does not fit.
    """
    needed = memory.total + machine.reserved
    of = f"{gib(needed)} of {gib(machine.memory)} GiB" if needed >= GIB / 10 else "less than 0.1 GiB"
    if not fits(memory, machine):
        return f"does not fit: {of}; {remedy}" if remedy else f"does not fit: {of}"
    if memory.activations is None:
        return f"unknown: without activations {of}, and theirs are not known for this family"
    if needed * (1 + MARGIN) > machine.memory:
        return f"tight: {of}"
    return f"fits: {of}"


def fits(memory: Memory, machine: Machine) -> bool:
    """Whether it does, by the formula."""
    return memory.total + machine.reserved <= machine.memory


def training_verdict(shape: Shape, how: Training, machine: Machine) -> str:
    """Whether a training fits, and what to change where it does not."""
    memory = training_memory(shape, how)
    return verdict(memory, machine, "" if fits(memory, machine) else remedy(shape, how, machine))


def remedy(shape: Shape, how: Training, machine: Machine) -> str:
    """What to change, the first two ways of `changes` that were computed to fit."""
    found = (said for said, other in changes(how) if fits(training_memory(shape, other), machine))
    return ", or ".join(islice(found, 2)) or "no number of rows, checkpoints, adapters or shards helps"


def changes(how: Training) -> Iterator[tuple[str, Training]]:
    """Other ways to train, those first that change least."""
    least = replace(how, checkpointing=True, rows=1)
    rows, checkpoints = "training.batch_size=1", "training.gradient_checkpointing=true"
    both = " and ".join((rows,) * (how.rows > 1) + (checkpoints,) * (not how.checkpointing))
    if not how.checkpointing:
        yield checkpoints, replace(how, checkpointing=True)
    if how.rows > 1:
        yield rows, replace(how, rows=1)
    if how.strategy == "ddp" and how.processes > 1:
        yield "--strategy fsdp", replace(how, strategy="fsdp")
        yield f"--strategy fsdp with {both}", replace(least, strategy="fsdp")
    yield both, least
    if how.lora is None:
        yield "adapters (training.lora={})", replace(how, lora=LoraSettings())
        yield f"adapters (training.lora={{}}) with {both}", replace(least, lora=LoraSettings())


def duration(seconds: float | None) -> str:
    """Seconds in the unit that suits them; "unknown" where nothing is known."""
    if seconds is None:
        return "unknown"
    if seconds > LONG:
        return f"over {LONG // 86400} d"
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.0f} s"


def gib(count: float) -> str:
    """Bytes as a number of GiB: whole ones from ten on."""
    return f"{count / GIB:,.0f}" if count >= 9.95 * GIB else f"{count / GIB:.1f}"
