"""`num_fewshot`: worked examples as earlier turns, the same for every problem, method and model."""

import json
from itertools import islice

import lm_eval
import pytest
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager

import lift_harness.tasks
from lift_harness.errors import LiftError
from lift_harness.tasks import countdown, data, prompts
from lift_harness.tasks.protocol import load_task
from lift_harness.tasks.scoring.verdicts import judge
from lift_harness.tasks.worked import SEED

FOLDER = next(iter(lift_harness.tasks.__path__))
SUDOKU, COUNTDOWN = "lift_sudoku_mini", "lift_countdown_mini"
ASK = prompts.INSTRUCTIONS["sudoku"]
# The first two of seed 1234; their puzzles have these solutions and no others.
FIRST = (
    f"{ASK}\n\nPuzzle: 0321203400021200",
    "<reasoning> r1c1=4 r2c2=1 r3c1=3 r3c2=4 r3c3=1 r4c3=4 r4c4=3</reasoning>"
    "\n<answer>\n4321213434121243\n</answer>",
)
SECOND = (
    f"{ASK}\n\nPuzzle: 2104300210004301",
    "<reasoning> r1c3=3 r2c2=4 r2c3=1 r3c2=2 r3c3=4 r3c4=3 r4c3=2</reasoning>"
    "\n<answer>\n2134341212434321\n</answer>",
)


class Asked(LM):
    """Notes what it is asked; no chat template."""

    def __init__(self):
        super().__init__()
        self.requests = []

    def generate_until(self, requests, disable_tqdm=False):
        self.requests = requests
        return [""] * len(requests)

    def loglikelihood(self, requests):
        raise NotImplementedError

    loglikelihood_rolling = loglikelihood


class Chatty(Asked):
    """With a chat template, which lm-eval applies where it is told to."""

    tokenizer_name = "chatty"

    def apply_chat_template(self, chat_history, add_generation_prompt=True):
        turns = [f"[{turn['role']}]{turn['content']}" for turn in chat_history]
        return "".join(turns) + ("[assistant]" if add_generation_prompt else "")


class Bound(Chatty):
    """With one that the tasks are to use, as `lift_dlm`."""

    takes_protocol = True

    @property
    def protocol_chat_template(self):
        return self.apply_chat_template


@pytest.fixture(autouse=True)
def _no_environment_report(monkeypatch):
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda storage: None)


def evaluate(model, tasks, metadata=None, **kwargs):
    manager = TaskManager(include_path=FOLDER, include_defaults=False, metadata=metadata)
    kwargs = {"limit": 2, "bootstrap_iters": 0, **kwargs}
    return lm_eval.simple_evaluate(model, tasks=tasks, task_manager=manager, **kwargs)


def prompts_of(model, task=SUDOKU, **kwargs):
    evaluate(model, [task], **kwargs)
    return [request.args[0] for request in model.requests]


def question(number=0):
    return f"{ASK}\n\nPuzzle: {load_task(SUDOKU).eval_docs[number]['Puzzle']}"


# ---------------------------------------------------------------- the prompt


def test_without_a_chat_template():
    examples = "".join(f"{user}\n{said}\n\n" for user, said in (FIRST, SECOND))
    expected = [f"{examples}{question(number)}\n<reasoning>" for number in (0, 1)]
    assert prompts_of(Asked(), num_fewshot=2) == expected
    system = prompts_of(Asked(), num_fewshot=2, system_instruction="Be brief.")
    assert system == [f"Be brief.{prompt}" for prompt in expected]


TURNS = "".join(f"[user]{user}[assistant]{said}" for user, said in (FIRST, SECOND))


@pytest.mark.parametrize(
    ("model", "flags"),
    [
        (Bound, {}),
        (Bound, {"fewshot_as_multiturn": None}),  # what lm-eval's command line says without a flag
        (Bound, {"apply_chat_template": True}),
        (Chatty, {"apply_chat_template": True}),  # as --model hf
    ],
)
def test_with_a_chat_template_they_are_earlier_turns(model, flags):
    asked = prompts_of(model(), num_fewshot=2, **flags)
    assert asked == [f"{TURNS}[user]{question(number)}[assistant]<reasoning>" for number in (0, 1)]
    system = prompts_of(model(), num_fewshot=2, system_instruction="Be brief.", **flags)
    assert system == [f"[system]Be brief.{prompt}" for prompt in asked]


@pytest.mark.parametrize("model", [Bound, Chatty])
def test_or_one_turn_with_the_question_if_asked_for(model):
    flags = {"apply_chat_template": True, "fewshot_as_multiturn": False}
    examples = "".join(f"{user}\n{said}\n\n" for user, said in (FIRST, SECOND))
    (first, _) = prompts_of(model(), num_fewshot=2, **flags)
    assert first == f"[user]{examples}{question()}[assistant]<reasoning>"


@pytest.mark.parametrize("flags", [{}, {"num_fewshot": 0}])
@pytest.mark.parametrize("model", [Asked, Bound])
def test_none_unless_asked_for(model, flags):
    assert all(prompt.count("Puzzle:") == 1 for prompt in prompts_of(model(), **flags))


def test_a_plain_answer_ends_where_the_next_question_would_begin():
    for model in (Asked(), Bound()):
        evaluate(model, [SUDOKU], num_fewshot=1)
        until = model.requests[0].args[1].get("until", [])
        assert until == ([] if isinstance(model, Bound) else [f"\n\n{ASK}"])
    plain = Asked()
    evaluate(plain, [SUDOKU])
    assert plain.requests[0].args[1]["until"] == []


# ---------------------------------------------------------------- which examples


def test_the_seed_draws_them_and_more_begin_with_the_fewer():
    five = load_task(SUDOKU).examples(5)
    assert five[:2] == [FIRST, SECOND] and len(set(five)) == 5
    (drawn, _) = prompts_of(Asked(), num_fewshot=1, fewshot_random_seed=7)
    assert FIRST[0] not in drawn and drawn.count("Puzzle:") == 2
    (unseeded, _) = prompts_of(Asked(), num_fewshot=1, fewshot_random_seed=None)
    assert unseeded.startswith(FIRST[0])


def test_the_results_say_how_many():
    found = evaluate(Bound(), [SUDOKU, COUNTDOWN], num_fewshot=3, fewshot_random_seed=5)
    assert found["n-shot"] == {SUDOKU: 3, COUNTDOWN: 3}
    assert found["configs"][SUDOKU]["num_fewshot"] == 3 and found["config"]["fewshot_seed"] == 5
    assert evaluate(Bound(), [SUDOKU])["n-shot"] == {SUDOKU: 0}


@pytest.mark.parametrize("name", [SUDOKU, COUNTDOWN, "lift_gsm8k", "lift_countdown", "lift_sudoku"])
def test_their_answers_are_right_and_no_question_is_asked(shared, monkeypatch, name):
    monkeypatch.setenv("LIFT_DATA_DIR", str(shared / "data"))
    task = load_task(name)
    asked = list(task.eval_docs)
    for seed in (SEED, 2):
        drawn = list(islice(task.worked.source(seed, asked), 20))
        assert len(drawn) == 20
        for doc, response in drawn:
            _, metrics = judge(task.benchmark, doc, [prompts.GEN_PREFIX + response])
            acc, format_ = metrics["acc"], metrics["format"]
            assert (acc[0] / acc[1] if isinstance(acc, tuple) else acc) == format_ == 1.0
            assert not any(same_problem(doc, other) for other in asked)


def same_problem(doc, other):
    if "Puzzle" in doc:  # the grid is the answer, whatever is empty
        return doc["Solution"] == other["Solution"]
    if "input" in doc:
        numbers = sorted(doc["input"].split(",")), sorted(other["input"].split(","))
        return numbers[0] == numbers[1] and doc["output"] == other["output"]
    return doc["question"] == other["question"]


def test_those_of_gsm8k_are_training_questions(shared, monkeypatch):
    monkeypatch.setenv("LIFT_DATA_DIR", str(shared / "data"))
    train = {row["question"] for row in data.load("gsm8k_train")}
    for user, said in load_task("lift_gsm8k").examples(5):
        assert user.removeprefix(prompts.INSTRUCTIONS["gsm8k"] + "\n\n") in train
        assert "<<" not in said and said.startswith("<reasoning>")


def test_published_puzzles_have_examples_of_their_size(shared, monkeypatch):
    monkeypatch.setenv("LIFT_DATA_DIR", str(shared / "data"))
    for user, _ in load_task("lift_sudoku", metadata={"subset": "all"}).examples(10):
        assert user.rpartition(" ")[2].count("0") == 8
    numbers = [
        user.partition("[")[2].partition("]")[0] for user, _ in load_task("lift_countdown").examples(10)
    ]
    assert {len(text.split(", ")) for text in numbers} == {3}
    assert max(int(number) for text in numbers for number in text.split(", ")) > 50


# ---------------------------------------------------------------- the user's own


def test_examples_from_a_file_in_its_order(tmp_path):
    ours = [{"question": f"Q{i}", "reasoning": f"R{i}", "answer": f"A{i}"} for i in range(3)]
    path = tmp_path / "examples.json"
    path.write_text(json.dumps({SUDOKU: ours}), encoding="utf-8")
    found = evaluate(bound := Bound(), [SUDOKU, COUNTDOWN], {"examples": str(path)}, num_fewshot=2)
    turns = [
        f"[user]{ASK}\n\nQ{i}[assistant]<reasoning>R{i}</reasoning>\n<answer>\nA{i}\n</answer>"
        for i in (0, 1)
    ]
    asked = {request.task_name: request.args[0] for request in bound.requests if request.doc_id == 0}
    assert asked[SUDOKU] == f"{turns[0]}{turns[1]}[user]{question()}[assistant]<reasoning>"
    assert asked[COUNTDOWN].count("Target:") == 3
    assert found["configs"][SUDOKU]["metadata"]["examples"] == str(path)
    with pytest.raises(LiftError, match="num_fewshot=4: the file of examples has 3; lower it"):
        load_task(SUDOKU, metadata={"examples": {SUDOKU: ours}}, num_fewshot=4)


def test_a_task_without_training_questions_takes_the_users(shared, monkeypatch):
    monkeypatch.setenv("LIFT_DATA_DIR", str(shared / "data"))
    one = {"question": "1 + 1?", "reasoning": "Add.", "answer": r"\boxed{2}"}
    task = load_task("lift_math500", metadata={"examples": {"lift_math500": [one]}}, num_fewshot=1)
    assert task.examples(1)[0][0].endswith("\n\n1 + 1?")


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize("name", ["lift_math500", "lift_aime24", "lift_humaneval", "lift_mbpp"])
def test_where_there_are_none_it_is_one_line_that_says_who_has_some(shared, monkeypatch, name):
    monkeypatch.setenv("LIFT_DATA_DIR", str(shared / "data"))
    message = (
        f"{name}: num_fewshot=5: there are no training questions for it, only for lift_countdown, "
        "lift_countdown_mini, lift_gsm8k, lift_gsm8k_plain, lift_math500_plain, lift_mbpp_plain, "
        "lift_sudoku, lift_sudoku_mini; give your own, --metadata examples="
    )
    with pytest.raises(LiftError) as error:
        evaluate(model := Asked(), [name], num_fewshot=5)
    assert str(error.value).startswith(message) and "\n" not in str(error.value)
    assert not model.requests


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (-1, "num_fewshot=-1: give a whole number"),
        (1.5, "num_fewshot=1.5: give"),
        (True, "num_fewshot=True: give"),
    ],
)
def test_numbers_that_are_none(number, message):
    with pytest.raises(LiftError, match=message):
        load_task(SUDOKU, num_fewshot=number)


def test_more_than_there_are(monkeypatch):
    task = load_task(COUNTDOWN)
    monkeypatch.setattr(countdown, "generate", lambda *_: iter([{"input": "1,2,3", "output": "6"}]))
    with pytest.raises(LiftError, match="num_fewshot=3: there are 1 examples; lower it"):
        task.examples(3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        ("{", "not JSON"),
        ("[1]", "not a JSON object"),
        (
            '{"lift_sudoku_mini": [{"question": "Q"}]}',
            r"lift_sudoku_mini\[0\]: give texts: question, reasoning",
        ),
        ('{"lift_sudoku_mimi": []}', "no task 'lift_sudoku_mimi': did you mean lift_sudoku_mini"),
        ('{"lift_sudoku_mini": "Q"}', r"lift_sudoku_mini\[0\]: give texts"),
    ],
)
def test_files_that_are_none(tmp_path, content, message):
    path = tmp_path / "examples.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(LiftError, match=message) as error:
        load_task(SUDOKU, metadata={"examples": str(path)})
    assert str(path) in str(error.value) and "\n" not in str(error.value)
