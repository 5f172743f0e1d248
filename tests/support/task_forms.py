"""Every form in which lm-eval takes tasks, evaluated.

`python task_forms.py FOLDER MODEL` prints {form: outcome}. lm-eval's own folder and ours are stand-ins with
one-line tasks, so that a run takes no seconds.
"""

import json
import os
import sys
import warnings
from pathlib import Path

DATA = """
from datasets import Dataset

def rows(**kwargs):
    return {"test": Dataset.from_list([{"q": "one"}, {"q": "two"}])}

def judge(doc, results):
    return {"m": float(WORTH)}
"""
TASK = """
task: {name}
custom_dataset: !function data.rows
test_split: test
output_type: generate_until
doc_to_text: "{{{{q}}}}"
doc_to_target: "{{{{q}}}}"
process_results: !function data.judge
metric_list: [{{metric: m, aggregation: mean, higher_is_better: true}}]
generation_kwargs: {{until: [], max_gen_toks: 8}}
"""
# What a task of each folder scores, and its tasks.
FOLDERS = {
    "stock": (1, ["gsm8k", "gsm8k_cot", "hellaswag"]),
    "users": (2, ["mine", "other", "gsm8k"]),
    "ours": (3, ["lift_gsm8k", "lift_countdown"]),
}


def write(root: Path) -> None:
    for folder, (worth, names) in FOLDERS.items():
        path = root / folder
        path.mkdir()
        (path / "data.py").write_text(DATA.replace("WORTH", str(worth)))
        for name in names:
            (path / f"{name}.yaml").write_text(TASK.format(name=name))
    (root / "users" / "other.yaml").write_text(TASK.format(name="other") + "tag: mine_tag\n")
    (root / "users" / "groups").mkdir()
    (root / "users" / "groups" / "both.yaml").write_text("group: both\ntask: [mine, other]\n")
    (root / "empty").mkdir()
    (root / "config.yaml").write_text(f"tasks: [mine, gsm8k]\ninclude_path: {root / 'users'}\n")


def command_lines(root: Path) -> dict[str, list[str]]:
    users = f"--include_path={root / 'users'}"
    mine, other = (str(root / "users" / f"{name}.yaml") for name in ("mine", "other"))
    return {
        "name": ["--tasks", "hellaswag"],
        "bare name": ["--tasks", "gsm8k"],
        "bare name twice": ["--tasks", "gsm8k,gsm8k"],
        "bare name of the user's": ["--tasks", "gsm8k", users],
        "glob": ["--tasks", "gsm8k*"],
        "glob with the user's": ["--tasks", "gsm*,mi*", users],
        "tag": ["--tasks", "mine_tag", users],
        "commas": ["--tasks", "mine,other", users],
        "lm-eval's own": ["--tasks", "stock:gsm8k,hellaswag"],
        "words": ["--tasks", "mine", "other,hellaswag", users],
        "file": ["--tasks", mine],
        "files": ["--tasks", f"{mine},{other}"],
        "glob of files": ["--tasks", str(root / "users" / "[mo]*.yaml")],
        "file and bare name": ["--tasks", mine, "gsm8k"],
        "folder": ["--tasks", str(root / "users") + "/"],
        "group": ["--tasks", "both", users],
        "config file": ["--config", str(root / "config.yaml")],
        "missing": ["--tasks", "gsm8l"],
        "missing, two": ["--tasks", "gsm8l,hellaswag,zzzz"],
        "missing file": ["--tasks", str(root / "no.yaml")],
        "empty folder": ["--tasks", str(root / "empty")],
    }


def calls(root: Path) -> dict[str, dict]:
    from lm_eval.tasks import TaskManager
    from lm_eval.tasks._yaml_loader import load_yaml

    own, users = TaskManager(), TaskManager(include_path=str(root / "users"))
    mine = load_yaml(root / "users" / "mine.yaml")
    task = users.load("mine")["tasks"]["mine"]
    group = users.load("both")["groups"]["both"]
    return {
        "a text": {"tasks": "gsm8k", "task_manager": own},
        "a list": {"tasks": ["gsm8k", "hellaswag"], "task_manager": own},
        "a list, the user's": {"tasks": ["gsm8k", "mine"], "task_manager": users},
        "no manager": {"tasks": ["gsm8k"]},
        "a path": {"tasks": [str(root / "users" / "mine.yaml")], "task_manager": own},
        "a dictionary": {"tasks": dict(mine), "task_manager": own},
        "dictionaries": {"tasks": [dict(mine), "gsm8k"], "task_manager": own},
        "an object": {"tasks": task, "task_manager": own},
        "objects": {"tasks": [task, "gsm8k"], "task_manager": own},
        "a group": {"tasks": [group], "task_manager": own},
        "name of a group": {"tasks": ["both"], "task_manager": users},
        "lists in a list": {"tasks": [["gsm8k"], ["mine"]], "task_manager": users},
        "a tuple": {"tasks": ("gsm8k", "mine"), "task_manager": users},
        "commas in a text": {"tasks": "hellaswag,other", "task_manager": users},
        "a glob": {"tasks": ["hella*"], "task_manager": own},
        "missing": {"tasks": ["gsm8l"], "task_manager": own},
        "none": {"tasks": None, "task_manager": own},
        "no tasks": {"tasks": [], "task_manager": own},
        "a number": {"tasks": 5, "task_manager": own},
    }


def main(root: Path, model: str) -> dict[str, object]:
    write(root)
    plugin = os.environ.get("LIFT_HARNESS_NO_PLUGIN") != "1"
    import lm_eval.evaluator
    import lm_eval.tasks.manager
    from lm_eval.__main__ import cli_evaluate

    lm_eval.tasks.manager.__file__ = str(root / "stock" / "manager.py")  # beside it are lm-eval's own tasks
    lm_eval.evaluator.add_env_info = lambda storage: None
    if plugin:
        from lift_harness.plugin import hooks

        hooks.task_folder = lambda: root / "ours"
    evaluate, results = lm_eval.evaluator.simple_evaluate, []

    def simple_evaluate(*args, **kwargs):
        results.append(evaluate(*args, **kwargs, bootstrap_iters=0))
        return results[-1]

    lm_eval.simple_evaluate = simple_evaluate

    def outcome(run) -> object:
        results.clear()
        try:
            run()
        except SystemExit as error:
            return f"exit {error.code}"
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return {name: row["m,none"] for name, row in results[0]["results"].items() if "m,none" in row}

    def command(words):
        sys.argv = ["lm_eval", "run", "--model", model, *words]
        if model == "lift_dlm":
            sys.argv += ["--model_args", "pretrained=lift-tiny", "--limit", "1"]
        cli_evaluate()

    chosen = {"model": model}
    if model == "lift_dlm":
        chosen |= {"model_args": "pretrained=lift-tiny", "limit": 1}
    outcomes = {
        f"lm_eval: {name}": outcome(lambda w=w: command(w)) for name, w in command_lines(root).items()
    }
    for name, arguments in calls(root).items():
        call = {**chosen, **arguments}
        outcomes[f"simple_evaluate: {name}"] = outcome(lambda call=call: simple_evaluate(**call))
    return outcomes


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    said, sys.stdout = sys.stdout, sys.stderr
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2]), indent=1), file=said)
