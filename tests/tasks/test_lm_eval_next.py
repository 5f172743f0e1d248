"""Our tasks on the interface of lm-eval 0.5, which is not released: with a stand-in for its task classes."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
# Before the tasks are imported: lm-eval 0.5 in the place of what is installed.
NEXT = """
import json
import lm_eval.api.task as installed
from support import lm_eval_next

installed.GenerateTask = lm_eval_next.GenerateTask
installed.ConfigurableTask = lm_eval_next.Task
from lift_harness.tasks import mini_data, prompts
from lift_harness.tasks.protocol import load_task

def answered(task, answers, limit=2, **kwargs):
    # What lm-eval's evaluator does with a task; `answers(doc)` are the responses to a problem.
    for one in task.build_all_requests(limit=limit, **kwargs):
        one.resps = answers(one.doc)
    task.process_instances()
    return task.aggregate()[0]

def right(doc):
    return prompts.response("", doc["Solution"])

def wrong(doc):
    return prompts.response("", doc["Puzzle"])
"""


def said(code: str):
    done = subprocess.run(
        [sys.executable, "-c", NEXT + textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": str(TESTS), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_the_installed_lm_eval_is_the_tested_one():
    from lm_eval.api.task import ConfigurableTask

    from lift_harness.tasks.lm_eval_base import BY_SCORERS, Base

    assert Base is ConfigurableTask and not BY_SCORERS


def test_requests_and_scores_are_those_of_the_tested_interface():
    found = said("""
        task = load_task("lift_sudoku_mini")
        metrics = answered(task, lambda doc: [right(doc)])
        (one, _) = task.instances
        print(json.dumps({
            "base": type(task).__mro__[2].__module__,
            "prompt": one.args[0], "kwargs": one.args[1], "metrics": metrics,
            "verdicts": one.doc["verdicts"]["solved"],
        }))
        """)
    from lift_harness.tasks import mini_data, prompts

    puzzle = prompts.sudoku_question(mini_data.sudoku_items()[0]["Puzzle"])
    assert found["base"] == "support.lm_eval_next"
    assert found["prompt"] == f"{prompts.INSTRUCTIONS['sudoku']}\n\n{puzzle}\n<reasoning>"
    assert found["kwargs"] == {"until": [], "max_gen_toks": 40}
    assert found["metrics"] == {"acc,none": 1.0, "solved,none": 1.0, "format,none": 1.0}
    assert found["verdicts"] == [1.0]


def test_several_samples_a_problem_give_pass_at_k():
    metrics = said("""
        task = load_task("lift_sudoku_mini", repeats=4)
        print(json.dumps(answered(task, lambda doc: [right(doc), wrong(doc), wrong(doc), wrong(doc)])))
        """)
    assert metrics["solved,none"] == metrics["pass@1,none"] == metrics["avg@4,none"] == 0.25
    assert metrics["pass@2,none"] == 0.5 and metrics["pass@4,none"] == 1.0
    assert metrics["acc,none"] == pytest.approx(0.25)  # a share of cells: values are pairs


def test_a_bound_model_gets_the_protocol_and_its_chat_template():
    found = said("""
        class Model:
            takes_protocol = True
            @staticmethod
            def protocol_chat_template(messages, add_generation_prompt=True):
                return f"[{messages[-1]['content']}]"
        task = load_task("lift_sudoku_mini")
        task.set_config("generation_kwargs", {"steps": 3}, update=True)
        task.bind(Model(), False)
        task.build_all_requests(limit=1)
        (one,) = task.instances
        print(json.dumps(one.args))
        """)
    prompt, kwargs = found
    assert prompt.startswith("[") and prompt.endswith("]<reasoning>")
    assert kwargs["steps"] == 3 and kwargs["protocol"]["gen_length"] == 40


def test_predict_only_judges_nothing():
    metrics = said("""
        task = load_task("lift_sudoku_mini")
        task.override_metric("bypass")
        task.aggregation = lambda: {"bypass": lambda values: 999}
        print(json.dumps([answered(task, lambda doc: ["x"]), "verdicts" in task.instances[0].doc]))
        """)
    assert metrics == [{"bypass,none": 999}, False]
