"""Recipes inside the package, and `base`, `select` and `sweep`."""

import json
import re

import pytest
import yaml

from lift_harness.cli.recipes import recipes_list
from lift_harness.errors import LiftError
from lift_harness.pipeline.evaluation import evaluation_key
from lift_harness.pipeline.manifest import task_sources
from lift_harness.pipeline.recipe import load_recipe, recipe_names, recipe_text, recipes_by_paper
from lift_harness.pipeline.report import protocol

PAPER = {"gift": 2e-5, "lift": 5e-6, "lift_a": 5e-6, "vanilla": 1e-5, "cart": 1e-5}  # learning rates


@pytest.fixture
def write(tmp_path):
    def write(file, /, **content):
        (tmp_path / f"{file}.yaml").write_text(yaml.safe_dump(content))
        return str(tmp_path / f"{file}.yaml")

    return write


def test_a_base_gives_what_is_not_said(write):
    file = write("mine", base="quickstart", name="mine", training={"lora": {"r": 4}})
    mine, quickstart = load_recipe(file), load_recipe("quickstart")
    assert mine.name == "mine" and mine.training.lora.r == 4
    assert mine.training.lora.alpha == quickstart.training.lora.alpha
    assert mine.methods == quickstart.methods and mine.data == quickstart.data


def test_what_a_base_says_of_itself_is_not_taken_over(write):
    mine = load_recipe(write("my own", base="quickstart", data=[{"source": "./data/mine.jsonl"}]))
    assert mine.name == "my-own"
    assert mine.description == "lift-tiny on mine.jsonl: vanilla, lift-h3."
    own = write("own", base="quickstart", name="other", description="Mine.")
    assert (load_recipe(own).name, load_recipe(own).description) == ("other", "Mine.")
    assert load_recipe("quickstart").description.startswith("lift-tiny on 4x4 Sudoku and sorting: ")


def test_a_title_is_made_of_model_data_and_methods(write):
    data = [{"source": "simplescaling/s1K"}, {"source": "sudoku", "n": 4}, {"source": "sudoku", "n": 5}]
    methods = [{"name": "lift", "objective": {"name": "lift"}}]
    file = write("mine", name="mine", model="GSAI-ML/LLaDA-1.5", data=data, methods=methods)
    assert load_recipe(file).description == "LLaDA-1.5 on s1K and sudoku: lift."
    new = load_recipe(file, ["model={n_layers: 1}", "data.0.source=/tmp/rows/"])
    assert new.description == "A new model on rows and sudoku: lift."


def test_the_hours_of_the_paper_are_those_of_its_models_data_and_training(write):
    def hours(**changed):
        recipe = load_recipe(write("mine", base="llada-8b-s1k", **changed))
        return {method.gpu_hours for method in recipe.methods}

    assert hours() == {1.0, 1.8} and hours(select=["vanilla"]) == {1.0}
    assert hours(data=[{"source": "mine.jsonl"}]) == {None}
    assert hours(model="GSAI-ML/LLaDA-1.5") == {None} and hours(training={"epochs": 5}) == {None}


def test_a_base_may_be_a_file_beside(write):
    write("below", base="quickstart", name="below", seed=7)
    assert load_recipe(write("above", base="below.yaml", name="above")).seed == 7


def test_a_sweep_makes_a_method_of_each_combination(write):
    methods = [
        {
            "name": "lift",
            "objective": {"name": "lift"},
            "sweep": {"objective.H": [2, 3], "objective.rho": ["fixed:0.3"]},
        },
        {"name": "plain", "objective": {"name": "vanilla"}},
    ]
    found = load_recipe(write("mine", base="quickstart", name="mine", methods=methods))
    assert [method.name for method in found.methods] == [
        "lift-H2-rhofixed0.3",
        "lift-H3-rhofixed0.3",
        "plain",
    ]
    assert [method.objective.model_extra.get("H") for method in found.methods] == [2, 3, None]
    whole = write("all", base="quickstart", name="all", sweep={"training.learning_rate": [0.1, 0.2]})
    rates = [
        found.training_of(method).learning_rate for found in [load_recipe(whole)] for method in found.methods
    ]
    assert rates == [0.1, 0.2, 0.1, 0.2]


def test_select_keeps_methods_in_its_order(write):
    file = write("mine", base="quickstart", name="mine", select=["lift-h3"])
    assert [method.name for method in load_recipe(file).methods] == ["lift-h3"]
    chosen = load_recipe("quickstart", ["select=[lift-h3, vanilla]"])
    assert [method.name for method in chosen.methods] == ["lift-h3", "vanilla"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"base": "quikstart"}, "no recipe 'quikstart' .did you mean quickstart"),
        ({"base": 3}, "base=3: give the name or file"),
        ({"base": "quickstart", "select": ["lift-h4"]}, "no method 'lift-h4'; did you mean lift-h3"),
        ({"base": "quickstart", "select": 4}, "select=4: give a list of methods: vanilla, lift-h3"),
        ({"base": "quickstart", "sweep": {"objective.H": 3}}, "give lists of values"),
        ({"base": "quickstart", "sweep": [1]}, "give lists of values"),
        ({"tasks": ["mini"], "grid": {"steps": [4]}}, "is a sweep, which trains nothing; lift-harness sweep"),
    ],
)
def test_what_is_wrong_is_one_line(write, content, said):
    with pytest.raises(LiftError, match=said) as error:
        load_recipe(write("mine", name="mine", **content))
    assert "\n" not in str(error.value)


def test_a_recipe_that_is_its_own_base(write, tmp_path):
    write("a", base="b.yaml", name="a")
    with pytest.raises(LiftError, match="is its own base"):
        load_recipe(write("b", base="a.yaml", name="b"))


# ---- those of the paper


def tables_of(paper):
    """Every table and figure that a recipe says it reproduces: {"table": {1, 2}, ...}."""
    found = {}
    for recipe in recipes_by_paper()[paper]:
        kind, _, numbers = recipe.reproduces.partition(", ")[2].partition(" ")
        found.setdefault(kind.removesuffix("s"), set()).update(map(int, re.findall(r"\d+", numbers)))
    return found


def test_every_table_of_the_papers_has_its_recipe():
    """But LIFT's word clouds (9), hyper-parameters (11), and GIFT's (5, 6), reinforcement learning (7)."""
    assert tables_of("LIFT")["figure"] == {2, 6}
    assert tables_of("LIFT")["table"] == {1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 13}
    assert tables_of("GIFT") == {"table": {1, 2, 3, 4, 8, 9, 10}}
    assert tables_of("density") == {"table": {1, 2}, "figure": {3, 4}}
    of_no_paper = {"quickstart", "quickstart-block", "lift-tiny-base", "lift-tiny-block-base"}
    of_no_paper |= {"sdar-1.7b-gsm8k", "a2d-qwen3-0.6b-gsm8k"}
    assert {recipe.name for recipe in recipes_by_paper()[""]} == of_no_paper
    names = set(recipe_names())
    for method in ("vanilla", "gift", "cart", "lift2", "lift3", "lifta2", "lifta3"):
        assert f"llada-8b-s1k-{method}" in names
    for name in ("llada-8b-s1k", "llada-8b-s1k-h", "llada-1.5-s1k", "dream-7b-s1k", "llada-8b-lift-sft-12k"):
        assert name in names
    assert {"llada-8b-kodcode", "llada-8b-s1k-rho", "llada-8b-s1k-ablation", "llada-8b-s1k-aime"} <= names


PAPERS = [name for name in recipe_names() if name.startswith(("llada", "dream"))]


@pytest.mark.parametrize("name", PAPERS)
def test_the_papers_recipes_have_its_hyper_parameters(name):
    """DESIGN section 7."""
    recipe = load_recipe(name)
    assert recipe.name == name and recipe.seeds == 3 and recipe.description
    for method in recipe.methods:
        settings = recipe.training_of(method)
        assert settings.lora.model_dump() == {
            "r": 128, "alpha": 256, "dropout": 0.05, "target_modules": None,  # attention's: q, k, v
        }  # fmt: skip
        gift_on_12k = "lift-sft-12k" in name and method.name == "gift"  # appendix D.1
        rate = 1e-6 if gift_on_12k else PAPER.get(method.objective.name, 5e-6)
        assert settings.learning_rate == rate
        assert (settings.adam_betas, settings.weight_decay) == ((0.9, 0.999), 0.1)
        assert (settings.lr_scheduler, settings.max_grad_norm, settings.bf16) == ("linear", 1.0, True)
        assert (settings.max_length, settings.batch_size, settings.gradient_accumulation_steps) == (
            4096,
            2,
            4,
        )
        if name != "llada-8b-s1k-epochs":  # whose subject they are
            assert settings.epochs == (5 if "kodcode" in name else 20)


@pytest.mark.parametrize("name", PAPERS)
def test_the_papers_recipes_do_what_its_code_does_where_it_says_nothing(name):
    """divelab/LIFT, SFT/sft_train.py and sft_trainer.py: docs/runs.md."""
    recipe = load_recipe(name)
    assert recipe.validation == 0.01
    for method in recipe.methods:
        settings = recipe.training_of(method)
        assert (settings.pad_to, settings.long, settings.group_by_length) == (4096, "truncate", False)
        assert (settings.select, settings.eval_steps, settings.save_steps) == ("best", 100, 100)
        if method.objective.name == "gift":
            assert method.objective.model_extra == {"variant": "release"}


def test_recipes_hold_what_their_tables_hold():
    methods = {name: [method.name for method in load_recipe(name).methods] for name in PAPERS}
    others = ["vanilla", "gift", "cart", "lift-h2", "lift-h3"]
    for name in ("llada-1.5-s1k", "dream-7b-s1k", "llada-8b-lift-sft-12k"):
        assert methods[name] == others
    assert sorted(methods["llada-8b-kodcode"]) == sorted(others)
    rho = load_recipe("llada-8b-s1k-rho")
    strategies = [method.objective.model_extra["rho"] for method in rho.methods]
    assert strategies == ["uniform", "fixed:0.1", "fixed:0.3", "truncated:0.1", "truncated:0.3"]
    assert all(task.endswith("@256") for task in rho.eval.tasks)
    assert "grid" not in load_recipe("dream-7b-s1k").description


def test_at_equal_compute_an_epoch_of_two_passes_is_two_epochs():
    recipe = load_recipe("llada-8b-s1k-epochs")
    epochs = {}
    for method in recipe.methods:
        epochs.setdefault(method.objective.name, []).append(recipe.training_of(method).epochs)
    assert epochs["vanilla"] == epochs["cart"] == [1, 2, 4, 8, 16, 20]
    assert epochs["gift"] == epochs["lift"] == [0.5, 1, 2, 4, 8, 10]


def test_gifts_recipes_are_its_tables():
    """Tables 1, 2, 3, 9 and 10, and appendix C, of arXiv 2509.20863."""
    for name in (name for name in recipe_names() if name.startswith("gift")):
        recipe = load_recipe(name)
        full = "tulu3" in name
        for method in recipe.methods:
            settings = recipe.training_of(method)
            assert (settings.lora is None) == full and settings.max_length == 4096 and settings.bf16
            assert settings.learning_rate == (2e-5 if full else 1e-5)
            assert (settings.lr_scheduler, settings.epochs) == (("cosine", 5) if full else ("linear", 20))
        lengths = {"sudoku@512", "countdown@512", "gsm8k@256", "math500@256"}
        shown = recipe.eval.num_fewshot
        assert (recipe.eval.subset, shown) == ("d1", 5 if "5shot" in name else 0)
        assert set(recipe.eval.tasks) == (lengths - {"math500@256"} if shown else lengths)
    objectives = [method.objective.model_dump() for method in load_recipe("gift-s1k-ablation").methods]
    assert {"name": "gift", "metric": "nll"} in objectives and {"name": "dream"} in objectives
    assert {"name": "gift", "form": "weighting"} in objectives
    assert load_recipe("gift-s1k-reference").methods[1].build_objective().needs_reference


def test_the_density_papers_recipes_are_its_tables():
    for name in (name for name in recipe_names() if name.startswith("density")):
        recipe = load_recipe(name)
        code = {source.priority_share for source in recipe.data if source.source == "opc-sft-stage2"}
        (maths,) = (source.priority_share for source in recipe.data if source.source == "gsm8k")
        assert (code, maths) == (({int(name[13:]) / 100}, 0) if "code" in name else ({0.1}, 0.5))
        assert len({source.config for source in recipe.data}) == 5
        for method in recipe.methods:
            settings, objective = recipe.training_of(method), method.build_objective()
            assert objective.t_range == (0.3, 0.8)
            assert settings.batch_size * settings.gradient_accumulation_steps == 16
            assert (settings.epochs, settings.max_length) == (1, 2048)

    def weights(name):
        return [method.objective.model_extra.get("w") for method in load_recipe(name).methods]

    assert weights("density-opc-gsm8k-w") == [0.1, 0.5, 1, 1.5, 2, 5]
    assert weights("density-opc-gsm8k-one-view") == [0.1, 0.5, 1, 2, 10]
    assert weights("density-code-20") == [None, 2] and weights("density-code-100") == [2]


def test_gifts_hours_are_those_of_what_its_table_4_trained():
    for name in (name for name in recipe_names() if name.startswith("gift")):
        hours = [method.gpu_hours for method in load_recipe(name).methods]
        expected = {"gift-s1k": [3.1, 3.8], "gift-s1k-5shot": [3.1, 3.8], "gift-tulu3-10k": [3.7, 3.5]}
        assert hours == expected.get(name, [None] * len(hours)), name


def test_the_list_has_every_recipe_once_below_its_paper(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    recipes_list()
    blocks = capsys.readouterr().out.split("\n\n")
    assert [block.split(" ")[0] for block in blocks[1:]] == ["LIFT", "GIFT", "density"]
    lines = [line for block in blocks for line in block.splitlines()[1:]]
    assert sorted(line.split()[0] for line in lines) == recipe_names()
    assert re.search(r"^GIFT \(arXiv 2509.20863\)\n", blocks[2])
    assert re.search(r"^gift-s1k-ablation +tables 2 and 8: LLaDA-8B-Instruct on s1K: GIFT", blocks[2], re.M)
    assert blocks[1].index("llada-8b-s1k-h ") < blocks[1].index("llada-8b-s1k-epochs")  # 6 before 10


def test_what_a_recipe_reproduces_is_not_what_one_on_top_of_it_does(write):
    assert load_recipe("gift-s1k").reproduces == "GIFT, tables 1 and 4"
    assert load_recipe(write("mine", base="gift-s1k", name="mine")).reproduces == ""


def test_the_h_sweep_and_single_methods():
    found = [method.objective.model_extra["H"] for method in load_recipe("llada-8b-s1k-h").methods]
    assert found == [2, 3, 4, 5, 10, 15, 20]
    (only,) = load_recipe("llada-8b-s1k-lift3").methods
    assert (only.name, only.objective.name, only.objective.model_extra) == ("lift-h3", "lift", {"H": 3})
    assert only.gpu_hours == 1.8


@pytest.mark.parametrize("samples", [0, 1, 8])
def test_the_report_says_nothing_of_samples_that_were_not_drawn(samples):
    recipe = load_recipe("quickstart", [f"eval.samples={samples}"])
    assert recipe.eval is not None
    text = protocol(recipe.eval)
    assert ("pass@k" in text) == (f"{samples} answers a problem" in text) == (samples > 1)


# ---------------------------------------------------------------- how it is asked


def keys_of(*overrides):
    recipe = load_recipe("quickstart", overrides)
    return evaluation_key(recipe, recipe.eval, "weights")


def test_words_subset_and_model_args_are_part_of_what_an_evaluation_is(tmp_path):
    file = tmp_path / "words.json"
    file.write_text(json.dumps({"lift_sudoku_mini": {"question": "Grid: {puzzle}"}}))
    others = (f"eval.prompts={file}", "eval.subset=lift", "eval.model_args.dtype=bfloat16")
    assert len({keys_of(), *map(keys_of, others)}) == 4
    recipe = load_recipe("quickstart", others)
    assert recipe.eval.prompts == {"lift_sudoku_mini": {"question": "Grid: {puzzle}"}}
    (tmp_path / "resolved.yaml").write_text(recipe_text(recipe))
    file.unlink()  # the recipe as resolved holds what the file did
    assert load_recipe(str(tmp_path / "resolved.yaml")).eval == recipe.eval
    assert load_recipe("quickstart").eval.metadata == {}


def test_the_manifest_says_the_subset():
    recipe = load_recipe("llada-8b-s1k")
    assert task_sources(recipe, recipe.eval)["lift_sudoku"]["subset"] == "lift"
    assert "subset" not in task_sources(recipe, recipe.eval)["lift_gsm8k"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("eval.prompts=nowhere.json", "nowhere.json: No such file"),
        ("eval.prompts={lift_sudoko: x}", "no task 'lift_sudoko': did you mean lift_sudoku"),
        (
            "eval.prompts={lift_sudoku: {question: '{puzle}'}}",
            "no part {puzle} of a row: did you mean puzzle",
        ),
        ("eval.subset=d2", "eval.subset='d2'"),
    ],
)
def test_bad_words_are_one_line(override, message):
    with pytest.raises(LiftError) as error:
        load_recipe("quickstart", [override])
    assert message in str(error.value) and "\n" not in str(error.value)


def test_the_papers_recipes_ask_the_subset_of_its_authors():
    for name in recipe_names():
        settings = load_recipe(name).eval
        if settings and any("sudoku@" in task for task in settings.tasks):
            assert settings.subset == ("d1" if name.startswith("gift") else "lift"), name
