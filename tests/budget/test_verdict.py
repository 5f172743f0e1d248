"""Whether it fits, what would make it fit, how long it takes, and on which machine."""

import re
from dataclasses import replace

import pytest
import torch
from support.real_steps import random_model

from lift_harness.budget.machines import CARDS, GIB, Machine, card_called, machine
from lift_harness.budget.memory import Memory, Training
from lift_harness.budget.shape import shape_of
from lift_harness.budget.verdict import duration, several_changes, single_changes, training_verdict, verdict
from lift_harness.cli import main
from lift_harness.training.settings import LoraSettings

WORDS = ("fits", "tight", "does not fit", "unknown")


@pytest.fixture(scope="module")
def llada_8b():
    return shape_of(random_model("8b", torch.bfloat16, "meta"), 2)


def of(gib, activations=0.0):
    """A peak of so many GiB, CUDA's own on top."""
    return Memory((gib - 1) * GIB, 0.0, 0.0, activations, 0.0, 0.0)


@pytest.mark.parametrize(
    ("memory", "said"),
    [
        (of(41), "fits: 41 of 80 GiB"),
        (of(2.5), "fits: 2.5 of 80 GiB"),
        (of(69), "fits: 69 of 80 GiB"),
        (of(70), "tight: 70 of 80 GiB"),
        (of(93), "does not fit: 93 of 80 GiB; buy more"),
        (of(3, None), "unknown: without activations 3.0 of 80 GiB, and theirs are not known for this family"),
        (of(93, None), "does not fit: 93 of 80 GiB; buy more"),
    ],
)
def test_a_verdict_is_one_line(memory, said):
    assert verdict(memory, machine("h100:1", None), "buy more") == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(None, "unknown"), (7, "7 s"), (90, "1.5 min"), (9000, "2.5 h"), (86400 * 59, "59.0 d")],
)
def test_a_duration_is_in_its_unit(seconds, said):
    assert duration(seconds) == said


def test_no_duration_is_6059_days():
    assert duration(6059 * 86400) == "over 60 d"


# Of LLaDA-8B: rows, tokens, adapters, checkpoints, on, strategy, what is said.
EIGHT = [
    (2, 4096, True, True, "h100", "ddp", "fits"),
    (2, 4096, True, False, "rtx4090", "ddp", "does not fit"),
    (2, 4096, False, True, "h100", "ddp", "fits"),
    (2, 4096, False, True, "h100:8", "ddp", "does not fit"),
    (2, 4096, False, True, "h100:8", "fsdp", "fits"),
    (2, 4096, False, True, "h100:8", "zero2", "fits"),
    (2, 4096, False, True, "h100:8", "zero3", "fits"),
    (8, 4096, False, False, "a100:8", "ddp", "does not fit"),
    (1, 512, False, True, "rtx3090", "ddp", "does not fit"),
]


@pytest.mark.parametrize(("rows", "length", "adapters", "checkpoints", "on", "strategy", "said"), EIGHT)
def test_llada_8b(llada_8b, rows, length, adapters, checkpoints, on, strategy, said):
    """What does not fit names what was computed to fit, and nothing else."""
    target = machine(on, None)
    lora = LoraSettings() if adapters else None
    how = Training(
        rows,
        length,
        length,
        lora=lora,
        bf16=True,
        checkpointing=checkpoints,
        processes=target.count,
        strategy=strategy,
    )
    found = training_verdict(llada_8b, how, target)
    assert found.startswith(said)
    if said != "does not fit":
        return
    ways = {**single_changes(how), **several_changes(how)}
    for words in found.partition("; ")[2].split(", or "):
        assert training_verdict(llada_8b, ways[words], target).startswith("fits")


def test_where_nothing_helps_that_is_said(llada_8b):
    small = replace(machine("l4", None), memory=8 * GIB)
    found = training_verdict(llada_8b, Training(1, 512, 512, bf16=True, checkpointing=True), small)
    assert found.endswith("no number of rows, checkpoints, adapters or shards helps")


def test_time_is_the_slowest_of_products_reading_and_calls():
    h100 = machine("h100:4", None)
    assert h100.seconds(4e15, 1, 32) == pytest.approx(4e15 / (0.4 * 989e12) / 4)
    assert h100.seconds(1, 1, 32, read=1e12) == pytest.approx(1e12 / (0.6 * 3350e9) / 4)
    assert h100.seconds(1, 1000, 40) == pytest.approx(1000 * (0.002 + 40 * 0.0002) / 4)


# ---------------------------------------------------------------- machines


def test_every_card_is_a_machine_with_a_source():
    for name, card in CARDS.items():
        made = machine(f"{name}:2", None)
        assert (made.count, made.memory, made.kind) == (2, card.memory * GIB, "cuda")
        assert made.rate == 0.4 * card.operations * 1e12 and card.source in made.stated
    assert (
        machine("H100:8", 4).count == 4 and machine("h100", 4).count == 4 and machine("h100", None).count == 1
    )


def test_a_cpu_is_shared_by_its_processes():
    one, two = machine("cpu", None), machine("cpu", 2)
    assert two.memory == one.memory // 2 and two.rate == one.rate / 2 and one.kind == "cpu"
    assert isinstance(one, Machine) and machine(None, None) == one  # there is no GPU here


@pytest.mark.parametrize(
    ("driver", "card"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 PCIe", "h100-pcie"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA GeForce RTX 4090", "rtx4090"),
        ("NVIDIA RTX A6000", "rtxa6000"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA L40", None),
        ("Tesla V100-SXM2-16GB", None),
    ],
)
def test_a_drivers_name_is_a_card_of_the_table(driver, card):
    assert card_called(driver) == card


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--on", "h10:8"], "--on h10:8: no such card; did you mean h100"),
        (["--on", "v100"], "did you mean"),
        (["--on", "h100:none"], "--on h100:none: after the colon comes the number of cards, e.g. h100:8"),
        (["--on", "h100:0"], "after the colon comes the number of cards"),
        (["--on", "h100:"], "after the colon comes the number of cards"),
        (["--on", "cpu:2"], "how many processes share it says --nproc"),
        (["--on", "h100:8", "--nproc", "9"], "--nproc 9: --on h100:8 has 8 cards; give at most as many"),
        (["--nproc", "0"], "greater than or equal to 1"),
        (["--strategy", "zero4"], "--strategy zero4: there is none; did you mean zero3 or zero2?"),
    ],
)
@pytest.mark.parametrize("command", [["train", "quickstart", "--dry-run"], ["doctor", "lift-tiny"]])
def test_what_is_no_machine_is_one_line(command, arguments, message, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["lift-harness", *command, *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    printed = capsys.readouterr()
    assert stopped.value.code == 2 and printed.out == ""
    assert message in re.sub(r"[\s│]+", " ", printed.err)
    assert arguments == ["--nproc", "0"] or len(printed.err.splitlines()) == 1  # that one is Typer's


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "quickstart", "--on", "h100"], "--on h100: it belongs to --dry-run"),
        (["doctor", "--on", "h100"], "--on belongs to a model"),
        (["doctor", "lift-tiny", "--on", "h100", "--memory", "3"], "give one of them"),
    ],
)
def test_where_another_machine_has_no_place(arguments, message, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["lift-harness", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2 and message in capsys.readouterr().err


def test_doctor_reckons_for_other_cards(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["lift-harness", "doctor", "lift-tiny", "--on", "rtx4090:2"])
    with pytest.raises(SystemExit) as stopped:
        main()
    printed = capsys.readouterr().out
    assert stopped.value.code == 0 and "23.00 GiB 2 x rtx4090" in printed
    for what in ("adapters", "all weights"):
        line = next(line for line in printed.splitlines() if f"to train {what}" in line)
        assert line.split(what)[1].strip().startswith(WORDS) and "2 rows of 512 tokens" in line
