"""Recipes for models with blocks: what is planned, counted, logged and previewed."""

import io
import json
import re

import pytest
from support.families_reference import write_family

from lift_harness.console import Console
from lift_harness.errors import LiftError
from lift_harness.files import read_json
from lift_harness.keyed_random import TRAINING_MASK, keyed_uniform
from lift_harness.pipeline.data import method_examples, recipe_data, split_records
from lift_harness.pipeline.plan import plan
from lift_harness.pipeline.preview import preview_recipe
from lift_harness.pipeline.recipe import load_recipe
from lift_harness.pipeline.train_eval import train_eval
from lift_harness.pipeline.training import check_training

ROWS, STEP, EPOCHS = 16, 4, 1


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, tokenizer):
    """A small SDAR, blocks of 8."""
    folder = tmp_path_factory.mktemp("sdar") / "model"
    return str(write_family(folder, "sdar", tokenizer, block_size=8, max_position_embeddings=512))


@pytest.fixture
def write(tmp_path, checkpoint):
    """write(methods, **keys): a recipe on 16 examples that trains only, with 4 more to validate on."""

    def write(methods, training=(), **keys):
        recipe = {
            "name": "blocks",
            "model": checkpoint,
            "data": [{"source": "arithmetic", "n": ROWS + 4, "seed": 1}],
            "validation": 4,
            "methods": [{"name": f"m{i}", "objective": each} for i, each in enumerate(methods)],
            "training": {
                "batch_size": STEP,
                "gradient_accumulation_steps": 1,
                "epochs": EPOCHS,
                "learning_rate": 1e-3,
                "lora": {"r": 2, "alpha": 4, "dropout": 0.0},
                "eval_steps": 4,
                "eval_samples": 2,
                "logging_steps": 1,
                **dict(training),
            },
            "eval": None,
            **keys,
        }
        file = tmp_path / "recipe.yaml"
        file.write_text(json.dumps(recipe))  # JSON is YAML
        return load_recipe(str(file))

    return write


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_as_many_passes_as_the_dry_run_says(write, tmp_path, dropout):
    """The clean text's counted, once where it is shared; and each method logs its loss and its NELBO."""
    asked = [{"name": "vanilla", "noise": "block"}, {"name": "gift"}, {"name": "topk"}, {"name": "density"}]
    recipe = write(asked, {"lora": {"r": 2, "alpha": 4, "dropout": dropout}})
    planned = {stage.where: stage.passes for stage in plan(recipe, "train")}
    found = train_eval(recipe, tmp_path / "run", only="train", console=Console(quiet=True))
    for method, trained, scored in zip(recipe.methods, (1, 1, 1, 2), (0, 1, 1, 0), strict=True):
        folder = tmp_path / "run" / method.name
        passes = ROWS * EPOCHS * (trained + 1 + scored * (2 if dropout else 1))
        assert planned[f"{method.name}/train"] == passes
        assert read_json(folder / "train" / "passes.json")["forward_passes"] == passes
        history = found["training"][method.name]
        assert len(history["loss"]) == 4 and 0 < history["eval_nelbo"][0]["eval_nelbo"] < 20


def test_shared_rows_are_planned_about_as_they_come_out(write, tmp_path):
    recipe = write([{"name": "vanilla"}], {"pack_to": 300, "batch_size": 8, "eval_steps": None})
    (stage,) = plan(recipe, "train")
    train_eval(recipe, tmp_path / "run", only="train", console=Console(quiet=True))
    passes = read_json(tmp_path / "run" / "m0" / "train" / "passes.json")["forward_passes"]
    assert passes == pytest.approx(stage.passes, rel=0.35) and passes < ROWS * 2
    shown = io.StringIO()
    preview_recipe(recipe, t=0.9, console=Console(file=shown, width=400))
    assert set(re.findall(r"> x \d+, (\d+) hidden", shown.getvalue())) == {"0"}  # padding is not learnt
    with pytest.raises(LiftError, match="training.pack_to=300: the model has no blocks"):
        check_training(recipe.model_copy(update={"model": "lift-tiny"}))


@pytest.mark.parametrize("with_model", [False, True])
def test_the_preview_shows_what_the_noise_hides(write, with_model):
    recipe, shown = write([{"name": "vanilla"}]), io.StringIO()
    preview_recipe(recipe, t=0.3, with_model=with_model, console=Console(file=shown, width=400))
    tokenizer, context, data = recipe_data(recipe)
    records, _ = split_records(recipe, data.records)
    method = recipe.methods[0]
    settings, objective = recipe.training_of(method), method.build_objective()
    examples, _ = method_examples(records, tokenizer, settings, context, objective)
    expected = []
    for one in examples[:3]:
        noise = [float(keyed_uniform(0, 0, TRAINING_MASK, one.id, i)) for i in range(len(one.response))]
        expected.append(f"{sum(u < 0.3 for u in noise)} of {len(noise)} hidden")
    assert re.findall(r"\d+ of \d+ hidden", shown.getvalue()) == expected


# ---- block_size, of a model whose files name none


@pytest.fixture(scope="module")
def nameless(tmp_path_factory, tokenizer):
    """A small A2D-Qwen3 as dllm writes it: config.json has no block size."""
    folder = tmp_path_factory.mktemp("a2d") / "model"
    return str(write_family(folder, "a2d-qwen3", tokenizer, max_position_embeddings=512))


def test_a_recipes_block_size_reaches_training_and_evaluation(write, nameless, tmp_path, capsys):
    """What is trained in blocks is decoded in them, and the same recipe without them is another training."""
    settings = {"tasks": ["lift_sudoku_mini"], "limit": 1, "samples": 0}
    found = {}
    for size in (8, None):
        recipe = write([{"name": "vanilla"}], model=nameless, block_size=size, eval=settings)
        output = tmp_path / str(size)
        console = Console(file=io.StringIO(), width=400)
        found[size] = train_eval(recipe, output, console=console)["training"]["m0"]
        # What it says to go on with loads the model as it did.
        assert ("--model_args block_size=8" in capsys.readouterr().err) == bool(size)
        clean = 1 if size else 0
        planned = {stage.where: stage.passes for stage in plan(recipe, None)}
        passes = read_json(output / "m0" / "train" / "passes.json")["forward_passes"]
        assert planned["m0/train"] == passes == ROWS * EPOCHS * (1 + clean)
        for of in ("base", "m0"):
            (file,) = (output / of / "eval").rglob("results_*.json")
            used = read_json(file)["config"]["decoding"]["lift_sudoku_mini"]
            expected = ("bd3lm", "blocks", 8) if size else ("fixed", "none", 40)
            assert (used["schedule"], used["cache"], used["block_length"]) == expected
        assert read_json(output / "manifest.json")["model"].get("block_size") == size
    assert found[8]["sha256"] != found[None]["sha256"]
    assert found[8]["eval_nelbo"] != found[None]["eval_nelbo"]


def test_a_block_size_that_contradicts_the_model_is_refused(write, nameless, tmp_path):
    for keys, said in [
        ({"block_size": 4}, "block_size=4: the blocks of .* have 8 columns, with which it was trained"),
        ({"model": "lift-tiny", "block_size": 8}, "block_size=8: llada models are bidirectional"),
        ({"model": {"d_model": 32}, "block_size": 8}, "block_size=8: of a new model it is model.block_size"),
        ({"model": nameless, "eval": {"model_args": {"block_size": 8}}}, "block_size is set by the recipe"),
        ({"model": nameless, "block_size": 0}, "block_size=0: .* greater than or equal to 1"),
    ]:
        with pytest.raises(LiftError, match=said) as error:
            train_eval(write([{"name": "vanilla"}], **keys), tmp_path / "run", only="train")
        assert "\n" not in str(error.value) and not (tmp_path / "run").exists()


# ---- the one that everybody can run


def test_the_quickstart_of_block_diffusion(tmp_path):
    """Cut down: its table, its report, and the decodings that the report replays."""
    cut = [
        *("training.max_steps=2", "training.batch_size=4", "training.lora.r=2", "data.0.n=8", "data.1.n=8"),
        *("eval.limit=2", "eval.sample_limit=2", "eval.samples=2", "eval.traces=1"),
        "eval.tasks=[lift_sudoku_mini]",
    ]
    found = train_eval(load_recipe("quickstart-block", cut), tmp_path / "run", console=Console(quiet=True))
    assert list(found["scores"]) == ["base", "vanilla", "lift-h3"]
    for scores in found["scores"].values():
        assert {"acc", "solved", "pass@1", "pass@2"} <= set(scores["lift_sudoku_mini"])
    for name in ("vanilla", "lift-h3"):
        folder = tmp_path / "run" / name
        config = json.loads((folder / "train" / "adapter" / "adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == "lift-tiny-block"
        traces = [json.loads(line) for line in (folder / "eval" / "traces.jsonl").read_text().splitlines()]
        assert len(traces) == 1 + 2 and all(max(trace["step"]) >= 4 for trace in traces)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "lift-tiny-block" in page and "quickstart-block" in page
