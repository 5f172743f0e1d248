"""Recipes and the train-eval pipeline, on a cut-down quickstart."""

import json
import os
import random
import shutil
import signal
import time

import numpy as np
import pytest
import torch
from support import rendered
from support.forking import fork, outcome
from support.report_runs import embedded

from lift_harness.cli import main
from lift_harness.compare import compare, load
from lift_harness.compare.render import render
from lift_harness.console import Console
from lift_harness.errors import LiftError
from lift_harness.models import load_model
from lift_harness.pipeline.evaluation import evaluations
from lift_harness.pipeline.recipe import load_recipe, recipe_names
from lift_harness.pipeline.reproduce import reproduce
from lift_harness.pipeline.schema import EvalSettings
from lift_harness.pipeline.train_eval import train_eval

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
    shown, known = rendered.of_markdown(report), rendered.of_json(render(compare(load([folder])), "json"))
    assert {metric for _, _, metric in shown} == {"acc", "solved", "pass@1", "pass@2"}
    assert shown == {key: known[key].rounded() for key in shown}
    table, _ = rendered.of_page(embedded((folder / "report.html").read_text(encoding="utf-8")))
    assert table == known
    for method in ("vanilla", "lift-h3"):
        assert (folder / method / "train" / "adapter" / "adapter_model.safetensors").is_file()
    for name in ("base", "vanilla", "lift-h3"):
        for label in ("one", "samples"):
            assert len(list((folder / name / "eval" / label).glob("results_*.json"))) == 1
            assert len(list((folder / name / "eval" / label).glob("samples_*.jsonl"))) == 2
    assert not list(folder.rglob("*.part")) and not list(folder.rglob("checkpoint-*"))
    traces = [
        json.loads(line) for line in (folder / "base" / "eval" / "traces.jsonl").read_text().splitlines()
    ]
    assert len(traces) == 2 * 2 * (1 + 2)  # tasks x problems x (one answer + two samples)
    for trace in traces:
        assert len(trace["tokens"]) == len(trace["step"]) == len(trace["confidence"]) > 0


def stamps(folder):
    """When each stage's record was written."""
    return {
        str(f.relative_to(folder)): f.stat().st_mtime_ns for f in folder.rglob("*.json") if f.stem in KINDS
    }


KINDS = ("train", "eval")


def test_a_second_run_does_nothing_again(first_run, tmp_path):
    folder, results = first_run
    shutil.copytree(folder, tmp_path / "run")
    before = stamps(tmp_path / "run")
    recipe = load_recipe("quickstart", CUT_DOWN)
    assert train_eval(recipe, tmp_path / "run", console=quiet_console()) == results
    assert stamps(tmp_path / "run") == before and len(before) == 5


def test_only_what_depends_on_a_change_is_done_again(first_run, tmp_path):
    folder, results = first_run
    run = tmp_path / "run"
    shutil.copytree(folder, run)
    before = stamps(run)
    other = load_recipe("quickstart", [*CUT_DOWN, "methods.1.objective.H=2"])
    with pytest.raises(LiftError, match="holds a run of another recipe; --resume keeps .* --overwrite"):
        train_eval(other, run, console=quiet_console())
    assert stamps(run) == before
    found = train_eval(other, run, resume=True, console=quiet_console())
    changed = {name for name, stamp in stamps(run).items() if stamp != before[name]}
    assert changed == {"lift-h3/train.json", "lift-h3/eval.json"}
    assert found["training"]["vanilla"] == results["training"]["vanilla"]
    assert found["training"]["lift-h3"]["sha256"] != results["training"]["lift-h3"]["sha256"]
    fewer = load_recipe("quickstart", [*CUT_DOWN, "methods.1.objective.H=2", "eval.limit=1"])
    before = stamps(run)
    train_eval(fewer, run, resume=True, console=quiet_console())
    changed = {name for name, stamp in stamps(run).items() if stamp != before[name]}
    assert changed == {"base/eval.json", "vanilla/eval.json", "lift-h3/eval.json"}
    one = load_recipe(
        "quickstart", [*CUT_DOWN, "methods.1.objective.H=2", "eval.limit=1", "select=[vanilla]"]
    )
    train_eval(one, run, resume=True, console=quiet_console())
    assert {row for row, *_ in rendered.of_markdown((run / "report.md").read_text())} == {"base", "vanilla"}


def test_only_eval_takes_the_trainings_as_they_are(first_run, tmp_path):
    folder, results = first_run
    shutil.copytree(folder, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "vanilla" / "eval")
    (tmp_path / "run" / "vanilla" / "eval.json").unlink()
    recipe = load_recipe("quickstart", CUT_DOWN)
    assert train_eval(recipe, tmp_path / "run", only="eval", console=quiet_console()) == results
    with pytest.raises(LiftError, match="vanilla: train is not done .* --only leaves it out"):
        train_eval(recipe, tmp_path / "new", only="eval", console=quiet_console())


@pytest.mark.slow
def test_killed_at_ten_random_moments_it_ends_with_the_same_results(first_run, tmp_path):
    folder, _ = first_run
    recipe, run, chance = load_recipe("quickstart", CUT_DOWN), tmp_path / "run", random.Random(1)
    kills = 0
    for _ in range(60):
        pid = fork(lambda run=run: bool(train_eval(recipe, run, console=quiet_console())) - 1)
        if kills < 10:
            time.sleep(chance.uniform(0.5, 4))
            os.kill(pid, signal.SIGKILL)
        code = outcome(pid)
        assert code in (0, -signal.SIGKILL)
        kills += code == -signal.SIGKILL
        if code == 0 and kills >= 10:
            break
        if code == 0:  # it was faster: once more from the beginning
            assert (run / "results.json").read_bytes() == (folder / "results.json").read_bytes()
            run = tmp_path / f"run{kills}"
    assert kills == 10
    assert (run / "results.json").read_bytes() == (folder / "results.json").read_bytes()
    for trace in ("base", "vanilla", "lift-h3"):
        ours, theirs = (place / trace / "eval" / "traces.jsonl" for place in (run, folder))
        assert sorted(ours.read_text().splitlines()) == sorted(theirs.read_text().splitlines())


# ---- the manifest, and again


def test_the_manifest_says_what_the_run_was_made_of(first_run):
    folder, results = first_run
    found = json.loads((folder / "manifest.json").read_text())
    assert found["recipe"] == load_recipe("quickstart", CUT_DOWN).model_dump(mode="json")
    assert found["packages"]["torch"] == torch.__version__
    assert found["model"]["name"] == "lift-tiny" and len(found["model"]["sha256"]) == 64
    assert found["data"]["records"] == 24 and len(found["data"]["sha256"]) == 64
    assert found["hardware"]["threads"] == torch.get_num_threads()
    assert set(found["tasks"]) == {"lift_sudoku_mini", "lift_sort_mini"} and found["seeds"] == [0]
    train, evaluation = found["stages"]["vanilla/train"], found["stages"]["vanilla/eval"]
    assert train["forward_passes"] == 3 * 4 and train["seconds"] > 0 and train["peak_memory_bytes"] > 2**26
    assert found["stages"]["lift-h3/train"]["forward_passes"] > 3 * 4  # with those that only look
    # One answer and two samples to two problems of two tasks, a pass for each step.
    assert evaluation["requests"] == 12 and 100 < evaluation["forward_passes"] <= 6 * (20 + 16)


def test_reproduce_tells_equal_from_different(first_run, tmp_path, monkeypatch, capsys):
    folder, _ = first_run
    run = tmp_path / "run"
    shutil.copytree(folder, run)
    assert command(monkeypatch, "reproduce", str(run)) == 0
    assert "values equal, 0 different" in " ".join(capsys.readouterr().out.split())
    changed = json.loads((run / "results.json").read_text())
    changed["scores"]["vanilla"]["lift_sudoku_mini"]["acc"]["value"] += 1e-9
    (run / "results.json").write_text(json.dumps(changed))
    assert command(monkeypatch, "reproduce", str(run)) == 1  # the new run is there: only compared
    assert "different: scores.vanilla.lift_sudoku_mini.acc.value" in capsys.readouterr().out


def test_reproduce_refuses_another_environment(first_run, tmp_path, monkeypatch, capsys):
    folder, _ = first_run
    run = tmp_path / "run"
    shutil.copytree(folder, run)
    found = json.loads((run / "manifest.json").read_text())
    found["packages"]["torch"] = "1.13.0"
    (run / "manifest.json").write_text(json.dumps(found))
    assert command(monkeypatch, "reproduce", str(run)) == 2
    said = capsys.readouterr().err.strip()
    assert "packages.torch: 1.13.0 then" in said and "--anyway" in said and "\n" not in said
    assert not (tmp_path / "run-reproduced").exists()
    assert command(monkeypatch, "reproduce", str(run), "--anyway") == 0
    assert command(monkeypatch, "reproduce", str(tmp_path)) == 2


def command(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["lift-harness", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code


# ---- several seeds, lengths


def test_several_seeds_are_averaged_with_their_standard_error(tmp_path):
    sets = [*CUT_DOWN, "seeds=3", "select=[lift-h3]", "eval.samples=0", "eval.tasks=[countdown_mini@32]"]
    found = train_eval(load_recipe("quickstart", [*sets, "eval.limit=8"]), tmp_path, console=quiet_console())
    weights = {found["training"][f"lift-h3/seed-{seed}"]["sha256"] for seed in (0, 1, 2)}
    assert len(weights) == 3 and list(found["scores"]) == ["base", "lift-h3"]
    values = [found["seeds"]["lift-h3"][str(i)]["lift_countdown_mini@32"]["acc"]["value"] for i in range(3)]
    row = found["scores"]["lift-h3"]["lift_countdown_mini@32"]["acc"]
    assert row["value"] == pytest.approx(np.mean(values)) and row["n_seeds"] == 3
    assert row["stderr"] == pytest.approx(np.std(values, ddof=1) / np.sqrt(3))


def test_a_task_with_its_own_samples_keeps_them_and_a_length_takes_the_pace_of_the_model():
    settings = EvalSettings(tasks=["aime24", "gsm8k@512", "gsm8k@128", "sudoku_mini"], samples=4, limit=3)
    recipe = load_recipe("quickstart", ["seed=5"])
    runs = evaluations(recipe, settings)
    assert [(run.label, run.tasks, run.samples) for run in runs] == [
        ("one", ["lift_aime24", "lift_sudoku_mini"], None),
        ("one-512", ["lift_gsm8k"], None),
        ("one-128", ["lift_gsm8k"], None),
        ("samples", ["lift_sudoku_mini"], 4),
    ]
    assert runs[1].gen_kwargs == {"seed": 5, "gen_length": 512}  # half as many steps, or the model's own
    paced = settings.model_copy(update={"gen_kwargs": {"tokens_per_step": 4, "block_length": 16}})
    assert evaluations(recipe, paced)[1].gen_kwargs == {
        **{"seed": 5, "gen_length": 512, "tokens_per_step": 4, "block_length": 16}
    }
    stepped = settings.model_copy(update={"gen_kwargs": {"steps": 64}})  # chosen for another length
    with pytest.raises(LiftError, match="steps=64 are of one gen_length, .* TASK@512; say tokens_per_step"):
        evaluations(recipe, stepped)
    assert runs[1].name("lift_gsm8k") == "lift_gsm8k@512"
    with pytest.raises(LiftError, match="'gsm8k@long': after @ comes a gen_length"):
        evaluations(recipe, EvalSettings(tasks=["gsm8k@long"]))


# ---- the output folder


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
    recipe = load_recipe("lift-tiny-base", sets)
    trained = train_eval(recipe, tmp_path / "run", only="train", console=quiet_console())["training"]
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
        (["training.lora.rank=3"], "unknown key 'training.lora.rank'; known: alpha, dropout, r"),
        (["epochs=3"], "unknown key 'epochs'; did you mean training.epochs"),
        (["training.seeds=3"], "unknown key 'training.seeds'; did you mean seeds?"),
        (["training.lr_scheduler=linaer"], "training.lr_scheduler='linaer'"),
        (["methods.0.name=base"], "the name 'base' is taken"),
        (["methods.0.training.max_stepz=1"], "unknown key 'max_stepz'; did you mean max_steps"),
        (["methods.0.name=LIFT-h3"], "the name 'lift-h3' is taken"),
        (["methods.0.name=results.json"], "the name 'results.json' is taken"),
        (["methods.5.name=x"], "'5' is not an index below 2"),
        (["methods.²=x"], "'²' is not an index below 2"),
        (["training.epochs=.inf"], "training.epochs=inf: Input should be a finite number"),
        (["seed=-1"], "seed=-1: Input should be greater than or equal to 0"),
        (["training.adam_betas=[0.9, 1.0]"], "training: adam_betas=[0.9, 1.0]: both must be"),
        (["data.0.source="], "data.0.source"),
        (["model={d_model: 3}"], "model.d_model=3: Input should be a multiple of 32"),
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
        (["eval.tasks=[lift_sudok_mini]"], "no task 'lift_sudok_mini': did you mean lift_sudoku"),
        (["model=/no/such/model"], "no model folder '/no/such/model'"),
        (["methods.0.objective.name=vanila"], "unknown objective 'vanila'; did you mean vanilla"),
        (["methods.1.objective.h=3"], "objective 'lift' has no option 'h'; it has: H"),
        (["methods.1.objective.H=1"], "objective.H=1: must be a whole number of regimes"),
        (
            ["data.0.source=sudoko"],
            "unknown data source 'sudoko' (nor a path, nor a Hub id owner/name); did you mean",
        ),
        (["data.0.options={blank: [1, 2]}"], "has no option 'blank'; did you mean blanks?"),
        (["data.0.options={blanks: [17, 20]}"], "blanks=[17, 20]: give the least and most empty cells"),
        (
            ["data.1={source: countdown, n: 4, options: {largest_number: x}}"],
            "largest_number='x': must be a whole number from 2 to 99",
        ),
        (["eval.gen_kwargs={gen_length: 30}"], "gen_length=30 is not divisible"),
        (["eval.tasks=[gsm8k@²]"], "after @ comes a gen_length"),
        (["training.report_to=[wundb]"], "wundb is not installed, or unknown to transformers"),
        (["training.eval_steps=1"], "training.eval_steps=1: there are no validation examples"),
        (["training.pad_to=1000"], "training.pad_to=1000 is more than the model's context of 512"),
        (["training.lora.target_modules=[q_prj]"], "lift-tiny has no 'q_prj'; did you mean q_proj"),
        (["methods.0.objective.noise=block"], "objective.noise='block': the model has no blocks"),
        (["training.router=frozen"], "training.router='frozen': the model has no experts"),
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


@pytest.mark.parametrize("sets", [["training.lora.target_modules=[q_prj]"], ["training.epochs=.inf"]])
def test_a_dry_run_refuses_what_the_run_would(sets, monkeypatch, capsys):
    arguments = [word for item in sets for word in ("--set", item)]
    monkeypatch.setattr("sys.argv", ["lift-harness", "train-eval", "--dry-run", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2 and capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize("damage", ["half a record", "no result", "no weights", "no folder"])
def test_what_is_damaged_in_a_run_is_done_again(first_run, tmp_path, damage):
    folder, results = first_run
    run = tmp_path / "run"
    shutil.copytree(folder, run)
    record, place = run / "vanilla" / "train.json", run / "vanilla" / "train"
    if damage == "half a record":
        record.write_text(record.read_text()[:50])
    elif damage == "no result":
        record.write_text("[]")
    elif damage == "no weights":
        (place / "adapter" / "adapter_model.safetensors").unlink()
    else:
        shutil.rmtree(place)
        place.write_text("")
    recipe = load_recipe("quickstart", CUT_DOWN)
    assert train_eval(recipe, run, console=quiet_console()) == results
    assert (place / "adapter" / "adapter_model.safetensors").is_file()


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(
        "sys.argv", ["lift-harness", "train-eval", "--output", str(tmp_path / "file" / "run")]
    )
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert "Not a directory" in said and "Traceback" not in said and str(tmp_path / "file") in said


def test_a_damaged_manifest_cannot_be_reproduced(first_run, tmp_path):
    for name, text in (("results.json", "{}"), ("manifest.json", "{}")):
        (tmp_path / name).write_text(text)
    with pytest.raises(LiftError, match="damaged .no code, hardware, packages, recipe"):
        reproduce(tmp_path, None)


def test_a_recipe_that_is_not_there_or_not_yaml(tmp_path):
    with pytest.raises(LiftError, match="no recipe 'quikstart' .did you mean quickstart"):
        load_recipe("quikstart")
    (tmp_path / "bad.yaml").write_text("a: [1")
    with pytest.raises(LiftError, match="a folder and not a file"):
        load_recipe(str(tmp_path))
    with pytest.raises(LiftError, match="not YAML") as error:
        load_recipe(str(tmp_path / "bad.yaml"))
    assert "\n" not in str(error.value)


def test_bad_input_found_while_evaluating_leaves_no_folder_behind(tmp_path):
    sets = [*CUT_DOWN, "eval.gen_kwargs={gen_length: 512, block_length: 32, steps: 256}"]
    with pytest.raises(LiftError, match="lift_sudoku_mini doc 0: gen_length=512 leaves no room for a prompt"):
        train_eval(load_recipe("quickstart", sets), tmp_path / "run", console=quiet_console())
    assert not (tmp_path / "run").exists()


def test_a_recipe_words_its_prompts_and_sets_model_args(tmp_path):
    """They are in the results, the log has them, and the manifest is enough to do it again."""
    words = {"lift_sudoku_mini": {"instruction": "Solve.", "question": "Grid: {puzzle}"}}
    (tmp_path / "words.json").write_text(json.dumps(words))
    sets = [*CUT_DOWN, f"eval.prompts={tmp_path / 'words.json'}", "eval.model_args={temperature: 0.5}"]
    recipe = load_recipe("quickstart", [*sets, "eval.samples=0"])
    folder = tmp_path / "run"
    train_eval(recipe, folder, console=quiet_console())
    (file,) = (folder / "base" / "eval" / "one").glob("results_*.json")
    results = json.loads(file.read_text())
    metadata = {task: results["configs"][task]["metadata"] for task in results["configs"]}
    assert metadata["lift_sudoku_mini"]["question"] == "Grid: {puzzle}"
    assert metadata["lift_sort_mini"]["question"] == "{question}"
    assert {used["temperature"] for used in results["config"]["decoding"].values()} == {0.5}
    (log,) = (folder / "base" / "eval" / "one").glob("samples_lift_sudoku_mini_*.jsonl")
    for line in map(json.loads, log.read_text().splitlines()):
        prompt = line["arguments"]["gen_args_0"]["arg_0"]
        assert f"Solve.\n\nGrid: {line['doc']['Puzzle']}" in prompt
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["recipe"]["eval"]["prompts"] == words
