"""Floating-point operations of matrix products and attention, from shapes; elementwise work is left out.

A product with a matrix of P numbers takes 2 P operations a token; scores of N keys and their use 4 N C for a
query of C numbers. Backward, towards the input and towards a trained weight, takes as much again each. Tested
against torch's counter on real steps (tests/budget/). Shapes: L columns of a row, Q of them wanted of the
last layer, D hidden, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lift_harness.budget.memory import Training
from lift_harness.budget.shape import Shape
from lift_harness.training.objectives.definition import Passes
from lift_harness.training.vocabulary import LOGITS_AT_ONCE

ASKED = 0.75  # of a response's positions, by a pass without gradient
LAST = ("ff_out", "down_proj")  # the last product of a dense layer


@dataclass(frozen=True)
class Forward:
    """Operations of one row's pass, or of several: they add up.

    Attributes:
        products: with the layers' matrices.
        attention: scores, and their use.
        head: with the output projection.
        adapters: with LoRA's.
    """

    products: float = 0.0
    attention: float = 0.0
    head: float = 0.0
    adapters: float = 0.0

    @property
    def total(self) -> float:
        """All together."""
        return self.products + self.attention + self.head + self.adapters

    def __add__(self, other: Forward) -> Forward:
        return Forward(
            self.products + other.products,
            self.attention + other.attention,
            self.head + other.head,
            self.adapters + other.adapters,
        )


def forward(
    shape: Shape, columns: float, wanted: float, keys: float, projected: float, adapters: float = 0.0
) -> Forward:
    """A pass of one row.

    Args:
        shape: of the model.
        columns: that pass the layers.
        wanted: of them, those whose output the last layer computes.
        keys: that each query sees.
        projected: positions whose logits are computed.
        adapters: numbers of the adapters.
    """
    if not shape.native:  # transformers' encoders compute the last layer whole
        wanted = columns
    share = (shape.layers - 1 + wanted / columns) / shape.layers  # of the layers, as if all were whole
    of_keys = 2 * shape.hidden * shape.keys  # which the last layer computes of all columns
    products = shape.products * share * columns + of_keys * (columns - wanted)
    attention = 2 * shape.queries * keys * shape.layers * share * columns
    return Forward(2 * products, 2 * attention, 2 * shape.head * projected, 2 * adapters * columns * share)


def training_operations(shape: Shape, how: Training, length: float, supervised: float, cost: Passes) -> float:
    """What a row of the data takes on average, forward and backward.

    Args:
        shape: of the model.
        how: it is trained; its longest row does not matter here.
        length: tokens of a row, on average.
        supervised: of them those of the response; masked is half of them on average.
        cost: passes of the objective.
    """
    batch = how.rows / max(1.0, cost.trained)
    adapters = adapter_numbers(shape, how)
    # Times are drawn evenly: half of a response is masked. The last layer computes as many columns of each
    # row as the fullest has. A pass without gradient hides more (LIFT's mean; GIFT asks at all positions).
    graph = repeated(
        noised(shape, length, supervised, supervised * batch / (batch + 1), supervised / 2, adapters),
        cost.trained,
    )
    asked = ASKED * supervised
    scored = repeated(noised(shape, length, supervised, supervised, asked, adapters), cost.scored)
    if shape.block_size is not None:
        clean = clean_text(shape, length, adapters)
        graph, scored = graph + clean, scored + repeated(clean, 0 if how.one_clean_text else cost.scored)
    return graph.total + backward(graph, shape, how, supervised) + scored.total


def scoring_operations(shape: Shape, length: float, supervised: float) -> float:
    """A row's pass for the NELBO: without gradient and adapters' own work, half of the response masked."""
    found = noised(shape, length, supervised, supervised, supervised / 2, 0.0)
    return (found + clean_text(shape, length, 0.0) if shape.block_size is not None else found).total


def backward(graph: Forward, shape: Shape, how: Training, supervised: float) -> float:
    """The backward pass of what was computed with gradient, and what is computed again for it."""
    towards = 1 if how.lora else 2  # the input; the weight too
    operations = towards * (graph.products + graph.head) + 2.5 * graph.attention + 2 * graph.adapters
    at_once = LOGITS_AT_ONCE[how.kind] // shape.vocabulary
    if how.lora is None and how.rows * supervised / 2 > at_once:  # logits are not kept
        operations += graph.head
    if how.checkpointing:  # a layer up to what its backward pass needs last, which is before its last product
        last = sum(m.inputs * m.outputs for m in shape.matrices if m.name in LAST and m.uses == 1)
        again = graph.products * (1 - last / shape.products)
        operations += again + graph.attention + graph.adapters
    return operations


def adapter_numbers(shape: Shape, how: Training) -> float:
    """Numbers of the adapters that a token is multiplied with."""
    if how.lora is None:
        return 0.0
    return sum(how.lora.r * (m.inputs + m.outputs) * m.uses for m in shape.adapted(how.lora))


def repeated(one: Forward, times: float) -> Forward:
    """A pass so many times."""
    return Forward(one.products * times, one.attention * times, one.head * times, one.adapters * times)


def noised(
    shape: Shape, length: float, supervised: float, wanted: float, projected: float, adapters: float
) -> Forward:
    """A pass of noised text: of a model with blocks only those of the response, which see the clean ones."""
    if shape.block_size is None or length <= shape.block_size:
        return forward(shape, length, wanted, length, projected, adapters)
    columns = length - (length - supervised) // shape.block_size * shape.block_size
    clean = (length - 1) // shape.block_size * shape.block_size
    return forward(shape, columns, min(wanted, columns), clean + columns, projected, adapters)


def clean_text(shape: Shape, length: float, adapters: float) -> Forward:
    """The pass that makes clean keys and values, of a model with blocks."""
    assert shape.block_size is not None
    if length <= shape.block_size:
        return Forward()
    clean = (length - 1) // shape.block_size * shape.block_size
    return forward(shape, clean, 1, clean, 0, adapters)


# ---------------------------------------------------------------- decoding


def decoding_operations(shape: Shape, config: Any, prompt: float) -> float:
    """What an answer takes of `gen_length` tokens to a prompt of so many, if nothing ends it earlier.

    Args:
        shape: of the model.
        config: a `DecodingConfig`, resolved.
        prompt: tokens.
    """
    blocks = -(-config.gen_length // config.block_length)
    each = max(1.0, config.most_passes / blocks)  # passes of a block
    whole, size = prompt + config.gen_length, config.block_length
    masked = size * (1 + 1 / each) / 2  # on average: all at first, as many fewer after each pass
    total = 0.0
    for block in range(blocks):
        begin = prompt + block * size
        seen = whole if shape.block_size is None else begin + size
        first, rest = {
            "prefix": (whole, whole - begin),
            "dual": (whole, size),
            "blocks": (begin + size if block == 0 else 2 * size, size),
            "sub_blocks": (begin + size if block == 0 else 2 * size, size),
        }.get(config.cache, (seen, seen))
        for columns, times in ((first, 1.0), (rest, each - 1)):
            total += times * forward(shape, columns, size, seen, masked).total
    return total * (2 if config.cfg_scale else 1)
