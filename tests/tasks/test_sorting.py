"""Digits to be sorted: right, distinct, apart from the training lists, and asked as in training."""

from itertools import islice

import pytest

from lift_harness.tasks import sorting
from lift_harness.tasks.mini_data import sort_items
from lift_harness.tasks.protocol import load_task
from lift_harness.training.sources.synthetic import generated


@pytest.fixture(scope="module")
def task():
    return load_task("lift_sort_mini")


@pytest.mark.parametrize("split", ["train", "test"])
def test_lists_are_sorted_and_distinct(split):
    docs = list(islice(sorting.generate(split, 5), 2000))
    assert all(sorted(doc["list"].split()) == doc["answer"].split() for doc in docs)
    assert all(len(doc["list"].split()) == sorting.LENGTH for doc in docs)
    assert len({doc["list"] for doc in docs}) == 2000


def test_no_answer_is_in_both_splits():
    train, test = map(set, map(sorting.split_answers, ("train", "test")))
    assert not train & test and len(train | test) == 1287 and len(test) == sorting.N_TEST


def test_a_generator_ends_where_no_list_is_left(monkeypatch):
    monkeypatch.setattr(sorting, "split_answers", lambda split: ("11112",))
    assert {doc["list"] for doc in sorting.generate("test", 0)} == {
        " ".join("2" if i == j else "1" for j in range(5)) for i in range(5)
    }


def test_the_training_data_ask_as_the_task_does(task):
    trained = {record.response for record in generated("sort", 500, seed=12)}
    record = generated("sort", 1, seed=12)[0]
    doc = {"kind": "sort", "list": record.user.rpartition(": ")[2], "answer": ""}
    assert task.doc_to_text(doc) == record.user and task.config.gen_prefix == record.prefix
    assert not trained & {f"{doc['answer']}</answer>" for doc in sort_items()}


def test_verdicts(task):
    doc = next(iter(task.eval_docs))
    right = f"{doc['answer']}</answer>"
    assert task.process_results(dict(doc), [[right]])["acc"] == 1
    assert task.process_results(dict(doc), [[f"{doc['answer'][::-1]}</answer>"]])["acc"] == 0
    assert task.process_results(dict(doc), [[right.replace(" ", "", 1)]])["acc"] == 0
