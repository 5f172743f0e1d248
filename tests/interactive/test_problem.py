"""`generate --task`: a problem as an evaluation poses it, its answer and its verdict."""

import json

import pytest

from lift_harness.cli import main
from lift_harness.interactive.generate import words_of
from lift_harness.lm import evaluation

SHORT = ["gen_length=32", "block_length=32", "steps=8"]


def run_main(monkeypatch, *args):
    monkeypatch.setattr("sys.argv", ["lift-harness", *args])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code


@pytest.mark.parametrize("asked", [[], ["temperature=0.8", "seed=3"]], ids=["greedy", "sampled"])
@pytest.mark.parametrize("task", ["sudoku_mini", "countdown_mini"])
def test_it_is_the_answer_that_lm_eval_gets_and_its_verdict(monkeypatch, capsys, tmp_path, task, asked):
    settings = [*SHORT, *asked]
    monkeypatch.setattr(evaluation, "environment", dict)
    how = {"model_args": "dtype=float32", "gen_kwargs": ",".join(settings), "batch_size": "1"}
    evaluation.evaluate_model("lift-tiny", [task], limit=3, output=tmp_path, **how)
    (log,) = tmp_path.rglob("samples_*.jsonl")
    logged = next(line for line in map(json.loads, log.read_text().splitlines()) if line["doc_id"] == 2)
    capsys.readouterr()
    words = ["generate", "--task", task, "--problem", "2", "--json", "--set", settings[0]]
    assert not run_main(monkeypatch, *words, "--gen-kwargs", ",".join(settings[1:]))
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert (found["task"], found["problem"], found["target"]) == (f"lift_{task}", 2, logged["target"])
    (text,) = logged["resps"][0]
    assert found["text"] == text.partition("<|eot_id|>")[0].partition("<|endoftext|>")[0]
    scored = {name: logged[name] for name in logged["metrics"]}
    assert found["verdict"] == scored and len(scored) >= 2
    assert found["question"] in logged["arguments"]["gen_args_0"]["arg_0"]
    assert err.endswith(f"all problems: lift-harness eval --model lift-tiny --tasks lift_{task}\n")


def test_it_is_printed_with_target_and_verdict(monkeypatch, capsys):
    assert not run_main(monkeypatch, "generate", "--task", "sudoku_mini", "--problem", "3")
    out, err = capsys.readouterr()
    parts = out.split("--- ")[1:]
    assert [part.split()[0] for part in parts] == ["problem", "answer", "target", "verdict"]
    assert parts[0].startswith("problem 3 of lift_sudoku_mini\nPuzzle: ")
    assert parts[1].startswith("answer\n<reasoning>") and parts[3].startswith("verdict\nacc: ")
    assert len(parts[2].split()[1]) == 16 and "puzzles" not in err


def test_with_show_there_is_a_line_a_pass(monkeypatch, capsys):
    more = ["--show", "--set", "steps=4"]
    assert not run_main(monkeypatch, "generate", "--task", "lift_countdown_mini", *more)
    out = capsys.readouterr().out
    assert out.count("\npass ") == 4 and "--- problem 0 of lift_countdown_mini" in out


def test_verdicts_in_words():
    assert words_of({"acc": (5, 7.0), "solved": 0.0, "format": 1}) == "acc: 5 of 7, solved: no, format: yes"
    assert words_of({"acc": 0.25}) == "acc: 0.25"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "nothing is asked: give a prompt, or a problem: --task sudoku_mini"),
        (["--problem", "3"], "--problem 3 is of a task; name it"),
        (["hi", "--task", "mini"], "--task brings its own prompt: leave out a prompt"),
        (["--raw", "--prefix", "x", "--task", "mini"], "leave out --raw and --prefix"),
        (["--task", "mini"], "--task mini is several tasks; name one: lift_"),
        (["--task", "sudoku_mni"], "no task 'sudoku_mni': did you mean lift_sudoku_mini"),
        (["--task", "sudoku_mini", "--problem", "256"], "lift_sudoku_mini has 256 problems, 0 to 255"),
        (["--task", "sudoku_mini", "--set", "temprature=1"], "did you mean temperature"),
        (
            ["--task", "sudoku_mini", "--set", "gen_length=520"],
            "leaves no room for a prompt in the model's context",
        ),
    ],
)
def test_what_cannot_be_asked_is_one_line_before_a_model_is_loaded(monkeypatch, capsys, words, said):
    monkeypatch.setattr("lift_harness.interactive.session.load_model", None)
    assert run_main(monkeypatch, "generate", *words) == 2
    out, err = capsys.readouterr()
    assert said in err and err.count("\n") == 1 and not out


def test_who_asks_the_small_model_something_else_is_told_what_it_knows(monkeypatch, capsys):
    assert not run_main(monkeypatch, "generate", "Hello", "--set", "steps=1", "--set", "gen_length=8")
    assert "note: lift-tiny knows nothing but puzzles" in capsys.readouterr().err
