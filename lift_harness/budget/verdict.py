"""Does it fit, how long: one line for a stage, and what would make it fit."""

from __future__ import annotations

from dataclasses import replace

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
    return f"{'fits' if fits(memory, machine, MARGIN) else 'tight'}: {of}"


def fits(memory: Memory, machine: Machine, margin: float = 0.0) -> bool:
    """Whether it does by the formula, even if that is off by a margin."""
    return (memory.total + machine.reserved) * (1 + margin) <= machine.memory


def training_verdict(shape: Shape, how: Training, machine: Machine) -> str:
    """Whether a training fits, and what to change where it does not."""
    memory = training_memory(shape, how)
    return verdict(memory, machine, "" if fits(memory, machine) else remedy(shape, how, machine))


def remedy(shape: Shape, how: Training, machine: Machine) -> str:
    """What to change: one thing if one is enough, and with a margin if that can be had."""
    for margin in (MARGIN, 0.0):
        for ways in (single_changes(how), several_changes(how)):
            known = ((said, training_memory(shape, other)) for said, other in ways.items())
            if found := [said for said, memory in known if fits(memory, machine, margin)]:
                return ", or ".join(found[:2])
    return "no number of rows, checkpoints, adapters or shards helps"


def single_changes(how: Training) -> dict[str, Training]:
    """Other ways to train by what is changed, those first that change least."""
    ways = {}
    if not how.checkpointing:
        ways["training.gradient_checkpointing=true"] = replace(how, checkpointing=True)
    if how.rows > 1:
        ways["training.batch_size=1"] = replace(how, rows=1)
    if how.strategy == "ddp" and how.processes > 1:
        ways["--strategy fsdp"] = replace(how, strategy="fsdp")
    if how.lora is None:
        ways["adapters (training.lora={})"] = replace(how, lora=LoraSettings())
    return ways


def several_changes(how: Training) -> dict[str, Training]:
    """As `single_changes`, several at once: first rows and checkpoints, then more."""
    least = replace(how, checkpointing=True, rows=1)
    said = "training.batch_size=1 with training.gradient_checkpointing=true"
    ways = {said: least}
    if how.strategy == "ddp" and how.processes > 1:
        ways[f"--strategy fsdp and {said}"] = replace(least, strategy="fsdp")
    if how.lora is None:
        ways[f"adapters (training.lora={{}}) and {said}"] = replace(least, lora=LoraSettings())
    return ways


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
