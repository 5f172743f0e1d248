"""What `import lift_harness` offers."""

import ast
import contextlib
import html
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import chromium
from support.eval_files import answered, write_eval
from support.tiny_runs import TINY

import lift_harness
from lift_harness.cli import main
from lift_harness.errors import LiftError
from lift_harness.interactive.session import open_session
from lift_harness.lm import evaluation
from lift_harness.pipeline.recipe import load_recipe
from lift_harness.report.replay import replay
from lift_harness.results.read import load as load_rows

ROOT = Path(__file__).parents[1]
HOSTILE = (
    '</script><script>document.title="bad"</script><img src=x onerror="document.title=1">\u202e"\x1b[31m'
)


@pytest.fixture(scope="module")
def model():
    return lift_harness.load("lift-tiny")


def test_nothing_is_imported_until_it_is_asked_for():
    """Names of the package that are no names of it stay unknown: `hasattr` probes do not load torch."""
    code = (
        "import sys, lift_harness\n"
        "before = {name for name in sys.modules if name.startswith('lift_harness')}\n"
        "listed = dir(lift_harness), hasattr(lift_harness, '__wrapped__'), hasattr(lift_harness, 'nothing')\n"
        "assert set(lift_harness.__all__) <= set(listed[0]) and listed[1:] == (False, False)\n"
        "from lift_harness import compare\n"
        "print(sorted(before - {'lift_harness', 'lift_harness.plugin', 'lift_harness.plugin.startup'}),\n"
        "      callable(compare), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "[] True False"


# ---------------------------------------------------------------- a model


def test_generate_is_the_session_s_answer(model):
    session = open_session("lift-tiny", settings=["gen_length=32", "temperature=0.5", "seed=3"])
    expected = session.answer(session.chat_prompt([{"role": "user", "content": "Expression: 3 + 4"}]))
    answer = model.generate("Expression: 3 + 4", gen_length=32, temperature=0.5, seed=3)
    assert (str(answer), answer.ids, answer.step) == (
        expected.text,
        expected.generation.ids,
        expected.generation.step,
    )
    assert "".join(answer.tokens) == model.tokenizer.decode(answer.ids)
    assert model.settings == {}  # they were this answer's
    again = model.generate([{"role": "user", "content": "Expression: 3 + 4"}], **answer.settings)
    assert (again.ids, again.settings) == (answer.ids, answer.settings)


def test_raw_text_and_system_messages(model):
    raw = model.generate("Expression: 3 + 4", raw=True, gen_length=16)
    assert raw.prompt_tokens == len(model.tokenizer("Expression: 3 + 4")["input_ids"])
    told = model.generate("Expression: 3 + 4", system="Be brief.", gen_length=16)
    assert (
        told.prompt_tokens
        > model.generate("Expression: 3 + 4", gen_length=16).prompt_tokens
        > raw.prompt_tokens
    )


def test_a_problem_is_posed_and_judged_as_the_command_does(model, monkeypatch, capsys):
    command = ["generate", "--task", "sudoku_mini", "--problem", "3", "--json"]
    monkeypatch.setattr("sys.argv", ["lift-harness", *command])
    with pytest.raises(SystemExit):
        main()
    expected = json.loads(capsys.readouterr().out)
    answer = model.solve("sudoku_mini", 3)
    assert (answer.ids, answer.step, answer.target) == tuple(
        expected[key] for key in ("ids", "step", "target")
    )
    assert json.loads(json.dumps(answer.verdict)) == expected["verdict"]
    assert answer.text.startswith("<reasoning>") and model.prefix == "" and model.task == {}


def test_chat_remembers(model):
    first = model.chat("Expression: 3 + 4", gen_length=16)
    second = model.chat("And 5 + 6?", gen_length=16)
    said = [turn["content"] for turn in model.turns]
    assert said == ["Expression: 3 + 4", first.text, "And 5 + 6?", second.text]
    model.turns.clear()
    assert model.chat("Expression: 3 + 4", gen_length=16).ids == first.ids
    model.turns.clear()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda model: lift_harness.load("lift-tiny", dtyp="float32"),
            "unknown model arg 'dtyp'; did you mean",
        ),
        (lambda model: lift_harness.load("lift-tinny"), "no model folder 'lift-tinny'"),
        (lambda model: model.generate("x", gen_lenght=3), "unknown decoding setting 'gen_lenght'"),
        (lambda model: model.generate("x", raw=True, system="y"), "raw=True takes a text"),
        (lambda model: model.chat("x" * 4000), "more than the model's context"),
        (lambda model: lift_harness.evaluate("lift-tiny", "sudokku_mini"), "did you mean"),
        (lambda model: lift_harness.evaluate("lift-tiny", "sudoku_mini", limit=0), "limit=0 must be a"),
        (lambda model: lift_harness.evaluate("lift-tiny", "sudoku_mini", samples=0), "samples=0 must be a"),
        (lambda model: lift_harness.compare(), "nothing to compare"),
        (lambda model: lift_harness.compare("nowhere"), "no file or folder 'nowhere'"),
        (lambda model: lift_harness.train_eval("quikstart"), "did you mean quickstart"),
        (lambda model: lift_harness.train_eval(trainng={"epochs": 1}), "unknown key 'trainng'"),
        (lambda model: lift_harness.train_eval(training={"epochs": -1}), "training.epochs=-1: "),
    ],
)
def test_bad_input_is_one_line(call, said, model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LiftError) as error:
        call(model)
    assert said in str(error.value) and "\n" not in str(error.value)
    assert model.turns == [] and not any(tmp_path.iterdir())


# ---------------------------------------------------------------- recipes and runs


def test_values_of_python_are_those_of_set():
    sets = ["training.max_steps=20", "methods.1.objective.H=2", "select=[lift-h3]", "eval=null"]
    values = {
        "training": {"max_steps": 20},
        "methods.1.objective.H": 2,
        "select": ["lift-h3"],
        "eval": None,
    }
    assert load_recipe("quickstart", values=values) == load_recipe("quickstart", sets)


def test_a_run_and_its_comparison(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe("quickstart", TINY)
    values = {
        "select": ["lift-h3"],
        "training": recipe.training.model_dump(),
        "data": [source.model_dump() for source in recipe.data],
        "eval": recipe.eval.model_dump(),
    }
    run = lift_harness.train_eval("quickstart", output="runs/x", **values)
    assert run.rows == ["base", "lift-h3"] and run.baseline == "base"
    assert ("lift-h3", "lift_sudoku_mini", "acc") in run.differences
    again = lift_harness.compare("runs/x", baseline="lift-h3")
    assert again.cells == run.cells and again.baseline == "lift-h3"
    named = lift_harness.compare(names={"mine": "runs/x"})
    assert named.rows == ["mine/base", "mine/lift-h3"]
    shown = run._repr_html_()
    for cell in run.cells.values():
        assert f">{100 * cell.value:.1f}<" in shown
    assert len(str(run).splitlines()) > 5 and len(repr(run)) < 200


def test_evaluate_gives_the_rows_of_lm_eval_s_files(tmp_path):
    found = lift_harness.evaluate(
        "lift-tiny", ["sudoku_mini"], limit=2, output=tmp_path / "out", gen_length=40, steps=2
    )
    (row,) = load_rows([tmp_path / "out"])
    assert {metric for _, _, metric in found.cells} >= {"acc", "solved"}
    (evaluation,) = row.evaluations
    assert evaluation.settings["decoding"]["steps"] == 2 and evaluation.n_items == 2


# ---------------------------------------------------------------- what a notebook shows


def test_names_of_a_run_are_text_in_a_table(tmp_path):
    write_eval(tmp_path / "a", {"lift_gsm8k": answered([[1], [0]])})
    comparison = lift_harness.compare(names={HOSTILE: tmp_path / "a"})
    shown = comparison._repr_html_()
    assert "<script" not in shown and "<img" not in shown and "\u202e" not in shown and "\x1b" not in shown
    assert "&lt;script&gt;" in shown and "\\u202e" in shown


def test_a_replay_is_a_frame_that_may_nothing():
    shown = replay([HOSTILE, "2"], [1, 0], [0.5, 0.75])
    assert shown.startswith('<iframe sandbox="allow-scripts" ') and shown.count("<") == 2
    assert "default-src &#x27;none&#x27;" in shown


@pytest.mark.skipif(chromium.find() is None, reason=chromium.ABSENT)
def test_a_browser_draws_the_replay(tmp_path, model):
    answer = model.generate("Expression: 3 + 4", gen_length=16)
    frames = [answer._repr_html_(), replay([HOSTILE, "2"], [1, 0], [0.5, 0.75])]
    with contextlib.closing(chromium.Chromium(chromium.find())) as browser:
        for i, frame in enumerate(frames):
            page = tmp_path / f"{i}.html"
            page.write_text(html.unescape(re.search('srcdoc="(.*?)"', frame, flags=re.DOTALL)[1]))
            browser.open(page)
            assert browser.complaints() == [] and browser.requests() == []
            assert browser.js("document.title") == "replay - lift-harness report"
            tokens = browser.each("#canvas .token", "e.title")
            assert len(tokens) == (len(answer.tokens) if i == 0 else 2)
        assert tokens == ["position 0, step 2, confidence 0.500", "position 1, step 1, confidence 0.750"]
        browser.click("[aria-label='One step back']")
        assert browser.each("#canvas .token", "e.dataset.state") == ["masked", "fresh"]
        (tmp_path / "frame.html").write_text(f"<!DOCTYPE html><title>outside</title>{frames[0]}")
        browser.open(tmp_path / "frame.html")
        assert browser.complaints() == [] and browser.js("document.title") == "outside"


# ---------------------------------------------------------------- the notebook


def test_the_notebook_runs_from_top_to_bottom(tmp_path, monkeypatch):
    """Each cell in order, its last line as a notebook shows it; shorter, and with nothing stored in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(evaluation, "environment", lambda: {})  # asking pip for all versions takes seconds
    notebook = json.loads((ROOT / "docs/notebook.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    names, shown = {}, []
    for cell in cells:
        tree = ast.parse(
            "".join(cell["source"]).replace("STEPS, PROBLEMS = 40, 32", "STEPS, PROBLEMS = 1, 1")
        )
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, "notebook", "exec"), names)
        if last is not None:
            shown.append(eval(compile(ast.Expression(last.value), "notebook", "eval"), names))
    assert (names["STEPS"], names["PROBLEMS"]) == (1, 1)
    pictures = [one._repr_html_() for one in shown if hasattr(one, "_repr_html_")]
    assert [picture[:7] for picture in pictures] == ["<iframe", *["<p><b>A"] * 3]
    assert (tmp_path / "runs/notebook/report.html").is_file()
