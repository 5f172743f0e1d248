"""Tasks in lm-eval's words: prompts and verdicts are those of the installed lm-eval, byte for byte."""

import random
import re
from pathlib import Path

import datasets
import jinja2
import lm_eval
import pytest
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks._yaml_loader import load_yaml

from lift_harness.errors import LiftError
from lift_harness.tasks import data, plain
from lift_harness.tasks.protocol import load_task
from lift_harness.tasks.scoring import score_gsm8k_plain, score_math_plain

LM_EVAL = Path(lm_eval.__file__).parent / "tasks"


@pytest.fixture(autouse=True)
def _data(shared, monkeypatch):
    monkeypatch.setenv("LIFT_DATA_DIR", str(shared / "data"))


def lm_evals(path, monkeypatch, **splits):
    """The installed lm-eval's task, with our rows in the Hub's place."""
    rows = datasets.DatasetDict({name: datasets.Dataset.from_list(rows) for name, rows in splits.items()})
    monkeypatch.setattr("datasets.load_dataset", lambda *args, **kwargs: rows)
    return ConfigurableTask(config=load_yaml(LM_EVAL / path))


def prompts(task, docs, shots, **kwargs):
    task.set_fewshot_seed(1234)
    return [task.fewshot_context(doc, shots, **kwargs) for doc in docs]


@pytest.mark.parametrize("shots", [0, 5])
def test_gsm8k_is_asked_as_lm_eval_asks(monkeypatch, shots):
    ours = load_task("lift_gsm8k_plain")
    theirs = lm_evals(
        "gsm8k/gsm8k.yaml", monkeypatch, train=data.load("gsm8k_train"), test=data.load("gsm8k")
    )
    docs = list(ours.eval_docs)[:40]
    assert prompts(ours, docs, shots) == prompts(theirs, docs, shots)
    assert ours.config.num_fewshot == theirs.config.num_fewshot == 5
    assert ours.asked["until"] == theirs.config.generation_kwargs["until"]


@pytest.mark.parametrize("shots", [0, 4])
def test_math_is_asked_as_lm_eval_asks(monkeypatch, shots):
    ours = load_task("lift_math500_plain")
    monkeypatch.setattr("importlib.metadata.version", lambda name: "4.11")  # asks for antlr, to score
    theirs = lm_evals("minerva_math/minerva_math500.yaml", monkeypatch, test=data.load("math500"))
    assert prompts(ours, list(ours.eval_docs)[:40], shots) == prompts(
        theirs, list(theirs.test_docs())[:40], shots
    )
    assert ours.config.num_fewshot == theirs.config.num_fewshot == 4
    assert ours.asked["until"] == theirs.config.generation_kwargs["until"]


def test_code_is_asked_as_lm_eval_asks(shared, monkeypatch, tmp_path):
    config = load_yaml(LM_EVAL / "mbpp" / "mbpp.yaml", resolve_func=False)
    asked, answered = (
        jinja2.Template(config[f"doc_to_{what}"], keep_trailing_newline=True) for what in ("text", "target")
    )
    rows = plain.of_lm_eval("mbpp", 3)
    monkeypatch.setenv("LIFT_DATA_DIR", str(write_full_mbpp(tmp_path)))
    ours = load_task("lift_mbpp_plain")
    doc = ours.eval_docs[0]
    monkeypatch.setenv("LIFT_DATA_DIR", str(shared / "data"))
    theirs = [asked.render(row) + answered.render({**row, "is_fewshot": True}) + "\n\n" for row in rows]
    theirs.append(asked.render(text=doc["prompt"], test_list=doc["test_list"]))
    assert prompts(ours, [doc], 3) == ["".join(theirs)]
    assert ours.config.num_fewshot == config["num_fewshot"]
    assert ours.asked["until"] == config["generation_kwargs"]["until"]

    humaneval = load_task("lift_humaneval_plain")
    assert (
        load_yaml(LM_EVAL / "humaneval" / "humaneval.yaml", resolve_func=False)["doc_to_text"] == "{{prompt}}"
    )
    assert prompts(humaneval, [humaneval.eval_docs[3]], 0) == [humaneval.eval_docs[3]["prompt"]]


def write_full_mbpp(folder, count=500):
    """A file in the form of mbpp.jsonl, from the sanitized problems."""
    import json

    known = data.load("mbpp")
    with (folder / "mbpp.jsonl").open("w") as stream:
        for i in range(count):
            row = known[i % len(known)]
            full = {
                "text": row["prompt"],
                "code": row["code"],
                "task_id": 11 + i,
                "test_list": row["test_list"],
            }
            stream.write(json.dumps({**full, "test_setup_code": "", "challenge_test_list": []}) + "\n")
    return folder


def test_examples_stand_in_the_users_one_turn_or_as_turns_where_asked():
    task = load_task("lift_math500_plain")
    doc = task.eval_docs[0]
    seen = {}

    def template(messages, add_generation_prompt=True):
        seen["messages"] = messages
        return "templated"

    for one_turn, roles in ((True, ["user"]), (False, ["user", "assistant"] * 4 + ["user"])):
        task.one_turn = one_turn
        task._chat_template = template
        task.fewshot_context(doc, 4)
        assert [one["role"] for one in seen["messages"]] == roles


def test_the_seed_draws_gsm8ks_examples_and_a_problem_has_the_same_whoever_else_is_asked():
    task = load_task("lift_gsm8k_plain")
    docs = list(task.eval_docs)
    whole = prompts(task, docs[:5], 5)
    assert prompts(load_task("lift_gsm8k_plain"), [docs[4]], 5) == whole[4:]
    assert len({prompt.partition("\nAnswer:")[0] for prompt in whole}) == 5
    task.set_fewshot_seed(7)
    assert task.fewshot_context(docs[0], 5) != whole[0]
    training = {row["question"] for row in data.load("gsm8k_train")}
    assert all(
        re.search("Question: (.*)\nAnswer:", user)[1] in training for user, _ in task.examples(5, docs[9])
    )
    assert next(plain.gsm8k(5, 1234, 1))[0][0] == random.Random(1234).sample(data.load("gsm8k_train"), 5)[0]


def test_more_examples_than_lm_eval_has_and_one_that_has_none(monkeypatch):
    with pytest.raises(
        LiftError, match="num_fewshot=5: lm-eval's task minerva_math has 4 worked examples; lower"
    ):
        plain.of_lm_eval("minerva_math", 5)
    with pytest.raises(LiftError, match=r"has no worked examples in tasks/gsm8k/utils.py; give your own"):
        plain.of_lm_eval("gsm8k", 1)


def test_the_users_own_examples():
    given = [{"question": "1 + 1?", "reasoning": "Add. ", "answer": "#### 2"}]
    task = load_task("lift_gsm8k_plain", metadata={"examples": {"lift_gsm8k_plain": given}})
    doc = task.eval_docs[0]
    assert task.config.num_fewshot == 1  # of the five that the task shows there is one
    want = f"Question: 1 + 1?\nAnswer: Add. #### 2\n\nQuestion: {doc['question']}\nAnswer:"
    assert task.fewshot_context(doc, 1) == want


# ---------------------------------------------------------------- verdicts


@pytest.mark.parametrize(
    ("text", "acc", "strict"),
    [
        ("9 - 4 = 5\n#### 18", 1, 1),
        ("It is $18.", 1, 0),
        ("#### 18\nand 7 more", 0, 1),
        ("#### 1,8", 1, 1),
        ("18.00", 0, 0),
        ("nothing", 0, 0),
        ("the answer is -18", 0, 0),
        ("18<|endoftext|>19", 1, 0),
        ("", 0, 0),
    ],
)
def test_a_gsm8k_answer(text, acc, strict):
    doc = {"question": "?", "answer": "9 * 2\n#### 18"}
    assert score_gsm8k_plain.score(doc, text) == {"acc": acc, "strict": strict}


def test_gsm8ks_verdicts_are_those_of_lm_eval(monkeypatch):
    """On made answers around the references: both of its filters, and its comparison."""
    theirs = lm_evals(
        "gsm8k/gsm8k.yaml", monkeypatch, train=data.load("gsm8k_train")[:6], test=data.load("gsm8k")[:60]
    )
    forms = [
        "The answer is {}.",
        "#### {}",
        "#### {}\n\nSo 3 of them",
        "${}.00",
        "x = {}",
        "{}, no, 12.",
        "none",
    ]
    forms += ["{} dollars #### {} dollars", "#### -{}", "#### $ {}", "**{}**", "#### {}."]
    for number, doc in enumerate(theirs.test_docs()):
        gold = doc["answer"].split("#### ")[1]
        text = forms[number % len(forms)].replace("{}", gold)
        strict, flexible = (first(theirs, i, doc, text) for i in (0, 1))
        assert score_gsm8k_plain.score(doc, text) == {"acc": flexible, "strict": strict}, text


def first(task, number, doc, text):
    """The verdict on the first thing that a filter of lm-eval's task finds."""
    made = task._filters[number].filters[0]
    ((found, *_),) = (made() if callable(made) else made).apply([[text]], [doc])
    return task.process_results(doc, [found])["exact_match"]


@pytest.mark.parametrize(
    ("text", "acc", "verified"),
    [
        (r"Final Answer: The final answer is $\frac{1}{2}$. I hope it is correct.", 1, 1),
        (r"Final Answer: The final answer is $\dfrac12$. I hope it is correct.", 1, 1),
        (r"Final Answer: The final answer is $0.5$", 1, 1),
        (r"so it is \boxed{\frac{1}{2}}", 0, 1),
        (r"Final Answer: The final answer is $2$. I hope it is correct.", 0, 0),
        ("", 0, 0),
    ],
)
def test_a_math_answer(text, acc, verified):
    found = score_math_plain.score({"problem": "?", "answer": r"\frac{1}{2}"}, text)
    assert found == {"acc": acc, "math_verify": verified}
