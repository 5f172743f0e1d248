"""`lift_dlm` with a checkpoint that has blocks: decoded as its authors do unless told otherwise."""

import json

import lm_eval
import pytest
from lm_eval.api.instance import Instance
from lm_eval.tasks import TaskManager
from support.block_models import write_blocks

from lift_harness.decoding.likelihood import Text, elbo
from lift_harness.errors import LiftError
from lift_harness.interactive.session import open_session
from lift_harness.lm.before_loading import check_call
from lift_harness.lm.model import LiftDLM

SUDOKU = "lift_sudoku_mini"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tokenizer):
    """folder(family): a random checkpoint with the tokenizer of `lift-tiny`, blocks of 8."""
    root, made = tmp_path_factory.mktemp("blocks"), {}

    def of(family):
        if family not in made:
            made[family] = write_blocks(root / family, family, tokenizer)
        return made[family]

    return of


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """lm-eval lists the installed packages after every evaluation, which takes seconds."""
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda storage: None)


def evaluate(folder, model_args="", **more):
    found = lm_eval.simple_evaluate(
        model="lift_dlm",
        model_args=f"pretrained={folder}{model_args}",
        tasks=[SUDOKU],
        task_manager=TaskManager(include_defaults=False),
        limit=2,
        bootstrap_iters=0,
        **more,
    )
    return found["config"], [sample["resps"][0][0] for sample in found["samples"][SUDOKU]]


@pytest.mark.parametrize(
    "family, expected",
    [
        ("llada2", dict(schedule="llada2", threshold=0.95, grid="sequence")),
        ("sdar", dict(schedule="sdar_dynamic", threshold=0.85, grid="sequence")),
        ("fast-dllm", dict(schedule="fastdllm_v2", threshold=1.0, sub_block_length=8, grid="sequence")),
        ("a2d-qwen2", dict(schedule="bd3lm")),
    ],
)
def test_the_results_file_names_the_authors_settings(folder, family, expected):
    config, answers = evaluate(folder(family))
    used = config["decoding"][SUDOKU]
    assert {name: used[name] for name in expected} == expected
    assert (used["block_length"], used["steps"], used["cache"], used["exact"]) == (8, 40, "blocks", True)
    assert (used["gen_length"], used["temperature"]) == (40, 0.0)  # the task's
    assert len(answers) == 2 and config["decoding_statistics"]["forward_passes"] > 0
    json.dumps(config["decoding"], allow_nan=False)


def test_what_the_user_says_wins_and_the_cache_changes_nothing(folder):
    config, answers = evaluate(folder("sdar"), ",schedule=sdar_static,steps=10", gen_kwargs="cache=none")
    used = config["decoding"][SUDOKU]
    expected = dict(schedule="sdar_static", steps=10, cache="none", threshold=None)
    assert {name: used[name] for name in expected} == expected
    assert evaluate(folder("sdar"), ",schedule=sdar_static,steps=10")[1] == answers


def test_block_size_is_a_model_arg(folder):
    config, _ = evaluate(folder("sdar"), ",block_size=4")
    assert config["decoding"][SUDOKU]["block_length"] == 4
    with pytest.raises(LiftError, match="block_length=4 is not the model's: .* block_size=8"):
        evaluate(folder("sdar"), ",block_length=4")


def test_settings_are_refused_before_the_weights_are_loaded(folder, monkeypatch):
    for where in ("lm.model", "interactive.session"):
        monkeypatch.setattr(f"lift_harness.{where}.load_model", lambda name, peft=None: 1 / 0)
    wrong = f"pretrained={folder('sdar')},cache=prefix"
    with pytest.raises(LiftError, match="cache='prefix' is for bidirectional models"):
        check_call(dict(model="lift_dlm", model_args=wrong, tasks=[SUDOKU]))
    with pytest.raises(LiftError, match="cache='dual' is for bidirectional models"):
        open_session(str(folder("sdar")), settings=["cache=dual"])


def test_responses_are_kept_with_their_edits(folder, tmp_path):
    lm = LiftDLM(pretrained=str(folder("llada2")), response_cache=str(tmp_path / "kept"))
    lm.settings = dict(schedule="llada21", threshold=0.2, editing_threshold=0.1, gen_length=16)
    requests = [Instance("generate_until", {}, ("1+1", {"until": []}), 0, metadata=("other", 0, 1))]
    seen = []
    lm.on_response = lambda one, out: seen.append(out)
    texts = [lm.generate_until(requests, disable_tqdm=True) for _ in range(2)]
    assert texts[0] == texts[1] and lm.counts["from_cache"] == 1
    assert seen[0].ids == seen[1].ids and seen[0].replaced
    assert [list(one) for one in seen[0].replaced] == [list(one) for one in seen[1].replaced]
    assert seen[0].history() == [[tuple(one) for one in step] for step in seen[1].history()]


def test_texts_are_scored_block_by_block(folder):
    lm = LiftDLM(pretrained=str(folder("sdar")), mc_num=4, exact_tokens=8)
    (pair,) = lm.loglikelihood(
        [Instance("loglikelihood", {}, ("1 + 2 =", " 3 + 4 = 7"), 0, metadata=("other", 0, 1))],
        disable_tqdm=True,
    )
    context = tuple(lm.tokenizer("1 + 2 =", add_special_tokens=False)["input_ids"])
    whole = lm.tokenizer("1 + 2 = 3 + 4 = 7", add_special_tokens=False)["input_ids"]
    (by_hand,) = elbo(
        lm.model, [Text(context, tuple(whole[len(context) :]))], mask_id=lm.mask_id, exact_tokens=8
    )
    assert pair[0] == pytest.approx(by_hand.value, abs=1e-4) and by_hand.exact
    assert lm.likelihood["loglikelihood"]["exact"] == 1
    (value,) = lm.loglikelihood_rolling(
        [Instance("loglikelihood_rolling", {}, ("1 + 2 = 3 " * 9,), 0, metadata=("other", 0, 1))],
        disable_tqdm=True,
    )
    assert value < 0
