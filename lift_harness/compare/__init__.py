"""Comparing runs: tables with intervals, paired tests against a baseline, what does not compare.

    from lift_harness.compare import compare, load

    comparison = compare(load(["runs/a", "runs/b"]), baseline="a/base")

Imports neither torch nor transformers nor lm_eval.
"""

from lift_harness.compare.comparison import Comparison, compare
from lift_harness.compare.differences import Difference, Flip, Refusal
from lift_harness.results.read import load
from lift_harness.results.rows import Row
from lift_harness.results.scores import Cell

__all__ = ["Cell", "Comparison", "Difference", "Flip", "Refusal", "Row", "compare", "load"]
