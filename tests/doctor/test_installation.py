"""`lift-harness doctor` without a model: sound here, and each kind of damage is found and named."""

import importlib.metadata
import io
import json
import sys

import pytest
from packaging.requirements import Requirement

from lift_harness import __version__
from lift_harness.console import Console
from lift_harness.doctor import installation
from lift_harness.doctor.installation import InstallationReport, examine_installation

GOOD = {"python": sys.executable, "model": True, "tasks": True, "error": None}


@pytest.fixture
def quick(monkeypatch):
    """Without the looks that start processes; these by name."""
    looks = {name: getattr(installation, name) for name in ("_plugin", "_sandbox")}
    for name in looks:
        monkeypatch.setattr(installation, name, named(name, lambda report: None))
    monkeypatch.delenv("LIFT_DATA_DIR", raising=False)
    return looks


def named(name, function):
    function.__name__ = name
    return function


def text(report):
    console = Console(file=io.StringIO(), width=40)
    report.show(console)
    return console.file.getvalue()


def test_this_installation_is_sound(monkeypatch):
    """Everything is really asked, the lm_eval command's Python too."""
    monkeypatch.delenv("LIFT_HARNESS_NO_PLUGIN", raising=False)
    report = examine_installation()
    assert report.problems == []
    assert report.sections["lm-eval"]["plugin"] == "active"
    assert report.sections["sandbox"]["isolation"] in ("bubblewrap", "unshare", "none")
    assert report.sections["packages"]["torch"] == importlib.metadata.version("torch")
    shown = text(report)
    assert f"lift-harness  {__version__} in " in shown and shown.endswith("no problems\n")
    assert all(title in report.sections for title in ("system", "packages", "optional", "devices", "data"))
    assert json.loads(json.dumps(report.as_json()))["sound"]


def test_the_plugin_that_is_switched_off(monkeypatch):
    monkeypatch.setenv("LIFT_HARNESS_NO_PLUGIN", "1")
    report = InstallationReport()
    installation._plugin(report)
    assert report.sections["lm-eval"]["plugin"] == "not active"
    [problem] = report.problems
    assert "not active in the lm_eval command: LIFT_HARNESS_NO_PLUGIN=1 is set; unset it" in problem


def command(folder, python):
    """An `lm_eval` script of that Python."""
    script = folder / "lm_eval"
    script.write_text(f"#!{python}\nprint('lm_eval')\n")
    script.chmod(0o755)
    return script


def test_the_command_of_another_python(monkeypatch, tmp_path):
    """A Python that has no lm_eval: one that answers as such a Python does."""
    other = tmp_path / "python"
    other.write_text('#!/bin/sh\necho \'{"model": false, "tasks": false, "error": null}\'\n')
    other.chmod(0o755)
    command(tmp_path, other)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("LIFT_HARNESS_NO_PLUGIN", raising=False)
    report = InstallationReport()
    installation._plugin(report)
    assert f"that command belongs to another Python ({other})" in report.problems[0]


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ({"error": "ImportError: no lm_eval"}, "lm_eval cannot be imported there (ImportError: no lm_eval)"),
        ({"tasks": True}, "lm_eval knows no model of ours: lift_harness_startup.pth is not"),
        ({}, "lm_eval knows no model and no tasks of ours"),
    ],
)
def test_why_the_plugin_is_not_active(found, reason, monkeypatch, tmp_path):
    monkeypatch.setattr(installation, "probe", lambda python: GOOD | {"model": False, "tasks": False} | found)
    monkeypatch.setenv("PATH", str(tmp_path))
    command(tmp_path, sys.executable)
    monkeypatch.delenv("LIFT_HARNESS_NO_PLUGIN", raising=False)
    report = InstallationReport()
    installation._plugin(report)
    assert reason in report.problems[0] and "\n" not in report.problems[0]


def test_a_command_that_is_not_on_the_path_is_a_note(monkeypatch, tmp_path):
    monkeypatch.setattr(installation, "probe", lambda python: GOOD)
    monkeypatch.setenv("PATH", str(tmp_path))
    report = InstallationReport()
    installation._plugin(report)
    assert report.problems == [] and "the lm_eval command is not on PATH" in report.notes[0]


def test_interpreters(tmp_path):
    assert installation.interpreter(command(tmp_path, "/bin/sh -e")) == "/bin/sh"
    assert installation.interpreter(command(tmp_path, "/usr/bin/env sh")).endswith("/sh")
    assert installation.interpreter(command(tmp_path, "/no/such/python")) is None
    (tmp_path / "lm_eval").write_bytes(b"\x7fELF")
    assert installation.interpreter(tmp_path / "lm_eval") is None


def test_a_python_that_does_not_answer(monkeypatch, tmp_path):
    assert "No such file" in installation.probe(str(tmp_path / "python"))["error"]
    assert not installation.probe("/bin/true")["model"]
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 20\n")
    slow.chmod(0o755)
    monkeypatch.setattr(installation, "PROBE_SECONDS", 0.2)
    assert installation.probe(str(slow))["error"] == "no answer in 0.2 s"


# ---------------------------------------------------------------- packages


def test_versions_outside_of_the_range_and_missing_packages(quick, monkeypatch):
    needs = ["torch>=99", "rich>=1", "no-such-package>=1", "wandb>=0.19; extra == 'track'"]
    needs += ["sympy>=99; extra == 'gpu'", "colorama>=1; platform_system == 'Nowhere'"]
    monkeypatch.setattr(installation, "requirements", lambda: [Requirement(need) for need in needs])
    report = examine_installation()
    torch = importlib.metadata.version("torch")
    assert report.problems == [
        f"torch {torch} is outside of the supported >=99; pip install 'torch>=99'",
        "no-such-package is not installed; pip install 'no-such-package>=1'",
    ]
    assert set(report.sections["packages"]) == {"torch", "rich", "no-such-package"}
    assert set(report.sections["optional"]) >= {"wandb", "sympy"}
    assert any(note.startswith("sympy ") and "outside of the supported >=99" in note for note in report.notes)


def test_the_real_requirements_are_read():
    names = {need.name for need in installation.requirements()}
    assert {"torch", "lm-eval", "transformers", "wandb", "tensorboard", "liger-kernel", "flash-attn"} <= names


def test_another_python_version(quick, monkeypatch):
    monkeypatch.setattr(installation.platform, "python_version", lambda: "3.7.1")
    assert any("Python 3.7.1 is outside of the supported" in line for line in examine_installation().problems)


def test_not_installed_at_all(quick, monkeypatch):
    monkeypatch.setattr(installation, "PACKAGE", "no-such-package")
    problems = examine_installation().problems
    assert any("not installed; pip install it" in problem for problem in problems)


# ---------------------------------------------------------------- data and devices


def test_no_data_folder(quick, monkeypatch, tmp_path):
    monkeypatch.setenv("LIFT_DATA_DIR", str(tmp_path / "nowhere"))
    [problem] = examine_installation().problems
    assert "nowhere is not a folder" in problem


def test_absent_data_is_a_note_and_altered_data_a_problem(quick, monkeypatch, tmp_path):
    monkeypatch.setenv("LIFT_DATA_DIR", str(tmp_path))
    (tmp_path / "aime24.jsonl").write_text("{}\n")
    report = examine_installation()
    [problem] = report.problems
    # sha256 of "{}\n"
    assert "ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356" in problem
    assert "LIFT_DATA_DIR: aime24.jsonl is not the published file" in problem
    assert report.sections["data"]["aime24"] == "aime24.jsonl is altered"
    assert report.sections["data"]["gsm8k"] == "gsm8k_test.jsonl is absent"
    assert any("LIFT_DATA_DIR has no data of gsm8k, " in note for note in report.notes)


def test_the_published_files(quick, monkeypatch, shared):
    monkeypatch.setenv("LIFT_DATA_DIR", str(shared / "data"))
    report = examine_installation()
    assert report.problems == [] and report.sections["data"]["mbpp"] == "mbpp_sanitized.json as published"


def test_the_cache(monkeypatch, tmp_path):
    (tmp_path / "hub" / "datasets--openai--gsm8k").mkdir(parents=True)
    (tmp_path / "lift_harness").mkdir()
    (tmp_path / "lift_harness" / "4x4_test_sudoku.csv").write_text("")
    found = dict(installation.benchmark_files(None, tmp_path / "hub", pytest.fail))
    cached = {name for name, where in found.items() if where == "in the cache"}
    assert cached == {"gsm8k", "gsm8k_train", "sudoku"}


def test_an_incomplete_package(quick, monkeypatch, tmp_path):
    monkeypatch.setattr("lift_harness.models.checkpoint.BUILT_IN", {"lift-tiny": tmp_path})
    (tmp_path / "config.json").write_text("{}")
    problems = examine_installation().problems
    assert "lift-tiny inside the package lacks model.safetensors, tokenizer.json" in problems[0]


def test_more_threads_than_cores_and_a_gpu_that_fails(quick, monkeypatch):
    import torch

    def broken(*shape, device=None):
        raise RuntimeError("CUDA error: no kernel image\nmore lines")

    monkeypatch.setattr(torch, "get_num_threads", lambda: 4096)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda i: (2**30, 2**32))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda i: "Some GPU")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    monkeypatch.setattr(torch, "ones", broken)
    report = examine_installation()
    assert report.sections["devices"]["cuda:0"] == "Some GPU, 1.00 GiB of 4.00 GiB free, bfloat16"
    assert report.problems == ["cuda:0 cannot compute: CUDA error: no kernel image"]
    assert any("torch uses 4096 threads on" in note for note in report.notes)


def test_without_isolation_there_is_a_note(quick, monkeypatch):
    monkeypatch.setattr("lift_harness.tasks.sandbox.isolation", lambda: "none")
    report = InstallationReport()
    quick["_sandbox"](report)
    assert report.problems == [] and "--confirm_run_unsafe_code" in report.notes[0]


# ---------------------------------------------------------------- the report


def test_a_look_that_fails_does_not_hide_the_others(quick, monkeypatch):
    monkeypatch.setattr(
        installation, "_packages", named("_packages", lambda report: {}["a strange installation"])
    )
    report = examine_installation()
    assert report.problems == ["packages: cannot be checked: 'a strange installation'"]
    assert "devices" in report.sections and "data" in report.sections


def test_home_folders_are_not_named(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert installation.tilde(tmp_path / "a" / "b") == "~/a/b" and installation.tilde(tmp_path) == "~"
    assert installation.tilde(f"{tmp_path}-other/b") == f"{tmp_path}-other/b"
    monkeypatch.setenv("HOME", "/")
    assert installation.tilde("/a/b") == "/a/b"


def test_the_report_is_plain_text():
    report = InstallationReport(notes=["something [optional]"], problems=["wrong"])
    report.add("system", "python", "3.12 [bold]")
    report.add("system", "platform", "x" * 100)  # longer than the terminal is wide
    expected = f"system\n  python    3.12 [bold]\n  platform  {'x' * 100}\nnote: something [optional]\n"
    assert text(report) == expected
