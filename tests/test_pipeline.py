"""Recipes and the train-eval pipeline, on a cut-down quickstart."""

import json
import shutil

import pytest
import torch
from rich.console import Console

from lift_harness.cli import main
from lift_harness.errors import LiftError
from lift_harness.models import load_model
from lift_harness.pipeline.recipe import load_recipe, recipe_names
from lift_harness.pipeline.train_eval import train_eval, train_only

CUT_DOWN = [
    *("training.max_steps=3", "training.batch_size=4", "training.lora.r=2"),
    *("data.0.n=12", "data.1.n=12"),
    *("eval.limit=2", "eval.sample_limit=2", "eval.samples=2"),
]


def quiet_console():
    return Console(quiet=True)


@pytest.fixture(scope="module")
def first_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("first") / "run"
    return folder, train_eval(load_recipe("quickstart", CUT_DOWN), folder, console=quiet_console())


def test_the_same_recipe_gives_the_same_weights_and_results(first_run, tmp_path):
    _, first = first_run
    again = train_eval(load_recipe("quickstart", CUT_DOWN), tmp_path / "run", console=quiet_console())
    assert again["training"] == first["training"]  # sha256 of the adapters, losses
    assert again["scores"] == first["scores"]


def test_the_methods_differ_and_start_from_the_same_base(first_run):
    training = first_run[1]["training"]
    assert training["vanilla"]["sha256"] != training["lift-h3"]["sha256"]
    assert list(first_run[1]["scores"]) == ["base", "vanilla", "lift-h3"]


def test_what_a_run_leaves_behind(first_run):
    folder, results = first_run
    assert json.loads((folder / "results.json").read_text()) == results
    recipe = load_recipe(str(folder / "recipe.yaml"))
    assert recipe.training.max_steps == 3 and recipe.name == "quickstart"
    report = (folder / "report.md").read_text()
    assert "lift_countdown_mini" in report and "pass@2" in report and "±" in report
    for method in ("vanilla", "lift-h3"):
        assert (folder / method / "train" / "adapter" / "adapter_model.safetensors").is_file()
    for name in ("base", "vanilla", "lift-h3"):
        for label in ("one", "samples"):
            assert len(list((folder / name / "eval" / label).glob("results_*.json"))) == 1
            assert len(list((folder / name / "eval" / label).glob("samples_*.jsonl"))) == 2
    assert not list(folder.rglob("*.part"))


def test_a_run_killed_between_stages_resumes_to_the_same_results(first_run, tmp_path):
    folder, results = first_run
    shutil.copytree(folder, tmp_path / "run")
    (tmp_path / "run" / "results.json").unlink()
    (tmp_path / "run" / "lift-h3" / "train.json").unlink()  # killed while it trained
    (tmp_path / "run" / "lift-h3" / "eval.json").unlink()
    recipe = load_recipe("quickstart", CUT_DOWN)
    resumed = train_eval(recipe, tmp_path / "run", resume=True, console=quiet_console())
    assert resumed["scores"] == results["scores"] and resumed["training"] == results["training"]
    assert resumed["seconds"]["vanilla"] == results["seconds"]["vanilla"]  # not done again


def test_another_run_is_not_overwritten_by_accident(first_run, tmp_path):
    folder, _ = first_run
    shutil.copytree(folder, tmp_path / "run")
    with pytest.raises(LiftError, match="holds another run; --resume continues it, --overwrite replaces"):
        train_eval(load_recipe("quickstart", CUT_DOWN), tmp_path / "run", console=quiet_console())
    other = load_recipe("quickstart", [*CUT_DOWN, "seed=1"])
    with pytest.raises(LiftError, match="differs from this recipe"):
        train_eval(other, tmp_path / "run", resume=True, console=quiet_console())


def test_a_folder_of_other_files_is_never_touched(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(LiftError, match="holds files that are not a run"):
        train_eval(load_recipe("quickstart", CUT_DOWN), tmp_path, overwrite=True, console=quiet_console())
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_a_model_from_scratch_trains_and_loads_back(tmp_path):
    sets = [
        *("training.max_steps=2", "training.save_steps=null", "training.batch_size=4", "model.n_layers=1"),
        *("data.0.n=10", "data.1.n=10", "data.2.n=10"),
    ]
    trained = train_only(load_recipe("lift-tiny-base", sets), tmp_path / "run", console=quiet_console())
    model, tokenizer = load_model(str(tmp_path / "run" / "lift-tiny" / "train" / "checkpoint"))
    assert trained["lift-tiny"]["parameters"] == model.num_parameters()
    assert tokenizer.mask_token_id == model.config.mask_token_id
    saved = json.loads((tmp_path / "run/lift-tiny/train/checkpoint/tokenizer_config.json").read_text())
    assert saved["tokenizer_class"] == "PreTrainedTokenizerFast"  # known to transformers 4 and 5
    assert torch.isfinite(next(model.parameters())).all()


def test_every_recipe_in_the_package_is_valid():
    assert {"quickstart", "lift-tiny-base"} <= set(recipe_names())
    for name in recipe_names():
        assert load_recipe(name).name == name


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["trainig.max_steps=3"], "unknown key 'trainig'; did you mean training"),
        (["training.learning_rat=1"], "unknown key 'training.learning_rat'; did you mean learning_rate"),
        (["training.batch_size=0"], "training.batch_size=0: Input should be greater than or equal to 1"),
        (["training.lora.rank=3"], "unknown key 'training.lora.rank'"),
        (["training.lr_scheduler=linaer"], "training.lr_scheduler='linaer'"),
        (["methods.0.name=base"], "the name 'base' is taken"),
        (["methods.0.training.max_stepz=1"], "unknown key 'max_stepz'; did you mean max_steps"),
        (["methods.5.name=x"], "'5' is not an index below 2"),
        (["nonsense"], "write key=value"),
    ],
)
def test_a_bad_recipe_value_is_one_line_that_names_the_key(sets, message):
    with pytest.raises(LiftError) as error:
        load_recipe("quickstart", sets)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["eval.tasks=[lift_sudok_mini]"], "no task 'lift_sudok_mini': did you mean lift_sudoku_mini"),
        (["model=/no/such/model"], "no model folder '/no/such/model'"),
        (["methods.0.objective.name=vanila"], "unknown objective 'vanila'; did you mean vanilla"),
        (["methods.1.objective.h=3"], "objective 'lift' has no option 'h'; it has: H"),
        (["methods.1.objective.H=1"], "objective.H=1: LIFT needs a whole number of regimes"),
        (["data.0.source=sudoko"], "unknown data source 'sudoko'; did you mean sudoku"),
        (["data.0.options={blank: [1, 2]}"], "has no option 'blank'; did you mean blanks?"),
        (["eval.gen_kwargs={gen_length: 30}"], "gen_length=30 is not divisible"),
    ],
)
def test_bad_input_leaves_no_folder_behind(sets, message, tmp_path, monkeypatch, capsys):
    arguments = ["train-eval", "--output", str(tmp_path / "run")]
    for item in [*CUT_DOWN, *sets]:
        arguments += ["--set", item]
    monkeypatch.setattr("sys.argv", ["lift-harness", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and message in lines[0]
    assert not (tmp_path / "run").exists()


def test_a_recipe_that_is_not_there_or_not_yaml(tmp_path):
    with pytest.raises(LiftError, match="no recipe 'quikstart' .did you mean quickstart"):
        load_recipe("quikstart")
    (tmp_path / "bad.yaml").write_text("a: [1")
    with pytest.raises(LiftError, match="not YAML") as error:
        load_recipe(str(tmp_path / "bad.yaml"))
    assert "\n" not in str(error.value)


def test_bad_input_found_while_evaluating_leaves_no_folder_behind(tmp_path):
    sets = [*CUT_DOWN, "eval.gen_kwargs={gen_length: 512, block_length: 32, steps: 256}"]
    with pytest.raises(LiftError, match="lift_sudoku_mini doc 0: gen_length=512 leaves no room for a prompt"):
        train_eval(load_recipe("quickstart", sets), tmp_path / "run", console=quiet_console())
    assert not (tmp_path / "run").exists()
