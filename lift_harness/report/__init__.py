"""`report.html`: a run folder as one self-contained page (docs/report.md)."""

from lift_harness.report.page import write_report

__all__ = ["write_report"]
