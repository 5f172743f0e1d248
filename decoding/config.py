"""Decoding settings, checked where they are made."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lift_harness.decoding.caches import AUTO, CACHES, EXACT
from lift_harness.decoding.sampling import CONFIDENCE_FROM, REMASKING
from lift_harness.decoding.schedules import ADAPTIVE, BLOCKWISE, OPTIONS, PLANNED, STEPPED
from lift_harness.errors import LiftError, did_you_mean

PROBABILITIES = ("low_confidence", "margin")  # measures in [0, 1] that a threshold can be compared with
BLOCK_LENGTH = 32  # the published protocol's (d1, LLaDA)
UNSET: Any = None  # of a whole number that follows from the others, or an option that its schedule sets


@dataclass(frozen=True)
class DecodingConfig:
    """How a masked canvas is turned into text (LLaDA: block-wise low-confidence remasking).

    Attributes:
        gen_length: tokens to generate, in blocks from left to right.
        block_length: tokens a block; on the grid `answer` it divides `gen_length`, unless the schedule is one
            of block diffusion. Unset: 32, or a `gen_length` that is shorter.
        grid: where blocks are counted from: the first token of the answer (answer), or of the prompt
            (sequence: the first block may begin with the prompt's tail, the last one is cut to `gen_length`).
        steps: forward passes over all blocks under the schedules that plan them; a multiple of the number of
            blocks. Unset: a token a step under the schedules of block diffusion, else the protocol's pace
            (`protocol_steps`), two tokens a step.
        tokens_per_step: the same pace, said so that it holds for any length: every block takes `block_length`
            / `tokens_per_step` steps, a whole number. It stands in place of `steps`, which follow.
        temperature: of Gumbel-max sampling; 0 takes the most probable token.
        top_p: sample among the fewest tokens whose probabilities at `temperature` sum to this; 1 is off.
        top_k: sample among this many tokens; 0 is off.
        remasking: confidence that ranks positions: low_confidence (probability of the candidate),
            margin (top-1 minus top-2), entropy (negative), random.
        confidence_from: the distribution that this is measured on: the model's (LLaDA), or the one that is
            sampled from, after temperature, top_k and top_p (sampling: Dream).
        schedule: which positions a pass commits: fixed (equal shares), threshold (confidence at least
            `threshold`), factor (rank r passes at confidence >= 1 - factor / (r + 1)), entropy_bound (as many
            as stay almost independent), dream (Dream's time grid; Dream itself has one block, the canvas); of
            block diffusion llada2, llada21 (which edits), sdar_static, sdar_dynamic, sdar_sequential,
            fastdllm_v2, bd3lm and mdlm (`schedules`).
        threshold: a confidence in [0, 1]; unset: as published, where the schedule has a published one.
        editing_threshold: of the llada21 schedule: a token is replaced by one more probable than this.
        num_to_transfer: of the llada21 schedule: masks that a pass fills at least.
        max_post_steps: of the llada21 schedule: passes over a block without masks, 0 or more.
        sub_block_length: of the fastdllm_v2 schedule; divides `block_length`.
        factor: of the factor schedule, > 0.
        entropy_bound: of the entropy_bound schedule, in nats, >= 0.
        eps: where the time grid of the dream schedule ends, in (0, 1).
        cache: none (every pass computes all that it sees: exact); approximate and faster: prefix (what is
            left of the block keeps the keys and values of the block's first pass) and dual (also what is
            right). Of a model with blocks: blocks (finished blocks keep theirs: exact), sub_blocks (so do the
            other sub-blocks: approximate). auto: blocks where the model has any, else none.
        cfg_scale: classifier-free guidance; 0 is off.
        suppress_tokens: ids that are never generated.
        early_stop: stop a request at the block boundary after its first end-of-text token.
        speculate: canvases verified in one pass, this step's and drafts of the next ones'; 1 is off.
            The tokens are those of `speculate=1`.
        seed: of all random numbers.

    Raises:
        LiftError: a value of the wrong kind or out of range, lengths that do not divide, or options that
            exclude each other.
    """

    gen_length: int = 128
    block_length: int = UNSET
    grid: str = "answer"
    steps: int = UNSET
    tokens_per_step: int | None = field(default=UNSET, compare=False)  # what counts is `steps`
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    remasking: str = "low_confidence"
    confidence_from: str = "model"
    schedule: str = "fixed"
    threshold: float | None = UNSET
    editing_threshold: float | None = UNSET
    num_to_transfer: int | None = UNSET
    max_post_steps: int | None = UNSET
    sub_block_length: int | None = UNSET
    factor: float | None = UNSET
    entropy_bound: float | None = UNSET
    eps: float = 1e-3
    cache: str = AUTO
    cfg_scale: float = 0.0
    suppress_tokens: tuple[int, ...] = ()
    early_stop: bool = True
    speculate: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "suppress_tokens", token_ids(self.suppress_tokens))
        self._check("gen_length")
        self._set("block_length", default_block(self.gen_length))
        for name in VALUES:
            if name not in ("steps", "tokens_per_step"):  # they follow from what is checked first
                self._check(name)
        for name, known in KNOWN.items():
            value = getattr(self, name)
            if not isinstance(value, str) or value not in known:
                raise LiftError(f"{name}={value!r} is not known; {did_you_mean(str(value), known)}")
        self._set_steps()
        self._check_lengths()
        for name in OPTION_VALUES:
            self._check_schedule_option(name)
        self._check_together()

    def _set(self, name: str, default: int) -> None:
        if getattr(self, name) is UNSET:
            object.__setattr__(self, name, default)
        self._check(name)

    def _set_steps(self) -> None:
        each: Any = self.tokens_per_step
        if each is UNSET:
            self._set("steps", default_steps(self.gen_length, self.block_length, self.schedule))
            return
        if self.steps is not UNSET:
            raise LiftError(f"steps={self.steps!r} and tokens_per_step={each!r} both say the pace; give one")
        self._check("tokens_per_step")
        if self.block_length % each:
            raise LiftError(
                f"tokens_per_step={each} does not divide block_length={self.block_length}: every block takes "
                f"a whole number of steps; use a divisor, e.g. {math.gcd(each, self.block_length)}"
            )
        object.__setattr__(self, "steps", self.blocks * (self.block_length // each))

    def _check(self, name: str) -> None:
        value, (holds, wanted) = getattr(self, name), VALUES[name]
        if not holds(value):
            raise LiftError(f"{name}={value!r} must be {wanted}")

    def _check_lengths(self) -> None:
        whole_blocks = self.grid == "answer" and self.schedule not in BLOCKWISE
        if whole_blocks and self.gen_length % self.block_length:
            multiple = self.block_length * (self.gen_length // self.block_length + 1)
            raise LiftError(
                f"gen_length={self.gen_length} is not divisible by block_length={self.block_length}; "
                f"use a multiple, e.g. gen_length={multiple}"
            )
        if self.schedule in STEPPED and self.steps % self.blocks:
            raise LiftError(
                f"steps={self.steps} is not divisible by the number of blocks ({self.gen_length} / "
                f"{self.block_length} = {self.blocks}); use a multiple of {self.blocks}"
            )

    def _check_schedule_option(self, name: str) -> None:
        taken = OPTIONS.get(self.schedule, {})
        if name in taken and getattr(self, name) is UNSET:
            object.__setattr__(self, name, taken[name])
        value, (holds, wanted) = getattr(self, name), OPTION_VALUES[name]
        if name in taken and not (is_number(value) and holds(value)):
            raise LiftError(f"schedule={self.schedule!r} needs {name} {wanted}; got {name}={value!r}")
        if name not in taken and value is not UNSET:
            users = " or ".join(schedule for schedule, options in OPTIONS.items() if name in options)
            raise LiftError(
                f"{name}={value!r} has no effect with schedule={self.schedule!r}; set schedule={users}"
            )

    def _check_together(self) -> None:
        compares = self.schedule == "factor" or "threshold" in OPTIONS.get(self.schedule, {})
        if compares and self.remasking not in PROBABILITIES:
            raise LiftError(
                f"schedule={self.schedule!r} compares probabilities, which remasking={self.remasking!r} does "
                f"not give; use remasking={' or '.join(PROBABILITIES)}"
            )
        if self.sub_block_length and self.block_length % self.sub_block_length:
            raise LiftError(
                f"sub_block_length={self.sub_block_length} does not divide block_length={self.block_length}"
            )
        if self.cache == "sub_blocks" and not self.sub_block_length:
            raise LiftError(
                f"cache='sub_blocks' needs sub-blocks, which schedule={self.schedule!r} has not; "
                "use schedule=fastdllm_v2, or cache=blocks"
            )
        if self.speculate > 1:
            allowed = {"cache": (AUTO, "none"), "schedule": ("fixed",), "cfg_scale": (0,)}
            wrong = [
                f"{name}={getattr(self, name)!r}"
                for name, values in allowed.items()
                if getattr(self, name) not in values
            ]
            if wrong:
                raise LiftError(
                    f"speculate={self.speculate} verifies the exact fixed schedule and excludes "
                    f"{', '.join(wrong)}; use cache=none, schedule=fixed, cfg_scale=0, or speculate=1"
                )

    @property
    def blocks(self) -> int:
        """Number of blocks; on the grid `sequence` a prompt's tail may make it one more."""
        return -(-self.gen_length // self.block_length)

    @property
    def most_passes(self) -> int:
        """Denoising passes that a request takes at most: under `fixed`, unless it stops early, it takes them.

        The adaptive schedules commit a token a pass at least; one that edits then looks over each block.
        """
        blocks = self.blocks + (self.grid == "sequence")  # where a prompt's tail begins the first one
        if self.schedule in STEPPED:
            return blocks * (self.steps // self.blocks)
        return blocks * (self.block_length + (self.max_post_steps or 0))

    @property
    def exact(self) -> bool:
        """Whether every committed token comes from a pass over all that the model sees of the canvas."""
        return self.cache in EXACT

    @property
    def recorded(self) -> dict[str, Any]:
        """By name, for files and keys; what came later only where it is used, so that older ones hold."""
        return {
            name: value
            for name, value in dataclasses.asdict(self).items()
            if name != "tokens_per_step" and (name not in LATER or value != LATER[name])
        }

    @classmethod
    def of(cls, *sources: Mapping[str, Any]) -> DecodingConfig:
        """Settings from several sources, the weakest first (see `merge`).

        Raises:
            LiftError: an unknown name, or what the class raises.
        """
        settings = merge(*sources)
        known = [field.name for field in dataclasses.fields(cls)]
        for name in settings:
            if name not in known:
                raise LiftError(f"unknown decoding setting {name!r}; {did_you_mean(name, known)}")
        return cls(**settings)

    def replace(self, **changes: Any) -> DecodingConfig:
        """A copy with other values, as `of` puts them above these.

        What is the default for the present lengths and schedule stays the default for the new ones.
        """
        taken = OPTIONS.get(self.schedule, {})
        own = {name: value for name, value in vars(self).items() if (name, value) not in taken.items()}
        usual = default_steps(self.gen_length, self.block_length, self.schedule)
        if self.tokens_per_step is not UNSET or self.steps == usual:
            del own["steps"]
        if self.block_length == default_block(self.gen_length):
            del own["block_length"]
        return self.of(own, changes)


def unread(name: str, settings: Mapping[str, Any]) -> str | None:
    """Beside what a setting changes nothing, e.g. "schedule=fixed"; None: it is read.

    Args:
        name: of the setting.
        settings: those that it stands among, by name; the others have their defaults.
    """
    schedule = settings.get("schedule", "fixed")
    readers = {option: [one for one, taken in OPTIONS.items() if option in taken] for option in OPTION_VALUES}
    readers |= {"steps": [*STEPPED], "tokens_per_step": [*STEPPED], "eps": ["dream"]}
    if schedule not in readers.get(name, [schedule]):
        return f"schedule={schedule}"
    sampled = settings.get("temperature", 0) != 0
    drawn = {
        "seed": sampled or settings.get("remasking") == "random",
        "top_k": sampled or settings.get("confidence_from") == "sampling",
        "top_p": sampled or settings.get("confidence_from") == "sampling",
    }
    return None if drawn.get(name, True) else "temperature=0"


def default_block(gen_length: int) -> int:
    """Tokens a block where nobody says it: the protocol's, or all of a text that is shorter."""
    return min(BLOCK_LENGTH, gen_length)


def default_steps(gen_length: int, block_length: int, schedule: str) -> int:
    """Forward passes where nobody says it: a token each under block diffusion, else the protocol's pace."""
    if schedule in BLOCKWISE:
        return -(-gen_length // block_length) * block_length
    return protocol_steps(gen_length, block_length)


def protocol_steps(gen_length: int, block_length: int) -> int:
    """Forward passes at the protocol's pace: two tokens a step, in a block of odd length three in one step.

    Every block takes the same number of steps, so that this is valid for any lengths that go together.
    """
    return -(-gen_length // block_length) * max(1, block_length // 2)


def merge(*sources: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by name, a later source above an earlier one.

    A number of steps belongs to the length it was chosen for: a source that says `gen_length` and no `steps`
    takes back those of the weaker ones, and the pace is the protocol's again, or that of `tokens_per_step`.
    Of `steps` and `tokens_per_step` the one that the stronger source says takes back the other.
    """
    merged: dict[str, Any] = {}
    for source in sources:
        if "gen_length" in source or source.get("tokens_per_step") is not UNSET:
            merged.pop("steps", None)
        if "steps" in source:
            merged.pop("tokens_per_step", None)
        merged.update(source)
    return merged


KNOWN: dict[str, Iterable[str]] = {
    "remasking": REMASKING,
    "confidence_from": CONFIDENCE_FROM,
    "schedule": (*PLANNED, *ADAPTIVE),
    "cache": (AUTO, *CACHES),
    "grid": ("answer", "sequence"),
}
Value = tuple[Callable[[Any], bool], str]  # what holds of it, and how that is said
COUNT: Value = (lambda value: is_whole(value) and value >= 1, "a whole number of at least 1")
VALUES: dict[str, Value] = {
    **dict.fromkeys(("gen_length", "block_length", "steps", "tokens_per_step", "speculate"), COUNT),
    "top_k": (lambda value: is_whole(value) and value >= 0, "0 (off) or a whole number of tokens"),
    "seed": (lambda value: is_whole(value), "a whole number"),
    "temperature": (lambda value: is_number(value) and 0 <= value < math.inf, "0 or more"),
    "cfg_scale": (lambda value: is_number(value) and 0 <= value < math.inf, "0 (off) or more"),
    "top_p": (lambda value: is_number(value) and 0 < value <= 1, "in (0, 1]; 1 is off"),
    "eps": (lambda value: is_number(value) and 0 < value < 1, "in (0, 1)"),
    "early_stop": (lambda value: isinstance(value, bool), "true or false"),
}
# Of the options of schedules, which are not set without it.
OPTION_VALUES: dict[str, Value] = {
    "threshold": (lambda value: 0 <= value <= 1, "in [0, 1]"),
    "editing_threshold": (lambda value: 0 <= value <= 1, "in [0, 1]"),
    "num_to_transfer": (lambda value: is_whole(value) and value >= 1, "a whole number of at least 1"),
    "max_post_steps": (lambda value: is_whole(value) and value >= 0, "a whole number of 0 or more"),
    "sub_block_length": (lambda value: is_whole(value) and value >= 1, "a whole number of at least 1"),
    "factor": (lambda value: value > 0, "above 0"),
    "entropy_bound": (lambda value: value >= 0, "of 0 or more"),
}
# Settings that results and response keys of before do not have, and their values where they do not act.
LATER = {
    "grid": "answer",
    **dict.fromkeys(("editing_threshold", "num_to_transfer", "max_post_steps", "sub_block_length"), UNSET),
}


def is_whole(value: Any) -> bool:
    """Whether it is an int (bool is not)."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether it is a float, or an int that is one, and not NaN."""
    return (isinstance(value, float) or (is_whole(value) and abs(value) < 2**53)) and not math.isnan(value)


def token_ids(value: Any) -> tuple[int, ...]:
    """Ids from an int, a list of them, or text such as "501;502" (a comma would end an lm-eval argument)."""
    if isinstance(value, str) and re.fullmatch(r"\s*\d+([\s;]+\d+)*\s*", value):
        value = [int(part) for part in re.findall(r"\d+", value)]
    ids = (value,) if is_whole(value) else tuple(value) if isinstance(value, (list, tuple)) else None
    if ids is None or not all(is_whole(token) and token >= 0 for token in ids):
        raise LiftError(f'suppress_tokens={value!r} must be token ids: 501, [501, 502] or "501;502"')
    return ids
