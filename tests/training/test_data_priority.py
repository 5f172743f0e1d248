"""Priority tokens by a source's rules and share, what is refused of them; filters on numbers and lists."""

import pytest
from support.training_rows import ROWS, load, only

from lift_harness.errors import LiftError
from lift_harness.pipeline.plan import plan
from lift_harness.pipeline.recipe import load_recipe
from lift_harness.training.data import tokenize
from lift_harness.training.sources import content_hash, stable_ids

pytestmark = pytest.mark.usefixtures("no_data_dir")
SUMS = [
    {"prompt": f"Add {i} and {i}.", "response": f"It is {i} + {i} = {2 * i} for sure."} for i in range(60)
]
CODE = {"prompt": "Write it.", "response": "def f(x):\n    if x > 1:\n        return 7\n"}


def marked(record):
    return [record.response[start:end] for start, end in record.spans]


# ---------------------------------------------------------------- rules and share


@pytest.mark.parametrize(
    ("rules", "expected"), [(None, ""), ("math", ">17"), ("code", "ifx>1return7"), ("auto", "ifx>1return7")]
)
def test_a_source_says_the_rules_of_its_conversations(write, tokenizer, rules, expected):
    record = only(load(write([CODE]), priority=rules))
    assert (record.kind, record.messages) == ("chat", (("user", "Write it."),))
    (example,) = tokenize([record], tokenizer, priority="auto")
    chosen = [i for i, first in zip(example.response, example.priority, strict=True) if first]
    assert tokenizer.decode(chosen).replace(" ", "") == expected


def test_rules_are_part_of_the_content_hash_and_not_of_the_ids(write):
    plain, math, code = (load(write([CODE]), priority=rules).records for rules in (None, "math", "code"))
    assert len({content_hash(records) for records in (plain, math, code)}) == 3
    assert stable_ids(plain) == stable_ids(math) == stable_ids(code)


def test_a_share_is_a_subset_of_a_larger_one_in_any_order(write):
    def outside(share, rows=SUMS):
        data = load(write(rows), priority="math", priority_share=share)
        none = {record.response for record in data.records if record.spans == ()}
        assert data.sources[0].no_priority == len(none)
        assert all(record.priority == "math" for record in data.records if record.spans is None)
        return none

    tenth, fifth, half = outside(0.1), outside(0.2), outside(0.5)
    assert tenth > fifth > half and outside(0.1, SUMS[::-1]) == tenth
    assert outside(1) == set() and outside(0) == {row["response"] for row in SUMS}
    for none, share in ((tenth, 0.1), (fifth, 0.2), (half, 0.5)):
        assert abs(len(none) - 60 * (1 - share)) < 4 * (60 * share * (1 - share)) ** 0.5


def test_outside_of_the_share_marks_do_not_count_and_the_rest_is_the_same(write):
    rows = [row | {"priority_spans": [[0, 2]]} for row in SUMS]
    every, some = load(write(rows)).records, load(write(rows), priority_share=0.3).records
    assert stable_ids(every) == stable_ids(some) and content_hash(every) != content_hash(some)
    assert {len(record.spans) for record in some} == {0, 1} and {len(record.spans) for record in every} == {1}


def test_generated_sources_have_a_share_too():
    data = load("arithmetic", n=40, priority_share=0.5)
    assert 0 < data.sources[0].no_priority < 40
    assert data.manifest()["sources"][0]["no_priority"] == data.sources[0].no_priority


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("spans", "said"),
    [
        ([[0, 3], [2, 4]], r"'priority_spans' overlap: \[0, 3\] and \[2, 4\]"),
        ([[5, 6], [0, 2], [1, 3]], r"overlap: \[0, 2\] and \[1, 3\]; join them or cut one"),
        ([[0, 2], [0, 2]], r"overlap: \[0, 2\] and \[0, 2\]"),
    ],
)
def test_spans_that_overlap_are_one_line(write, spans, said):
    with pytest.raises(LiftError, match=r"train.jsonl:1: .*" + said) as error:
        load(write([{"prompt": "Hello", "response": "Hi there.", "priority_spans": spans}]))
    assert "\n" not in str(error.value)


def test_spans_may_touch_and_stand_in_any_order(write):
    row = {"prompt": "Hello", "response": "Hi there.", "priority_spans": [[3, 8], [0, 2], [2, 3]]}
    assert marked(only(load(write([row])))) == ["there", "Hi", " "]


def planned(path, *overrides):
    """The dry run of density on a data file, a one line error if it is refused."""
    overrides = (f"data=[{{source: {path}}}]", "methods=[{name: d, objective: {name: density}}]", *overrides)
    return list(plan(load_recipe("quickstart", ["select=[d]", *overrides]), "train"))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"response": "Just words."}, "no token of the 3 examples is a priority token"),
        ({"response": "1 + 1", "priority_spans": []}, "no token of the 3 examples is a priority token"),
        ({"response": "1 + 1", "priority_spans": [[0, 5]]}, "every token of the 3 examples is a priority"),
    ],
)
def test_an_annotation_of_nothing_or_everything_is_one_line(write, row, said):
    path = write([{"prompt": f"{i}?", **row} for i in range(3)])
    with pytest.raises(LiftError, match=said) as error:
        planned(path)
    assert "\n" not in str(error.value)
    planned(path, "methods=[{name: d, objective: {name: vanilla}}]")  # others do not ask


def test_one_example_with_priority_tokens_is_enough(write):
    rows = [{"prompt": "a?", "response": "Words."}, {**SUMS[0], "priority_spans": [[0, 2]]}]
    assert planned(write(rows))


@pytest.mark.parametrize("value", [-0.1, 1.1, "half"])
def test_a_share_out_of_range_is_one_line(value):
    with pytest.raises(LiftError, match=r"data.0.priority_share=") as error:
        load_recipe("quickstart", [f"data.0.priority_share={value}"])
    assert "\n" not in str(error.value)


# ---------------------------------------------------------------- filters, columns of published data


def test_numbers_below_a_limit_are_kept_and_the_others_counted(write):
    rows = [row | {"num_tokens": 100 * i} for i, row in enumerate(ROWS)]
    data = load(write(rows), below={"num_tokens": 500})
    assert len(data.records) == 5 and data.sources[0].dropped == {"below": len(ROWS) - 5}
    for value in (None, "12", True):
        with pytest.raises(LiftError, match="'num_tokens' must be a number, to be below 500, not"):
            load(write([ROWS[0] | {"num_tokens": value}]), below={"num_tokens": 500})
    with pytest.raises(LiftError, match="'length' is missing"):
        load(write(rows), below={"length": 5})


def test_of_a_list_one_value_is_enough(write):
    rows = [
        ROWS[i] | {"dataset": kinds} for i, kinds in enumerate((["math"], ["code", "math"], ["chat"], []))
    ]
    assert len(load(write(rows), where={"dataset": "math"}).records) == 2
    assert len(load(write(rows), where={"dataset": ["math", "chat"]}).records) == 3


@pytest.mark.parametrize(
    ("source", "file", "row", "settings"),
    [
        (
            "opc-sft-stage2",
            "opc-sft-stage2/evol_instruct/train-0.parquet",
            {"instruction": "Write it.", "output": "It."},
            {"config": "evol_instruct"},
        ),
        (
            "nvidia/Llama-Nemotron-Post-Training-Dataset",
            "Llama-Nemotron-Post-Training-Dataset/SFT/math/math_v1.jsonl",
            {"input": [{"role": "user", "content": "Write it."}], "output": "It.", "category": "math"},
            {"config": "SFT", "split": "math"},
        ),
    ],
)
def test_published_conversations_by_their_columns(write, monkeypatch, tmp_path, source, file, row, settings):
    monkeypatch.setenv("LIFT_DATA_DIR", str(tmp_path))
    write([row], file)
    record = only(load(source, **settings))
    assert (record.kind, record.messages, record.response) == ("chat", (("user", "Write it."),), "It.")


def test_of_dolci_the_first_rollout_is_the_reasoning(write, monkeypatch, tmp_path):
    monkeypatch.setenv("LIFT_DATA_DIR", str(tmp_path))
    row = {"prompt": "6 x 7?", "ground_truth": ["42"], "outputs": ["Six sevens.", "no"], "dataset": ["math"]}
    write([row, row | {"dataset": ["code"]}], "Dolci-Think-RL-32B.parquet")
    record = only(load("dolci-think-rl", where={"dataset": "math"}))
    assert record.kind == "math" and "6 x 7?" in record.user
    assert record.response == "Six sevens.</reasoning>\n<answer>\n\\boxed{42}\n</answer>"
