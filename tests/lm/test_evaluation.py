"""The eight tasks end to end: through `lift-harness eval` with the model inside the package, and with hf."""

import json

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from lift_harness.cli import main
from lift_harness.errors import LiftError
from lift_harness.lm import evaluation
from lift_harness.models import load_model
from lift_harness.tasks import mini_data, sandbox
from lift_harness.tasks.catalog import expand
from lift_harness.tasks.protocol import load_task

EIGHT = ["gsm8k", "math500", "countdown", "sudoku", "aime24", "aime25", "humaneval", "mbpp"]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(evaluation, "environment", lambda: {})  # pip list takes seconds


@pytest.fixture
def tasks(shared, monkeypatch):
    monkeypatch.setenv("LIFT_DATA_DIR", str(shared / "data"))
    return EIGHT if sandbox.isolation() != "none" else EIGHT[:6]


def run_main(monkeypatch, *args):
    monkeypatch.setattr("sys.argv", ["lift-harness", *args])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code


def test_every_task_runs_with_the_model_inside_the_package(tasks, monkeypatch, capsys, tmp_path):
    short = "gen_length=32,block_length=32,steps=4"
    args = ["eval", "--tasks", ",".join(tasks), "--limit", "2", "--gen_kwargs", short]
    assert run_main(monkeypatch, *args, "--output", str(tmp_path)) == 0
    printed = capsys.readouterr().out
    (file,) = tmp_path.rglob("results_*.json")
    found = json.loads(file.read_text())
    assert set(found["results"]) == {f"lift_{task}" for task in tasks}
    for task in tasks:
        name, row = f"lift_{task}", found["results"][f"lift_{task}"]
        assert name in printed
        assert 0 <= row["acc,none"] <= 1 and row["sample_len"] == 2
        assert ("pass@16,none" in row) == task.startswith("aime")
        used = found["config"]["decoding"][name]
        assert (used["steps"], used["temperature"] > 0) == (4, task.startswith("aime"))
        (log,) = tmp_path.rglob(f"samples_{name}_*.jsonl")
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        assert {len(line["resps"][0]) for line in lines} == {16 if task.startswith("aime") else 1}
        if task in ("humaneval", "mbpp"):
            assert found["configs"][name]["metadata"]["sandbox"] == sandbox.isolation()


def test_any_task_takes_any_number_of_samples(monkeypatch, capsys, tmp_path):
    args = ["eval", "--tasks", "countdown_mini,lift_mini", "--limit", "3", "--samples", "5"]
    assert run_main(monkeypatch, *args, "--gen_kwargs", "temperature=1.0", "--output", str(tmp_path)) == 0
    assert "pass@5" in capsys.readouterr().out
    (log,) = tmp_path.rglob("samples_lift_sudoku_mini_*.jsonl")
    for line in map(json.loads, log.read_text().splitlines()):
        verdicts = line["doc"]["verdicts"]
        assert verdicts["n_samples"] == len(verdicts["solved"]) == len(line["resps"][0]) == 5
        assert verdicts["n_correct"] == sum(verdicts["solved"])


def test_a_tasks_rows_are_made_once(monkeypatch):
    made = []
    real = mini_data.sudoku_items
    monkeypatch.setattr(mini_data, "sudoku_items", lambda: made.append(1) or real())
    assert run_main(monkeypatch, "eval", "--tasks", "sudoku_mini", "--limit", "1") == 0
    assert len(made) == 1


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--tasks", "gms8k"], "no task 'gms8k'"),
        (["--tasks", "lift_mini", "--samples", "4", "--limit", "1"], "4 samples a problem at temperature 0"),
        (["--tasks", "lift_mini", "--gen_kwargs", "stepz=4", "--limit", "1"], "stepz"),
        (["--tasks", "lift_mini", "--model_args", "sise=4"], "sise"),
        (["--tasks", "lift_mini", "--model", "no-such-model"], "no-such-model"),
        (["--tasks", "lift_mini", "--batch_size", "many"], "batch_size='many'"),
    ],
)
def test_bad_input_is_one_line(monkeypatch, capfd, args, said):
    assert run_main(monkeypatch, "eval", *args) == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error:")]
    assert said in line


def test_names_expand():
    assert expand(["gsm8k", "lift_gsm8k", "lift_code"]) == ["lift_gsm8k", "lift_humaneval", "lift_mbpp"]
    assert expand(["reasoning"]) == [f"lift_{name}" for name in EIGHT[:6]]
    with pytest.raises(LiftError, match="did you mean lift_mini"):
        expand(["lift_mimi"])


def test_every_task_runs_with_a_model_of_lm_evals_own(tasks, tmp_path):
    """The same prompts for an autoregressive baseline."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    _, tokenizer = load_model("lift-tiny")
    torch.manual_seed(0)
    sizes = {"n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 2048}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **sizes))
    lm = HFLM(pretrained=model.eval(), tokenizer=tokenizer, batch_size=4, device="cpu")
    found = lm_eval.simple_evaluate(
        lm,
        tasks=[load_task(f"lift_{task}") for task in tasks],
        limit=1,
        apply_chat_template=True,
        gen_kwargs={"max_gen_toks": 4},
        task_manager=TaskManager(include_defaults=False),
        bootstrap_iters=0,
    )
    for task in tasks:
        (line,) = found["samples"][f"lift_{task}"]
        assert line["arguments"][0][0].endswith("<reasoning>")
        assert len(line["resps"][0]) == (16 if task.startswith("aime") else 1)
        assert "acc,none" in found["results"][f"lift_{task}"]
