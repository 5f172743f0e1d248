"""The command line: quick to start, and bad input is one line and exit code 2."""

import subprocess
import sys

import pytest

from lift_harness.cli import main


def run_main(monkeypatch, *args):
    monkeypatch.setattr("sys.argv", ["lift-harness", *args])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code


def test_help_imports_neither_torch_nor_transformers():
    code = (
        "import sys; sys.argv = ['lift-harness', '--help']\n"
        "from lift_harness.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'lm_eval', 'datasets', 'peft'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "train-eval" in done.stdout


def test_listing_recipes_needs_no_torch():
    code = (
        "import sys; from lift_harness.pipeline.recipe import load_recipe; load_recipe('quickstart')\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_recipes_are_listed_and_shown(monkeypatch, capsys):
    assert run_main(monkeypatch, "recipes", "list") == 0
    assert "quickstart" in capsys.readouterr().out
    assert run_main(monkeypatch, "recipes", "show", "quickstart", "--set", "seed=5") == 0
    assert "seed: 5" in capsys.readouterr().out


def test_version(monkeypatch, capsys):
    import lift_harness

    assert run_main(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.strip() == lift_harness.__version__


@pytest.mark.parametrize("args", [("train-evil",), ("train-eval", "--sed", "x=1"), ("train",)])
def test_a_wrong_command_line_exits_with_2(monkeypatch, capsys, args):
    assert run_main(monkeypatch, *args) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_an_unknown_recipe_is_one_line(monkeypatch, capsys):
    assert run_main(monkeypatch, "train-eval", "quikstart") == 2
    assert (
        capsys.readouterr().err
        == "error: no recipe 'quikstart' (did you mean quickstart?), nor such a file\n"
    )


def test_ctrl_c_is_one_line(monkeypatch, capsys):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("lift_harness.doctor.installation.examine_installation", interrupted)
    assert run_main(monkeypatch, "doctor") == 130
    out, err = capsys.readouterr()
    assert err.startswith("stopped: Ctrl-C; ") and err.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["doctor", "--memory", "8"], "--memory belongs to a model"),
        (["doctor", "--gen-length", "64"], "--gen-length belongs to a model"),
        (["doctor", "lift-tiny", "--revision", "v1"], "revision='v1': 'lift-tiny' is no Hub id"),
    ],
)
def test_what_means_nothing_there_is_refused(monkeypatch, capsys, args, said):
    assert run_main(monkeypatch, *args) == 2
    assert said in capsys.readouterr().err
