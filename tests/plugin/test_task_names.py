"""What is evaluated for every form in which lm-eval takes tasks, with and without the plugin."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import support.task_forms as forms

from lift_harness.plugin.task_names import ExactName, not_found, renamed, split

STOCK, USERS, OURS = (float(worth) for worth, _ in forms.FOLDERS.values())


class Outcomes(dict):
    """Outcome by form, and what was said on standard error."""

    said = ""


def outcomes(folder: Path, model: str, **environ: str) -> Outcomes:
    env = {name: value for name, value in os.environ.items() if name != "LIFT_HARNESS_NO_PLUGIN"}
    done = subprocess.run(
        [sys.executable, forms.__file__, str(folder), model],
        env={**env, "HF_HUB_OFFLINE": "1", **environ},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = Outcomes(json.loads(done.stdout.replace(str(folder), "FOLDER")))
    found.said = done.stderr
    return found


@pytest.fixture(scope="module")
def without_us(tmp_path_factory):
    return outcomes(tmp_path_factory.mktemp("without"), "dummy", LIFT_HARNESS_NO_PLUGIN="1")


@pytest.fixture(scope="module")
def under_ours(tmp_path_factory):
    return outcomes(tmp_path_factory.mktemp("ours"), "lift_dlm")


def test_another_model_gets_what_it_gets_without_the_plugin(without_us, tmp_path):
    expected = dict(without_us)
    assert expected["lm_eval: file"] == {"mine": USERS}
    assert expected["lm_eval: folder"] == {"mine": USERS, "other": USERS, "gsm8k": USERS}
    assert expected.pop("lm_eval: lm-eval's own") == "ValueError: Tasks not found: stock:gsm8k"
    found = outcomes(tmp_path, "dummy")
    assert found.pop("lm_eval: lm-eval's own") == {"gsm8k": STOCK, "hellaswag": STOCK}  # the prefix is ours
    assert found == expected
    assert "lift_dlm: tasks" not in found.said


def names(outcome, ours_for_stock):
    """Task names of an outcome; with ours in the place of lm-eval's own gsm8k, if asked."""
    replaced = {"gsm8k": "lift_gsm8k"} if ours_for_stock else {}
    return {replaced.get(name, name) if worth == STOCK else name for name, worth in outcome.items()}


def test_our_model_gets_the_same_save_for_bare_names(without_us, under_ours):
    own = under_ours["lm_eval: lm-eval's own"]
    assert own == {"gsm8k": STOCK, "hellaswag": STOCK}
    for form, outcome in under_ours.items():
        if isinstance(outcome, dict) and outcome is not own:
            by_name = "glob" not in form  # what a glob matched keeps its name
            assert set(outcome) == names(without_us[form], by_name), form
        elif form.startswith("simple_evaluate"):
            assert outcome == without_us[form], form
    assert under_ours["lm_eval: bare name"] == {"lift_gsm8k": OURS}
    assert under_ours["lm_eval: file and bare name"] == {"mine": USERS, "lift_gsm8k": OURS}
    assert under_ours["lm_eval: glob"] == {"gsm8k": STOCK, "gsm8k_cot": STOCK}


def test_a_task_of_the_users_stays_the_users(under_ours):
    assert under_ours["lm_eval: bare name of the user's"] == {"gsm8k": USERS}
    assert under_ours["lm_eval: config file"] == {"mine": USERS, "gsm8k": USERS}
    assert under_ours["lm_eval: glob with the user's"]["gsm8k"] == USERS
    assert under_ours["simple_evaluate: a list, the user's"] == {"gsm8k": USERS, "mine": USERS}


def test_what_was_replaced_is_said_as_a_warning(under_ours):
    lines = [line for line in under_ours.said.splitlines() if "lift_dlm: tasks gsm8k -> lift_gsm8k" in line]
    assert lines and all(" WARNING " in line for line in lines)


def test_a_mistyped_task_is_one_line(under_ours):
    missing = [under_ours[f"lm_eval: {form}"] for form in ("missing", "missing, two", "missing file")]
    assert missing == ["exit 2"] * 3 and under_ours["lm_eval: empty folder"] == "exit 2"
    errors = [line for line in under_ours.said.splitlines() if line.startswith("error: ")]
    assert errors[0] == "error: no task 'gsm8l': did you mean gsm8k?"
    assert errors[1].startswith(
        "error: no task 'gsm8l': did you mean gsm8k?; no task 'zzzz': known: aime24, "
    )
    assert errors[2].startswith("error: no task file /") and errors[2].endswith("/no.yaml")
    assert errors[3].startswith("error: no task files (*.yaml) in /") and len(errors) == 4
    assert "Traceback" not in under_ours.said


def test_near_names_are_ours_and_lm_evals():
    known = ["hellaswag", "gsm8k_cot"]
    assert not_found(["hellaswga"], known) == "no task 'hellaswga': did you mean hellaswag?"
    assert not_found(["contdown"], known) == "no task 'contdown': did you mean countdown or lift_countdown?"


def test_bare_names_mean_our_tasks_under_lift_dlm_only():
    names = ["gsm8k", "stock:gsm8k", "aime24", "mmlu", "lift_sudoku_mini"]
    assert renamed(names, True) == ["lift_gsm8k", "gsm8k", "lift_aime24", "mmlu", "lift_sudoku_mini"]
    assert renamed(names, False) == ["gsm8k", "gsm8k", "aime24", "mmlu", "lift_sudoku_mini"]
    assert renamed("gsm8k", True) == "lift_gsm8k"
    for other in ({"task": "gsm8k"}, ["/a/b.yaml"], [["gsm8k"]], ("gsm8k",), None, 5):
        assert renamed(other, True) == other


def test_a_name_that_was_looked_up_is_not_replaced():
    once = renamed(["stock:gsm8k", "gsm8k"], True)
    assert renamed(once, True) == ["gsm8k", "lift_gsm8k"]
    assert renamed([ExactName("gsm8k")], True) == ["gsm8k"]


def test_commas_are_split_as_on_lm_evals_command_line():
    assert split("a,b") == split(["a,b"]) == split(["a", "b"]) == ["a", "b"]
    assert split([{"task": "a,b"}]) == [{"task": "a,b"}] and split(None) is None
