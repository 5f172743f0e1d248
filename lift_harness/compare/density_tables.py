"""The tables of the density-driven masking paper (arXiv 2603.15803), as printed; percent, at 512 tokens.

They stand beside no row: the paper does not say in which words it asked, nor all of how it trained. Figures 3
and 4 have no numbers in the text but averages: 59.19 at w = 2 and 59.22 at w = 0.5, about 56.05 at w = 5 or
0.1; with one view about 58.5 at w = 0.5 and 57.0 at w = 2.
"""

from __future__ import annotations

from collections.abc import Iterator

from lift_harness.compare.paper_tables import LLADA2_MINI, Column, Quoted, Rows, numbers
from lift_harness.papers import DENSITY

COLUMNS = tuple(
    Column(task, "acc", 512) for task in ("lift_humaneval", "lift_mbpp", "lift_gsm8k", "lift_math500")
)
MIXTURE = "OPC-SFT-Stage2 and GSM8K"  # 450,000 examples, an epoch

TABLE_1: dict[str, Rows] = {  # by what is annotated
    MIXTURE: {"base": (50.00, 55.00, 86.58, 40.80), "density w=1": (57.93, 56.80, 69.14, 37.40)},
    f"{MIXTURE}, 10 % and 50 %": {"density w=2": (65.24, 54.00, 73.92, 43.60)},
}
TABLE_2: dict[str, Rows] = {
    "10 %": {"density hard": (62.20, 54.80, 72.40, 40.00), "density w=2": (64.02, 56.20, 73.39, 44.20)},
    "20 %": {"density hard": (53.05, 50.00, 73.84, 34.40), "density w=2": (62.20, 49.60, 70.36, 44.00)},
    "30 %": {"density hard": (61.59, 53.60, 71.49, 40.20), "density w=2": (63.41, 50.20, 75.66, 43.60)},
    "100 %": {"density w=2": (67.07, 53.80, 72.64, 40.40)},
}


def quoted() -> Iterator[Quoted]:
    """The numbers of both tables."""
    for data, rows in TABLE_1.items():
        yield from numbers(1, COLUMNS, rows, LLADA2_MINI, data, DENSITY)
    for share, rows in TABLE_2.items():
        yield from numbers(2, COLUMNS, rows, LLADA2_MINI, f"{MIXTURE}, {share} of the code", DENSITY)


TABLES = tuple(quoted())
