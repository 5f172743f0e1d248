"""Comparing runs: tables with intervals, paired tests against a baseline, what does not compare.

    import lift_harness

    lift_harness.compare("runs/a", "runs/b", baseline="a/base")

`compare.compare` is the function that takes rows. Imports neither torch nor transformers nor lm_eval.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from lift_harness.compare.comparison import Comparison, compare
from lift_harness.compare.differences import Difference, Flip, Refusal
from lift_harness.results.read import load
from lift_harness.results.rows import Row
from lift_harness.results.scores import Cell

__all__ = ["Cell", "Comparison", "Difference", "Flip", "Refusal", "Row", "compare", "load"]


class Package(ModuleType):
    """This package, which can be called: `lift_harness.compare` cannot be a function as well."""

    def __call__(
        self, *paths: str | Path, names: Mapping[str, str | Path] | None = None, **options: Any
    ) -> Comparison:
        """Compare runs.

        Args:
            paths: run folders, lm-eval's output, results or logs.
            names: name -> path: what to call its rows.
            options: `baseline`, `tasks`, `metrics`, `anyway` of `compare.compare`.

        Raises:
            LiftError: a path that holds no results; no such row, task or metric.
        """
        from lift_harness.compare.notebook import shown

        return shown(compare(load(paths, names), **options))


sys.modules[__name__].__class__ = Package
