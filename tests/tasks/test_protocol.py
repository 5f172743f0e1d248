"""The mini tasks through lm-eval, with models that return canned answers: what they score is known."""

import gzip
import json
import logging
import math
import socket
from hashlib import sha256
from itertools import count
from pathlib import Path

import lm_eval
import pytest
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager

import lift_harness.tasks
from lift_harness.errors import LiftError
from lift_harness.tasks import countdown, mini_data, prompts
from lift_harness.tasks.benchmarks import load_benchmark
from lift_harness.tasks.catalog import decoding_settings, task_names
from lift_harness.tasks.protocol import load_task
from lift_harness.tasks.wording import Wording

FOLDER = next(iter(lift_harness.tasks.__path__))
SUDOKU, COUNTDOWN = "lift_sudoku_mini", "lift_countdown_mini"


class Canned(LM):
    """Answers the i-th request with `answer(doc, i)`, i counting the samples of one problem."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer
        self.requests = []

    def generate_until(self, requests, disable_tqdm=False):
        self.requests = requests
        samples = {}
        return [self.answer(r.doc, next(samples.setdefault(r.doc_id, count()))) for r in requests]

    def loglikelihood(self, requests):
        raise NotImplementedError

    loglikelihood_rolling = loglikelihood


class Chatty(Canned):
    """A model whose chat template the tasks are to use."""

    tokenizer_name = "chatty"

    def apply_chat_template(self, chat_history, add_generation_prompt=True):
        turns = [f"[{turn['role']}]{turn['content']}" for turn in chat_history]
        return "".join(turns) + ("[assistant]" if add_generation_prompt else "")

    @property
    def protocol_chat_template(self):
        return self.apply_chat_template


def gold(doc, sample=0):
    if "Solution" in doc:
        return prompts.response("", doc["Solution"])
    numbers = tuple(map(int, doc["input"].split(",")))
    return prompts.response("", rf"\boxed{{{countdown.solve(numbers, int(doc['output'])).text}}}")


def wrong(doc, sample=0):
    return prompts.response("", doc.get("Puzzle", r"\boxed{1+1}"))


def manager(metadata=None):
    return TaskManager(include_path=FOLDER, include_defaults=False, metadata=metadata)


@pytest.fixture(autouse=True)
def _no_environment_report(monkeypatch):
    """lm-eval runs `pip list` for its results file: seconds, and nothing to do with tasks."""
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda storage: None)


def evaluate(model, tasks, metadata=None, **kwargs):
    kwargs = {"limit": 8, "bootstrap_iters": 10, **kwargs}
    return lm_eval.simple_evaluate(model, tasks=tasks, task_manager=manager(metadata), **kwargs)


# ---------------------------------------------------------------- data


@pytest.mark.parametrize(
    ("items", "digest"),
    [
        (mini_data.sudoku_items, "e855bac90d3cb2c81470a7eb0976228a7cf61b36f557ebe652c23bc0c3fd584a"),
        (mini_data.countdown_items, "402f381d689352f3adf5795aae0842909c3afa4532b61e6c2bdd54d093635089"),
    ],
)
def test_the_items_are_the_same_on_every_machine(items, digest):
    lines = [json.dumps(item, sort_keys=True) for item in items()]
    assert len(set(lines)) == 256
    assert sha256("\n".join(lines).encode()).hexdigest() == digest


def test_the_data_come_from_memory(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a task went to the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    task = manager().load(SUDOKU)["tasks"][SUDOKU]
    assert len(task.eval_docs) == 256
    assert task.eval_docs.cache_files == []  # nothing in the datasets cache


# ---------------------------------------------------------------- scores


def test_gold_answers_score_one_and_wrong_answers_zero():
    for answer, value in ((gold, 1.0), (wrong, 0.0)):
        results = evaluate(Canned(answer), ["lift_mini"])["results"]
        assert results[SUDOKU]["acc,none"] == results[SUDOKU]["solved,none"] == value
        assert results[COUNTDOWN]["acc,none"] == value
        assert results[SUDOKU]["format,none"] == results[COUNTDOWN]["format,none"] == 1.0
        assert set(results["lift_mini"]) <= {"name", "alias"}  # no average over the two
        assert not any("@" in key for task in results.values() for key in task)


def test_sudoku_acc_is_a_share_of_cells_over_all_puzzles():
    def first_empty_cell_only(doc, sample):
        cell = doc["Puzzle"].index("0")
        return prompts.response("", doc["Puzzle"][:cell] + doc["Solution"][cell] + doc["Puzzle"][cell + 1 :])

    found = evaluate(Canned(first_empty_cell_only), [SUDOKU])
    empty = sum(item["Puzzle"].count("0") for item in mini_data.sudoku_items()[:8])
    assert found["results"][SUDOKU]["acc,none"] == 8 / empty
    assert found["results"][SUDOKU]["solved,none"] == 0.0


@pytest.mark.parametrize("name", [SUDOKU, COUNTDOWN])
def test_samples_give_pass_at_k(name):
    """Six samples a problem: problem i gets its first i (0 to 3) right, so pass@2 is 1 - C(6-i, 2)/15."""
    order = [json.dumps(doc) for doc in load_task(name).eval_docs]

    def first_few_right(doc, sample):
        return (gold if sample < order.index(json.dumps(doc)) % 4 else wrong)(doc)

    found = evaluate(Canned(first_few_right), [load_task(name, repeats=6)])
    results = found["results"][name]
    assert results["pass@1,none"] == results["avg@6,none"] == pytest.approx((0 + 1 + 2 + 3) / 24)
    assert results["pass@2,none"] == pytest.approx(
        1 - sum(math.comb(6 - i, 2) for i in range(4)) / 4 / math.comb(6, 2)
    )
    assert results["pass@6,none"] == 0.75
    assert results["pass@4_stderr,none"] > 0
    assert found["higher_is_better"][name]["pass@4"] is True
    if name == COUNTDOWN:
        assert results["acc,none"] == pytest.approx(0.25)
    else:
        assert results["solved,none"] == pytest.approx(0.25)


def test_the_sample_log_keeps_every_response_and_its_verdict():
    def every_other(doc, sample):
        return (gold if sample % 2 else wrong)(doc)

    found = evaluate(Canned(every_other), [load_task(SUDOKU, repeats=4)], limit=2)
    for line, item in zip(found["samples"][SUDOKU], mini_data.sudoku_items(), strict=False):
        empty = item["Puzzle"].count("0")
        assert line["resps"] == line["filtered_resps"] == [[wrong(item), gold(item)] * 2]
        assert line["doc"] == {**item, "verdicts": line["doc"]["verdicts"]}
        assert line["doc"]["verdicts"]["n_samples"] == 4
        assert line["doc"]["verdicts"]["n_correct"] == 2
        assert line["doc"]["verdicts"]["solved"] == [0.0, 1.0, 0.0, 1.0]
        assert line["acc"] == (2 * empty, 4 * empty)
        assert line["target"] == item["Solution"]
        json.dumps(line)
    assert not any(key.startswith(("n_samples", "verdicts")) for key in found["results"][SUDOKU])


def test_verdicts_do_not_change_the_document_hash():
    hashes = [evaluate(Canned(a), [SUDOKU], limit=1)["samples"][SUDOKU][0]["doc_hash"] for a in (gold, wrong)]
    assert hashes[0] == hashes[1]


def test_responses_beyond_repeats_are_dropped():
    """On several ranks lm-eval runs the last request again as padding, and appends to its responses."""
    task = load_task(COUNTDOWN, repeats=2)
    task.build_all_requests(limit=1)
    (request,) = task.instances
    request.resps = [wrong(request.doc), gold(request.doc), gold(request.doc), gold(request.doc)]
    task.apply_filters()
    metrics = task.process_results(dict(request.doc), [request.filtered_resps["none"]])
    assert metrics["pass@1"] == 0.5 and metrics["pass@2"] == 1.0


def test_settings_given_inside_a_group_and_on_the_task():
    spec = {"group": "mine", "task": [{"task": SUDOKU, "repeats": 2}]}
    assert "pass@2,none" in evaluate(Canned(gold), [spec], limit=2)["results"][SUDOKU]
    task = manager().load(COUNTDOWN)["tasks"][COUNTDOWN]
    task.set_config("repeats", 3)
    assert "pass@3,none" in evaluate(Canned(gold), [task], limit=2)["results"][COUNTDOWN]


def test_predict_only_scores_nothing():
    found = evaluate(Canned(gold), [load_task(SUDOKU, repeats=2)], limit=1, predict_only=True)
    assert found["samples"][SUDOKU][0]["resps"][0] == [gold(mini_data.sudoku_items()[0])] * 2
    assert not any(key.startswith(("acc", "pass")) for key in found["results"][SUDOKU])


def test_samples_that_are_one_text_are_said_in_the_results(caplog):
    with caplog.at_level(logging.WARNING, "lm_eval"):
        scores = evaluate(Canned(gold), [load_task(SUDOKU, repeats=4)], limit=3)
    assert scores["configs"][SUDOKU]["metadata"]["not_sampled"] == {"answers": 12, "distinct_texts": 3}
    assert "the 4 answers to each problem are one text (3 distinct texts of 12)" in caplog.text
    varied = Canned(lambda doc, sample: gold(doc) if sample else wrong(doc))
    scores = evaluate(varied, [load_task(SUDOKU, repeats=4)], limit=3)
    assert "not_sampled" not in scores["configs"][SUDOKU]["metadata"]
    scores = evaluate(Canned(gold), [load_task(SUDOKU)], limit=3)  # one answer a problem
    assert "not_sampled" not in scores["configs"][SUDOKU]["metadata"]


# ---------------------------------------------------------------- prompts


def question():
    return prompts.sudoku_question(mini_data.sudoku_items()[0]["Puzzle"])


def prompt_of(model, task, **kwargs):
    task.bind(model, False)
    line = evaluate(model, [task], limit=1, **kwargs)["samples"][SUDOKU][0]
    assert model.requests[0].args == line["arguments"][0]
    return line["arguments"][0][0]


def test_without_a_chat_template():
    expected = f"{prompts.INSTRUCTIONS['sudoku']}\n\n{question()}\n<reasoning>"
    assert prompt_of(Canned(gold), load_task(SUDOKU)) == expected


def test_a_bound_chat_template_is_used_and_equals_lm_evals_flag():
    expected = f"[user]{prompts.INSTRUCTIONS['sudoku']}\n\n{question()}[assistant]<reasoning>"
    assert prompt_of(Chatty(gold), load_task(SUDOKU)) == expected
    assert prompt_of(Chatty(gold), load_task(SUDOKU), apply_chat_template=True) == expected
    asked = prompt_of(Chatty(gold), load_task(SUDOKU), system_instruction="Be brief.")
    assert asked == "[system]Be brief." + expected


def test_the_template_of_another_model_needs_lm_evals_flag():
    class Quiet(Chatty):
        protocol_chat_template = None

    plain = prompt_of(Quiet(gold), load_task(SUDOKU))
    assert plain == f"{prompts.INSTRUCTIONS['sudoku']}\n\n{question()}\n<reasoning>"
    flagged = prompt_of(Quiet(gold), load_task(SUDOKU), apply_chat_template=True)
    assert flagged.startswith("[user]") and flagged.endswith("[assistant]<reasoning>")


def test_a_model_bound_before_is_forgotten():
    task = load_task(SUDOKU)
    task.bind(Chatty(gold), False)
    assert not prompt_of(Canned(gold), task).startswith("[user]")


def test_the_request_is_the_protocols():
    model = Canned(gold)
    evaluate(model, [SUDOKU, COUNTDOWN], limit=1)
    for request in model.requests:
        limit = 40 if request.task_name == SUDOKU else 32
        assert request.args[1] == {"until": [], "max_gen_toks": limit}


def test_prompts_from_a_file(tmp_path):
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps({SUDOKU: "Solve this."}), encoding="utf-8")
    model = Canned(gold)
    found = evaluate(model, [SUDOKU, COUNTDOWN], metadata={"prompts": str(path)}, limit=1)
    asked = {request.task_name: request.args[0] for request in model.requests}
    assert asked[SUDOKU] == f"Solve this.\n\n{question()}\n<reasoning>"
    assert asked[COUNTDOWN].startswith(prompts.INSTRUCTIONS["countdown"])
    assert found["configs"][SUDOKU]["metadata"]["instruction"] == "Solve this."
    assert found["configs"][SUDOKU]["metadata"]["prompts"] == str(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        ("{", "not JSON"),
        ("[1]", "not a JSON object"),
        ('{"lift_sudoku_mimi": "x"}', "no task 'lift_sudoku_mimi': did you mean lift_sudoku_mini"),
        ('{"lift_sudoku_mini": 3}', "must be a text, not 3"),
        ('{"lift_sudoku_mini": " "}', "must be a text"),
        ("\udcff", "not UTF-8"),
        ('{"lift_sudoku_mini": {"instruction": 3}}', "the instruction of lift_sudoku_mini must be a text"),
        ('{"lift_sudoku_mini": {"questoin": "x"}}', "no key 'questoin': did you mean question"),
        ('{"lift_sudoku_mini": {"question": "{puzle}"}}', "no part {puzle} of a row: did you mean puzzle"),
        ('{"lift_sudoku_mini": {"question": "{Solution}"}}', "no part {Solution} of a row"),
        ('{"lift_sudoku_mini": {"question": "{puzzle!r}"}}', "no part {puzzle} of a row"),
        ('{"lift_sudoku_mini": {"question": "{puzzle.__class__}"}}', "no part {puzzle.__class__} of a row"),
        ('{"lift_sudoku_mini": {"question": "{}"}}', "no part {} of a row"),
        (
            '{"lift_sudoku_mini": {"question": "Solve it."}}',
            "names no part of a row; known: question, puzzle",
        ),
        ('{"lift_sudoku_mini": {"question": "{puzzle"}}', "write {{ and }} for braces"),
    ],
)
def test_bad_prompt_files_are_one_line_errors(tmp_path, content, message):
    path = tmp_path / "prompts.json"
    if content is not None:
        path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(LiftError, match=message) as error:
        manager({"prompts": str(path)}).load(SUDOKU)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("words", "user"),
    [
        ({"question": "Solve the grid {puzzle}\n"}, "{own}\n\nSolve the grid {puzzle}\n"),
        ({"instruction": "Go."}, "Go.\n\nPuzzle: {puzzle}"),
        ({"instruction": "Go {here}.", "question": "{{{puzzle}}} of {question}"}, None),
    ],
)
def test_a_file_may_word_the_question_too(tmp_path, words, user):
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps({SUDOKU: words}), encoding="utf-8")
    task, doc = load_task(SUDOKU, metadata={"prompts": str(path)}), mini_data.sudoku_items()[0]
    puzzle = doc["Puzzle"]
    if user is None:
        assert task.doc_to_text(doc) == f"Go {{here}}.\n\n{{{puzzle}}} of Puzzle: {puzzle}"
    else:
        assert task.doc_to_text(doc) == user.format(own=prompts.INSTRUCTIONS["sudoku"], puzzle=puzzle)
    assert task.config.metadata["question"] == words.get("question", "{question}")


def test_parts_of_a_row_may_be_named():
    words = {COUNTDOWN: {"question": "{target} from {numbers}"}}
    doc = {"input": "30,100,93", "output": "23"}
    asked = load_task(COUNTDOWN, metadata={"prompts": words}).doc_to_text(doc)
    assert asked.endswith("\n\n23 from [30, 100, 93]")
    row = {"prompt": "Write {it}.", "test_list": ["assert 1", "assert {2}"]}
    benchmark = load_benchmark("mbpp")
    assert benchmark.parts_of(row) == {
        "question": "Write {it}.\n\nassert 1\nassert {2}",
        "prompt": "Write {it}.",
        "tests": "assert 1\nassert {2}",
    }
    assert Wording("", "{prompt}: {tests}").turn(benchmark, row) == "Write {it}.: assert 1\nassert {2}"


def test_the_questions_of_a_published_protocol(shared, monkeypatch):
    """What d1's recordings were asked, from a file that words one task's question."""
    with gzip.open(
        shared / "recorded" / "llada_8b_instruct_gen128.jsonl.gz", "rt", encoding="utf-8"
    ) as lines:
        recorded = [json.loads(line) for line in lines]
    monkeypatch.setenv("LIFT_DATA_DIR", str(shared / "data"))
    words = {"lift_sudoku": {"instruction": "I", "question": "Solve the following Sudoku puzzle: {puzzle}\n"}}
    words |= {f"lift_{name}": "I" for name in ("gsm8k", "math500", "countdown")}
    counts = {"gsm8k": (1130, 1319), "math500": (500, 500), "countdown": (256, 256), "sudoku": (256, 256)}
    for name, (known, asked) in counts.items():
        task = load_task(f"lift_{name}", metadata={"prompts": words})
        ours = [task.doc_to_text(doc) for doc in task.eval_docs]
        theirs = {f"I\n\n{row['question']}" for row in recorded if row["task"] == name}
        assert (len(theirs), len(ours)) == (known, asked) and theirs <= set(ours)


# ---------------------------------------------------------------- settings


def test_every_task_has_settings_that_fit_its_yaml():
    minis = sorted(path.stem for path in Path(FOLDER).rglob("lift_*_mini.yaml"))
    assert minis == [COUNTDOWN, "lift_parallel_mini", "lift_sort_mini", SUDOKU]
    assert {COUNTDOWN, SUDOKU} <= set(task_names())
    for name in (COUNTDOWN, SUDOKU):
        settings = decoding_settings(name)
        assert settings["gen_length"] == load_task(name).config.generation_kwargs["max_gen_toks"]
        assert settings["gen_length"] == 2 * settings["steps"]
        assert settings["gen_length"] % settings["block_length"] == 0
    assert all("gen_length" in decoding_settings(name) for name in task_names())
    assert decoding_settings("gsm8k") == {}


def test_settings_that_are_none_are_one_line():
    spec = {"group": "mine", "task": [{"task": SUDOKU, "metadata": {"decoding": "fast"}}]}
    with pytest.raises(LiftError, match="lift_sudoku_mini: metadata: decoding: 'fast': give settings"):
        manager().load([spec])


def test_settings_are_copies():
    decoding_settings(SUDOKU)["steps"] = 1
    assert decoding_settings(SUDOKU)["steps"] == 20


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: load_task("lift_sudoku_min"), "no task 'lift_sudoku_min': did you mean lift_sudoku_mini"),
        (lambda: load_task(SUDOKU, repeat=2), "no setting 'repeat': did you mean repeats"),
        (lambda: load_task(SUDOKU, repeats=0).build_all_requests(limit=1), "repeats: 0"),
    ],
)
def test_bad_calls_are_one_line_errors(call, message):
    with pytest.raises(LiftError, match=message):
        call()
