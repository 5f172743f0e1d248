"""Recipes, their data and prompts with something wrong in them: read by every command that reads them."""

import json

import pytest
import yaml
from support.fuzzing import command, complaints

RECIPE = {
    "name": "small",
    "description": "A line.",
    "seed": 1,
    "seeds": 1,
    "model": "lift-tiny",
    "validation": 1,
    "data": [
        {
            "source": "rows.jsonl",
            "fields": {"question": "problem", "reasoning": "solution", "answer": "answer"},
            "where": {"level": [1, 2]},
        }
    ],
    "training": {"max_steps": 2, "batch_size": 2, "lora": {"r": 4, "target_modules": ["q_proj"]}},
    "sweep": {"training.learning_rate": [1e-4, 1e-3]},
    "select": ["vanilla-learning_rate0.0001"],
    "methods": [
        {"name": "vanilla", "objective": {"name": "vanilla"}, "gpu_hours": 0.1},
        {"name": "lift", "objective": {"name": "lift", "H": 3}, "sweep": {"objective.H": [2, 3]}},
    ],
    "eval": {
        "tasks": ["lift_sudoku_mini"],
        "limit": 2,
        "samples": 0,
        "prompts": "prompts.json",
        "gen_kwargs": {"gen_length": 40},
        "model_args": {"cache": "none"},
    },
}
BASE = {
    "methods": [{"name": "a", "objective": {"name": "vanilla"}}],
    "data": [{"source": "countdown", "n": 4}],
}
PROMPTS = {"lift_sudoku_mini": {"instruction": "Solve it.", "question": "Grid: {puzzle}"}}
ROWS = [
    {"problem": f"{i} + 1?", "solution": f"It is {i + 1}.", "answer": str(i + 1), "level": 1}
    for i in range(6)
]
CHATS = [
    {"messages": [{"role": "user", "content": f"Say {i}."}, {"role": "assistant", "content": str(i)}]}
    for i in range(6)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    import pyarrow
    from pyarrow import parquet

    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))
    (folder / "inherits.yaml").write_text(
        yaml.safe_dump({"base": "base.yaml", "model": "lift-tiny", "name": "b"})
    )
    (folder / "base.yaml").write_text(yaml.safe_dump(BASE))
    (folder / "prompts.json").write_text(json.dumps(PROMPTS))
    for name, rows in (("rows", ROWS), ("chats", CHATS)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (folder / f"{name}.json").write_text(json.dumps(rows))
        parquet.write_table(pyarrow.Table.from_pylist(rows), folder / f"{name}.parquet")
    return folder


@pytest.fixture(autouse=True)
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)


COMMANDS = {
    "show": ("recipes", "show", "recipe.yaml"),
    "preview": ("data", "preview", "recipe.yaml"),
    "train": ("train", "recipe.yaml", "--dry-run"),
    "train-eval": ("train-eval", "recipe.yaml", "--dry-run"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_bad_recipe_is_refused_or_done(folder, name):
    count = 70 if name == "show" else 30
    assert complaints(folder / "recipe.yaml", count, COMMANDS[name], seed=name) == []


@pytest.mark.parametrize("file", ["base.yaml", "inherits.yaml"])
def test_a_bad_base_is_refused(folder, file):
    assert complaints(folder / file, 50, ("recipes", "show", "inherits.yaml")) == []


def test_bad_prompts_are_refused(folder):
    assert complaints(folder / "prompts.json", 30, COMMANDS["show"]) == []
    assert complaints(folder / "prompts.json", 6, COMMANDS["train-eval"]) == []


@pytest.mark.parametrize("kind", [".jsonl", ".json", ".parquet"])
@pytest.mark.parametrize("name", ["rows", "chats"])
def test_bad_data_is_refused_or_shown(folder, name, kind):
    fields = "{question: problem, reasoning: solution, answer: answer}" if name == "rows" else "{}"
    source = f"data=[{{source: {name}{kind}, fields: {fields}}}]"
    commands = [
        ("data", "preview", "recipe.yaml", "--set", source, "--plain", *more) for more in ((), ("--n", 5))
    ]
    assert complaints(folder / f"{name}{kind}", 24, commands[0]) == []


SETS = ["a" + ".a" * 5000 + "=1", "methods.999999999999=1", "methods." + "9" * 5000 + "=1", "x=" + "[" * 5000]
SETS += [
    "=1",
    ".=1",
    "methods.0=1",
    "methods=1",
    "sweep=[1]",
    "sweep.seed={}",
    "data.0.source=/dev/zero",
    "data.0=[]",
]
SETS += [
    "seeds=1000000000",
    "seeds=10000",
    "model={n_layers: 1000000000}",
    "eval.prompts=/dev/zero",
    "name=a/b",
]
SETS += ["sweep={objective.H: [" + "1, " * 10000 + "2]}", "sweep={a.b: [1], " * 40 + "a: [1]" + "}" * 40]
SETS += [f"sweep={{{', '.join(f'training.k{i}: [1,2,3,4,5,6,7,8,9,10]' for i in range(9))}}}"]
SETS += [
    "eval.limit=" + "9" * 400,
    "training.max_steps=1e300",
    "training.batch_size=" + "9" * 100,
    "base=/dev/zero",
]
SETS += [
    "eval.tasks=['*']",
    "eval.tasks=[lift_gsm8k@" + "9" * 5000 + "]",
    "eval.tasks=[" + "lift_mini, " * 3000 + "x]",
]
SETS += ["description='close [/x]'", "data.0.instruction=~nobody-here/x", 'data.0.where={level: "\\e[2J"}']


@pytest.mark.parametrize("which", range(0, len(SETS), 8))
def test_a_bad_set_is_refused_or_done(folder, which):
    from support.fuzzing import complaint

    found = []
    for one in SETS[which : which + 8]:
        for name in ("show", "train-eval", "preview"):
            found.append(complaint(one[:60], *COMMANDS[name], "--set", one))
    assert [one for one in found if one] == []


def test_the_commands_work_on_the_recipe_itself():
    for arguments in COMMANDS.values():
        assert command(*arguments)[0] == 0, command(*arguments)
    assert command("recipes", "show", "inherits.yaml")[0] == 0
