"""The tables of the GIFT paper (arXiv 2509.20863), as printed; percent.

GSM8K and MATH500 at 256 tokens, Sudoku and Countdown at 512 (appendix C.2). Left out: the averages, table 4
(minutes), figure 3 and table 7 (reinforcement learning), table 8 (norms of gradients). Of tables 3, 9 and 10
the text at hand shows only the better number of each column (bold), without its column: taken are those whose
column is certain. Of table 9 that leaves out 23.3 (SFT) and 26.0 (GIFT) on s1K-1.1, Sudoku or Countdown.
Tables 1 and 2 have other numbers for SFT and GIFT on s1K, and for the model itself: table 1 stands.
"""

from __future__ import annotations

from collections.abc import Iterator

from lift_harness.compare.paper_tables import (
    DREAM_BASE,
    LLADA,
    LLADA_BASE,
    OPENR1_3K,
    S1K,
    S1K_1_1,
    TULU3_10K,
    Column,
    Quoted,
    Rows,
    numbers,
)
from lift_harness.papers import GIFT

COLUMNS = (
    *(Column(task, "acc", 512) for task in ("lift_sudoku", "lift_countdown")),
    *(Column(task, "acc", 256) for task in ("lift_gsm8k", "lift_math500")),
)

TABLE_1: dict[tuple[str, str], Rows] = {
    (LLADA, S1K): {
        "base": (5.6, 17.0, 76.8, 32.5),
        "vanilla": (4.2, 21.1, 78.5, 32.6),
        "gift": (6.0, 28.1, 77.3, 33.7),
    },
    (LLADA, S1K_1_1): {
        "vanilla": (4.9, 20.7, 77.7, 31.2),
        "gift": (5.9, 21.8, 77.6, 32.0),
    },
    (LLADA, OPENR1_3K): {
        "vanilla": (5.9, 17.3, 77.1, 31.6),
        "gift": (6.8, 18.8, 77.7, 32.8),
    },
    (LLADA_BASE, TULU3_10K): {
        "vanilla": (5.1, 18.2, 66.3, 23.6),
        "gift": (4.9, 21.3, 65.8, 24.6),
    },
}
TABLE_2: Rows = {
    "base": (5.5, 16.0, 76.7, 32.4),
    "vanilla": (4.6, 23.8, 78.8, 32.6),
    "gift metric=nll": (3.0, 16.4, 75.4, 29.2),
    "dream": (3.3, 21.1, 77.0, 30.0),
    "gift form=weighting": (5.3, 23.8, 75.9, 31.6),
    "gift": (7.8, 24.6, 78.0, 33.0),
}
TABLE_3: Rows = {
    "vanilla": (3.8, None, None, None),
    "gift": (None, 14.1, 55.2, 22.2),
}
TABLE_9: dict[str, Rows] = {
    S1K: {"vanilla": (None, None, 78.9, None), "gift": (7.9, 27.5, None, 33.0)},
    S1K_1_1: {"vanilla": (None, None, 78.7, None), "gift": (None, None, None, 31.4)},
}
TABLE_10: Rows = {
    "vanilla": (None, None, 78.5, None),
    "gift reference": (5.4, 24.3, None, 32.8),
}


def quoted() -> Iterator[Quoted]:
    """The numbers of all its tables."""
    for (model, data), rows in TABLE_1.items():
        yield from numbers(1, COLUMNS, rows, model, data, GIFT)
    yield from numbers(2, COLUMNS, TABLE_2, LLADA, S1K, GIFT)
    yield from numbers(3, COLUMNS, TABLE_3, DREAM_BASE, TULU3_10K, GIFT)
    for data, rows in TABLE_9.items():
        for one in numbers(9, COLUMNS, rows, LLADA, data, GIFT):
            yield one._replace(fewshot=5)
    yield from numbers(10, COLUMNS, TABLE_10, LLADA, S1K, GIFT)


TABLES = tuple(quoted())
