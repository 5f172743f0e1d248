"""A run to share, and a server in the Hub's place."""

import shutil

import pytest
from support.hub_server import hub  # noqa: F401 (a fixture)
from support.tiny_runs import run


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "run"
    run(folder)
    return folder


@pytest.fixture
def copied(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Two seeds of all weights, not evaluated."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    run(folder, ["seeds=2", "training.lora=null", "training.max_steps=1"], only="train")
    return folder
