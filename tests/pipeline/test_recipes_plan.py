"""Every recipe in the package plans as `--dry-run` does, with small stand-ins for its model and its data."""

import math
import shutil

import huggingface_hub.constants
import pytest
from support.families_reference import write_family
from support.training_rows import write_rows

from lift_harness.budget.machines import machine
from lift_harness.pipeline.plan import Where, plan
from lift_harness.pipeline.recipe import load_recipe, recipe_names
from lift_harness.training.sources import published

THINKING = "<think>Six and {i} is {n}.</think>It is \\boxed{{{n}}}."
WORKED = {
    "thinking_trajectories": ["6 + {i} = {n}"],
    "question": "Add 6 to {i}.",
    "attempt": "{n}",
    "sol": "{n}",
}
CHAT = [{"role": "user", "content": "Add 6 to {i}."}, {"role": "assistant", "content": THINKING}]
OPC = {"instruction": "Write f{i}.", "output": "def f{i}(x):\n    if x > 6:\n        return {n}\n"}
# A row of each data set, by the file of LIFT_DATA_DIR that stands for it.
PUBLISHED = {
    "s1K.jsonl": WORKED,
    "LIFT-SFT-12K.jsonl": WORKED,
    "s1K-1.1.jsonl": {
        "question": "Add 6 to {i}.", "deepseek_thinking_trajectory": "6 + {i}", "deepseek_attempt": "{n}",
    },
    "KodCode-Light-RL-10K.jsonl": {
        "question": "Write f{i}.",
        "solution": "def f{i}(): return {n}",
        "test": "assert f{i}() == {n}",
        "conversations": [{"from": "human", "value": "f?"}, {"from": "gpt", "value": "<think>6.</think>{n}"}],
        "r1_solution": "def f{i}(): return {n}",
    },
    "Mixture-of-Thoughts/all/train-0.jsonl": {"messages": CHAT, "num_tokens": 2000, "source": "x"},
    "Mixture-of-Thoughts/math/train-0.jsonl": {"messages": CHAT, "num_tokens": 2000, "source": "x"},
    "tulu-3-sft-mixture.jsonl": {"messages": CHAT, "id": "{i}", "source": "x"},
    **{
        f"opc-sft-stage2/{part}/train-0.jsonl": OPC
        for part in ("educational_instruct", "evol_instruct", "mceval_instruct", "package_instruct")
    },
    "Llama-Nemotron-Post-Training-Dataset/SFT/math/train-0.jsonl": {
        "input": CHAT[:1], "output": THINKING, "reasoning": "on", "category": "math",
    },
    "Dolci-Think-RL-32B.jsonl": {
        "prompt": "Add 6 to {i}.", "outputs": ["6 + {i} = {n}"], "ground_truth": ["{n}"], "dataset": ["math"],
    },
}  # fmt: skip
GSM8K = {"question": "Add 6 to {i}.", "answer": "6 + {i} = {n}\n#### {n}"}
MODELS = (
    *("GSAI-ML/LLaDA-8B-Instruct", "GSAI-ML/LLaDA-8B-Base", "GSAI-ML/LLaDA-1.5"),
    *("Dream-org/Dream-v0-Instruct-7B", "Dream-org/Dream-v0-Base-7B"),
)
WITH_BLOCKS = {  # and their families
    "inclusionAI/LLaDA2.0-mini": "llada2",
    "JetLM/SDAR-1.7B-Chat": "sdar",
    "dllm-hub/Qwen3-0.6B-diffusion-bd3lm-v0.1": "a2d-qwen3",
}


def filled(value, i):
    """A row with its number in the place of {i} and {n}."""
    if isinstance(value, dict):
        return {key: filled(part, i) for key, part in value.items()}
    if isinstance(value, list):
        return [filled(part, i) for part in value]
    return value.format(i=i, n=i + 6) if isinstance(value, str) else value


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory, tokenizer, tiny_model):
    """A data folder, and a cache of the Hub in which a small model for 4,096 tokens has all the names."""
    root = tmp_path_factory.mktemp("recipes")
    for file, row in PUBLISHED.items():
        (root / "data" / file).parent.mkdir(parents=True, exist_ok=True)
        write_rows(root / "data", [filled(row, i) for i in range(40)], file)
    model = tiny_model()
    model.config.max_position_embeddings = model.config.max_sequence_length = 4096
    model.config.save_pretrained(root / "model")
    tokenizer.save_pretrained(root / "model")
    for family in WITH_BLOCKS.values():
        write_family(root / family, family, tokenizer, max_position_embeddings=4096)
    for name in (*MODELS, *WITH_BLOCKS):
        folder = root / "hub" / f"models--{name.replace('/', '--')}"
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text("0" * 40)
        stand_in = root / WITH_BLOCKS.get(name, "model")
        shutil.copytree(stand_in, folder / "snapshots" / ("0" * 40))
    return root


@pytest.fixture
def stand_ins(surroundings, monkeypatch):
    monkeypatch.setenv("LIFT_DATA_DIR", str(surroundings / "data"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(surroundings / "hub"))
    rows = [(f"gsm8k:{i}", filled(GSM8K, i)) for i in range(40)]
    monkeypatch.setattr(published, "gsm8k_rows", lambda: ({"hub": "openai/gsm8k"}, iter(rows)))


def small(name):
    """A recipe with as few examples as its stand-ins have, and two problems a task."""
    recipe = load_recipe(name)
    for source in recipe.data:
        source.n = source.n and min(source.n, 20)
    recipe.validation = recipe.validation and 2
    if recipe.eval:
        recipe.eval.limit = 2
    return recipe


def asked_differently():
    """The recipes of which each evaluates as no other before it."""
    first = {}
    for name in recipe_names():
        settings, model = load_recipe(name).eval, load_recipe(name).model
        if settings and isinstance(model, str):
            first.setdefault(settings.model_dump_json(), name)
    return list(first.values())


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_plans_its_trainings(stand_ins, name):
    recipe = small(name)
    stages = {stage.where: stage for stage in plan(recipe.model_copy(update={"eval": None}), "train")}
    assert len(stages) == len(recipe.methods) * recipe.seeds
    for method in recipe.methods:
        settings, cost = recipe.training_of(method), method.build_objective().passes
        stage = next(stage for where, stage in stages.items() if where.split("/")[0] == method.name)
        step = settings.batch_size * settings.gradient_accumulation_steps
        steps = settings.max_steps or math.ceil(math.ceil(stage.items / step) * settings.epochs)
        rows = steps * step if settings.max_steps else round(stage.items * settings.epochs)
        assert stage.note.startswith(f"{steps} steps of {step}, ")
        blocks = str(recipe.model) in (*WITH_BLOCKS, "lift-tiny-block") or getattr(
            recipe.model, "block_size", None
        )
        clean = 1 if blocks else 0  # the clean text is a pass
        assert stage.passes == round(rows * (sum(cost) + clean)) and stage.tokens > stage.passes
    eight = Where(machine("h100:8", None), "fsdp")
    for stage in plan(recipe.model_copy(update={"eval": None, "seeds": 1}), "train", eight):
        assert stage.verdict.startswith("fits: 1.") and 0 < stage.seconds < 3600  # of a small model


@pytest.fixture(scope="module")
def benchmarks(shared, surroundings):
    """The benchmarks' own files beside the stand-ins."""
    for file in (shared / "data").iterdir():
        (surroundings / "data" / file.name).symlink_to(file)


@pytest.mark.parametrize("name", asked_differently())
def test_every_kind_of_evaluation_is_planned_after_its_trainings(benchmarks, stand_ins, name):
    recipe = small(name)
    trainings, stages = len(recipe.methods) * recipe.seeds, list(plan(recipe, None))
    evaluations = [stage for stage in stages if stage.where.endswith("/eval")]
    assert len(stages) - len(evaluations) == trainings
    assert len(evaluations) == 1 + trainings
    assert all(stage.passes > 0 and stage.items == evaluations[0].items for stage in evaluations)
    eight = next(plan(recipe, "eval", Where(machine("h100:8", None))))
    assert eight.verdict.startswith("fits: 1.0 of 80") and 0 < eight.seconds < 3600


def test_a_plan_reads_a_preset_above_how_the_model_is_decoded_by_itself(benchmarks, stand_ins):
    asked = "eval={preset: d1, tasks: [gsm8k], limit: 2, samples: 0}"
    recipe = load_recipe("quickstart", ["model=inclusionAI/LLaDA2.0-mini", "block_size=32", asked])
    stage = next(plan(recipe, "eval"))
    # 128 steps for 256 tokens are 16 a block, and a prompt's tail may make a ninth block.
    assert stage.items == 2 and stage.passes == 2 * 9 * 16


@pytest.mark.parametrize(("strategy", "texts"), [("ddp", 1), ("zero2", 1), ("fsdp", 2), ("zero3", 2)])
def test_with_sharded_weights_passes_without_gradient_make_their_own_clean_text(strategy, texts):
    changes = ["model=lift-tiny-block", "training.lora.target_modules=[q_proj]", "eval=null"]
    recipe = load_recipe("quickstart", changes)
    _, lift = plan(recipe, "train", Where(machine("h100:2", None), strategy))
    settings, cost = recipe.training_of(recipe.methods[1]), recipe.methods[1].build_objective().passes
    rows = 2 * settings.max_steps * settings.batch_size * settings.gradient_accumulation_steps
    assert cost.scored > 0 and lift.passes == round(rows * (cost.trained + 1 + texts * cost.scored))
