"""What is asked of an analysis, checked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lift_harness.errors import LiftError
from lift_harness.files import named_after
from lift_harness.results.lock import contents

TIMES = "2^-2,2^-1,2^-1/2,2^-1/4"  # the paper's (arXiv 2605.22939, section 4)
STATE, SUMMARY = "state.npz", "analysis.json"
NUMBER = r"(-?(?:\d+\.?\d*|\.\d+))"
TIME = re.compile(rf"(?:{NUMBER}\s*\^\s*)?{NUMBER}(?:\s*/\s*{NUMBER})?")


@dataclass(frozen=True)
class Options:
    """An analysis as it is asked for.

    Attributes:
        model: folder, Hub id, or a model inside the package.
        data: a recipe (name or YAML file), or a data source of training.
        peft: folder or Hub id of an adapter.
        t_bins: diffusion times with commas between, as numbers or powers.
        examples: that the model sees, drawn at random; None: all.
        seed: of the draw, of the masks and of the bootstrap.
        bins: of frequency.
        min_count: masked tokens that a kind of token needs, over all times, to count for the trend.
        bootstrap: replicates.
        tokens: text or "id:NUMBER" of the tokens whose curves are plotted; () for some of all frequencies.
        batch_tokens: canvas tokens in a pass; None: by the device.
        save_every: examples between two saves of the state.
        parquet: write the tables as parquet, too.
    """

    model: str
    data: str
    peft: str | None = None
    t_bins: str = TIMES
    examples: int | None = 4000
    seed: int = 0
    bins: int = 12
    min_count: int = 5
    bootstrap: int = 1000
    tokens: Sequence[str] = ()
    batch_tokens: int | None = None
    save_every: int = 200
    parquet: bool = False

    @property
    def default_output(self) -> Path:
        """The folder runs/analysis-MODEL-DATA."""
        return Path("runs") / named_after("analysis", self.peft or self.model, self.data)


def parse_times(text: str) -> tuple[float, ...]:
    """Diffusion times, ascending, from "2^-2, 2^-1/2, 0.9".

    Raises:
        LiftError: something that is not a time in (0, 1], or the same twice.
    """
    times = [parse_time(part.strip()) for part in text.split(",")]
    if len(set(times)) < len(times):
        raise LiftError(f"--t-bins {text!r} names a time twice; name each once")
    return tuple(sorted(times))


def parse_time(text: str) -> float:
    """One diffusion time: a number, a fraction, or a power with either as exponent."""
    if match := TIME.fullmatch(text):
        base, top, bottom = (None if part is None else float(part) for part in match.groups())
        assert top is not None
        try:
            number = top / (1.0 if bottom is None else bottom)
            t = number if base is None else base**number
            if isinstance(t, float) and 0 < t <= 1:
                return t
        except (ZeroDivisionError, OverflowError):
            pass
    raise LiftError(f"--t-bins: {text!r} is not a time in (0, 1]; write 0.25 or 2^-1/2")


def find_token(tokenizer: Any, tokens: Sequence[int], text: str) -> int:
    """Where the token that is meant by text, or by "id:123", stands among `tokens`.

    Raises:
        LiftError: text of several tokens, or a token that is not among them.
    """
    if match := re.fullmatch(r"id:(\d{1,18})", text):
        ids = [int(match.group(1))]
    else:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    if len(ids) != 1:
        raise LiftError(f"--token {text!r} is {len(ids)} tokens; give one token, or id:NUMBER")
    if ids[0] not in tokens:
        raise LiftError(
            f"--token {text!r} does not occur in the data's responses; tokens.csv lists what does"
        )
    return list(tokens).index(ids[0])


def check_output(output: Path, resume: bool, overwrite: bool) -> None:
    """Refuse to write where something else is."""
    if not contents(output):
        return
    if not any((output / name).is_file() for name in (STATE, SUMMARY)):
        raise LiftError(
            f"output folder {str(output)!r} holds files that are not an analysis; give another --output"
        )
    if not resume and not overwrite:
        raise LiftError(
            f"output folder {str(output)!r} holds another analysis; --resume continues it, --overwrite "
            "replaces it, --output chooses another folder"
        )
