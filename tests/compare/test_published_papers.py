"""The numbers of several papers: as printed, each under its own conditions, beside its recipes."""

import re
from itertools import groupby

import pytest
import yaml
from support.eval_files import DECODING, answered, line, write_eval, write_run

from lift_harness.compare import compare, density_tables, gift_tables, load
from lift_harness.compare.published import candidates, published
from lift_harness.papers import DENSITY, GIFT, LIFT
from lift_harness.pipeline.recipe import load_recipe, recipe_names
from lift_harness.results.rows import data_name, method_name

TASK = "lift_gsm8k"
SIX = [1, 0, 1, 0, 1, 1]
LLADA = "GSAI-ML/LLaDA-8B-Instruct"
GREEDY = {**DECODING, "schedule": "fixed", "remasking": "low_confidence"}


# ---- as printed


def test_every_number_of_gifts_tables_is_in_its_paper(shared):
    """Table by table in the paper's order of lines; of tables 3, 9 and 10 the text has only some cells."""
    text = (shared / "papers" / "gift-2509.20863.txt").read_text()
    found = re.findall(r"^\| (LLaDA-8B-Instruct|[^|]*\+ [SGWD][^|]*|SFT|GIFT\*) \|(.*\d.*)\|$", text, re.M)
    # In a cell the value stands first, then its error or (difference).
    cells = [(name, re.findall(r"(?:^|\|) *(\d+\.\d)", row)) for name, row in found]
    lines = [(name, [float(n) for n in numbers]) for name, numbers in cells]
    ours = [
        (group, {one.percent for one in numbers})
        for group, numbers in groupby(
            gift_tables.TABLES, key=lambda one: (one.table, one.model, one.data, one.method)
        )
    ]
    assert len(lines) == len(ours) == 9 + 6 + 2 + 4 + 2
    for (name, numbers), (group, quoted) in zip(lines, ours, strict=True):
        assert quoted <= set(numbers), (name, group)
        if group[0] < 3:
            assert quoted == set(numbers[:4]), (name, group)  # the fifth is the average
    methods = {"SFT": "vanilla", "GIFT": "gift", "Dream": "dream", "Weighted": "gift metric=nll"}
    for (name, _), (group, _) in zip(lines, ours, strict=True):
        word = re.search(r"\w+-8B|SFT|GIFT|Dream|Weighted", name.replace("Weighted SFT", "Weighted"))[0]
        assert group[3].startswith(methods.get(word, "base")), (name, group)


def test_every_number_of_the_density_papers_tables_is_in_it(shared):
    text = (shared / "papers" / "density-2603.15803.txt").read_text()
    found = re.findall(r"^(.*[a-z)]) ((?:\d\d\.\d\d ?){5})$", text, re.M)
    lines = [(name, [float(n) for n in numbers.split()]) for name, numbers in found]
    ours = [
        (method, [one.percent for one in numbers])
        for (_, _, method), numbers in groupby(
            density_tables.TABLES, key=lambda one: (one.table, one.data, one.method)
        )
    ]
    assert len(lines) == len(ours) == 3 + 7
    for (name, numbers), (method, quoted) in zip(lines, ours, strict=True):
        assert numbers[:4] == quoted and abs(sum(quoted) / 4 - numbers[4]) < 0.011, name
        wanted = {"Original": "base", "Baseline": "density w=1", "Hard": "density hard"}
        word = next((word for word in wanted if word in name), None)
        assert method == (wanted[word] if word else "density w=2"), name


def test_the_recipes_of_a_table_are_what_its_numbers_were_measured_on():
    """Each of GIFT's rows with a number has a method of a recipe, by what a run's row says of itself."""
    reached = set()
    for name in (name for name in recipe_names() if name.startswith("gift")):
        recipe = load_recipe(name)
        raw = recipe.model_dump(mode="json")
        data = [data_name(part) for part in raw["data"]]
        for method in raw["methods"]:
            for task in ("lift_sudoku", "lift_countdown", "lift_gsm8k", "lift_math500"):
                found = candidates(recipe.model, method_name(method["objective"]), task, "acc", data=data)
                reached |= {one for one in found if one.paper == GIFT}
    assert reached == {one for one in gift_tables.TABLES if one.method != "base"}


# ---- whose number stands beside a row


SUDOKU = {"acc": [[1, 4]], "solved": [0.0]}
LONG = {**GREEDY, "gen_length": 512, "steps": 256}


@pytest.mark.parametrize(
    ("subset", "decoding", "percent", "source"),
    [
        ("d1", LONG, 5.6, GIFT),
        ("lift", LONG, 5.5, LIFT),
        ("d1", GREEDY, None, None),  # GIFT has 512 only
        ("all", LONG, None, None),
    ],
)
def test_a_number_is_that_of_the_paper_whose_conditions_hold(tmp_path, subset, decoding, percent, source):
    lines = [line(i, SUDOKU) for i in range(6)]
    options = {"pretrained": LLADA, "metadata": {"subset": subset}, "decoding": decoding}
    write_eval(tmp_path / "m", {"lift_sudoku": lines}, **options)
    comparison = compare(load([tmp_path / "m"]))
    found = comparison.cells["m", "lift_sudoku", "acc"].published
    assert (found and (100 * found.value, found.source)) == (percent and (pytest.approx(percent), source))
    assert bool(comparison.notes) == (percent is None)


@pytest.mark.parametrize(
    ("reproduces", "percent"), [("", 76.1), ("LIFT, table 1", 76.1), ("GIFT, table 1", 76.8)]
)
def test_of_two_papers_the_recipes_own_comes_first(tmp_path, reproduces, percent):
    run = write_run(tmp_path / "run", {"base": {"one-256": {TASK: answered(SIX)}}}, model=LLADA)
    with (run / "recipe.yaml").open("a") as recipe:
        recipe.write(f"reproduces: '{reproduces}'\n")
    found = compare(load([run])).cells["base", f"{TASK}@256", "acc"].published
    assert 100 * found.value == pytest.approx(percent)


@pytest.mark.parametrize(("shots", "percent"), [(0, 78.5), (5, 78.9), (3, None)])
def test_worked_examples_are_those_of_the_table(tmp_path, shots, percent):
    methods = [("vanilla", {"name": "vanilla"})]
    rows = {"vanilla": {"one": {TASK: answered(SIX)}}}
    run = write_run(tmp_path / "run", rows, model=LLADA, methods=methods, data=("s1k",))
    write_eval(run / "vanilla/eval/one", {TASK: answered(SIX)}, pretrained=LLADA, shots=shots)
    comparison = compare(load([run]))
    found = comparison.cells["vanilla", TASK, "acc"].published
    assert (found and 100 * found.value) == (percent and pytest.approx(percent))
    assert [f"{shots} worked examples in the prompt, not 0" in note for note in comparison.notes] == (
        [] if percent else [True]
    )


def test_the_density_papers_numbers_stand_beside_nothing_and_the_note_says_why(tmp_path):
    model = "inclusionAI/LLaDA2.0-mini"
    write_eval(tmp_path / "m", {TASK: answered(SIX)}, pretrained=model, decoding=LONG)
    comparison = compare(load([tmp_path / "m"]))
    assert comparison.cells["m", TASK, "acc"].published is None
    assert any(f"{DENSITY} does not say in which words it asked" in note for note in comparison.notes)


def test_a_part_of_a_data_set_is_not_that_data_set(tmp_path):
    assert data_name({"source": "s1k", "n": None, "where": {}, "seed": 3, "priority_share": 0.5}) == "s1k"
    assert data_name({"source": "tulu-3", "n": 10000}) == "tulu-3 n=10000"
    assert published(LLADA, "vanilla", TASK, "acc", data=[data_name({"source": "s1k", "n": 50})]) is None


@pytest.mark.parametrize(
    ("training", "own", "reason"),
    [
        ({"epochs": 20}, {}, None),
        ({"epochs": 5.0}, {"epochs": 20}, None),
        ({"epochs": 20, "max_steps": None}, {"epochs": 1}, "trained for 1 epochs, not 20"),
        ({"epochs": 0.5}, {}, "trained for 0.5 epochs, not 20"),
        ({"epochs": 20, "max_steps": 100}, {}, "trained for 100 steps, not 20 epochs"),
    ],
)
def test_a_method_was_trained_as_long_as_that_of_the_table(tmp_path, training, own, reason):
    methods = [("vanilla", {"name": "vanilla"})]
    rows = {name: {"one-256": {TASK: answered(SIX)}} for name in ("base", "vanilla")}
    run = write_run(tmp_path / "run", rows, model=LLADA, methods=methods, data=("s1k",))
    recipe = yaml.safe_load((run / "recipe.yaml").read_text()) | {"training": training}
    recipe["methods"][0]["training"] = own
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    comparison = compare(load([run]))
    assert comparison.cells["base", f"{TASK}@256", "acc"].published is not None
    assert (comparison.cells["vanilla", f"{TASK}@256", "acc"].published is None) == (reason is not None)
    assert [reason in note for note in comparison.notes] == ([True] if reason else [])


def test_recipes_train_as_long_as_their_tables_say():
    """Where a recipe's method has a number, it is trained for the table's epochs; table 10's are its own."""
    for name in (name for name in recipe_names() if name != "llada-8b-s1k-epochs"):
        recipe = load_recipe(name)
        if not recipe.reproduces:
            continue
        data = [data_name(part) for part in recipe.model_dump(mode="json")["data"]]
        for method in recipe.methods:
            label = method_name(method.objective.model_dump())
            for one in candidates(recipe.model, label, "lift_gsm8k", "acc", data=data):
                assert recipe.training_of(method).epochs == one.trained_for, name
