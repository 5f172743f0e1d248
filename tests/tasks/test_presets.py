"""Published protocols by name: every value has a source, and is what a request then asks for."""

import json
import logging
import re
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml
from support import presets_page
from support.block_models import load_blocks, write_blocks

from lift_harness.cli import main
from lift_harness.compare import quoting
from lift_harness.compare.published import PRESETS
from lift_harness.decoding import DecodingConfig
from lift_harness.errors import LiftError
from lift_harness.lm.requests import configure
from lift_harness.models.without_weights import shape_of
from lift_harness.pipeline.evaluation import load_tasks
from lift_harness.pipeline.schema import EvalSettings
from lift_harness.tasks import presets
from lift_harness.tasks.benchmarks import load_benchmark
from lift_harness.tasks.catalog import task_config
from lift_harness.tasks.presets import preset, preset_names
from lift_harness.tasks.protocol import load_task
from lift_harness.tasks.wording import wording_of

ALL = [(name, task) for name in preset_names() for task in preset(name).tasks]
BLOCKS = {"llada2": "llada2", "density": "llada2", "sdar": "sdar"}


@pytest.fixture
def data_dir(shared, monkeypatch, tmp_path):
    """The published files, and stand-ins in the same form for those that are not at hand."""
    folder = tmp_path / "data"
    folder.mkdir()
    for file in (shared / "data").iterdir():
        (folder / file.name).symlink_to(file)
    full = {
        "text": "Add.",
        "code": "",
        "test_list": ["assert 1", "assert 2", "assert 3"],
        "test_setup_code": "",
    }
    rows = [json.dumps({**full, "task_id": 11 + i, "text": f"Add {i}."}) + "\n" for i in range(500)]
    if not (folder / "mbpp.jsonl").exists():
        (folder / "mbpp.jsonl").write_text("".join(rows))
    monkeypatch.setenv("LIFT_DATA_DIR", str(folder))
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Family -> a model that is asked what it can do; None: LLaDA's."""
    folder = tmp_path_factory.mktemp("models")
    made = {family: load_blocks(write_blocks(folder / family, family)) for family in ("llada2", "sdar")}
    return {None: shape_of("lift-tiny"), **made}


def request(task, doc=None):
    """(the prompt, the kwargs) of a problem as `lift_dlm` gets them."""
    task.bind(SimpleNamespace(takes_protocol=True), False)
    doc = task.eval_docs[0] if doc is None else doc
    shots = task.config.num_fewshot or 0
    context = task.fewshot_context(doc, shots, gen_prefix=task.doc_to_prefix(doc))
    return context, task.construct_requests(doc, context, metadata=(task.task_name, 0, 1)).args[1]


# ---------------------------------------------------------------- the files


def test_the_presets_that_there_are():
    assert set(preset_names()) >= {
        *("d1", "lift", "gift", "llada", "fast-dllm", "fast-dllm-512", "dream", "llada2", "sdar", "density"),
    }
    for name in preset_names():
        raw = yaml.safe_load((presets.FOLDER / f"{name}.yaml").read_text())
        assert set(raw) <= {"base", "title", "paper", "common", "tasks", "sources"}
    fast = preset("fast-dllm").tasks
    assert {task: one.num_fewshot for task, one in fast.items()} == {
        **{"lift_gsm8k_plain": 5, "lift_math500_plain": 4, "lift_humaneval_plain": 0, "lift_mbpp_plain": 3},
    }
    lengths = [
        preset(name).task("lift_gsm8k_plain").decoding["gen_length"]
        for name in ("fast-dllm", "fast-dllm-512")
    ]
    assert lengths == [256, 512]


@pytest.mark.parametrize("name", preset_names())
def test_every_value_has_its_source(name):
    found = preset(name)
    said = {"tasks", "wording", "num_fewshot", "end of text", "samples", "metric", "published"}
    for task in found.tasks.values():
        said |= {f"decoding.{key}" for key in task.decoding}
        said |= {key for key in ("subset", "until") if getattr(task, key) is not None}
    assert said - set(found.sources) == set()
    for value, text in found.sources.items():
        assert re.match(r"\w", text) and len(text) > 10, value
        assert "unconfirmed" not in text[1:], value  # only at its beginning, where it counts
    published = {number for number in PRESETS if number.preset == name}
    assert published and all(number.paper == found.paper and number.table for number in published)


def test_the_page_says_what_the_files_say():
    assert presets_page.PAGE.read_text() == presets_page.page(), "run python tests/support/presets_page.py"
    assert "**unconfirmed**" in presets_page.page()


# ---------------------------------------------------------------- the words


@pytest.mark.parametrize(("name", "task"), [pair for pair in ALL if pair[0] in ("d1", "lift", "gift")])
def test_d1s_words_are_those_of_the_released_code(name, task):
    """divelab/LIFT, eval/*.py at b2cacc0, by sha256 (`quoting.WORDINGS`)."""
    words = preset(name).task(task).prompts(task)
    made = wording_of(task, load_benchmark(task_config(task)["benchmark"]), words)
    assert made.sha256 in quoting.WORDINGS[task]


def test_lladas_gsm8k_is_opencompass(data_dir):
    """open-compass/opencompass, configs/datasets/gsm8k/gsm8k_gen_1d7fe4.py at 1650cee: its nine rounds."""
    task = load_task("lift_gsm8k_plain", metadata={"preset": "llada"})
    doc = task.eval_docs[0]
    rounds = [text for turn in task.examples(4, doc) for text in turn]
    published = "a499d28d49e0bba39b60c68baba27e5f0cfb0404007f85b9b22e758a74879912"
    assert sha256("\0".join(rounds).encode()).hexdigest() == published
    assert task.doc_to_text(doc) == f"Question: {doc['question']}\nLet's think step by step\nAnswer:"


@pytest.mark.parametrize("name", ["llada", "llada2", "sdar"])
def test_humaneval_is_opencompass(data_dir, name):
    """The same repository, humaneval/humaneval_openai_sample_evals_gen_159614.py at 2530fb5."""
    task = load_task("lift_humaneval_plain", metadata={"preset": name})
    published = (
        "Read the following function signature and docstring, and fully implement the function described. "
        "Your response should only contain the code for this function.\n{prompt}"
    )
    for doc in list(task.eval_docs)[:5]:
        assert task.doc_to_text(doc) == published.replace("{prompt}", doc["prompt"])


@pytest.mark.parametrize(
    ("task", "path"),
    [
        ("lift_gsm8k_plain", "gsm8k/gsm8k-cot.yaml"),
        ("lift_humaneval_plain", "humaneval/humaneval_instruct.yaml"),
        ("lift_mbpp_plain", "mbpp/mbpp_instruct.yaml"),
    ],
)
def test_dreams_words_are_lm_evals(data_dir, task, path):
    from lm_eval.utils import apply_template

    config = load_yaml(Path(find_spec("lm_eval").origin).parent / "tasks" / path, resolve_func=False)
    ours = load_task(task, metadata={"preset": "dream"})
    doc = dict(ours.eval_docs[0])
    asked = {**doc, "text": doc.get("prompt")}
    assert ours.doc_to_text(doc) == apply_template(config["doc_to_text"], asked)
    if "gen_prefix" in config:
        assert ours.doc_to_prefix(doc) == apply_template(config["gen_prefix"], asked)
    assert ours.asked["until"] == config["generation_kwargs"]["until"]


def test_fast_dllms_words_are_those_of_the_plain_tasks(data_dir):
    """Which are lm-eval's byte for byte: test_plain.py."""
    for task in preset("fast-dllm").tasks:
        under, alone = load_task(task, metadata={"preset": "fast-dllm"}), load_task(task)
        assert request(under)[0] == request(alone)[0]
        assert under.asked == alone.asked


# ---------------------------------------------------------------- the settings


def loaded_by_metadata(name, task):
    manager = TaskManager(
        include_path=str(presets.FOLDER.parent), include_defaults=False, metadata={"preset": name}
    )
    return manager.load(task)["tasks"][task]


@pytest.mark.parametrize(("name", "task"), ALL)
def test_a_request_asks_for_what_the_file_says(data_dir, models, name, task):
    """Under `lm_eval --metadata preset=NAME`, which gives its task manager the metadata, and in `eval`."""
    wanted, model = preset(name).task(task), models[BLOCKS.get(name)]
    for made in (loaded_by_metadata(name, task), load_task(task, metadata={"preset": name})):
        context, kwargs = request(made)
        config, until, limit = configure(kwargs, {}, model)
        for key, value in wanted.decoding.items():
            shown = getattr(config, key)
            assert (list(shown) if isinstance(shown, tuple) else shown) == value, key
        assert until == tuple(wanted.until if wanted.until is not None else made.asked.get("until", ()))
        assert limit == config.gen_length
        assert (made.config.num_fewshot or 0) == wanted.num_fewshot
        assert made.config.repeats == (wanted.samples or task_config(task)["repeats"])
        assert made.config.metadata["preset"] == name
        assert made.config.metadata["unconfirmed"] == preset(name).unconfirmed
        if wanted.subset is not None:
            assert made.config.metadata["subset"] == wanted.subset
        if wanted.metric not in ("pass@16",):
            assert wanted.metric in made.benchmark.metrics


def test_the_users_settings_win(data_dir):
    model = shape_of("lift-tiny")
    task = load_task("lift_gsm8k_plain", metadata={"preset": "fast-dllm-cache"})
    _, kwargs = request(task)
    assert configure(kwargs, {}, model)[0].threshold == 0.9
    assert configure(kwargs, {"threshold": 0.8}, model)[0].threshold == 0.8
    task.set_config("generation_kwargs", {"threshold": 0.7, "gen_length": 64}, update=True)
    config, until, _ = configure(request(task)[1], {"threshold": 0.8}, model)
    assert (config.threshold, config.gen_length, config.cache) == (0.7, 64, "prefix")
    assert until == ("Question:", "</s>", "<|im_end|>")
    other = {"lift_gsm8k_plain": {"instruction": "", "question": "{question}?"}}
    task = load_task("lift_gsm8k_plain", metadata={"preset": "fast-dllm", "prompts": other}, num_fewshot=0)
    assert request(task)[0] == task.eval_docs[0]["question"] + "?"
    task = load_task("lift_sudoku", metadata={"preset": "lift", "subset": "all"}, repeats=3)
    assert len(task.eval_docs) == 500 and task.config.repeats == 3


def test_a_preset_is_stronger_than_how_the_model_is_decoded_by_itself(models):
    kwargs = {"protocol": {"gen_length": 64}, "preset": {"gen_length": 128, "threshold": 0.5}}
    config, _, _ = configure(kwargs, {}, models["llada2"])
    assert (config.gen_length, config.threshold, config.cache) == (128, 0.5, "blocks")
    assert configure(kwargs, {"threshold": 0.6}, models["llada2"])[0].threshold == 0.6


def test_names_with_and_without_their_beginning():
    found = preset("fast-dllm")
    assert found.names(["gsm8k", "lift_math500_plain", "mbpp_plain"]) == [
        *("lift_gsm8k_plain", "lift_math500_plain", "lift_mbpp_plain"),
    ]
    assert found.names() == list(found.tasks)
    assert preset("lift").names(["gsm8k"]) == ["lift_gsm8k"]


@pytest.mark.parametrize("name", ["help", "d2", "../d1", "", None, 3, ["d1"]])
def test_an_unknown_name_is_one_line_that_lists_the_names(name):
    with pytest.raises(LiftError) as error:
        preset(name)
    said = str(error.value)
    assert "\n" not in said and all(known in said for known in preset_names())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--preset", "help"], "preset=help: give one of d1, "),
        (["--preset", "d1", "--tasks", "aime24"], "preset d1 has no lift_aime24; its tasks are lift_gsm8k, "),
        (["--preset", "d1", "--tasks", "gsm9k"], "no task 'gsm9k'"),
        ([], "nothing to evaluate: give --tasks, e.g. --tasks gsm8k, or --preset"),
    ],
)
def test_what_the_command_line_refuses(arguments, said, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["lift-harness", "eval", "--model", "lift-tiny", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    printed = capsys.readouterr().err.splitlines()
    assert stopped.value.code not in (0, None) and printed[-1].startswith(f"error: {said}")


def test_what_lm_eval_refuses():
    with pytest.raises(LiftError, match="preset=nobody: give one of d1"):
        loaded_by_metadata("nobody", "lift_gsm8k")
    with pytest.raises(LiftError, match="preset llada has no lift_sudoku; its tasks are "):
        loaded_by_metadata("llada", "lift_sudoku")


def test_what_is_unconfirmed_is_said_once(data_dir, caplog):
    presets.warn_of_unconfirmed.cache_clear()
    with caplog.at_level(logging.WARNING, "lm_eval"):
        for _ in range(2):
            load_task("lift_gsm8k", metadata={"preset": "gift"})
    said = [one.getMessage() for one in caplog.records if "unconfirmed" in one.getMessage()]
    assert len(said) == 1 and said[0].startswith("preset gift: unconfirmed: ")
    assert all(value in said[0] for value in preset("gift").unconfirmed)


def test_a_recipe_names_one(data_dir):
    asked = EvalSettings(preset="fast-dllm")
    assert asked.tasks == list(preset("fast-dllm").tasks)
    assert EvalSettings(preset="d1", tasks=["lift_sudoku"]).tasks == ["lift_sudoku"]
    assert EvalSettings().tasks == ["lift_sudoku_mini", "lift_countdown_mini"]
    with pytest.raises(ValueError, match="preset=d2: give one of"):
        EvalSettings(preset="d2")
    asked = EvalSettings(preset="lift", tasks=["lift_sudoku"])
    (task,) = load_tasks(SimpleNamespace(tasks=asked.tasks), asked)
    assert task.preset.preset.name == "lift" and task.config.metadata["subset"] == "lift"


def test_settings_are_settings():
    for name, task in ALL:
        DecodingConfig.of(dict(preset(name).task(task).decoding))
