"""The evidence lower bound against brute force, and multiple choice through lm-eval."""

import itertools
import json
import math

import lm_eval
import numpy as np
import pytest
import torch
from llada_reference import MASK, ReferenceLLaDA, softmax
from lm_eval.api.instance import Instance
from lm_eval.tasks import TaskManager

from lift_harness.asked import encode_pair, rolling_windows
from lift_harness.errors import LiftError
from lift_harness.likelihood import Text, elbo, greedy_matches, samples
from lift_harness.lm import LiftDLM


def texts(lengths, seed=0):
    """Texts of (context, target) lengths."""
    rng = np.random.default_rng(seed)
    draw = lambda n: tuple(rng.integers(0, MASK, n).tolist())  # noqa: E731
    return [Text(draw(a), draw(b), key=i) for i, (a, b) in enumerate(lengths)]


def log_p(reference, text, masked, shift=0):
    """Log probabilities of the masked tokens, by position, in float64."""
    first = len(text.context)
    ids = [*text.context, *(MASK if i in masked else token for i, token in enumerate(text.target))]
    logits = reference(ids)
    return {i: math.log(softmax(logits[first + i - shift])[text.target[i]]) for i in masked}


def over_all_orders(reference, text, shift=0):
    """The mean over all L! orders of the log probability of filling the target in in that order."""
    n = len(text.target)
    known = {
        masked: log_p(reference, text, masked, shift)
        for k in range(1, n + 1)
        for masked in itertools.combinations(range(n), k)
    }
    orders = [
        sum(known[tuple(sorted(order[j:]))][order[j]] for j in range(n))
        for order in itertools.permutations(range(n))
    ]
    return sum(orders) / len(orders)


@pytest.fixture(scope="module")
def model(llada):
    return llada("gqa")


@pytest.fixture(scope="module")
def reference(llada_folder):
    return ReferenceLLaDA(llada_folder("gqa"))


# ---- the bound


def test_short_targets_are_averaged_over_all_orders(model, reference):
    asked = texts([(3, 1), (5, 2), (2, 3), (7, 4)])
    found = elbo(model, asked, mask_id=MASK)
    assert [one.rows for one in found] == [1, 3, 7, 15]
    assert all(one.stderr == 0 for one in found)
    for text, one in zip(asked, found, strict=True):
        assert one.value == pytest.approx(over_all_orders(reference, text), abs=1e-3)


def test_a_shifted_model_is_read_one_position_earlier(llada, reference):
    shifted = llada("gqa")
    shifted.logit_shift = 1
    (text,) = texts([(4, 3)])
    (one,) = elbo(shifted, [text], mask_id=MASK)
    assert one.value == pytest.approx(over_all_orders(reference, text, shift=1), abs=1e-3)


def test_samples_estimate_the_mean_over_all_orders(model):
    asked = texts([(3, 4), (9, 3)])
    exact = elbo(model, asked, mask_id=MASK)
    seeds = [elbo(model, asked, mask_id=MASK, mc_num=16, exact_tokens=0, seed=s) for s in range(60)]
    for i, truth in enumerate(exact):
        found = np.array([one[i].value for one in seeds])
        error = found.std(ddof=1) / math.sqrt(len(found))
        assert abs(found.mean() - truth.value) < 4 * error
        # Stratified sizes vary less than independent samples would, so the reported error is an upper one.
        assert found.std(ddof=1) < 1.2 * np.mean([one[i].stderr for one in seeds])


def test_sizes_are_spread_evenly_and_positions_uniform():
    rows = samples(6, 600, seed=1, key=3)
    sizes = rows.masked.sum(-1)
    assert torch.equal(torch.bincount(sizes, minlength=7), torch.tensor([0, *[100] * 6]))
    assert torch.allclose(rows.weight, 6 / sizes.double())
    share = rows.masked.double().mean(0)  # (1 + ... + 6) / 6 / 6 of the rows mask a position
    assert ((share - 7 / 12).abs() < 4 * math.sqrt(0.25 / 600)).all()
    assert not torch.equal(samples(6, 600, seed=2, key=3).masked, rows.masked)


@pytest.mark.parametrize("budget", [1, 40, 300, 8192])
def test_a_text_does_not_depend_on_the_others(model, budget):
    asked = texts([(3, 8), (20, 2), (1, 1), (9, 12), (9, 3)])
    together = elbo(model, asked, mask_id=MASK, mc_num=7, token_budget=budget)
    for text, one in zip(asked, together, strict=True):
        (alone,) = elbo(model, [text], mask_id=MASK, mc_num=7)
        assert one.value == pytest.approx(alone.value, abs=1e-4) and one.rows == alone.rows


def test_out_of_memory_halves_the_rows(llada, monkeypatch):
    tight, asked = llada("gqa"), texts([(3, 8), (4, 3)])
    expected = elbo(tight, asked, mask_id=MASK, mc_num=9)
    forward = tight.hidden_states

    def small(ids, *args, **kwargs):
        if len(ids) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(ids, *args, **kwargs)

    monkeypatch.setattr(tight, "hidden_states", small)
    found = elbo(tight, asked, mask_id=MASK, mc_num=9)
    assert [one.value for one in found] == pytest.approx([one.value for one in expected], abs=1e-4)


def test_greedy_is_what_decoding_one_token_a_pass_gives(model, reference):
    (text,) = texts([(6, 4)])
    canvas = {i: MASK for i in range(4)}
    while MASK in canvas.values():
        logits = reference([*text.context, *canvas.values()])
        best = {}
        for i in (i for i in canvas if canvas[i] == MASK):
            p = softmax(logits[6 + i])
            p_allowed = np.delete(p, MASK)
            best[i] = (p_allowed.max(), int(np.flatnonzero(p == p_allowed.max())[0]))
        i = max(best, key=lambda i: best[i][0])
        canvas[i] = best[i][1]
    right = Text(text.context, tuple(canvas.values()))
    wrong = Text(text.context, (*right.target[:3], (right.target[3] + 1) % MASK))
    assert greedy_matches(model, [right, wrong], mask_id=MASK, batch_size=4, token_budget=None) == [
        True,
        False,
    ]


# ---- as lm-eval asks


@pytest.fixture(scope="module")
def lm():
    return LiftDLM(pretrained="lift-tiny", mc_num=8)


def test_context_and_continuation_split_where_lm_eval_splits_them(lm):
    text = encode_pair(lm.tokenizer, "1+1= ", "2")
    whole = lm.tokenizer("1+1= 2")["input_ids"]
    assert [*text.context, *text.target] == whole
    assert list(text.context) == lm.tokenizer("1+1=")["input_ids"]
    assert len(encode_pair(lm.tokenizer, "", "2").context) == 1


def test_rolling_windows_score_every_token_once(lm):
    text = "1 + 2 = 3 " * 30
    windows = rolling_windows(lm.tokenizer, 40, text)
    assert len(windows) > 3
    assert [token for one in windows for token in one.target] == lm.tokenizer(text)["input_ids"]
    assert all(one.length <= 40 and one.context for one in windows)
    request = Instance("loglikelihood_rolling", {}, ("1 + 2 = 3",), 0, metadata=("other", 0, 1))
    (value,) = lm.loglikelihood_rolling([request], disable_tqdm=True)
    assert -200 < value < 0


def test_a_text_beyond_the_context_names_task_and_doc(lm):
    request = Instance("loglikelihood", {}, ("7 " * 600, "8"), 0, metadata=("some_task", 7, 1))
    with pytest.raises(LiftError, match="some_task doc 7: context and continuation have .* tokens"):
        lm.loglikelihood([request], disable_tqdm=True)
    cutting = LiftDLM(pretrained="lift-tiny", truncate="left")
    assert cutting.loglikelihood([request], disable_tqdm=True)[0][0] < 0
    assert cutting.counts["truncated_prompts"] == 1


@pytest.mark.parametrize("name, value", [("mc_num", 0), ("mc_num", "many"), ("exact_tokens", 11)])
def test_a_bad_setting_is_one_line(name, value):
    with pytest.raises(LiftError, match=f"{name}=.* must be a whole number from"):
        LiftDLM(pretrained="lift-tiny", **{name: value})


def test_a_multiple_choice_task_runs_and_picks_the_likelier_choice(lm, tmp_path, monkeypatch):
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda storage: None)
    docs = [
        {"question": f"{a} + {b} =", "choices": [str(a + b), str(a * b + 1), "7"], "label": 0}
        for a, b in [(2, 3), (10, 20), (4, 4), (1, 8)]
    ]
    (tmp_path / "docs.jsonl").write_text("\n".join(map(json.dumps, docs)))
    (tmp_path / "sums.yaml").write_text(
        "task: sums\ndataset_path: json\n"
        f"dataset_kwargs: {{data_files: {{test: {tmp_path / 'docs.jsonl'}}}}}\n"
        "test_split: test\noutput_type: multiple_choice\ndoc_to_text: '{{question}}'\n"
        "doc_to_choice: choices\ndoc_to_target: label\nmetric_list: [{metric: acc}]\n"
    )
    results = lm_eval.simple_evaluate(
        model=lm,
        tasks=["sums"],
        task_manager=TaskManager(include_defaults=False, include_path=str(tmp_path)),
        bootstrap_iters=0,
    )
    right = 0
    for doc in docs:
        asked = [encode_pair(lm.tokenizer, doc["question"], f" {choice}") for choice in doc["choices"]]
        found = elbo(lm.model, asked, mask_id=lm.mask_id, mc_num=8)
        right += int(np.argmax([one.value for one in found])) == doc["label"]
    assert results["results"]["sums"]["acc,none"] == right / len(docs)
    statistics = results["config"]["likelihood_statistics"]
    assert statistics["texts"] == 12 and statistics["mc_num"] == 8
