"""The Countdown generator and solver against a brute force over orders, operations and bracketings."""

from fractions import Fraction
from itertools import islice, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lift_harness.tasks import countdown
from lift_harness.tasks.scoring.score_countdown import evaluate


def bracketings(ordered):
    """(value, all intermediate results) of every tree over the numbers in this order."""
    if len(ordered) == 1:
        return [(Fraction(ordered[0]), [])]
    found = []
    for cut in range(1, len(ordered)):
        for a, results_a in bracketings(ordered[:cut]):
            for b, results_b in bracketings(ordered[cut:]):
                for value in (a + b, a - b, a * b, a / b if b else None):
                    if value is not None:
                        found.append((value, [*results_a, *results_b, value]))
    return found


def brute_force(numbers, largest):
    """Every value reached with all intermediate results whole and within 1 to `largest`."""
    trees = (tree for order in set(permutations(numbers)) for tree in bracketings(order))
    return {v for v, results in trees if all(r.denominator == 1 and 1 <= r <= largest for r in results)}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=2, max_size=3), st.sampled_from([20, 99]))
def test_reaches_what_brute_force_reaches(numbers, largest):
    assert {e.value for e in countdown.reachable(tuple(numbers), largest)} == brute_force(numbers, largest)


def test_reaches_what_brute_force_reaches_with_four_numbers():
    assert {e.value for e in countdown.reachable((3, 7, 8, 2), 99)} == brute_force((3, 7, 8, 2), 99)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=2, max_size=4))
def test_texts_and_steps_say_the_value(numbers):
    for expression in islice(countdown.reachable(tuple(numbers)), 200):
        value, used = evaluate(expression.text)
        assert value == expression.value
        assert eval(expression.text) == pytest.approx(expression.value)  # Python's reading of the brackets
        assert sorted(used) == sorted(numbers)
        for step in expression.steps:
            left, _, right = step.partition("=")
            assert evaluate(left)[0] == int(right)
        assert expression.steps[-1].endswith(f"={expression.value}")


def test_solve_finds_the_simplest_or_nothing():
    assert countdown.solve((3, 5, 2), 10).text == "5+2+3"
    assert countdown.solve((7, 8, 3), 59).text == "8*7+3"
    assert countdown.solve((1, 1), 99) is None
    assert countdown.reasoning(countdown.solve((7, 8, 3), 59)) == " 8*7=56 56+3=59"


@pytest.mark.parametrize(("split", "count"), [("train", 3), ("test", 3), ("test", 4)])
def test_generated_puzzles_can_be_solved_and_keep_to_their_bounds(split, count):
    for doc in islice(countdown.generate(split, 4, count), 30 if count == 3 else 3):
        numbers, target = tuple(map(int, doc["input"].split(","))), int(doc["output"])
        assert len(numbers) == count and all(1 <= n <= 20 for n in numbers)
        assert 1 <= target <= 99 and target not in numbers
        assert target in brute_force(numbers, 99)


def test_train_and_test_share_no_puzzle_whatever_the_order_of_numbers():
    def puzzles(split, seed):
        docs = islice(countdown.generate(split, seed), 150)
        return {(*sorted(map(int, doc["input"].split(","))), int(doc["output"])) for doc in docs}

    for seed in (0, 1):
        train, test = puzzles("train", seed), puzzles("test", seed)
        assert len(train) == len(test) == 150 and not train & test


def test_a_seed_is_a_sequence():
    first, again, other = (list(islice(countdown.generate("train", seed), 50)) for seed in (5, 5, 6))
    assert first == again != other
