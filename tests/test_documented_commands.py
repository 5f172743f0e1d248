"""What README and docs tell a reader to type works: page by page, top to bottom, on lift-tiny.

Where a page means the reader's own (`FOLDER`, `my.jsonl`) or what cannot be had here (a checkpoint of 8B, a
GPU), lift-tiny and small files take its place, and all is kept short; otherwise a command runs as it is.
"""

import functools
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lm_eval.tasks._index import TaskIndex
from support.chat_server import ChatServer, quoting

from lift_harness.cli import main
from lift_harness.lm import evaluation
from lift_harness.training.sources.synthetic import generated

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])

STANDS_FOR = {
    **dict.fromkeys(("GSAI-ML/LLaDA-8B-Instruct", "FOLDER", "MODEL", "BASE"), "lift-tiny"),
    "ADAPTER": "runs/quickstart/lift-h3/train/adapter",
    "runs/mine/adapter": "runs/quickstart/lift-h3/train/adapter",
    "RECIPE": "quickstart",
    "OUT": "merged-too",
    "SAMPLES.jsonl": "samples_lift_gsm8k_2026-01-01.jsonl",
    "cuda": "cpu",
}
SHORT = [
    *("training.max_steps=2", "training.batch_size=2", "training.gradient_accumulation_steps=1"),
    *("eval.limit=1", "eval.samples=2", "eval.sample_limit=1"),
]
RECIPES = {  # what is changed, by the recipe's name
    "quickstart": ["data.0.n=8", "data.1.n=8", "training.lora.r=2"],
    "my-recipe.yaml": ["data.0.n=8", "data.1.n=8", "training.lora.r=2"],
    "lift-tiny-base": ["data.0.n=8", "data.1.n=8", "data.2.n=8"],
    # The paper's: lift-tiny has a context of 256, and s1K is a file of its format.
    **{
        name: [
            *("model=lift-tiny", "training.max_length=160", "seeds=1", "training.bf16=false"),
            *("training.pad_to=160", "validation=2", *more),
        ]
        for name, more in {
            "llada-8b-s1k": ["select=[vanilla, lift-h3]", "eval.tasks=[sudoku_mini]"],
            "llada-8b-s1k-lift3": ["eval.tasks=[sudoku_mini]"],
            "mine.yaml": ["training.eval_steps=1", "training.save_steps=1"],
        }.items()
    },
}


def blocks(page: Path) -> list[tuple[str, str]]:
    """(language, text) of the blocks of code, and of the commands in the table of the README.

    What is shown inside of a longer fence is none.
    """
    text = re.sub(r"^````.*?^````$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    found = re.findall(r"^```(bash|python)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    in_table = re.findall(r"^\| [^|]+ \| `((?:lift-harness|lm_eval) (?!.*\.\.\.)[^`]+)` \|", text, flags=re.M)
    return [*found, ("bash", "\n".join(in_table))] if page.name == "README.md" else found


def commands(block: str) -> list[str]:
    """The lines of a block that are commands of ours, whole and without comments."""
    lines = block.replace("\\\n", " ").splitlines()
    found = [re.sub(r"(^|\s)#.*", "", line).split(" && ")[-1].strip() for line in lines]
    return [line for line in found if re.match(r"(\w+=\S+ )*(lift-harness|lm_eval|accelerate) ", line)]


def test_the_pages_say_what_to_type():
    found = {page.name: sum(len(commands(block)) for _, block in blocks(page)) for page in PAGES}
    assert sum(found.values()) > 50 and found["README.md"] > 15 and found["guide.md"] > 10


# ---------------------------------------------------------------- the reader's folder


@pytest.fixture(scope="module", autouse=True)
def indexed_once():
    """lm-eval reads its thousands of task files at every start, 12 s; here once."""
    build = functools.cache(TaskIndex.build)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TaskIndex, "build", lambda index, paths: dict(build(tuple(paths))))
        yield


@pytest.fixture(autouse=True)
def language_model(monkeypatch):
    """In place of OpenAI's a server on this machine, which marks every =."""
    with ChatServer(lambda question, before: quoting("=")) as server:
        monkeypatch.setitem(STANDS_FOR, "https://api.openai.com/v1", server.endpoint)
        yield


@pytest.fixture(scope="module")
def prepared(shared, tmp_path_factory):
    """A folder with what the pages take for granted: the reader's files, and a quickstart that was run."""
    folder = tmp_path_factory.mktemp("reader")
    records = generated("arithmetic", 60, seed=2)
    rows = [{"prompt": record.user[-30:], "response": record.response} for record in records]
    for name in ("my.jsonl", "my-data.jsonl"):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    shutil.copytree(shared / "data", folder / "data")
    os.chmod(folder / "data", 0o755)
    shutil.copytree(ROOT / "docs/annotation", folder / "docs/annotation")
    s1k = [{"question": r["prompt"], "thinking_trajectories": [r["response"]], "attempt": "7"} for r in rows]
    (folder / "data" / "s1K.jsonl").write_text("".join(json.dumps(row) + "\n" for row in s1k))
    (mine,) = re.findall(r"```yaml\n(base: .*?)```", (ROOT / "docs/guide.md").read_text(), flags=re.DOTALL)
    (folder / "mine.yaml").write_text(mine)
    (folder / "my-recipe.yaml").write_text("{base: quickstart, name: my-recipe, select: [vanilla]}")
    cpu = "{compute_environment: LOCAL_MACHINE, distributed_type: 'NO', use_cpu: true, num_processes: 1}"
    (folder / "my.yaml").write_text(cpu)
    question = json.loads((shared / "data" / "gsm8k_test.jsonl").read_text().splitlines()[0])
    samples = {"doc": question, "resps": [["<answer>\\boxed{18}</answer>"]]}
    (folder / "samples_lift_gsm8k_2026-01-01.jsonl").write_text(json.dumps(samples) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        surroundings(patch, folder)
        type_in("lift-harness train-eval", patch)
        type_in("lift-harness eval -m lift-tiny --tasks gsm8k,aime24 --output results/LLaDA", patch)
    for name in ("runs/a", "runs/b"):
        shutil.copytree(folder / "results/LLaDA", folder / name)
    return folder


def surroundings(patch, folder: Path) -> None:
    patch.chdir(folder)
    patch.setenv("LIFT_DATA_DIR", str(folder / "data"))
    patch.setattr(evaluation, "environment", lambda: {})  # asking pip for all versions takes seconds
    patch.setattr("lm_eval.evaluator.add_env_info", lambda storage: None)
    patch.setattr("sys.stdin", io.StringIO())


# ---------------------------------------------------------------- typing


def briefly(words: list[str]) -> list[str]:
    """A command of lift-harness, as short as it can be run."""
    words = list(words)
    if words[0] in ("train-eval", "train") or words[:2] == ["data", "preview"]:
        name = next((word for word in words[1:] if word in RECIPES), "quickstart")
        words = short_run(words, [*SHORT, *RECIPES[name]])
    if "--nproc" in words:
        words[words.index("--nproc") + 1] = "2"
    if words[:2] == ["data", "annotate"]:
        words += ["--limit", "8"]
    if words[0] == "eval":
        words = short_answers(words)
    if words[0] == "sweep":
        words += ["--limit", "1", *(["--gen_kwargs", "gen_length=32"] if "gsm8k" in words else [])]
    return words + (["--examples", "8", "--bootstrap", "20"] if words[0] == "analyze" else [])


def short_run(words: list[str], settings: list[str]) -> list[str]:
    """A recipe with these settings, in place of those of the same keys."""
    keys, kept = {one.partition("=")[0] for one in settings}, []
    for before, word in zip(["", *words], words, strict=False):
        if before == "--set" and word.partition("=")[0] in keys:
            kept.pop()
        else:
            kept.append(word)
    return kept + [word for one in settings for word in ("--set", one)]


def short_answers(words: list[str]) -> list[str]:
    """An evaluation of one problem a task, in 4 steps: lift-tiny has no room for 512 tokens."""
    words = ["--gen_kwargs" if word == "--gen-kwargs" else word for word in words]
    asked = {}
    if "--gen_kwargs" in words:
        at = words.index("--gen_kwargs")
        asked = dict(one.split("=") for one in words[at + 1].split(","))
        del words[at : at + 2]
    told = ",".join(
        f"{k}={v}" for k, v in {**asked, "gen_length": 32, "block_length": 32, "steps": 4}.items()
    )
    return [*words, "--limit", "1", "--gen_kwargs", told]


def type_in(line: str, patch) -> None:
    """Run a line as the shell would; fails where its exit code is not 0."""
    for name, stand_in in STANDS_FOR.items():
        line = re.sub(rf"(?<![\w./-]){re.escape(name)}(?![\w./-])", stand_in, line)
    words = shlex.split(line)
    while "=" in words[0]:
        words.pop(0)  # LIFT_DATA_DIR is set
    if words[0] == "lm_eval":
        if "--model_args" not in words:
            words += ["--model_args", "pretrained=lift-tiny"]
        with patch.context() as inner:
            inner.setattr("sys.argv", short_answers(words))
            from lm_eval.__main__ import cli_evaluate

            cli_evaluate()
        return
    if "lift-harness" in words:
        words = ["lift-harness", *briefly(words[1:])]
    if words[0] == "accelerate":
        at = words.index("lift_harness") + 1
        words = ["-m", "accelerate.commands.launch", *words[2:at], *briefly(words[at:])]
        done = subprocess.run([sys.executable, *words], check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return
    with patch.context() as inner, pytest.raises(SystemExit) as stopped:
        inner.setattr("sys.argv", words)
        main()
    assert stopped.value.code in (0, None), line


def runnable(line: str) -> bool:
    """Not here: several processes with weights in pieces need GPUs."""
    return "--strategy" not in line or torch.cuda.device_count() > 1


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.name)
def test_what_the_page_tells_to_type_works(page, prepared, tmp_path, monkeypatch):
    folder = tmp_path / "reader"
    shutil.copytree(prepared, folder)
    surroundings(monkeypatch, folder)
    for language, block in blocks(page):
        if language == "python" and "..." not in block:
            for name, stand_in in STANDS_FOR.items():
                block = block.replace(name, stand_in) if "/" in name else block
            exec(compile(block, page.name, "exec"), {})
        for line in commands(block) if language == "bash" else []:
            if runnable(line):
                type_in(line, monkeypatch)
