"""Files of a run: who may read them, where they may be written, and what links they follow."""

import os
import resource
import stat

import pytest
import torch
from safetensors.torch import save_file

from lift_harness.errors import LiftError
from lift_harness.files import check_writable, give_usual_modes, write_whole


@pytest.fixture(params=[0o022, 0o027, 0o002], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes(folder):
    """What each file and folder in a folder, and it itself, lets whom do."""
    return {path: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.rglob("*"))}


def is_as_others(folder, umask):
    return all(
        mode & 0o777 == (0o777 if path.is_dir() else 0o666) & ~umask for path, mode in modes(folder).items()
    )


def test_weights_get_the_modes_that_other_files_get(tmp_path, umask):
    folder = tmp_path / "checkpoint"
    (folder / "part").mkdir(parents=True)
    (folder / "part").chmod(0o700)
    for where in (folder, folder / "part"):
        save_file({"w": torch.zeros(2)}, where / "model.safetensors")
    (folder / "config.json").write_text("{}")
    (tmp_path / "elsewhere").touch()
    (tmp_path / "elsewhere").chmod(0o600)
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    give_usual_modes(folder)
    (folder / "link").unlink()
    assert is_as_others(folder, umask)
    assert stat.S_IMODE((tmp_path / "elsewhere").stat().st_mode) == 0o600
    now = os.umask(umask)
    assert now == umask  # as it was


def test_a_folder_of_a_group_stays_one(tmp_path, umask):
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o2700)
    give_usual_modes(folder)
    assert modes(folder)[folder] == 0o2000 | (0o777 & ~umask)


def test_a_run_leaves_no_file_that_others_may_not_read(tmp_path, umask):
    """Adapter, whole checkpoint, resumable checkpoints, merged checkpoint."""
    from lift_harness.console import Console
    from lift_harness.models.merging import merge
    from lift_harness.pipeline.recipe import load_recipe
    from lift_harness.pipeline.train_eval import train_eval

    small = ["data.0.n=8", "data.1.n=8", "training.max_steps=2", "training.save_steps=1", "training.lora.r=2"]
    small += ["training.save_total_limit=null", "training.batch_size=4", "select=vanilla"]
    adapted = load_recipe("quickstart", small)
    train_eval(adapted, tmp_path / "adapted", only="train", console=Console(quiet=True))
    whole = load_recipe("quickstart", [*small[:4], *small[5:], "training.lora=null"])
    train_eval(whole, tmp_path / "whole", only="train", console=Console(quiet=True))
    merge("lift-tiny", str(tmp_path / "adapted/vanilla/train/adapter"), tmp_path / "merged")
    for name in ("adapted", "whole", "merged"):
        weights = list((tmp_path / name).rglob("*.safetensors"))
        assert len(weights) == (1 if name == "merged" else 3)
        assert is_as_others(tmp_path / name, umask)


# ------------------------------------------------------------ links


@pytest.mark.parametrize("named", [False, True])
def test_only_a_link_that_the_user_named_is_written_through(tmp_path, named):
    victim, link = tmp_path / "victim", tmp_path / "run" / "report.html"
    link.parent.mkdir()
    victim.write_text("mine")
    link.symlink_to("../victim")
    write_whole(link, "page", named=named)
    assert link.read_text() == "page" and link.is_symlink() == named
    assert victim.read_text() == ("page" if named else "mine")
    assert [path.name for path in link.parent.iterdir()] == ["report.html"]


@pytest.mark.parametrize("to", ["../victim", "/dev/null", "nothing"])
def test_a_link_in_place_of_the_part_or_to_a_device_is_replaced(tmp_path, to):
    (tmp_path / "victim").write_text("mine")
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("results.json", "results.json.part"):
        (folder / name).symlink_to(to)
    write_whole(folder / "results.json", "{}")
    assert (folder / "results.json").read_text() == "{}" and not (folder / "results.json").is_symlink()
    assert (tmp_path / "victim").read_text() == "mine"
    assert [path.name for path in folder.iterdir()] == ["results.json"]


# ------------------------------------------------------------ what cannot be written


def test_what_can_be_written_is_left_as_it_is(tmp_path):
    (tmp_path / "old").write_text("x")
    check_writable(tmp_path / "new", tmp_path / "old", None)
    check_writable(tmp_path / "a" / "b", folder=True)
    check_writable(tmp_path, folder=True)
    assert [path.name for path in tmp_path.iterdir()] == ["old"] and (tmp_path / "old").read_text() == "x"


def test_no_space_is_found_before_the_work(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(LiftError, match="cannot be written: File too large"):
            check_writable(tmp_path / "new")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not [*tmp_path.iterdir()]


def test_a_read_only_file_is_refused(tmp_path, monkeypatch):
    (tmp_path / "kept").write_text("x")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # as it is for anybody but root
    with pytest.raises(LiftError, match="kept: cannot be written: Permission denied"):
        check_writable(tmp_path / "kept")
