"""Bytes that a process holds at most: in a step of training, and in a pass of decoding.

Counted from what the layers keep for the backward pass (`models/layers.py`, `modeling_*.py`), what
`training/vocabulary.py` holds of logits, and what torch, accelerate and DeepSpeed hold of weights, gradients
and optimiser. Tested against peaks of real steps (tests/budget/). Elementwise buffers of a few numbers a
token are left out. Shapes: D hidden, V vocabulary, F inside the feed-forward.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import NamedTuple

from lift_harness.budget.shape import Shape
from lift_harness.decoding.decision import LOGITS_AT_ONCE as LOGITS_OF_A_PASS
from lift_harness.decoding.decision import ON_GPU
from lift_harness.training.settings import LoraSettings
from lift_harness.training.vocabulary import LOGITS_AT_ONCE

ADAPTER = 4  # bytes of a number: peft keeps adapters in float32
# DeepSpeed's defaults (its configuration page, "ZeRO optimizations"), in numbers.
REDUCE_BUCKET, MAX_LIVE = 500_000_000, 1_000_000_000
SHARDED = ("fsdp", "zero2", "zero3")


@dataclass(frozen=True)
class Training:
    """What of a training its memory depends on.

    Attributes:
        rows: of a micro-batch that pass with gradient at a time (`batch_size` times the objective's passes).
        length: tokens of the longest row.
        supervised: of them, at most, those of the response.
        accumulated: whether a step has several micro-batches, whose gradients wait for each other.
        lora: adapters; None: all weights are trained.
        bf16: autocast.
        checkpointing: of gradients.
        scored: whether the objective has passes without gradient, which come first.
        reference: whether a frozen copy of the model is kept.
        processes: that share the work.
        strategy: how (`pipeline.launch.STRATEGIES`).
        kind: of device, "cuda" or "cpu".
    """

    rows: int
    length: int
    supervised: int
    accumulated: bool = True
    lora: LoraSettings | None = None
    bf16: bool = False
    checkpointing: bool = False
    scored: bool = False
    reference: bool = False
    processes: int = 1
    strategy: str = "ddp"
    kind: str = "cuda"

    @property
    def one_clean_text(self) -> bool:
        """Whether the passes of a step share a clean text's keys: not with a dropout, or sharded weights."""
        return not (self.lora and self.lora.dropout) and self.strategy not in ("fsdp", "zero3")


class Memory(NamedTuple):
    """Bytes of one process at its peak, by what they are of.

    Attributes:
        weights: of the model, its adapters and a reference.
        gradients: as far as they are there at the peak.
        optimiser: states, and master copies where there are any.
        activations: for the backward pass, and of the layer that is passing; None: not known.
        logits: and the gradient of the output projection.
        communication: copies for other processes.
    """

    weights: float
    gradients: float
    optimiser: float
    activations: float | None
    logits: float
    communication: float

    @property
    def total(self) -> float:
        """All that is known of it."""
        return sum(part for part in self if part is not None)


def training_memory(shape: Shape, how: Training) -> Memory:
    """The peak of a step that is not the first (the optimiser has its states)."""
    held = model_states(shape, how)
    if not shape.native:
        return held
    earlier = held.gradients if how.accumulated else 0.0  # of the micro-batches before this one
    kept = kept_for_backward(shape, how)
    layer, passing = recomputed(shape, how), in_backward(shape, how)
    embedding = 0.0 if how.lora else float(shape.head * width(shape, how))  # its gradient comes whole
    moments = (
        held._replace(gradients=earlier, activations=0.0, logits=scored_logits(shape, how)),
        held._replace(gradients=earlier, activations=kept, logits=head_memory(shape, how)),
        held._replace(gradients=earlier, activations=kept + layer + passing),
        held._replace(activations=kept / shape.layers + layer + passing, logits=embedding * how.accumulated),
    )
    return max(moments, key=lambda moment: moment.total)


# ---------------------------------------------------------------- weights, gradients, optimiser


def width(shape: Shape, how: Training) -> int:
    """Bytes of a weight inside a pass: FSDP and ZeRO pass in bf16 whatever they keep."""
    return 2 if how.bf16 and how.strategy in SHARDED else shape.dtype_bytes


def product_width(shape: Shape, how: Training) -> int:
    """Bytes of what a product takes and gives."""
    return 2 if how.bf16 else shape.dtype_bytes


def adapter_numbers(shape: Shape, lora: LoraSettings) -> float:
    """Trained numbers of adapters."""
    adapted = shape.adapted(lora)

    return sum(lora.r * (m.inputs + m.outputs) for m in adapted)


def model_states(shape: Shape, how: Training) -> Memory:
    """What stays from step to step, and gradients; no activations.

    With `bf16` weights stay as loaded under DDP (autocast makes no master copies); accelerate keeps what FSDP
    trains in float32; DeepSpeed keeps bf16 and beside it a float32 copy with its optimiser.
    """
    n, total, stored = how.processes, shape.parameters.total, shape.dtype_bytes
    adapters = adapter_numbers(shape, how.lora) if how.lora else 0.0
    trained, frozen = (adapters, total) if how.lora else (float(total), 0)
    own = ADAPTER if how.lora else stored  # bytes of a trained number
    reference = total * stored * how.reference
    if how.strategy == "fsdp":
        own = 4 if how.bf16 else own
        weights, gradients, optimiser = (
            (frozen * stored + trained * own) / n,
            trained * own / n,
            2 * trained * own / n,
        )
        communication = gathered_at_once(shape, how)
    elif how.strategy == "zero2":
        own = 2 if how.bf16 else own
        weights, gradients = (frozen * width(shape, how) + trained * own), trained * own / n
        optimiser = trained * (12 if how.bf16 else 2 * own) / n
        communication = min(REDUCE_BUCKET, trained) * own
    elif how.strategy == "zero3":
        own = 2 if how.bf16 else own
        weights, gradients = (frozen * width(shape, how) + trained * own) / n, trained * own / n
        optimiser = trained * (12 if how.bf16 else 2 * own) / n
        communication = min(REDUCE_BUCKET, trained) * own + min(MAX_LIVE, total) * width(shape, how)
    else:
        weights, gradients, optimiser = frozen * stored + trained * own, trained * own, 2 * trained * own
        communication = gradients if n > 1 else 0.0  # DDP's buckets
    return Memory(weights + reference, gradients, optimiser, None, 0.0, communication)


def gathered_at_once(shape: Shape, how: Training) -> float:
    """FSDP 2: a layer and the next one, and what is in no layer, whole; their gradients, where trained."""
    in_layers = shape.stored_in_layers
    outside = shape.parameters.total - in_layers
    whole = 2 * in_layers / shape.layers + outside
    of_gradients = 0.0 if how.lora else in_layers / shape.layers + outside
    return (whole + of_gradients) * width(shape, how)


# ---------------------------------------------------------------- activations


def kept_for_backward(shape: Shape, how: Training) -> float:
    """What a micro-batch's graph holds when its loss is computed."""
    wanted = how.supervised
    final_norm = wanted * shape.hidden * (4 + width(shape, how) + product_width(shape, how))
    if shape.block_size is None:
        passes = [(how.length, wanted, 0)]
    else:
        clean = (how.length - 1) // shape.block_size * shape.block_size
        passes = [(clean, 1, 0), (wanted, wanted, clean)] if clean else [(how.length, wanted, 0)]
    kept = 0.0
    for columns, last, seen in passes:
        if how.checkpointing:  # the input of each layer; of blocks the clean keys and values too
            of_layer = float(columns * shape.hidden * width(shape, how))
            of_layer += columns * 2 * shape.keys * product_width(shape, how) * bool(shape.block_size)
            kept += how.rows * shape.layers * of_layer
        else:
            others = kept_by_layer(shape, how, columns, columns, seen)
            kept += (shape.layers - 1) * others + kept_by_layer(shape, how, columns, last, seen)
    return kept + how.rows * final_norm + cast_weights(shape, how)


def kept_by_layer(shape: Shape, how: Training, columns: int, wanted: int, seen: int = 0) -> float:
    """What a layer's backward pass needs of a micro-batch.

    Args:
        shape: of the model.
        how: it is trained.
        columns: of a row that pass.
        wanted: of them whose output is computed.
        seen: columns of clean text whose keys and values are seen.
    """
    D, F, w, c = shape.hidden, shape.feed_forward, width(shape, how), product_width(shape, how)
    full = how.lora is None
    norm = 4 * D + w * D * full  # its input in float32; and before its weight, if that is trained
    inputs = kept_inputs(shape, how)
    keys = 2 * shape.keys * c
    of_heads = (4 + w * full) * shape.head_norms
    of_all = norm + inputs[0] + keys + of_heads * shape.keys
    of_wanted: float = 2 * shape.queries * c + of_heads * shape.queries + 4 * shape.heads
    of_wanted += norm + inputs[1] + 3 * F * c
    taken, out_of = shape.routed
    if taken:
        of_wanted += 2 * taken * D * c + 4 * out_of  # what goes into the experts and comes out; the router
    mask = wanted * (seen + columns) * c * bool(shape.block_size)  # of all rows, in attention's numbers
    return how.rows * (columns * of_all + wanted * of_wanted + seen * keys) + mask


def kept_inputs(shape: Shape, how: Training) -> tuple[float, float]:
    """Bytes a column of the inputs that matrices with a gradient keep: of queries, keys, values; of the rest.

    Autocast hands each float32 input to each product as a bf16 copy of its own.
    """
    D, F, c = shape.hidden, shape.feed_forward, product_width(shape, how)
    copies = c < width(shape, how)
    if how.lora is None:
        return D * c * (3 if copies else 1), D * c * (2 if copies else 1) + F * c
    found = [0.0, 0.0]
    for module in {m.name: m for m in shape.adapted(how.lora)}.values():
        first = module.name in shape.attention_modules
        here = how.lora.r * c
        if how.lora.dropout:  # what was drawn, and its product
            here += module.inputs * ((1 if how.kind == "cuda" else ADAPTER) + (c if how.bf16 else ADAPTER))
        elif how.bf16 or c < ADAPTER:
            here += module.inputs * (c if how.bf16 else ADAPTER)
        found[not first] += here
    if not how.lora.dropout and not (how.bf16 or c < ADAPTER):  # one input for all that take it
        found[0] += D * c
        found[1] += found[1] and D * c
    return found[0], found[1]


def cast_weights(shape: Shape, how: Training) -> float:
    """Autocast's copies of float32 weights, which the graph holds."""
    narrower = product_width(shape, how) < width(shape, how)
    return shape.products * product_width(shape, how) * narrower


def recomputed(shape: Shape, how: Training) -> float:
    """With checkpoints: what the layer holds that is computed again."""
    if not how.checkpointing:
        return 0.0
    if shape.block_size is None:
        return kept_by_layer(shape, how, how.length, how.length)
    clean = (how.length - 1) // shape.block_size * shape.block_size
    noised = kept_by_layer(shape, how, how.supervised, how.supervised, clean)
    return max(noised, kept_by_layer(shape, how, clean, clean))


def in_backward(shape: Shape, how: Training) -> float:
    """Gradients on their way through a layer: the widest are those inside its feed-forward."""
    numbers = 2 * shape.feed_forward + 2 * shape.hidden * (1 + shape.routed[0])
    return how.rows * how.length * numbers * product_width(shape, how)


def head_memory(shape: Shape, how: Training) -> float:
    """The projection onto the vocabulary with its backward pass: logits of a piece, gradients."""
    c, positions = product_width(shape, how), how.rows * how.supervised
    at_once = max(1, LOGITS_AT_ONCE[how.kind] // shape.vocabulary)
    first, second = min(positions, at_once), max(0, min(positions - at_once, at_once))
    # Of a piece its logits and their softmax, of bf16 ones a float32 copy; of the piece before it p - onehot.
    of_piece, of_last = (8, 4) if c == 4 else (10, 6 if how.lora else 2)
    states = 2 * positions * shape.hidden * c  # hidden states, and their gradient
    # A trained projection's gradient is there from the end of the first piece on, and beside a single piece,
    # which is kept. In bf16 a first piece was measured to hold as much more.
    gradient = 0 if how.lora else shape.hidden * 4
    begun = first * of_piece + (0 if second and c == 4 else gradient)
    going_on = first * of_last + second * of_piece + gradient
    cast = 0 if how.lora or c == width(shape, how) else shape.head * c
    return float(shape.vocabulary * max(begun, going_on) + states + cast)


def scored_logits(shape: Shape, how: Training) -> float:
    """Logits of a piece without a gradient, with their softmax and the terms of an entropy."""
    at_once = max(1, LOGITS_AT_ONCE[how.kind] // shape.vocabulary)
    each = product_width(shape, how) + 8
    return float(how.scored * min(how.rows * how.supervised, at_once) * shape.vocabulary * each)


# ---------------------------------------------------------------- decoding


def decoding_memory(
    shape: Shape,
    rows: int,
    columns: int,
    block: int,
    with_cache: bool,
    noisy: bool = False,
    kind: str = "cuda",
) -> Memory:
    """A pass that decodes.

    Args:
        shape: of the model, in the numbers that it is loaded in.
        rows: requests in the pass.
        columns: of a canvas, prompt and `gen_length`.
        block: columns of a canvas that are masked at a time.
        with_cache: whether keys and values are kept.
        noisy: whether candidates are drawn (a temperature above 0).
        kind: of device.
    """
    D, F, size = shape.hidden, shape.feed_forward, shape.dtype_bytes
    cache = rows * (columns + 1) * shape.cached * size * with_cache
    working = rows * columns * (3 * F + (4 + (size < 4) + 2 * shape.routed[0]) * D) * size
    at_once = LOGITS_OF_A_PASS * (ON_GPU if kind == "cuda" else 1) // shape.vocabulary
    each = size * (size < 4) + (24 if noisy else 8)  # float32 copies; noise is hashed in 64 bits
    logits = min(rows * block, max(1, at_once)) * shape.vocabulary * each
    weights = float(shape.parameters.total * size)
    held = Memory(weights, 0.0, 0.0, float(cache), 0.0, 0.0)
    if working > logits:  # one, then the other
        return held._replace(activations=cache + working)
    return held._replace(logits=float(logits))


def most_requests(shape: Shape, room: int, columns: int, block: int, with_cache: bool, kind: str) -> int:
    """The largest batch that fits into `room` bytes, up to 100,000; 0 if not even one request does."""

    def needs(rows: int) -> int:
        return round(decoding_memory(shape, rows, columns, block, with_cache, kind=kind).total)

    return bisect_right(range(1, 100_001), room, key=needs)
