"""The evidence lower bound against brute force, and multiple choice through lm-eval."""

import itertools
import json
import math
from pathlib import Path

import lm_eval
import numpy as np
import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.tasks import TaskManager
from support.block_models import BLOCK, BlockReference, load_blocks, write_blocks
from support.llada_reference import MASK, VOCAB, ReferenceLLaDA, softmax

import lift_harness.models
from lift_harness.decoding import generate, settings_for
from lift_harness.decoding.likelihood import Text, elbo, greedy_matches, samples
from lift_harness.errors import LiftError
from lift_harness.lm.loglikelihood import encode_pair, rolling_windows
from lift_harness.lm.model import LiftDLM

LIFT_TINY = Path(lift_harness.models.__file__).parent / "lift_tiny"


def texts(lengths, seed=0):
    """Texts of (context, target) lengths."""
    rng = np.random.default_rng(seed)
    draw = lambda n: tuple(rng.integers(0, MASK, n).tolist())  # noqa: E731
    return [Text(draw(a), draw(b), key=i) for i, (a, b) in enumerate(lengths)]


def log_p(reference, text, masked, shift=0):
    """Log probabilities of the masked tokens, by position, in float64."""
    first, mask = len(text.context), reference.config["mask_token_id"]
    ids = [*text.context, *(mask if i in masked else token for i, token in enumerate(text.target))]
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


@pytest.mark.parametrize("family", ["sdar", "llada2", "fast-dllm"])
def test_a_model_with_blocks_is_scored_block_by_block(tmp_path, family):
    """Every block over all its orders, after all that is before it; what is right of it is not seen."""
    folder = write_blocks(tmp_path / family, family)
    model, reference = load_blocks(folder), BlockReference(folder)
    asked = texts([(3, 2), (7, 4), (6, 6), (8, 3), (5, 14)], seed=4)
    found = elbo(model, asked, mask_id=MASK, exact_tokens=8)
    for text, one in zip(asked, found, strict=True):
        ids, first, value, rows = text.context + text.target, len(text.context), 0.0, 0
        cuts = sorted({first, len(ids), *range(0, len(ids), BLOCK)} - set(range(first)))
        for begin, end in itertools.pairwise(cuts):
            part = Text(ids[:begin], ids[begin:end])
            if end - begin <= 4:
                value += over_all_orders(reference, part, model.logit_shift)
            else:  # whole blocks of 8 have 40,320 orders
                value += elbo(model, [part], mask_id=MASK, exact_tokens=8)[0].value
            rows += 2 ** (end - begin) - 1
        assert one.value == pytest.approx(value, abs=1e-3)
        assert (one.rows, one.stderr, one.exact) == (rows, 0, True)
    sampled = [elbo(model, asked[-1:], mask_id=MASK, mc_num=8, exact_tokens=0, seed=s)[0] for s in range(40)]
    values = np.array([one.value for one in sampled])
    assert sampled[0].rows == 3 * 8 and not sampled[0].exact
    assert abs(values.mean() - found[-1].value) < 4 * values.std(ddof=1) / math.sqrt(len(values))
    assert values.std(ddof=1) < 1.3 * np.mean([one.stderr for one in sampled])


@pytest.mark.parametrize("family", ["sdar", "fast-dllm"])
def test_rows_of_a_text_share_its_context(tmp_path, monkeypatch, family):
    """Read once a pass; and a text depends neither on the others nor on how it is cut up."""
    model = load_blocks(write_blocks(tmp_path, family))
    asked, columns = texts([(26, 4), (9, 7), (3, 12), (16, 8), (17, 1)]), []
    forward = model.hidden_states

    def counting(ids, *args, **kwargs):
        columns.append(ids.numel())
        return forward(ids, *args, **kwargs)

    monkeypatch.setattr(model, "hidden_states", counting)
    for length, read in ((26, 24), (16, 16 - BLOCK * model.logit_shift)):
        elbo(model, texts([(length, 4)]), mask_id=MASK)  # in 15 rows
        assert sum(columns) == read + 15 * (length + 4 - read)
        columns.clear()
    together = elbo(model, asked, mask_id=MASK, mc_num=7)
    for budget in (1, 60, 300):
        found = elbo(model, asked, mask_id=MASK, mc_num=7, token_budget=budget)
        for one, other in zip(found, together, strict=True):
            assert one.value == pytest.approx(other.value, abs=1e-4) and one.rows == other.rows


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


@pytest.mark.parametrize("n", [1, 4])
def test_every_size_alone_is_uniform(n):
    """So that the mean is unbiased for any number of samples, also where it is no multiple of L."""
    last = torch.tensor([int(samples(6, n, seed=0, key=key).masked[-1].sum()) for key in range(600)])
    share = torch.bincount(last, minlength=7)[1:] / 600
    assert ((share - 1 / 6).abs() < 4 * math.sqrt(5 / 36 / 600)).all()


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


def greedy_target(reference, context, length, shift=0):
    """Greedy decoding in float64, the surest first; also the smallest gap that decided a token or a place."""
    canvas, gap = [MASK] * length, math.inf
    while MASK in canvas:
        logits = reference([*context, *canvas])
        best = {}
        for i in (i for i, token in enumerate(canvas) if token == MASK):
            p = softmax(logits[len(context) + i - shift])
            first, second = sorted((j for j in range(VOCAB) if j != MASK), key=lambda j: -p[j])[:2]
            best[i] = (p[first], first)
            gap = min(gap, p[first] - p[second])
        ranked = sorted((sure for sure, _ in best.values()), reverse=True)
        gap = min(gap, ranked[0] - ranked[1]) if len(ranked) > 1 else gap
        i = max(best, key=lambda i: best[i][0])
        canvas[i] = best[i][1]
    return tuple(canvas), gap


@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize("budget", [1, 8192])
def test_greedy_is_what_decoding_one_token_a_pass_gives(llada, reference, shift, budget):
    shifted = llada("gqa")
    shifted.logit_shift = shift
    asked, truth = [], []
    for text in texts([(6, 4), (3, 7), (11, 1), (2, 5)]):
        target, gap = greedy_target(reference, text.context, len(text.target), shift)
        assert gap > 1e-5  # otherwise float32 may rightly decide otherwise
        asked.append(Text(text.context, target))
        truth.append(True)
        for i in range(len(target)):
            wrong = (target[i] + 1) % MASK
            asked.append(Text(text.context, (*target[:i], wrong, *target[i + 1 :])))
            truth.append(False)
    done = []
    found = greedy_matches(shifted, asked, mask_id=MASK, token_budget=budget, on_done=done.append)
    assert found == truth and sorted(done) == list(range(len(asked)))


@pytest.mark.parametrize("family", ["sdar", "fast-dllm"])
def test_greedy_in_blocks_is_what_decoding_one_token_a_pass_gives(tmp_path, family):
    """Fast-dLLM v2 knows a block's first token before the rest, which begins from it."""
    model = load_blocks(write_blocks(tmp_path, family)).double()
    asked, done = [], []
    for text in texts([(6, 1), (8, 1), (3, 1), (12, 1)]):  # to the end of the third block
        length = 3 * BLOCK - len(text.context)
        config = settings_for(model, dict(gen_length=length, schedule="sdar_static", early_stop=False))
        (out,) = generate(model, [text.context], config, mask_id=MASK)
        targets = [tuple(out.ids)]
        targets += [(*out.ids[:i], (out.ids[i] + 1) % MASK, *out.ids[i + 1 :]) for i in range(10)]
        asked += [Text(text.context, target) for target in targets]
    assert greedy_matches(model, asked, mask_id=MASK, on_done=done.append) == [True, *[False] * 10] * 4
    assert sorted(done) == list(range(44))


def test_the_surest_token_counts_not_another_that_is_right(model, reference):
    for context in [text.context for text in texts([(4, 1), (7, 1), (9, 1)])]:
        p = softmax(np.delete(reference([*context, MASK, MASK]), MASK, axis=1))[len(context) :]
        surest = int(p.max(-1).argmax())
        right = p.argmax(-1).tolist()
        asked = []
        for wrong in set(range(MASK)) - {right[surest]}:
            target = [*right]
            target[surest] = wrong
            asked.append(Text(context, tuple(target)))
        assert not any(greedy_matches(model, asked, mask_id=MASK))


def test_a_text_leaves_the_greedy_check_with_its_first_wrong_token(llada, reference, monkeypatch):
    model, rows = llada("gqa"), []
    (text,) = texts([(6, 9)])
    right = Text(text.context, greedy_target(reference, text.context, 9)[0])
    wrong = Text(text.context, tuple((token + 1) % MASK for token in right.target))
    forward = model.hidden_states
    monkeypatch.setattr(
        model, "hidden_states", lambda ids, *a, **k: (rows.append(len(ids)), forward(ids, *a, **k))[1]
    )
    assert greedy_matches(model, [wrong, right, wrong], mask_id=MASK) == [False, True, False]
    assert rows == [3, *[1] * 8]


def test_samples_estimate_the_brute_force_over_all_orders(model, reference):
    (text,) = texts([(5, 5)], seed=3)
    truth = over_all_orders(reference, text)
    found = [
        elbo(model, [text], mask_id=MASK, mc_num=7, exact_tokens=0, seed=seed)[0].value for seed in range(200)
    ]
    error = np.std(found, ddof=1) / math.sqrt(len(found))
    assert abs(np.mean(found) - truth) < 4 * error < 0.1 * abs(truth)


def test_one_seed_gives_one_value_whatever_the_global_generator(model):
    asked = texts([(3, 8)])
    torch.manual_seed(1)
    first = elbo(model, asked, mask_id=MASK, mc_num=9, seed=5)
    torch.manual_seed(2)
    assert elbo(model, asked, mask_id=MASK, mc_num=9, seed=5) == first
    assert elbo(model, asked, mask_id=MASK, mc_num=9, seed=6) != first
    other = [Text(asked[0].context, asked[0].target, key=99)]
    assert elbo(model, other, mask_id=MASK, mc_num=9, seed=5) != first


def test_logits_are_projected_a_bounded_number_at_a_time(llada, monkeypatch):
    model, asked, sizes = llada("gqa"), texts([(3, 8), (4, 3)]), []
    expected = elbo(model, asked, mask_id=MASK, mc_num=9)
    project = model.logits_at
    monkeypatch.setattr("lift_harness.decoding.decision.LOGITS_AT_ONCE", 5 * VOCAB)
    monkeypatch.setattr(model, "logits_at", lambda hidden: (sizes.append(len(hidden)), project(hidden))[1])
    found = elbo(model, asked, mask_id=MASK, mc_num=9)
    assert max(sizes) == 5
    assert [one.value for one in found] == pytest.approx([one.value for one in expected], abs=1e-4)


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
    with pytest.raises(
        LiftError, match="some_task doc 7: the context has .* tokens and a continuation of 2: more"
    ):
        lm.loglikelihood([request], disable_tqdm=True)
    cutting = LiftDLM(pretrained="lift-tiny", truncate="left")
    assert cutting.loglikelihood([request], disable_tqdm=True)[0][0] < 0
    assert cutting.likelihood["loglikelihood"]["truncated"] == 1
    request = Instance("loglikelihood", {}, ("8", "7 " * 600), 0, metadata=("some_task", 7, 1))
    with pytest.raises(LiftError, match="some_task doc 7: a continuation of .* leaves no room for a prompt"):
        cutting.loglikelihood([request], disable_tqdm=True)
    with pytest.raises(LiftError, match="some_task doc 7: the continuation '' has no tokens"):
        lm.loglikelihood(
            [Instance("loglikelihood", {}, ("8", ""), 0, metadata=("some_task", 7, 1))], disable_tqdm=True
        )


def test_statistics_of_each_kind_of_request_are_kept_and_are_valid_json():
    one_sample = LiftDLM(pretrained="lift-tiny", mc_num=1, exact_tokens=2)
    asked = [
        Instance("loglikelihood", {}, ("1 + 2 =", end), 0, metadata=("other", 0, 1))
        for end in (" 3", " three and a half")
    ]
    one_sample.loglikelihood(asked, disable_tqdm=True)
    rolling = Instance("loglikelihood_rolling", {}, ("1 + 2 = 3 " * 9,), 0, metadata=("other", 0, 1))
    one_sample.loglikelihood_rolling([rolling], disable_tqdm=True)
    found = json.loads(json.dumps(one_sample.get_model_info(), allow_nan=False))["likelihood_statistics"]
    assert found["loglikelihood"]["texts"] == 2 and found["loglikelihood"]["exact"] == 1
    assert found["loglikelihood"]["mean_stderr"] is None
    assert found["loglikelihood_rolling"]["rows"] == 1


@pytest.mark.parametrize(
    "name, value", [("mc_num", 0), ("mc_num", "many"), ("mc_num", True), ("exact_tokens", 11)]
)
def test_a_bad_setting_is_one_line(name, value):
    with pytest.raises(LiftError, match=f"{name}=.* must be a whole number from"):
        LiftDLM(pretrained="lift-tiny", **{name: value})


def test_a_bad_seed_or_greedy_check_is_one_line():
    with pytest.raises(LiftError, match="greedy_check='maybe' must be True or False"):
        LiftDLM(pretrained="lift-tiny", greedy_check="maybe")
    request = Instance("loglikelihood", {}, ("1 +", " 2"), 0, metadata=("other", 0, 1))
    with pytest.raises(LiftError, match="seed='abc' must be a whole number"):
        LiftDLM(pretrained="lift-tiny", seed="abc").loglikelihood([request], disable_tqdm=True)


def test_a_multiple_choice_task_runs_and_picks_the_likelier_choice(lm, tmp_path, monkeypatch):
    monkeypatch.setattr("lm_eval.evaluator.add_env_info", lambda storage: None)
    docs = [
        {"question": f"{a} + {b} =", "choices": [str(a + b), str(a * b + 1), "7"], "label": label}
        for a, b, label in [(3, 5, 2), (10, 20, 0), (4, 4, 1), (1, 8, 2)]
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
    reference, right, samples = ReferenceLLaDA(LIFT_TINY), 0, results["samples"]["sums"]
    for doc, sample in zip(docs, sorted(samples, key=lambda sample: sample["doc_id"]), strict=True):
        asked = [encode_pair(lm.tokenizer, doc["question"], f" {choice}") for choice in doc["choices"]]
        by_hand = [over_all_orders(reference, text) for text in asked]
        assert [value for value, _ in sample["filtered_resps"]] == pytest.approx(by_hand, abs=1e-3)
        right += int(np.argmax(by_hand)) == doc["label"]
    assert results["results"]["sums"]["acc,none"] == right / len(docs)
    assert 0 < right < len(docs)  # otherwise the comparison says little
    statistics = results["config"]["likelihood_statistics"]["loglikelihood"]
    assert statistics["texts"] == 11 and statistics["mc_num"] == 8  # 1 + 8 has two equal choices


def test_repeated_requests_are_scored_once(lm):
    asked = [
        Instance("loglikelihood", {}, ("1 + 2 =", end), i, metadata=("other", i, 1))
        for i, end in enumerate((" 3", " 4", " 3", " 3"))
    ]
    found = lm.loglikelihood(asked, disable_tqdm=True)
    assert found[0] == found[2] == found[3] != found[1]
    assert lm.likelihood["loglikelihood"]["texts"] == 2
