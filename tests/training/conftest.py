"""Data files in an empty folder, and a small model with its slow reference."""

from functools import partial

import pytest
from support.llada_reference import ReferenceLLaDA
from support.training_rows import write_rows


@pytest.fixture
def no_data_dir(monkeypatch, tmp_path):
    """No benchmark files, neither by the environment nor in the working folder."""
    monkeypatch.delenv("LIFT_DATA_DIR", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def write(tmp_path, no_data_dir):
    """write(rows, name): the path of a data file."""
    return partial(write_rows, tmp_path)


@pytest.fixture(scope="module")
def model(llada):
    return llada("mha")


@pytest.fixture(scope="module")
def reference(llada_folder):
    return ReferenceLLaDA(llada_folder("mha"))
