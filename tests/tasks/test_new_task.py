"""A new kind of problem, added as docs/guide.md says: three files, and everything knows it.

In a copy of the package, so that the task's folder is the one that is written to.
"""

import filecmp
import json
import os
import shutil
import subprocess
import sys
import textwrap
from hashlib import sha256
from pathlib import Path

import pytest

import lift_harness
import lift_harness.tasks
from lift_harness.tasks import data

WORDS = ["mask", "token", "step", "block"]
ROWS = [{"word": word, "backwards": word[::-1]} for word in WORDS]
FILE = "".join(json.dumps(row) + "\n" for row in ROWS)

YAML = """
include: ../_protocol.yaml
task: lift_reverse
bare_name: reverse
benchmark: reverse
dataset_kwargs: {source: reverse}
metadata:
  version: 1.0
  decoding: {gen_length: 32, block_length: 16, temperature: 0.0}
"""

BENCHMARK = """
from lift_harness.tasks.benchmarks import Benchmark
from lift_harness.tasks.scoring.tags import answer_tag, is_well_formed


def score(doc, text):
    return {"acc": float(answer_tag(text) == doc["backwards"]), "format": float(is_well_formed(text))}


BENCHMARK = Benchmark(
    instruction="Write the word backwards, between <answer> and </answer>.",
    question=lambda doc: f"Word: {doc['word']}",
    target=lambda doc: doc["backwards"],
    score=score,
    metrics={"acc": "mean", "format": "mean"},
    correct="acc",
)
"""

SOURCE = f"""
    "reverse": Source(
        file="reverse.jsonl",
        file_sha256="{sha256(FILE.encode()).hexdigest()}",
        rows_sha256="{data.digest(ROWS, ("word", "backwards"))}",
        checked=("word", "backwards"),
        url="https://example.org/reverse.jsonl",
    ),
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A folder that holds `lift_harness`, with a copy of its tasks to which one was added."""
    root = tmp_path_factory.mktemp("package")
    inside, tasks = root / "lift_harness", root / "lift_harness" / "tasks"
    inside.mkdir()
    for path in Path(lift_harness.__file__).parent.iterdir():
        if path.name not in ("tasks", "__pycache__"):
            (inside / path.name).symlink_to(path)
    for name in ("decoding", "training"):
        if not (inside / name).exists():
            module = __import__(f"lift_harness.{name}", fromlist=["x"])
            (inside / name).symlink_to(next(iter(module.__path__)))
    shutil.copytree(next(iter(lift_harness.tasks.__path__)), tasks)
    (tasks / "paper" / "lift_reverse.yaml").write_text(YAML)
    (tasks / "scoring" / "score_reverse.py").write_text(BENCHMARK)
    start = "SOURCES: dict[str, Source] = {\n"
    known = (tasks / "data.py").read_text(encoding="utf-8")
    (tasks / "data.py").write_text(known.replace(start, start + SOURCE.lstrip("\n")), encoding="utf-8")
    (root / "data").mkdir()
    (root / "data" / "reverse.jsonl").write_text(FILE)
    return root


def changed(before, after):
    """The files that differ or are new, below two folders."""
    compared = filecmp.dircmp(before, after, ignore=["__pycache__"])
    here = [str(Path(after, name)) for name in (*compared.diff_files, *compared.right_only)]
    assert not compared.left_only
    return here + [
        path for name in compared.subdirs for path in changed(Path(before, name), Path(after, name))
    ]


def python(package, *command):
    own = {"PYTHONPATH": str(package), "LIFT_DATA_DIR": str(package / "data"), "HF_HUB_OFFLINE": "1"}
    environment = {name: value for name, value in os.environ.items() if name != "LIFT_HARNESS_NO_PLUGIN"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *command],
        env={**environment, **own},
        capture_output=True,
        text=True,
        timeout=240,
        cwd=package,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_it_takes_three_files(package):
    files = changed(next(iter(lift_harness.tasks.__path__)), package / "lift_harness" / "tasks")
    names = sorted(Path(file).name for file in files)
    assert names == ["data.py", "lift_reverse.yaml", "score_reverse.py"]


def test_names_settings_and_prompt_know_it(package):
    code = """
        import json, lift_harness.tasks
        from lift_harness.plugin.task_names import renamed
        from lift_harness.tasks.benchmarks import benchmark_names
        from lift_harness.tasks.protocol import load_task
        from lift_harness.tasks.catalog import expand, decoding_settings, task_names
        task = load_task("lift_reverse")
        doc = task.eval_docs[0]
        print(json.dumps({
            "where": lift_harness.tasks.__file__,
            "expanded": expand(["reverse"]),
            "renamed": [renamed(["reverse", "stock:reverse"], True), renamed(["reverse"], False)],
            "known": ["lift_reverse" in task_names(), "reverse" in benchmark_names()],
            "settings": decoding_settings("lift_reverse"),
            "others": task.config.generation_kwargs,
            "asked": task.doc_to_text(doc),
            "docs": len(task.eval_docs),
            "right": task.process_results(dict(doc), [["x</reasoning><answer>ksam</answer>"]]),
        }))
        """
    said = json.loads(python(package, "-c", textwrap.dedent(code)))
    assert said.pop("where") == str(package / "lift_harness" / "tasks" / "__init__.py")
    assert said == {
        "expanded": ["lift_reverse"],
        "renamed": [["lift_reverse", "reverse"], ["reverse"]],
        "known": [True, True],
        "settings": {"gen_length": 32, "block_length": 16, "temperature": 0.0},
        "others": {"until": [], "max_gen_toks": 32},
        "asked": "Write the word backwards, between <answer> and </answer>.\n\nWord: mask",
        "docs": 4,
        "right": {"acc": 1.0, "format": 1.0},
    }


def test_lift_harness_eval_decodes_and_scores_it(package, tmp_path):
    command = ["-m", "lift_harness", "eval", "-m", "lift-tiny", "--tasks", "reverse", "--limit", "2"]
    assert "reverse" in python(package, *command, "--output", str(tmp_path))
    (file,) = tmp_path.rglob("results_*.json")
    results = json.loads(file.read_text())
    used = results["config"]["decoding"]["lift_reverse"]
    assert (used["gen_length"], used["block_length"], used["steps"]) == (32, 16, 16)
    assert 0 <= results["results"]["lift_reverse"]["acc,none"] <= 1


def test_a_log_is_scored_again(package, tmp_path):
    log = tmp_path / "samples.jsonl"
    lines = [
        {"doc": row, "resps": [[f"</reasoning><answer>{answer}</answer>"]]}
        for row, answer in zip(ROWS, ["ksam", "nekot", "no", "kcolb"], strict=True)
    ]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    command = ["-m", "lift_harness", "score", "--task", "lift_reverse", str(log)]
    assert "75.0" in python(package, *command)
