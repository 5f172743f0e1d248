"""The eight tasks end to end: through `lift-harness eval` with the model inside the package, and with hf."""

import io
import json
import tempfile

import pytest
import torch
from lm_eval import evaluator
from support import rendered
from transformers import GPT2Config, GPT2LMHeadModel

from lift_harness.cli import main
from lift_harness.compare import compare, load
from lift_harness.compare.render import render
from lift_harness.console import Console
from lift_harness.errors import LiftError
from lift_harness.lm import LiftDLM, evaluation
from lift_harness.models import load_model
from lift_harness.pipeline.report import score_tables
from lift_harness.pipeline.train_eval import mean_scores
from lift_harness.plugin import startup
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
    args = ["eval", "-m", "lift-tiny", "--tasks", ",".join(tasks), "--limit", "2", "--gen_kwargs", short]
    assert run_main(monkeypatch, *args, "--output", str(tmp_path)) == 0
    printed = capsys.readouterr().out
    (file,) = tmp_path.rglob("results_*.json")
    found = json.loads(file.read_text())
    assert set(found["results"]) == {f"lift_{task}" for task in tasks}
    for task in tasks:
        name, row = f"lift_{task}", found["results"][f"lift_{task}"]
        assert task in printed
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
    args = [
        "eval",
        "-m",
        "lift-tiny",
        "--tasks",
        "countdown_mini,lift_mini",
        "--limit",
        "3",
        "--samples",
        "5",
    ]
    assert run_main(monkeypatch, *args, "--gen_kwargs", "temperature=1.0", "--output", str(tmp_path)) == 0
    printed = capsys.readouterr().out
    shown = rendered.of_terminal(printed)
    assert ("lift-tiny", "lift_sudoku_mini", "pass@5") in shown and "±" not in printed
    known = rendered.of_json(render(compare(load([tmp_path])), "json"))
    for (_, task, metric), cell in shown.items():
        assert cell == known[tmp_path.name, task, metric].rounded()
    (log,) = tmp_path.rglob("samples_lift_sudoku_mini_*.jsonl")
    for line in map(json.loads, log.read_text().splitlines()):
        verdicts = line["doc"]["verdicts"]
        assert verdicts["n_samples"] == len(verdicts["solved"]) == len(line["resps"][0]) == 5
        assert verdicts["n_correct"] == sum(verdicts["solved"])


def test_worked_examples_are_in_the_prompt_and_the_results_say_how_many(monkeypatch, tmp_path):
    asked = {}
    for number in (0, 1):
        args = [
            "eval",
            "-m",
            "lift-tiny",
            "--tasks",
            "countdown_mini",
            "--limit",
            "1",
            "--num_fewshot",
            str(number),
        ]
        assert run_main(monkeypatch, *args, "--output", str(tmp_path / str(number))) == 0
        (log,) = (tmp_path / str(number)).rglob("samples_*.jsonl")
        asked[number] = json.loads(log.read_text().splitlines()[0])["arguments"]["gen_args_0"]["arg_0"]
        (file,) = (tmp_path / str(number)).rglob("results_*.json")
        assert json.loads(file.read_text())["n-shot"] == {"lift_countdown_mini": number}
    ((user, said),) = load_task("lift_countdown_mini").examples(1)
    start, header = asked[0].index("<|start_header_id|>"), "<|start_header_id|>assistant<|end_header_id|>\n\n"
    turns = f"<|start_header_id|>user<|end_header_id|>\n\n{user}<|eot_id|>{header}{said}<|eot_id|>"
    assert asked[1] == asked[0][:start] + turns + asked[0][start:]
    shown = render(compare(load([tmp_path / "1", tmp_path / "0"])), "markdown")
    assert "1 examples in the prompt, not 0" in shown or "0 examples in the prompt, not 1" in shown


def test_an_engine_that_fixes_its_seed_has_no_pass_at_k(monkeypatch, capsys, tmp_path):
    real = LiftDLM.generate_until

    def fixed(self, requests, disable_tqdm=False):
        first = {
            one.doc_id: text for one, text in reversed([*zip(requests, real(self, requests), strict=True)])
        }
        return [first[one.doc_id] for one in requests]

    monkeypatch.setattr(LiftDLM, "generate_until", fixed)
    args = ["eval", "-m", "lift-tiny", "--tasks", "sudoku_mini", "--limit", "3", "--samples", "4"]
    assert run_main(monkeypatch, *args, "--gen_kwargs", "temperature=1.0", "--output", str(tmp_path)) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "the 4 answers to each problem are one text (3 distinct texts of 12)" in printed
    known = {metric for _, _, metric in compare(load([tmp_path])).cells}
    assert {"pass@1", "avg@4"} <= known and not known & {"pass@2", "pass@4"}
    lm = LiftDLM("lift-tiny")
    options = {"label": "x", "samples": 4, "limit": 3, "gen_kwargs": {"temperature": 1.0}}
    scores = evaluation.evaluate(lm, ["lift_sudoku_mini"], **options)["lift_sudoku_mini"]
    for name, metric in scores.items():
        noted = {key: metric[key] for key in metric if key not in ("value", "stderr")}
        assert noted == ({"answers": 12, "distinct_texts": 3} if name in ("pass@2", "pass@4") else {})
    assert mean_scores([{"t": {"pass@4": scores["pass@4"]}}] * 2)["t"]["pass@4"]["distinct_texts"] == 3


def test_results_say_which_device_was_used_and_not_which_was_asked_for():
    """lm-eval's command asks for cuda:0 unless told otherwise, on every machine."""
    lm = LiftDLM("lift-tiny", device="cpu")
    startup.install()
    options = {"limit": 1, "gen_kwargs": {"steps": 4}, "device": "cuda:0", "bootstrap_iters": 0}
    results = evaluator.simple_evaluate(model=lm, tasks=[load_task("lift_sudoku_mini")], **options)
    assert results["config"]["device"] == "cpu"


def test_a_tasks_rows_are_made_once(monkeypatch, tmp_path):
    made = []
    real = mini_data.sudoku_items
    monkeypatch.setattr(mini_data, "sudoku_items", lambda: made.append(1) or real())
    monkeypatch.chdir(tmp_path)
    assert run_main(monkeypatch, "eval", "-m", "lift-tiny", "--tasks", "sudoku_mini", "--limit", "1") == 0
    assert len(made) == 1


def test_without_an_output_folder_the_same_table_is_printed_and_nothing_is_left(
    monkeypatch, capsys, tmp_path
):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    options = {"limit": 2, "model_args": "", "gen_kwargs": "steps=4", "batch_size": "auto"}
    console = Console(file=io.StringIO(), width=80)
    console.print(score_tables(evaluation.evaluate_model("lift-tiny", ["sudoku_mini"], **options), 80))
    printed = console.file.getvalue()
    assert not list(tmp_path.glob("lift-harness-*"))
    args = ["eval", "-m", "lift-tiny", "--tasks", "sudoku_mini", "--limit", "2", "--gen_kwargs", "steps=4"]
    capsys.readouterr()
    assert run_main(monkeypatch, *args, "--output", str(tmp_path / "kept")) == 0
    again = capsys.readouterr().out
    assert again.partition("Speed")[0] == printed.partition("Speed")[0] and "Speed" in again
    solved = rendered.of_terminal(printed)["lift-tiny", "lift_sudoku_mini", "solved"]
    assert solved.low != solved.high  # of two problems nothing is certain


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--tasks", "gms8k"], "no task 'gms8k'"),
        (["--tasks", "lift_mini", "--samples", "4", "--limit", "1"], "4 samples a problem at temperature 0"),
        (["--tasks", "lift_mini", "--gen_kwargs", "stepz=4", "--limit", "1"], "stepz"),
        (["--tasks", "lift_mini", "--model_args", "sise=4"], "sise"),
        (["--tasks", "lift_mini", "--model", "no-such-model"], "no-such-model"),
        (["--tasks", "lift_mini", "--batch_size", "many"], "batch_size='many'"),
        (["--tasks", "sudoku_mini", "--num_fewshot", "9"], "more than the model's context of 512"),
    ],
)
def test_bad_input_is_one_line(monkeypatch, capfd, args, said):
    assert run_main(monkeypatch, "eval", "-m", "lift-tiny", *args) == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error:")]
    assert said in line


def test_names_expand():
    assert expand(["gsm8k", "lift_gsm8k", "lift_code"]) == ["lift_gsm8k", "lift_humaneval", "lift_mbpp"]
    assert expand(["reasoning"]) == [f"lift_{name}" for name in EIGHT[:6]]
    with pytest.raises(LiftError, match="did you mean lift_mini"):
        expand(["lift_mimi"])


def baseline(names, **settings):
    """The results of tasks with a random autoregressive model, one problem each."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    _, tokenizer = load_model("lift-tiny")
    torch.manual_seed(0)
    sizes = {"n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 2048}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **sizes))
    lm = HFLM(pretrained=model.eval(), tokenizer=tokenizer, batch_size=4, device="cpu")
    return lm_eval.simple_evaluate(
        lm,
        tasks=[load_task(name) for name in names],
        limit=1,
        gen_kwargs={"max_gen_toks": 4},
        task_manager=TaskManager(include_defaults=False),
        bootstrap_iters=0,
        **settings,
    )


@pytest.mark.parametrize("template", [True, False])
def test_a_model_of_lm_evals_own_sees_the_same_examples(tasks, template):
    names = ["lift_gsm8k", "lift_sudoku_mini"]
    found = baseline(names, num_fewshot=2, apply_chat_template=template)
    for name in names:
        (line,) = found["samples"][name]
        prompt = line["arguments"][0][0]
        places = [prompt.index(text) for turn in load_task(name).examples(2) for text in turn]
        assert places == sorted(places) and prompt.endswith("<reasoning>")
        assert prompt.count("<|start_header_id|>") == (6 if template else 0)
        assert found["n-shot"][name] == 2


def test_every_task_runs_with_a_model_of_lm_evals_own(tasks):
    """The same prompts for an autoregressive baseline."""
    found = baseline([f"lift_{task}" for task in tasks], apply_chat_template=True)
    for task in tasks:
        (line,) = found["samples"][f"lift_{task}"]
        assert line["arguments"][0][0].endswith("<reasoning>")
        assert len(line["resps"][0]) == (16 if task.startswith("aime") else 1)
        assert "acc,none" in found["results"][f"lift_{task}"]
