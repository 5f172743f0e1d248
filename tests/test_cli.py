"""The command line: quick to start, and bad input is one line and exit code 2."""

import json
import re
import shlex
import subprocess
import sys

import pytest
import typer

from lift_harness.cli import app, main
from lift_harness.cli.app import dashes
from lift_harness.cli.examples import EXAMPLES
from lift_harness.console import say_where, typed


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
        == "error: no recipe 'quikstart' (did you mean quickstart or quickstart-block?), nor such a file\n"
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


# ---------------------------------------------------------------- every command


def every_command():
    """{"data preview": (context, command)} of all commands and groups."""
    found = {}

    def add(command, words, above):
        context = command.context_class(command, info_name=(words or ["lift-harness"])[-1], parent=above)
        context.token_normalize_func = dashes
        found[" ".join(words)] = context, command
        for name in getattr(command, "commands", ()):
            add(command.commands[name], [*words, name], context)

    add(typer.main.get_command(app), [], None)
    return found


COMMANDS = every_command()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_whole_at_80_columns(monkeypatch, capsys, name):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("rich.console.Console.width", 80)
    assert run_main(monkeypatch, *name.split(), "--help") == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80 and "…" not in text
    assert "<bool>" not in text and "range>" not in text and " Examples:" in lines
    assert lines.count("") <= 2  # the examples stand together


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_are_commands(name):
    for example in EXAMPLES[name]:
        words = shlex.split(re.sub(r" [<>] \S+$", "", example))
        command = COMMANDS[""][1]
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        assert len(example) <= 64  # of 80 columns
        assert command is COMMANDS[name][1] or hasattr(COMMANDS[name][1], "commands")
        command.make_context("lift-harness", words, token_normalize_func=dashes).close()


def test_options_are_spelled_with_dashes_and_understood_with_underscores(monkeypatch):
    names = {name for context, command in COMMANDS.values() for one in command.params for name in one.opts}
    assert len(names) > 60 and not [name for name in names if name.startswith("-") and "_" in name]
    _, command = COMMANDS["eval"]
    dashed = ["--tasks", "mini", "--gen-kwargs", "steps=4,top_k=2", "--num-fewshot", "2", "--batch-size", "3"]
    dashed += ["--model-args", "dtype=float32", "--confirm-run-unsafe-code"]
    underscored = [re.sub(r"(?<=\w)-", "_", word) for word in dashed]
    seen = [
        command.make_context("eval", list(words), token_normalize_func=dashes).params
        for words in (dashed, underscored)
    ]
    assert "--gen_kwargs" in underscored and seen[0] == seen[1]
    assert seen[0]["gen_kwargs"] == ["steps=4", "top_k=2"] and seen[0]["confirm_run_unsafe_code"]


KEYS = [
    (name, one.opts[0])
    for name, (_, command) in COMMANDS.items()
    for one in command.params
    if str(getattr(one, "metavar", "")).startswith("KEY=VALUE")
]


@pytest.mark.parametrize(("name", "option"), KEYS, ids=map(" ".join, KEYS))
def test_a_key_with_two_values_is_refused_by_every_option(monkeypatch, capsys, name, option):
    given = {"train": ["x"], "generate": ["hi"], "eval": ["--tasks", "mini"]}
    more = given.get(name, ["x"] if " " in name or name == "train-eval" else [])
    assert run_main(monkeypatch, *name.split(), *more, option, "k=1", option, "j=2", option, "k=3") == 2
    said = f"error: {option}: k is given twice, as 1 and as 3; give one of them\n"
    assert capsys.readouterr().err == said


def test_all_options_of_keys_are_known():
    assert {option for _, option in KEYS} == {"--set", "--gen-kwargs", "--model-args", "--request"}
    assert len(KEYS) >= 13


def test_in_a_list_with_commas_too(monkeypatch, capsys):
    assert (
        run_main(monkeypatch, "eval", "--tasks", "mini", "--gen_kwargs", "suppress_tokens=[5,6],a=1,a=2") == 2
    )
    assert "--gen-kwargs: a is given twice, as 1 and as 2" in capsys.readouterr().err


def test_completion_is_there(monkeypatch, capsys):
    assert run_main(monkeypatch, "--help") == 0
    assert "--install-completion" in capsys.readouterr().out


# ---------------------------------------------------------------- where things are, and what next


def test_the_end_of_a_command_is_to_be_copied(capsys):
    folder = "results/" + 30 * "long name "
    say_where(results=folder, compare_it=typed("compare", folder), nothing=None)
    assert capsys.readouterr().err == (f"results:    {folder}\ncompare it: lift-harness compare '{folder}'\n")


def test_eval_wants_a_model(monkeypatch, capsys):
    assert run_main(monkeypatch, "eval", "--tasks", "mini") == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.endswith("e.g. --model lift-tiny\n")


def test_a_task_of_lm_evals_is_told_with_the_command_that_runs_it(monkeypatch, capsys):
    asked = [
        "--tasks",
        "hellaswag,gsm8k,stock:gsm8k",
        "--model",
        "a b",
        "--limit",
        "4",
        "--gen_kwargs",
        "steps=4",
    ]
    assert run_main(monkeypatch, "eval", *asked) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith("error: hellaswag, stock:gsm8k: lm-eval's own")
    assert said.endswith(
        "lm_eval --model lift_dlm --model_args 'pretrained=a b' --tasks hellaswag,gsm8k,stock:gsm8k "
        "--gen_kwargs steps=4 --limit 4\n"
    )
    assert run_main(monkeypatch, "eval", "-m", "lift-tiny", "--tasks", "gms8k") == 2
    assert "did you mean lift_gsm8k" in capsys.readouterr().err


def test_results_have_a_place_and_every_way_of_asking_its_own(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    asked = ["eval", "-m", "lift-tiny", "--tasks", "sudoku_mini", "--limit", "2"]
    monkeypatch.setattr("lift_harness.lm.evaluation.environment", dict)
    for steps in ("4", "8", "4"):
        assert not run_main(monkeypatch, *asked, "--gen_kwargs", f"steps={steps}")
        said = capsys.readouterr().err.splitlines()[-2:]
        place = f"results/lift-tiny-sudoku_mini-limit=2-steps={steps}"
        assert said == [f"results: {place}", f"compare: lift-harness compare {place}"]
    files = sorted(tmp_path.rglob("results_*.json"))
    assert [file.relative_to(tmp_path).parts[1][-1] for file in files] == ["4", "4", "8"]
    assert {json.loads(file.read_text())["config"]["device"] for file in files} == {"cpu"}
    # The command that was told works, and so does that for the log scored again, with the same table.
    assert not run_main(monkeypatch, *shlex.split(said[-1].partition(": ")[2])[1:])
    compared = capsys.readouterr().out.splitlines()
    log = next(files[0].parent.glob("samples_*.jsonl"))
    assert not run_main(monkeypatch, "score", str(log), "--task", "lift_sudoku_mini")
    out, err = capsys.readouterr()
    first, *scored = out.splitlines()
    assert first == "lift_sudoku_mini: 2 problems, answers a problem: 1"
    assert scored[0] == compared[0] == "Accuracy, percent, with 95 % intervals"
    # acc and solved with their ends; of a log that is scored again format, too
    tables = ("\n".join(lines).split("\n\n") for lines in (compared, scored))
    shown = [re.findall(r"\d+\.\d", parts[1]) for parts in tables]
    assert len(shown[0]) == 6 and len(shown[1]) == 9
    assert (shown[1][:2], shown[1][3:7]) == (shown[0][:2], shown[0][2:])
    assert str(log.with_suffix(".scored.jsonl")) in err and "compare: lift-harness compare " in err
