"""What an objective says about itself: its loss, its options with their checks, its cost, what it needs.

`@objective(...)` stands above the function that computes the loss. All that other parts ask (a recipe's
errors, `--dry-run`, the training data, the trainer) is answered from there, so that nothing is to be added
elsewhere; what is forgotten is an error when the file is imported.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from torch import Tensor, nn

from lift_harness.errors import LiftError
from lift_harness.training.objectives.base import Batch, Loss, NoiseKey
from lift_harness.training.objectives.options import Check, one_of, time_range
from lift_harness.training.vocabulary import columns_of_a_block, with_clean_text

Options = Mapping[str, Any]
# The options that every objective has: where t is drawn from, and whether once for a sequence or a block.
T_RANGE, NOISE = "t_range", "noise"
COMMON: Mapping[str, Check] = {
    T_RANGE: time_range.means("where t is drawn from; null: all of (0, 1)"),
    NOISE: one_of("sequence", "block").means("what has a t of its own; block: each of a model with blocks"),
}


class Passes(NamedTuple):
    """What an objective costs: passes of a sequence through the model for each row of the data, on average.

    Attributes:
        trained: with gradient.
        scored: without.
    """

    trained: float = 1
    scored: float = 0


@dataclass(frozen=True)
class Objective:
    """A training objective: called as objective(model, batch, key, num_items=None) -> Loss.

    Attributes:
        name: in recipes.
        function: computes the loss.
        checks: option -> what refuses a bad value of it.
        together: refuses options that contradict each other; sees only those that were given.
        cost: its passes, of all options.
        priority: whether it needs to know the priority tokens (training/priority.py).
        reference: the option that, where it is true, asks the initial model too.
        defaults: of all options.
        given: the options that were set.
        t_range: lowest and highest diffusion time; None: all of them.
        noise: "sequence", or "block": each block of a model with blocks has noise of its own.
        reference_model: a frozen copy of the initial model (`with_reference`).
    """

    name: str
    function: Callable[..., Loss]
    checks: Mapping[str, Check]
    together: Callable[[Options], None] | None
    cost: Callable[[Options], Passes]
    priority: bool
    reference: str | None
    defaults: Options
    given: Options = field(default_factory=dict)
    t_range: tuple[float, float] | None = None
    noise: str = "sequence"
    reference_model: nn.Module | None = None

    def __call__(
        self, model: nn.Module, batch: Batch, key: NoiseKey, num_items: Tensor | int | None = None
    ) -> Loss:
        """The loss of a batch; `num_items`: response tokens to divide by, None for those of the batch."""
        extra = {} if self.reference_model is None else {"reference_model": self.reference_model}
        if self.t_range is not None:
            key = replace(key, t_range=self.t_range)
        batch = with_clean_text(model, batch)
        if self.noise == "block":
            self.check_model(model)
            batch = batch.in_blocks()
        return self.function(model, batch, key, num_items, **extra, **self.given)

    @property
    def options(self) -> Options:
        """Every option with its value."""
        return {**self.defaults, **self.given, T_RANGE: self.t_range, NOISE: self.noise}

    @property
    def passes(self) -> Passes:
        """What it costs with these options."""
        return self.cost(self.options)

    @property
    def needs_reference(self) -> bool:
        """Whether it asks the initial model too (gift with `reference: true`).

        With LoRA that is the model with its adapters disabled, and nothing more is needed. In full
        fine-tuning the trainer keeps a frozen copy, on the model's device, and gives it to the objective
        (`with_reference`).
        """
        return self.reference is not None and bool(self.options[self.reference])

    def check_model(self, model: Any) -> None:
        """Refuse a model that cannot be trained so.

        Raises:
            LiftError: `noise: block`, and it has no blocks.
        """
        if self.noise == "block" and columns_of_a_block(model) is None:
            raise LiftError(
                f"objective.{NOISE}={self.noise!r}: the model has no blocks, it is bidirectional; leave "
                "it out"
            )

    def with_options(self, given: Options) -> Objective:
        """The objective with some options set.

        Raises:
            LiftError: an unknown option, a value of the wrong type or out of range, or one without effect.
        """
        checks = {**self.checks, **COMMON}
        for option in given:
            if option not in checks:
                known = ", ".join(checks)
                raise LiftError(f"objective {self.name!r} has no option {option!r}; it has: {known}")
        for option, value in given.items():
            checks[option](option, value)
        if self.together is not None:
            self.together(given)
        own = {option: value for option, value in given.items() if option not in COMMON}
        times, noise = given.get(T_RANGE), given.get(NOISE, "sequence")
        return replace(self, given=own, t_range=None if times is None else (times[0], times[1]), noise=noise)

    def with_reference(self, frozen: nn.Module) -> Objective:
        """An objective that `needs_reference`, with a frozen copy of the initial model."""
        return replace(self, reference_model=frozen)


def objective(
    *,
    passes: Passes | Callable[[Options], Passes],
    options: Mapping[str, Check] | None = None,
    together: Callable[[Options], None] | None = None,
    priority: bool = False,
    reference: str | None = None,
) -> Callable[[Callable[..., Loss]], Objective]:
    """Make an objective, called as its function is, of function(model, batch, key, num_items, *, options).

    Args:
        passes: what it costs; where that depends on options, a function of all of them.
        options: each keyword-only parameter of the function -> its check.
        together: as `Objective.together`.
        priority: as `Objective.priority`.
        reference: as `Objective.reference`; the function then takes a `reference_model`.

    Raises:
        TypeError: when the file is imported: an option without a check, a check without an option, an option
            without a default, a default that its own check refuses, or a cost that cannot be computed.
    """

    def define(function: Callable[..., Loss]) -> Objective:
        checks = dict(options or {})
        defaults = checked_defaults(function, checks)
        takes = inspect.signature(function).parameters
        if reference is not None and not {reference, "reference_model"} <= takes.keys():
            raise TypeError(
                f"objective {function.__name__}: reference={reference!r} needs an option of that name, and a "
                "parameter reference_model"
            )
        cost = (lambda _: passes) if isinstance(passes, Passes) else passes
        made = Objective(function.__name__, function, checks, together, cost, priority, reference, defaults)
        try:
            made.passes  # noqa: B018 (fails here, not in a dry run)
        except (KeyError, TypeError) as error:
            raise TypeError(f"objective {made.name}: passes= cannot be computed: {error!r}") from error
        return made

    return define


def checked_defaults(function: Callable[..., Loss], checks: Mapping[str, Check]) -> dict[str, Any]:
    """The options of an objective's function, its keyword-only parameters, with their defaults.

    Raises:
        TypeError: as `objective`.
    """
    parameters = inspect.signature(function).parameters.values()
    defaults = {one.name: one.default for one in parameters if one.kind is one.KEYWORD_ONLY}
    for option, default in defaults.items():
        if option not in checks:
            raise TypeError(
                f"objective {function.__name__}: option {option!r} has no check; add it to options={{...}}"
            )
        if default is inspect.Parameter.empty:
            raise TypeError(f"objective {function.__name__}: option {option!r} has no default")
        try:
            checks[option](option, default)
        except LiftError as error:
            raise TypeError(f"objective {function.__name__}: its own default: {error}") from error
    for option in checks:
        if option not in defaults:
            raise TypeError(
                f"objective {function.__name__}: a check of {option!r}, which is no keyword-only parameter"
            )
    return defaults
