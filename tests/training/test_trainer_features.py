"""Evaluation, guards, precision and the order of training."""

import json
import math
from itertools import permutations
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.llada_reference import EOS, MASK, ReferenceLLaDA, softmax
from transformers import TrainerCallback

from lift_harness.errors import LiftError
from lift_harness.training import TrainSettings, get_objective, train
from lift_harness.training.data import Example
from lift_harness.training.objectives import Loss
from lift_harness.training.order import SlotCollator, Slots, Steps

TOKENIZER = SimpleNamespace(eos_token_id=EOS, mask_token_id=MASK)
LORA = {"r": 4, "alpha": 8, "dropout": 0.0}
SMALL = {
    "learning_rate": 1e-3,
    "batch_size": 4,
    "gradient_accumulation_steps": 1,
    "max_steps": 3,
    "logging_steps": 1,
    "save_steps": None,
    "lora": None,
}


def example(i: int, length: int | None = None) -> Example:
    rng = np.random.default_rng(i)
    response = rng.integers(0, MASK, length or 6 + i).tolist()
    return Example(i, rng.integers(0, MASK, 4).tolist(), response, origin=f"train.jsonl:{i + 1}")


@pytest.fixture
def fit(llada, tmp_path):
    """fit(objective, callbacks, validation, **settings): a new model trained on 8 examples; model and log."""

    def fit(objective="vanilla", callbacks=(), validation=(), **values):
        objective = get_objective(objective) if isinstance(objective, str) else objective
        settings, texts = TrainSettings(**SMALL | values), [example(i) for i in range(8)]
        return train(
            llada(), TOKENIZER, texts, objective, settings, tmp_path, 0, callbacks, validation=validation
        )

    return fit


class Gradients(TrainerCallback):
    def __init__(self):
        self.steps, self.recomputed = [], []

    def on_pre_optimizer_step(self, args, state, control, model, **kwargs):
        self.steps.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
        self.recomputed.append(any(getattr(m, "gradient_checkpointing", False) for m in model.modules()))


# ---- evaluation


def nelbo_over_all_orders(logits_of, one: Example) -> float:
    """-E over orders of the sum of log p of each token given those before it in the order."""
    n, ids = len(one.prompt), one.prompt + one.response
    total = 0.0
    orders = list(permutations(range(len(one.response))))
    for order in orders:
        known = list(one.prompt) + [MASK] * len(one.response)
        for i in order:
            total -= math.log(softmax(logits_of(known)[n + i])[ids[n + i]])
            known[n + i] = ids[n + i]
    return total / len(orders)


def test_the_nelbo_is_that_of_the_formula_in_nats_a_token(fit, llada_folder):
    validation = [example(20, 2), example(21, 3)]
    _, log = fit(validation=validation, eval_steps=1, max_steps=1, learning_rate=1e-12)
    reference = ReferenceLLaDA(llada_folder())
    expected = sum(nelbo_over_all_orders(reference, one) for one in validation) / 5
    assert [line["eval_nelbo"] for line in log if "eval_nelbo" in line] == pytest.approx([expected], rel=1e-4)


def test_every_evaluation_sees_the_same_noise_and_leaves_training_as_it_is(fit, tmp_path):
    validation = [example(20, 9), example(21, 12)]
    _, log = fit(validation=validation, eval_steps=1, learning_rate=1e-15, eval_samples=3)
    values = [line["eval_nelbo"] for line in log if "eval_nelbo" in line]
    assert len(values) == 3 and max(values) - min(values) < 1e-6
    lora = {"lora": LORA | {"dropout": 0.3}, "max_steps": 4}
    plain, _ = fit("lift", **lora)
    watched, log = fit("lift", validation=validation, eval_steps=2, **lora)
    weights = dict(watched.named_parameters())
    assert all(torch.equal(p, weights[name]) for name, p in plain.named_parameters())
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines == log and sum("eval_nelbo" in line for line in lines) == 2


def test_evaluation_without_validation_examples_is_an_error(fit):
    with pytest.raises(LiftError, match="eval_steps=1: there are no validation examples"):
        fit(eval_steps=1)


def test_the_log_tells_what_lift_did(fit, tmp_path):
    rows, tokens = [], []

    def objective(model, batch, key, num_items=None):
        found = get_objective("lift")(model, batch, key, num_items)
        for row, t in enumerate(found.t.tolist()):
            rows.append("hardest" if t < 1 / 3 else "easiest" if t >= 2 / 3 else "random")
            for sure, kept in zip(
                found.confidence[row].tolist(), found.supervised[row].tolist(), strict=True
            ):
                tokens.append((int(t * 10), kept, sure))
        return found

    _, log = fit(objective, max_steps=6)
    for step, line in enumerate(log):
        of_step = rows[4 * step : 4 * step + 4]
        shares = {f"regime_{name}": of_step.count(name) / 4 for name in ("hardest", "random", "easiest")}
        assert {name: line[name] for name in shares} == shares
    found = json.loads((tmp_path / "confidence.json").read_text())
    assert found["t_edges"] == pytest.approx(np.linspace(0, 1, 11))
    for which, name in enumerate(("kept", "dropped")):
        for tenth in range(10):
            sure = [c for t, kept, c in tokens if t == tenth and kept == (which == 0) and not math.isnan(c)]
            assert found["count"][which][tenth] == len(sure)
            expected = pytest.approx(sum(sure) / len(sure), rel=1e-6) if sure else None
            assert found[name][tenth] == expected
    assert any(found["kept"]) and any(found["dropped"])


# ---- guards


def test_a_loss_that_is_not_a_number_stops_with_step_examples_and_rate(fit):
    calls = []

    def objective(model, batch, key, num_items=None):
        found = get_objective("vanilla")(model, batch, key, num_items)
        calls.append(batch.example_id.tolist())
        return Loss(**vars(found) | {"loss": found.loss * float("nan")}) if len(calls) == 3 else found

    with pytest.raises(LiftError) as error:
        fit(objective, max_steps=5, lr_scheduler="constant")
    said = str(error.value)
    assert "the loss of step 3 is nan" in said and "learning rate 0.001" in said and "\n" not in said
    assert all(f"train.jsonl:{i + 1} (id {i})" in said for i in calls[-1])


def test_weights_that_are_not_numbers_are_not_kept(fit, tmp_path):
    def objective(model, batch, key, num_items=None):
        found = get_objective("vanilla")(model, batch, key, num_items)
        bad = (found.loss - found.loss.detach()).abs().sqrt()  # 0, its gradient is not a number
        return Loss(**vars(found) | {"loss": found.loss + bad})

    with pytest.raises(LiftError, match="diverged: .* is not finite after step 1"):
        fit(objective, save_steps=1)
    assert not list(tmp_path.glob("checkpoint-*"))


def test_an_example_longer_than_the_context_is_named(llada, tmp_path):
    texts = [example(0), example(1, 5000)]
    with pytest.raises(LiftError, match=r"train.jsonl:2 has 5004 tokens"):
        train(llada(), TOKENIZER, texts, get_objective("vanilla"), TrainSettings(**SMALL), tmp_path, 0)


def test_an_unknown_tracker_is_one_line(fit):
    with pytest.raises(LiftError, match="training.report_to=.*abacus"):
        fit(report_to=["abacus"])


# ---- precision and memory


@pytest.mark.parametrize("lora", [None, LORA], ids=["full", "lora"])
def test_gradient_checkpointing_changes_no_gradient(fit, lora):
    plain, saving = Gradients(), Gradients()
    fit("lift", [plain], lora=lora)
    fit("lift", [saving], lora=lora, gradient_checkpointing=True)
    assert not any(plain.recomputed) and all(saving.recomputed)
    for expected, found in zip(plain.steps, saving.steps, strict=True):
        assert expected.keys() == found.keys() and len(expected) > 0
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, atol=1e-6, rtol=1e-5)


def test_bf16_computes_in_bf16_and_keeps_the_weights_in_float32(fit):
    seen = set()

    class Watch(TrainerCallback):
        def on_train_begin(self, args, state, control, model, **kwargs):
            first = next(module for name, module in model.named_modules() if name.endswith("q_proj"))
            first.register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))

    exact, log = fit("lift_a")
    rough, other = fit("lift_a", [Watch()], bf16=True)
    assert seen == {torch.bfloat16}
    assert {p.dtype for p in rough.parameters()} == {torch.float32}
    assert [line["loss"] for line in other] == pytest.approx([line["loss"] for line in log], rel=0.05)
    assert any(not torch.equal(a, b) for a, b in zip(exact.parameters(), rough.parameters(), strict=True))


# ---- order


cuts = st.sampled_from([(8, 1, 1), (4, 2, 1), (2, 4, 1), (4, 1, 2), (2, 2, 2), (1, 4, 2)])


@given(lengths=st.lists(st.integers(2, 50), min_size=1, max_size=60), seed=st.integers(0, 9), cut=cuts)
def test_steps_do_not_depend_on_how_they_are_cut(lengths, seed, cut):
    batch, accumulation, processes = cut
    multiple = batch * processes if processes > 1 else 1
    for epoch in (0, 1):
        sampler = Steps(lengths, batch * accumulation * processes, multiple, seed, lambda e=epoch: e)
        slots = list(sampler)
        real = [slot for slot in slots if not slot.filler]
        assert sorted(slot.example for slot in real) == list(range(len(lengths)))
        assert slots[: len(real)] == real  # fillers come last
        assert len(slots) == len(sampler) and len(slots) % multiple == 0 and len(slots) - len(real) < multiple
        whole = list(Steps(lengths, 8, 1, seed, lambda e=epoch: e))
        assert real == whole  # the same examples in the same steps, padded to the same lengths
        for start in range(0, len(real), 8):
            step = real[start : start + 8]
            assert {slot.length for slot in step} == {max(lengths[slot.example] for slot in step)}


def test_grouping_by_length_saves_padding_and_keeps_chance():
    lengths = np.random.default_rng(0).integers(10, 500, 1000).tolist()

    def padded(steps, epoch=0):
        return sum(slot.length for slot in Steps(lengths, 8, 1, 0, lambda: epoch, steps=steps))

    assert padded(1) > 1.5 * sum(lengths) and padded(8) < 1.15 * sum(lengths)
    orders = [[slot.example for slot in Steps(lengths, 8, 1, 0, lambda e=e: e)] for e in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


def test_a_filler_teaches_nothing():
    slots = Slots([example(0), example(1)])
    sampler = Steps([10, 11], 4, 4, 0, lambda: 0)
    batch = SlotCollator(EOS)([slots[slot] for slot in sampler])
    assert batch["input_ids"].shape == (4, 11)
    assert (batch["labels"] != -100).sum(-1).tolist()[2:] == [0, 0]
    assert sorted((batch["labels"] != -100).sum(-1).tolist()[:2]) == [7, 7]
