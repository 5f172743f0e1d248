"""What is kept of the passes: sums over examples, of a size that does not grow with them; on disk, too.

T times and, last, all of them together; K kinds of token, Q frequency bins, G groups of examples.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lift_harness.analysis.passes import Seen
from lift_harness.errors import LiftError
from lift_harness.files import check_regular, parse_json, whole

Floats = NDArray[np.float64]
DAMAGED = (zipfile.BadZipFile, zlib.error, MemoryError, NotImplementedError)  # what numpy says of a file
GROUPS = 64  # that the bootstrap draws from; with no more examples than this, each is a group


class Sums:
    """Mean confidence of some kinds of token and its standard error, from sums over examples.

    The tokens of one example are not independent of each other, so the standard error is that of a ratio of
    sums over examples: with n_e masked tokens of summed confidence s_e in example e, of E that have any, the
    mean is m = sum s / sum n, and its variance E / (E - 1) * sum (s_e - m n_e)^2 / (sum n)^2.

    Attributes:
        n, s, nn, ns, ss, e: float64 [rows, kinds]: sums over examples of n, s, n^2, n s, s^2 and 1.
    """

    NAMES = ("n", "s", "nn", "ns", "ss", "e")

    def __init__(self, rows: int, kinds: int) -> None:
        self.n, self.s, self.nn, self.ns, self.ss, self.e = np.zeros((6, rows, kinds))

    def add(self, row: int, kinds: NDArray[np.int64], n: Floats, s: Floats) -> None:
        """One example's masked tokens `n` and their confidence `s`, for kinds that differ from each other."""
        for name, value in (("n", n), ("s", s), ("nn", n * n), ("ns", n * s), ("ss", s * s), ("e", 1.0)):
            getattr(self, name)[row, kinds] += value

    def mean(self) -> Floats:
        """Mean confidence [rows, kinds]; NaN where nothing was masked."""
        return ratio(self.s, self.n)

    def stderr(self) -> Floats:
        """Its standard error [rows, kinds]; NaN with fewer than two examples."""
        mean = np.nan_to_num(self.mean())
        squares = np.maximum(self.ss - 2 * mean * self.ns + mean**2 * self.nn, 0)
        few = np.where(self.e > 1, self.e - 1, np.nan)
        return np.sqrt(self.e / few * squares) / np.where(self.n > 0, self.n, np.nan)


def ratio(top: Floats, bottom: Floats) -> Floats:
    """`top` / `bottom`, NaN where `bottom` is 0."""
    return np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom > 0)


@dataclass
class State:
    """All that is known after some batches of examples.

    Attributes:
        tokens: sums by kind of token, [T + 1, K].
        bins: sums by frequency bin, [T + 1, Q].
        group_n, group_s: float64 [G, T, K], masked tokens and their confidence, by group of examples.
        bin_of: int64 [K].
        batches: done.
        examples: done.
    """

    tokens: Sums
    bins: Sums
    group_n: Floats
    group_s: Floats
    bin_of: NDArray[np.int64]
    batches: int = 0
    examples: int = 0

    @classmethod
    def empty(cls, times: int, kinds: int, bin_of: NDArray[np.int64], groups: int) -> State:
        """Before the first example."""
        grouped = np.zeros((2, groups, times, kinds))
        bins = int(bin_of.max()) + 1
        return cls(Sums(times + 1, kinds), Sums(times + 1, bins), grouped[0], grouped[1], bin_of)

    def add(self, group: int, seen: Sequence[Seen], kind_of: NDArray[np.int64]) -> None:
        """One example: what was masked at each time. `kind_of` maps ids to kinds."""
        kinds = [kind_of[one.tokens] for one in seen]
        for row, (kind, one) in enumerate(zip(kinds, seen, strict=True)):
            present, n, s = count(kind, one.confidence)
            self.group_n[group, row, present] += n
            self.group_s[group, row, present] += s
            self.tokens.add(row, present, n, s)
            self.bins.add(row, *count(self.bin_of[kind], one.confidence))
        together, p = np.concatenate(kinds), np.concatenate([one.confidence for one in seen])
        self.tokens.add(len(seen), *count(together, p))
        self.bins.add(len(seen), *count(self.bin_of[together], p))
        self.examples += 1

    def arrays(self) -> dict[str, Any]:
        """Every array by name."""
        arrays = {"group_n": self.group_n, "group_s": self.group_s, "bin_of": self.bin_of}
        for part, sums in (("tokens", self.tokens), ("bins", self.bins)):
            arrays |= {f"{part}_{name}": getattr(sums, name) for name in Sums.NAMES}
        return arrays


def count(kinds: NDArray[np.int64], confidence: Floats) -> tuple[NDArray[np.int64], Floats, Floats]:
    """The different kinds, how many of each there are, and their summed confidence."""
    present, where = np.unique(kinds, return_inverse=True)
    n = np.bincount(where, minlength=len(present))
    s = np.bincount(where, weights=confidence, minlength=len(present))
    return present, n.astype(np.float64), s.astype(np.float64)


# ---------------------------------------------------------------- on disk


def save_state(file: Path, state: State, settings: dict[str, Any]) -> None:
    """Write whole or not at all; what was there before stays until the new file is complete."""
    progress = {"settings": settings, "batches": state.batches, "examples": state.examples}

    def write(part: Path) -> None:
        with part.open("wb") as stream:
            np.savez(stream, progress=np.array(json.dumps(progress)), **state.arrays())
            stream.flush()
            os.fsync(stream.fileno())

    whole(file, write)


def load_state(file: Path, state: State, settings: dict[str, Any]) -> None:
    """Fill `state` from the file.

    Raises:
        LiftError: a file that is damaged, or of an analysis with other settings.
    """
    try:
        check_regular(file)
        with np.load(file, allow_pickle=False) as stored:
            progress = parse_json(str(stored["progress"]), "progress")
            stored_arrays = {name: stored[name] for name in state.arrays()}
        used, done = progress["settings"].get, (int(progress["batches"]), int(progress["examples"]))
    except (OSError, LookupError, ValueError, TypeError, AttributeError, EOFError, *DAMAGED) as error:
        raise LiftError(f"{file}: not a state of an analysis ({error}); delete it, or --overwrite") from error
    for name, value in settings.items():
        before = used(name)
        if before != value:
            raise LiftError(
                f"{file}: that analysis has {name}={before!r}, this one {value!r}; it cannot be continued: "
                "give the same settings, --overwrite, or another --output"
            )
    for name, array in state.arrays().items():
        if stored_arrays[name].shape != array.shape or stored_arrays[name].dtype != array.dtype:
            raise LiftError(f"{file}: not a state of this analysis ({name}); delete it, or --overwrite")
        array[...] = stored_arrays[name]
    state.batches, state.examples = done
