"""The real generations beside the checkout, with the published scorer's verdicts."""

import gzip
import json
from pathlib import Path

import pytest

RECORDED = Path(__file__).parents[3] / "shared" / "recorded" / "llada_8b_instruct_gen128.jsonl.gz"


def recorded(task):
    """The rows of a task; skips the test where the file is not there."""
    if not RECORDED.exists():
        pytest.skip(f"the recorded generations are not here: {RECORDED}")
    with gzip.open(RECORDED, "rt", encoding="utf-8") as lines:
        return [row for row in map(json.loads, lines) if row["task"] == task]
