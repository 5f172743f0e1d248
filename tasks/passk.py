"""Pass@k: the chance that at least one of k samples of a problem is right (arXiv 2107.03374, eq. 1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from math import comb

from lift_harness.errors import LiftError


def pass_at_k(n: int, c: int, k: int) -> float:
    """Unbiased estimate 1 - C(n - c, k) / C(n, k) from n samples of which c are right.

    Whole numbers up to the one division, so exact to the last bit of a float for any n.
    """
    if not (0 <= c <= n and 1 <= k <= n):
        raise LiftError(
            f"pass@{k} of {c} right in {n} samples: it takes 0 <= right <= samples and 1 <= k <= n"
        )
    return float(1 - Fraction(comb(n - c, k), comb(n, k)))


def ks_for(n: int) -> list[int]:
    """The reported k: 1, 2, 4, ... and n itself."""
    powers = [1 << i for i in range(n.bit_length())]  # the last one is at most n
    return powers if powers[-1:] == [n] else [*powers, n]


def pass_at(n: int, c: int) -> dict[str, float]:
    """All that is reported of one problem: "pass@k" for each k of `ks_for(n)`, and "avg@n" = c / n."""
    return {**{f"pass@{k}": pass_at_k(n, c, k) for k in ks_for(n)}, f"avg@{n}": c / n}


def are_one_text(samples: Iterable[Sequence[str]]) -> bool:
    """Whether the several answers to each problem are one text, so that nothing was sampled.

    Args:
        samples: the answers to each problem; where all are empty they have nothing to tell.
    """
    problems = list(samples)
    several = all(len(texts) > 1 and len(set(texts)) == 1 for texts in problems)
    return several and any(texts[0] for texts in problems)


def not_sampled(problems: int, samples: int) -> str:
    """What is said where each of `problems` got one text `samples` times."""
    return (
        f"the {samples} answers to each problem are one text ({problems} distinct texts of "
        f"{problems * samples}): pass@k was not measured; does the engine fix its seed?"
    )
