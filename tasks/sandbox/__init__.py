"""Running generated programs where they can do no harm (docs/sandbox.md)."""

from lift_harness.tasks.sandbox.runner import Limits, Program, Verdict, isolation, require_isolation, run

__all__ = ["Limits", "Program", "Verdict", "isolation", "require_isolation", "run"]
