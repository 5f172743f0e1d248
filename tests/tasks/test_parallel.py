"""Lists and squares that break under parallel decoding: their items by brute force, and the breaking pace."""

import json
import subprocess
import sys
from hashlib import sha256
from itertools import islice, permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_harness.tasks import mini_data, parallel
from lift_harness.tasks.catalog import expand, task_config
from lift_harness.tasks.protocol import load_task
from lift_harness.tasks.scoring.score_parallel import BENCHMARK

KINDS = st.sampled_from(list(parallel.RULES))
NAMES = [f"lift_parallel_{kind}" for kind in parallel.RULES]


def brute_force(kind, items):
    """Every right answer, of all arrangements of the items."""
    if kind == "latin":
        rows = list(permutations(items))
        for square in product(rows, repeat=len(items) - 1):
            lines = [tuple(items), *square]
            if all(len(set(column)) == len(items) for column in zip(*lines, strict=True)):
                yield tuple(cell for line in lines for cell in line)
        return
    for answer in permutations(items):
        right = {
            "copy": answer == tuple(items),
            "reverse": answer[::-1] == tuple(items),
            "sort": all(int(a) < int(b) for a, b in zip(answer, answer[1:], strict=False)),
            "shuffle": all(a != b for a, b in zip(items, answer, strict=True)),
        }
        if right[kind]:
            yield answer


@settings(max_examples=12, deadline=None)
@given(KINDS, st.integers(0, 2**32))
def test_generated_answers_are_right_and_no_item_comes_twice(kind, seed):
    items = list(islice(parallel.generate(kind, seed), 100))
    assert len({one["list"] for one in items}) == 100
    for one in items:
        asked, answer = one["list"].split(" "), one["answer"].split(" ")
        assert len(set(asked)) == len(asked) == (parallel.SIDE if kind == "latin" else parallel.LENGTH)
        assert parallel.is_right(kind, asked, answer)
        assert BENCHMARK.score(one, f"<answer>{one['answer']}</answer>") == {"acc": 1.0}


@pytest.mark.parametrize("kind", parallel.RULES)
def test_right_is_what_brute_force_finds(kind):
    items = ["A", "B", "C", "D"] if kind == "latin" else ["31", "15", "92", "65", "35"]
    right = set(brute_force(kind, items))
    assert len(right) == {"latin": 24, "shuffle": 44}.get(kind, 1)  # 576 squares over 4!, derangements of 5
    if kind == "latin":
        tried = product(permutations(items), repeat=3)
        answers = ((*items, *(cell for line in lines for cell in line)) for lines in tried)
    else:
        answers = permutations(items)
    assert {answer for answer in answers if parallel.is_right(kind, items, answer)} == right
    random = np.random.default_rng(0)
    assert all(tuple(parallel.solve(kind, items, random)) in right for _ in range(50))


@settings(max_examples=60, deadline=None)
@given(KINDS, st.integers(0, 999), st.data())
def test_an_answer_with_one_item_changed_or_left_out_is_wrong(kind, seed, data):
    one = next(parallel.generate(kind, seed))
    answer = one["answer"].split(" ")
    place = data.draw(st.integers(0, len(answer) - 1))
    other = data.draw(st.sampled_from([item for item in [*answer, "XX"] if item != answer[place]]))
    for wrong in ([*answer[:place], other, *answer[place + 1 :]], answer[:place] + answer[place + 1 :]):
        assert BENCHMARK.score(one, f"<answer>{' '.join(wrong)}</answer>") == {"acc": 0.0}


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("<answer>12 34</answer> 56", ["12", "34"]),
        ("thoughts 9 <answer>12, 34\n56", ["12", "34", "56"]),
        ("[12, 34]<|endoftext|>56", ["12", "34"]),
        ("", []),
    ],
)
def test_what_is_read(text, items):
    from lift_harness.tasks.scoring.score_parallel import extract

    assert extract(text) == items


def digest():
    items = [mini_data.parallel_items(kind) for kind in parallel.RULES]
    return sha256(json.dumps(items).encode()).hexdigest()


def test_items_are_the_same_in_every_process():
    """And those of the release: the digest is that of the first day."""
    code = "import sys; sys.path[:0] = ['tests', 'tests/tasks']; import test_parallel as t; print(t.digest())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == digest() == DIGEST


DIGEST = "b72e24656c7915a153a7c002fdeb103d2500e6b4c565e10bd8c6dc4a060c1f9b"


def test_the_tasks():
    assert expand(["lift_parallel_mini"]) == NAMES
    for name in NAMES:
        assert task_config(name)["metadata"]["decoding"]["steps"] == 64
    task = load_task("lift_parallel_latin")
    assert len(task.eval_docs) == mini_data.N_ITEMS // 2
    doc = task.eval_docs[0]
    assert task.doc_to_text(doc).endswith(f"{parallel.RULES['latin']}\nList: {doc['list']}")
    assert task.process_results(dict(doc), [[doc["answer"]]])["acc"] == 1


# ---------------------------------------------------------------- the pace


@pytest.mark.parametrize(
    ("points", "pace"),
    [
        ([(1, 1.0), (2, 1.0), (4, 0.8)], 3.0),  # 0.9 is half way
        ([(4, 0.8), (2, 1.0), (1, 1.0)], 3.0),  # in any order
        ([(1, 1.0), (2, 0.9), (4, 0.7)], 2.0),  # 0.9 still holds
        ([(1, 0.5), (2, 0.4), (4, 1.0)], 1.5),  # of that at the slowest; the first fall counts
        ([(1, 1.0), (1, 0.8), (3, 0.9), (3, 0.0)], 1 + 2 * 0.09 / 0.45),  # the mean of several at a pace
        ([(1, 1.0), (2, 0.95)], None),
        ([(1, 0.0), (2, 0.0)], None),
        ([(1, 1.0)], None),
        ([], None),
    ],
)
def test_the_pace_at_which_accuracy_breaks(points, pace):
    found = parallel.breaking_pace(points)
    assert found is None if pace is None else found == pytest.approx(pace)


@given(
    st.dictionaries(st.integers(1, 64), st.floats(0, 1), min_size=2, max_size=8),
    st.floats(0.1, 1),
)
def test_the_breaking_pace_lies_where_accuracy_falls(curve, kept):
    found, paces = parallel.breaking_pace(curve.items(), kept), sorted(curve)
    least = kept * curve[paces[0]]
    fallen = [pace for pace in paces[1:] if curve[pace] < least]
    if not fallen or curve[paces[0]] <= 0:
        assert found is None
    else:
        before = max(pace for pace in paces if pace < fallen[0])
        assert before <= found <= fallen[0]
