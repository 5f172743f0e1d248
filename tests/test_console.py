"""Nothing that comes from outside steers the terminal: no escape sequence, no turned text, no markup."""

import json
import os
import re
import shutil
import sys
import threading
import unicodedata
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from rich.table import Table
from rich.text import Text
from support.eval_files import answered, write_eval
from support.fuzzing import command, within
from support.report_runs import write_small_run

from lift_harness.cli import main
from lift_harness.compare import compare, load
from lift_harness.compare.render import FORMATS, render
from lift_harness.console import Console, csv_cell, one_line, visible
from lift_harness.results.parallelism import leaderboard_yaml

NAME = "close [/x] [red]\x1b]0;t\x07\x1b[666m\x9b2J\u202eabc\u2066\u200b:bomb:"
STEERS = ("Cc", "Cf", "Cs", "Zl", "Zp")
OF_RICH = re.compile(r"\x1b\[(?!666)[0-9;]*m|\x1b\[(?:\?25[lh]|[01]?[AK]|2K|1G)|\r")


def steering(text):
    """What is in a text that is neither a line's end nor Rich's own colours and cursor."""
    return sorted({c for c in OF_RICH.sub("", text) if unicodedata.category(c) in STEERS and c not in "\n\t"})


# ------------------------------------------------------------ the function


def test_every_character_that_steers_is_escaped_and_no_other_is():
    for code in range(sys.maxunicode + 1):
        c = chr(code)
        if unicodedata.category(c) in STEERS and c not in "\n\t":
            assert visible(c).startswith("\\u") and visible(c).isascii() and visible(c).isprintable(), hex(
                code
            )
            assert json.loads(f'"{visible(c)}"') == c
        elif c not in "\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0":
            assert visible(c) == c, hex(code)


def test_an_error_is_one_line_of_bounded_length():
    assert one_line("a\nb\x1b") == "a\\nb\\u001b"
    assert len(one_line("x" * 10**7)) < 5000 and one_line("a" + "x" * 10**4 + "z")[:: 10**9] == "a"


@pytest.mark.parametrize("terminal", [False, True])
def test_a_console_prints_names_as_text(tmp_path, terminal):
    with (tmp_path / "out").open("w") as file:
        console = Console(file=file, width=200, force_terminal=terminal)
        console.print(NAME)
        console.print(Text(NAME, style="bold"))
        table = Table(NAME, title=NAME)
        table.add_row(NAME)
        console.print(table)
    text = OF_RICH.sub("", (tmp_path / "out").read_text())
    assert steering(text) == [] and text.count("close [/x] [red]") == 5 and text.count(":bomb:") == 5


@pytest.mark.parametrize("text", ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "-a"])
def test_a_spreadsheet_does_not_compute_a_cell(text):
    assert csv_cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["-1.5", "+2", "-1e-3", -1.5, None, "a=b", "", ".5", "=", "-"])
def test_numbers_and_other_texts_are_cells_as_they_are(value):
    assert csv_cell(value) == value


# ------------------------------------------------------------ what is written


@pytest.fixture(scope="module")
def hostile_run(tmp_path_factory):
    """A run of somebody else whose every name is hostile."""
    run = write_small_run(tmp_path_factory.mktemp("run") / "run")
    for name in ("recipe.yaml", "results.json"):
        text = (run / name).read_text()
        data = yaml.safe_load(text)
        if name == "recipe.yaml":
            data |= {"name": NAME, "description": NAME, "model": NAME, "data": [{"source": NAME}]}
            data["methods"].append({"name": NAME, "objective": {"name": NAME}})
        else:
            scores = data["scores"]["vanilla"]
            scores[NAME] = {NAME: {"value": 0.5, "stderr": 0.1}}
            data["scores"][NAME] = data["scores"][f"={NAME}"] = scores
        (run / name).write_text(json.dumps(data))
    return run


TABLES = [form for form in FORMATS if form != "leaderboard"]  # which has names and pairs of numbers only


@pytest.mark.parametrize("form", TABLES)
def test_no_format_of_a_comparison_holds_what_steers(hostile_run, form):
    text = render(compare(load([hostile_run])), form)
    assert steering(text) == [] and "close" in text


def test_no_name_in_a_leaderboard_steers():
    text = leaderboard_yaml({NAME: {NAME: [(1.5, 50.0)]}})
    assert steering(text) == [] and yaml.safe_load(text) == {NAME: {NAME: [[1.5, 50.0]]}}


def test_names_in_markdown_stay_in_their_cell_and_are_no_links(hostile_run, tmp_path):
    name = "a|b\n| c |[x](http://e.org)<b>"
    folder = write_eval(tmp_path / "out", {"t": answered([1, 0])}, pretrained=name)
    text = render(compare(load([folder, hostile_run])), "markdown")
    assert "\n| c |" not in text and not re.search(r"(?<!\\)[\[<]", text)


# ------------------------------------------------------------ the commands


@contextmanager
def pty_output():
    """What is written to standard output and error, which are a terminal: yields a list of its bytes."""
    leader, follower = os.openpty()
    seen, streams = [], (sys.stdout, sys.stderr)

    def read():
        try:
            while data := os.read(leader, 65536):
                seen.append(data)
        except OSError:  # its other end is closed
            pass

    reader = threading.Thread(target=read)
    reader.start()
    sys.stdout = sys.stderr = open(follower, "w", encoding="utf-8", errors="strict", buffering=1)  # noqa: SIM115
    try:
        yield seen
    finally:
        sys.stdout.close()
        sys.stdout, sys.stderr = streams
        reader.join()
        os.close(leader)


def in_a_terminal(*arguments):
    """As `fuzzing.command`, with a terminal."""
    argv, code = sys.argv, 0
    sys.argv = ["lift-harness", *map(str, arguments)]
    try:
        with pty_output() as seen, within(120):
            main()
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.argv = argv
    return code, b"".join(seen).decode().replace("\r\n", "\n")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A folder with a hostile name, and in it a model, an adapter, a recipe with data, and a log."""
    from peft import LoraConfig, get_peft_model

    from lift_harness.models import load_model
    from lift_harness.pipeline.training import save_adapter

    folder = tmp_path_factory.mktemp("hostile") / NAME
    shutil.copytree(Path(sys.modules["lift_harness"].__file__).parent / "models/lift_tiny", folder / "model")
    model, _ = load_model("lift-tiny")
    lora = LoraConfig(r=2, target_modules=["q_proj"])
    save_adapter(get_peft_model(model, lora), folder / "adapter", NAME)
    with (folder / "rows.jsonl").open("w") as rows:
        for i in range(4):
            rows.write(json.dumps({"prompt": f"{NAME} {i}", "response": NAME}) + "\n")
    recipe = {
        "name": "small",
        "description": NAME,
        "model": str(folder / "model"),
        "data": [{"source": str(folder / "rows.jsonl")}],
        "training": {"max_steps": 1, "lora": {"r": 2}},
        "methods": [{"name": "vanilla", "objective": {"name": "vanilla"}}],
        "eval": {"tasks": ["lift_sudoku_mini"], "limit": 1, "samples": 0, "gen_kwargs": {"gen_length": 40}},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    (folder / "unknown.yaml").write_text(yaml.safe_dump({**recipe, NAME: 1}))
    write_eval(folder / "out", {"lift_gsm8k": answered([1, 0])}, pretrained=NAME)
    broken = folder / "broken"
    shutil.copytree(folder / "model", broken)
    (broken / "chat_template.jinja").write_text("{{ raise_exception('" + NAME + "') }}")
    return folder


COMMANDS = {
    "show": ("recipes", "show", "recipe.yaml"),
    "unknown key": ("recipes", "show", "unknown.yaml"),
    "preview": ("data", "preview", "recipe.yaml"),
    "dry run": ("train-eval", "recipe.yaml", "--dry-run"),
    "train-eval": ("train-eval", "recipe.yaml", "--overwrite", "--output", "run"),
    "doctor": ("doctor", "model"),
    "doctor adapter": ("doctor", "model", "--peft", "adapter", "--json"),
    "doctor broken": ("doctor", "broken"),
    "generate": ("generate", NAME, "-m", "model", "--set", "gen_length=8", "--show", "--delay", "0"),
    "generate json": ("generate", NAME, "-m", "model", "--set", "gen_length=8", "--json"),
    "generate broken": ("generate", NAME, "-m", "broken"),
    "no model": ("generate", NAME, "-m", NAME),
    "merge": ("merge", "model", "adapter", "broken"),
    "compare": ("compare", "out"),
    "score": ("score", "out/samples_lift_gsm8k_2026-01-02T03-04-05.678901.jsonl", "--task", "lift_gsm8k"),
    "score what is no log": ("score", "recipe.yaml", "--task", "lift_gsm8k"),
    "report": ("report", "run"),
    "reproduce": ("reproduce", "out"),
}


@pytest.mark.parametrize("terminal", [False, True], ids=["pipe", "terminal"])
@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_lets_a_name_steer(hostile, monkeypatch, name, terminal):
    files = [str(path.relative_to(hostile)) for path in hostile.rglob("*")]
    arguments = [str(hostile / part) if part in (*files, "run") else part for part in COMMANDS[name]]
    monkeypatch.chdir(hostile.parent)
    code, text = in_a_terminal(*arguments) if terminal else command(*arguments)
    assert code in (0, 2) and "Traceback" not in text and text
    assert steering(text) == []


@pytest.mark.parametrize("terminal", [False, True], ids=["pipe", "terminal"])
@pytest.mark.parametrize("form", TABLES)
def test_a_hostile_run_is_compared(hostile_run, form, terminal):
    arguments = ("compare", hostile_run, "--anyway", "--format", form)
    code, text = in_a_terminal(*arguments) if terminal else command(*arguments)
    assert code == 0 and "close" in text and steering(text) == []


def test_a_live_picture_moves_the_cursor_and_shows_no_codes():
    """Rich puts a stream of its own before ours while one is shown, and wrote its codes to ours, as text."""
    asked = ("generate", "Hello", "--show", "--delay", "0", "--set", "gen_length=8", "--set", "steps=2")
    code, text = in_a_terminal(*asked)
    assert code == 0 and "\x1b[1A" in text and "\\u001b" not in text


def test_all_consoles_are_the_one_that_escapes():
    package = Path(sys.modules["lift_harness"].__file__).parent
    for file in package.rglob("*.py"):
        if file.name != "console.py":
            assert not re.search(r"rich\.console.*\bConsole\b|from_markup", file.read_text()), file
