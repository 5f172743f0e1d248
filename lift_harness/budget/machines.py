"""Cards by name, and what `--on NAME:COUNT` means: memory, rates, and the share of them that is reached."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from functools import cache

from lift_harness.errors import LiftError, did_you_mean

GIB = 2**30
NVIDIA = "NVIDIA's data sheet"


@dataclass(frozen=True)
class Card:
    """An accelerator, by its maker's figures.

    Attributes:
        memory: GiB.
        operations: bf16 operations a second of dense products, sums in float32; in 10^12.
        bandwidth: bytes a second of its memory; in 10^9.
        source: of these figures.
    """

    memory: float
    operations: float
    bandwidth: float
    source: str


CARDS = {
    "b200": Card(180, 2250, 8000, f"{NVIDIA} (HGX)"),
    "h200": Card(141, 989, 4800, f"{NVIDIA} (SXM)"),
    "h100": Card(80, 989, 3350, f"{NVIDIA} (SXM)"),
    "h100-pcie": Card(80, 756, 2000, NVIDIA),
    "a100": Card(80, 312, 2039, f"{NVIDIA} (SXM, 80 GB)"),
    "a100-40gb": Card(40, 312, 1555, f"{NVIDIA} (SXM, 40 GB)"),
    "l40s": Card(48, 362, 864, NVIDIA),
    "rtxa6000": Card(48, 155, 768, f"{NVIDIA} (RTX A6000)"),
    "rtx5090": Card(32, 210, 1792, "NVIDIA's Blackwell architecture paper"),
    "rtx4090": Card(24, 165, 1008, "NVIDIA's Ada architecture paper"),
    "rtx3090": Card(24, 71, 936, "NVIDIA's Ampere architecture paper"),
    "l4": Card(24, 121, 300, NVIDIA),
    "mi300x": Card(192, 1307, 5300, "AMD's data sheet"),
}
# Shares of the rates above that are reckoned with. Nothing has been measured on a GPU (docs/performance.md).
OF_OPERATIONS, OF_BANDWIDTH = 0.4, 0.6
# Of a large product's rate on a CPU: docs/performance.md has 0.67 to 0.72 (`mid`, exact decoding), and models
# as small as lift-tiny reach a quarter of it.
OF_PRODUCTS = 0.4
# Seconds that a model call takes whatever its size: Python's 2 ms (docs/performance.md), and what launching
# the work of a layer may take on a GPU (reckoned, not measured).
A_CALL, A_LAYER = 2e-3, 2e-4
CONTEXT = GIB  # of a GPU's memory: CUDA, the libraries' workspaces (reckoned, not measured)


@dataclass(frozen=True)
class Machine:
    """What work is done on.

    Attributes:
        name: for the reader.
        kind: "cuda" or "cpu".
        count: processes that share the work: a card each, or the memory and cores of a CPU.
        memory: bytes of each.
        card: its figures; None: a CPU, or a card that the table has not.
    """

    name: str
    kind: str
    count: int
    memory: int
    card: Card | None = None

    @property
    def reserved(self) -> int:
        """Bytes that the libraries take of it."""
        return CONTEXT if self.kind == "cuda" else 0

    @property
    def rate(self) -> float:
        """Operations a second that a process is reckoned to reach: a share of a card's or a product's."""
        if self.card is not None:
            return OF_OPERATIONS * self.card.operations * 1e12
        return (OF_OPERATIONS if self.kind == "cuda" else OF_PRODUCTS / self.count) * product_rate(self.kind)

    def seconds(self, operations: float, calls: float, layers: int, read: float = 0.0) -> float:
        """How long work takes that its processes share.

        Args:
            operations: of products.
            calls: of the model, one after the other.
            layers: of the model.
            read: bytes of weights, by all calls together.
        """
        at_least = calls * (A_CALL + A_LAYER * layers)
        reading = 0.0 if self.card is None else read / (OF_BANDWIDTH * self.card.bandwidth * 1e9)
        return max(operations / self.rate, reading, at_least) / self.count

    @property
    def stated(self) -> str:
        """How the rate is known."""
        if self.card is not None:
            return f"{OF_OPERATIONS:.0%} of {self.card.operations:g} TFLOP/s ({self.card.source})"
        share = OF_OPERATIONS if self.kind == "cuda" else OF_PRODUCTS
        return f"{share:.0%} of {product_rate(self.kind) / 1e9:,.0f} GFLOP/s (a product, timed here)"


def machine(on: str | None, nproc: int | None) -> Machine:
    """The machine that is meant.

    Args:
        on: a card's name with their number (`h100:8`), or `cpu`; None: the machine this runs on.
        nproc: processes; None: one for each card that `on` names, else 1.

    Raises:
        LiftError: an unknown card, a number that is none, more processes than cards.
    """
    if on is None:
        return this_machine(nproc or 1)
    name, colon, number = on.partition(":")
    name = name.strip().lower()
    if name not in (*CARDS, "cpu"):
        raise LiftError(f"--on {on}: no such card; {did_you_mean(name, (*CARDS, 'cpu'))}")
    if name == "cpu" and colon:
        raise LiftError(f"--on {on}: of cpu there is one; how many processes share it says --nproc")
    if colon and not (number.isascii() and number.isdigit() and 1 <= int(number) <= 10_000):
        raise LiftError(f"--on {on}: after the colon comes the number of cards, e.g. {name}:8")
    if name == "cpu":
        return this_cpu(nproc or 1)
    cards = int(number) if colon else None
    if cards and nproc and nproc > cards:
        raise LiftError(f"--nproc {nproc}: --on {on} has {cards} cards; give at most as many processes")
    return of_card(name, CARDS[name], nproc or cards or 1)


def of_card(name: str, card: Card, count: int) -> Machine:
    """A machine with `count` such cards."""
    return Machine(f"{count} x {name}", "cuda", count, int(card.memory * GIB), card)


def this_machine(count: int) -> Machine:
    """The GPUs here, with the table's figures if it has them; without any, the CPU."""
    import torch

    if not torch.cuda.is_available():
        return this_cpu(count)
    found = torch.cuda.get_device_properties(0)
    known = card_called(found.name)
    card = None if known is None else CARDS[known]
    return Machine(f"{count} x {known or found.name}", "cuda", count, found.total_memory, card)


def card_called(name: str) -> str | None:
    """The card of the table that a driver's name means ("NVIDIA H100 80GB HBM3"); None: none of it."""
    words = re.sub(r"[^a-z0-9]+", "-", name.lower()).replace("rtx-", "rtx")
    found = [card for card in CARDS if f"-{card}-" in f"-{words}-"]
    return max(found, key=len) if found else None


def this_cpu(count: int) -> Machine:
    """This machine's processor and memory, shared by `count` processes."""
    import psutil
    import torch

    name = f"this CPU, {torch.get_num_threads()} threads"
    return Machine(name, "cpu", count, psutil.virtual_memory().total // count)


@cache
def product_rate(kind: str) -> float:
    """Operations a second of a large product here: bf16 on a GPU, float32 on a CPU."""
    import torch

    size, dtype = (8192, torch.bfloat16) if kind == "cuda" else (1024, torch.float32)
    a = torch.randn(size, size, dtype=dtype, device=kind)
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        b = a @ a
        float(b[0, 0])  # waits for the GPU
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best
