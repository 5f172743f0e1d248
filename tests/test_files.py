"""Files that are whole or not there."""

import os
import stat

import pytest

from lift_harness.files import write_whole


def test_what_is_replaced_stays_what_it_was(tmp_path):
    (tmp_path / "real.md").write_text("before")
    (tmp_path / "link.md").symlink_to("real.md")
    write_whole(tmp_path / "link.md", "after")
    assert (tmp_path / "link.md").is_symlink() and (tmp_path / "real.md").read_text() == "after"
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_what_is_no_file_is_written_to(tmp_path):
    """As /dev/stdout: it is not replaced by a file."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_whole(pipe, "text\n")
    assert os.read(reader, 100) == b"text\n" and stat.S_ISFIFO(pipe.stat().st_mode)
    os.close(reader)


def test_a_folder_is_refused_and_nothing_stays(tmp_path):
    (tmp_path / "folder").mkdir()
    for name in ("folder", "no/such/file"):
        with pytest.raises(OSError):
            write_whole(tmp_path / name, "text")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_half_written_is_not_left(tmp_path):
    with pytest.raises(UnicodeEncodeError):
        write_whole(tmp_path / "file", "\udcff")
    assert list(tmp_path.iterdir()) == []
