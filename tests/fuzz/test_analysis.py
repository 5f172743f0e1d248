"""analyze --resume on the state of an analysis with something wrong in it."""

import io
import json

import numpy as np
import pytest
from support.fuzzing import command, complaint, complaints, replaced

from lift_harness.analysis.run import STATE

ARGUMENTS = ("analyze", "--data", "countdown", "--examples", "2", "--bootstrap", "2", "--t-bins", "2^-1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz") / "analysis"
    assert command(*ARGUMENTS, "--output", folder)[0] == 0
    return folder


def test_a_damaged_state_is_refused(folder):
    assert complaints(folder / STATE, 16, (*ARGUMENTS, "--output", folder, "--resume")) == []


PROGRESS = ["[" * 5000, "{}", "[]", "7", '{"settings": 1}', '{"settings": {}, "batches": "x", "examples": 1}']


@pytest.mark.parametrize("which", ["progress", "array"])
def test_an_odd_state_is_refused(folder, which):
    with np.load(folder / STATE) as stored:
        parts = dict(stored)
    array = next(name for name in parts if name != "progress")
    odd = (
        PROGRESS
        if which == "progress"
        else [np.zeros(3), np.array(["x"]), np.float64(1), np.zeros((0, 2), int)]
    )
    for value in odd:
        out = io.BytesIO()
        np.savez(out, **{**parts, "progress" if which == "progress" else array: np.array(value)})
        with replaced(folder / STATE, out.getvalue()):
            assert complaint(str(value)[:50], *ARGUMENTS, "--output", folder, "--resume") is None
            code, text = command(*ARGUMENTS, "--output", folder, "--resume")
            assert code == 2 and "not a state of" in text, json.dumps(text)
