"""The eight benchmarks: their rows, prompts and verdicts, from the files beside the checkout."""

import json
import re
import shutil

import lm_eval
import numpy as np
import pytest
from lm_eval.tasks import TaskManager

import lift_harness.tasks
from lift_harness.decoding import DecodingConfig
from lift_harness.errors import LiftError
from lift_harness.tasks import data, prompts, sandbox
from lift_harness.tasks.catalog import decoding_settings
from lift_harness.tasks.protocol import load_task
from lift_harness.tasks.scoring import programs

COUNTS = {"gsm8k": 1319, "math500": 500, "countdown": 256, "sudoku": 256, "aime24": 30, "aime25": 30}
COUNTS |= {"humaneval": 164, "mbpp": 257}
FOLDER = next(iter(lift_harness.tasks.__path__))
GROUPS = {"lift_reasoning": list(COUNTS)[:6], "lift_code": list(COUNTS)[6:]}


@pytest.fixture
def data_dir(shared, monkeypatch):
    monkeypatch.setenv("LIFT_DATA_DIR", str(shared / "data"))
    return shared / "data"


@pytest.fixture
def copied(data_dir, tmp_path, monkeypatch):
    """A folder with copies of two small files, to alter."""
    for name in ("aime24.jsonl", "4x4_test_sudoku.csv"):
        shutil.copy(data_dir / name, tmp_path / name)
        (tmp_path / name).chmod(0o644)
    monkeypatch.setenv("LIFT_DATA_DIR", str(tmp_path))
    return tmp_path


def right_answer(name, doc):
    if name == "gsm8k":
        return rf"\boxed{{{doc['answer'].split('####')[1].strip()}}}"
    if name == "sudoku":
        return doc["Solution"]
    if name == "countdown":
        return r"\boxed{49+55-53}"  # of the puzzle that comes first
    if name in GROUPS["lift_code"]:
        body = doc.get("code") or doc["prompt"] + doc["canonical_solution"]
        return f"```python\n{body}\n```"
    return rf"\boxed{{{doc['answer']}}}"


# ---------------------------------------------------------------- rows, prompts, verdicts


@pytest.mark.parametrize("name", COUNTS)
def test_a_task_has_its_rows_its_prompt_and_its_verdicts(data_dir, name, monkeypatch):
    task = load_task(f"lift_{name}")
    docs = list(task.eval_docs)
    assert len(docs) == COUNTS[name]
    asked = {task.doc_to_text(doc) for doc in docs}
    assert len(asked) >= len(docs) - 1
    assert all(text.startswith(task.instruction + "\n\n") for text in asked)
    for tag in ("<reasoning>", "</reasoning>", "<answer>", "</answer>"):
        assert tag in task.instruction
    assert all(isinstance(task.doc_to_target(doc), str) for doc in docs)

    if name in GROUPS["lift_code"]:
        monkeypatch.setattr(programs, "_unisolated", True)  # its own solution is safe to run anywhere
    good = prompts.response("", right_answer(name, docs[0]))
    n = task.config.repeats
    metrics = task.process_results(dict(docs[0]), [[good] * n])
    assert metrics["acc"] == 1.0 or (name == "sudoku" and metrics["solved"] == 1.0)
    assert metrics["format"] == 1.0
    metrics = task.process_results(dict(docs[0]), [["no"] * n])
    assert metrics["acc"] in (0.0, (0, docs[0].get("Puzzle", "").count("0")))
    assert set(task.benchmark.metrics) <= set(metrics)
    assert ("math_verify" in metrics) == (name in ("gsm8k", "math500", "aime24", "aime25"))


def test_aime_reports_pass_at_16(data_dir):
    metrics = load_task("lift_aime24").process_results({"answer": "204"}, [[r"\boxed{204}"] + ["no"] * 15])
    assert metrics["pass@16"] == 1.0 and metrics["pass@1"] == metrics["avg@16"] == metrics["acc"] == 1 / 16


def test_what_the_questions_say(data_dir):
    assert "def has_close_elements(" in load_task("lift_humaneval").doc_to_text(data.load("humaneval")[0])
    first = data.load("mbpp")[0]
    assert first["task_id"] == 11 and all(11 <= row["task_id"] <= 510 for row in data.load("mbpp"))
    question = load_task("lift_mbpp").doc_to_text(first)
    assert all(test in question for test in first["test_list"])


def test_the_settings_are_the_protocols():
    for name in COUNTS:
        settings = decoding_settings(f"lift_{name}")
        DecodingConfig().replace(**settings)
        assert settings["gen_length"] == 2 * settings["steps"] and settings["block_length"] == 32
        aime = {"aime24": (512, 0.1, "prefix"), "aime25": (512, 0.2, "prefix")}.get(name, (256, 0.0, "none"))
        assert (settings["gen_length"], settings["temperature"], settings.get("cache", "none")) == aime


def test_groups_and_token_limits(data_dir):
    manager = TaskManager(include_path=FOLDER, include_defaults=False)
    for group, names in GROUPS.items():
        tasks = manager.load(group)["tasks"]
        assert sorted(tasks) == sorted(f"lift_{name}" for name in names)
        for name, task in tasks.items():
            assert task.config.generation_kwargs["max_gen_toks"] == decoding_settings(name)["gen_length"]
            assert task.config.repeats == (16 if "aime" in name else 1)


def test_what_other_models_are_told(data_dir):
    greedy = {"until": [], "max_gen_toks": 256}
    aime = {"until": [], "max_gen_toks": 512, "do_sample": True}
    told = {"aime24": {**aime, "temperature": 0.1}, "aime25": {**aime, "temperature": 0.2}}
    for name in COUNTS:
        assert load_task(f"lift_{name}").config.generation_kwargs == told.get(name, greedy)


def test_two_tasks_run_with_the_shipped_model(data_dir, monkeypatch):
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda storage: None)
    found = lm_eval.simple_evaluate(
        "lift_dlm",
        model_args={"pretrained": "lift-tiny", "truncate": "left"},
        tasks=["lift_math500", "lift_sudoku"],
        task_manager=TaskManager(include_path=FOLDER, include_defaults=False),
        gen_kwargs={"gen_length": 32, "block_length": 32, "steps": 4},
        limit=2,
        bootstrap_iters=0,
    )
    for name in ("lift_math500", "lift_sudoku"):
        assert 0 <= found["results"][name]["acc,none"] <= 1
        assert len(found["samples"][name]) == 2
    assert found["config"]["decoding"]["lift_math500"]["gen_length"] == 32


# ---------------------------------------------------------------- subsets


def test_other_subsets_can_be_asked_for(data_dir):
    rows = data.load("sudoku")
    order = np.random.default_rng(42).choice(500, 256, replace=False)
    lifts = list(data.test_split("sudoku", subset="lift")["test"])
    assert lifts == [rows[i] for i in order] == list(data.test_split("sudoku", subset="default_rng")["test"])
    d1s = list(data.test_split("sudoku", subset="d1")["test"])
    assert (
        d1s == list(data.test_split("sudoku")["test"]) == list(data.test_split("sudoku", "default")["test"])
    )
    assert sum(row in d1s for row in lifts) == 137
    assert len({row["Puzzle"] for row in data.test_split("sudoku")["test"]}) == 256
    assert sorted(row["input"] for row in data.test_split("countdown")["test"]) == sorted(
        row["input"] for row in data.load("countdown")
    )
    assert list(data.test_split("sudoku", subset="all")["test"]) == rows


def test_the_subset_is_the_one_that_was_recorded(data_dir, shared):
    import gzip

    with gzip.open(shared / "recorded" / "llada_8b_instruct_gen128.jsonl.gz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    asked = {row["question"].split(":")[1].strip() for row in rows if row["task"] == "sudoku"}
    assert {row["Puzzle"] for row in data.test_split("sudoku")["test"]} == asked


def test_the_results_say_the_subset(data_dir):
    assert load_task("lift_sudoku").config.metadata["subset"] == "d1"
    assert load_task("lift_sudoku", metadata={"subset": "lift"}).config.metadata["subset"] == "lift"
    assert "subset" not in load_task("lift_gsm8k").config.metadata


def test_a_subset_is_of_the_tasks_that_draw_one(data_dir):
    manager = TaskManager(
        include_path=FOLDER, include_defaults=False, metadata={"subset": "all", "source": "x"}
    )
    tasks = manager.load(["lift_sudoku", "lift_gsm8k"])["tasks"]
    assert (len(tasks["lift_sudoku"].eval_docs), len(tasks["lift_gsm8k"].eval_docs)) == (500, 1319)


def test_an_unknown_subset_is_an_error(data_dir):
    with pytest.raises(LiftError, match="subset=lif: did you mean lift"):
        data.test_split("sudoku", subset="lif")


# ---------------------------------------------------------------- missing and altered files


def one_line(error):
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_missing_file_is_one_line(copied):
    (copied / "aime24.jsonl").unlink()
    with pytest.raises(LiftError, match="aime24.jsonl: No such file.*must have sha256 f5a9c5ca") as error:
        load_task("lift_aime24")
    one_line(error)


@pytest.mark.parametrize("name", ["aime24.jsonl", "4x4_test_sudoku.csv"])
@pytest.mark.parametrize("change", [lambda b: b + b"\n", lambda b: b.replace(b"1", b"2", 1), lambda b: b""])
def test_an_altered_file_is_one_line(copied, name, change):
    path = copied / name
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(LiftError, match=f"{name}: not the published file: its sha256 is .*, not ") as error:
        data.load("aime24" if "aime" in name else "sudoku")
    one_line(error)


def test_the_digests_given_are_those_of_the_files(data_dir):
    for name, source in data.SOURCES.items():
        assert source.unhashed or data.load(name), source.file


# ---------------------------------------------------------------- without LIFT_DATA_DIR


def hub_rows(name, **changed):
    """What the Hub returns: the file's rows with other columns, order of columns and line ends."""
    rows = [{"extra": 1, **dict(reversed(row.items()))} for row in data.load(name)]
    rows[0].update(changed)
    return rows


def test_rows_from_the_hub_are_the_pinned_and_the_same(data_dir, monkeypatch):
    asked = []
    for name, source in data.SOURCES.items():
        if source.hub is None or source.unhashed:
            continue
        monkeypatch.setenv("LIFT_DATA_DIR", str(data_dir))
        rows = hub_rows(name)
        monkeypatch.delenv("LIFT_DATA_DIR")
        monkeypatch.setattr("datasets.load_dataset", lambda *a, rows=rows, **k: asked.append((a, k)) or rows)
        assert len(data.load(name)) == len(rows)
        (path, config), keywords = asked[-1]
        assert (path, config, keywords["split"], keywords["revision"]) == source.hub
        assert re.fullmatch("[0-9a-f]{40}", keywords["revision"])


def test_altered_rows_from_the_hub_are_one_line(data_dir, monkeypatch):
    rows = hub_rows("aime24", answer="205")
    monkeypatch.delenv("LIFT_DATA_DIR")
    monkeypatch.setattr("datasets.load_dataset", lambda *a, **k: rows)
    with pytest.raises(
        LiftError, match="aime24: the rows of .* are not the published ones; set LIFT_DATA"
    ) as error:
        data.load("aime24")
    one_line(error)


def test_no_network_is_one_line(monkeypatch, tmp_path):
    monkeypatch.delenv("LIFT_DATA_DIR", raising=False)

    def refuse(*args, **kwargs):
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr("datasets.load_dataset", refuse)
    with pytest.raises(
        LiftError, match=r"openai/gsm8k at 7403\w+ cannot be read \(no route\); set LIFT_DATA"
    ) as error:
        data.load("gsm8k")
    one_line(error)
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(data, "urlopen", refuse)
    with pytest.raises(LiftError, match="4x4_test_sudoku.csv cannot be read") as error:
        data.load("sudoku")
    assert "sha256 ef86c7c2" in str(error.value)


def test_a_download_is_checked_and_kept(data_dir, monkeypatch, tmp_path):
    content = (data_dir / "4x4_test_sudoku.csv").read_bytes()
    monkeypatch.delenv("LIFT_DATA_DIR")
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)

    class Answer:
        def __init__(self, content):
            self.content = content

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def read(self, size):
            return self.content

    monkeypatch.setattr(data, "urlopen", lambda url, timeout: Answer(content + b"x"))
    with pytest.raises(LiftError, match="not the published file"):
        data.load("sudoku")
    monkeypatch.setattr(data, "urlopen", lambda url, timeout: Answer(content))
    assert len(data.load("sudoku")) == 500
    monkeypatch.setattr(data, "urlopen", None)
    assert len(data.load("sudoku")) == 500  # from what was kept
    assert [path.name for path in (tmp_path / "lift_harness").iterdir()] == ["4x4_test_sudoku.csv"]


def test_code_tasks_without_a_sandbox_are_refused_before_anything_is_generated(data_dir, monkeypatch):
    monkeypatch.setattr(sandbox.runner, "_isolation", "none")
    task = load_task("lift_humaneval")
    with pytest.raises(LiftError, match="bubblewrap.*--confirm_run_unsafe_code"):
        task.build_all_requests(limit=1, rank=0, world_size=1)
    assert not hasattr(task, "_instances")
    task.bind(object(), True)
    with pytest.warns(RuntimeWarning, match="without isolation"):
        task.build_all_requests(limit=1, rank=0, world_size=1)
    assert len(task._instances) == 1 and task.config.metadata["sandbox"] == "none"
