"""Comparing runs: tables with intervals, paired tests against a baseline, what does not compare.

    from lift_harness.compare import compare, load

    comparison = compare(load(["runs/a", "runs/b"]), baseline="a/base")

Imports neither torch nor transformers nor lm_eval.
"""

from lift_harness.compare.comparison import compare
from lift_harness.compare.records import Cell, Comparison, Difference, Flip, Refusal
from lift_harness.results.read import Row, load

__all__ = ["Cell", "Comparison", "Difference", "Flip", "Refusal", "Row", "compare", "load"]
