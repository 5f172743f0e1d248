"""`train`: repeatable, indifferent to how a step is cut into micro-batches, and it learns."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from transformers import TrainerCallback

from lift_harness.training import LoraSettings, TrainSettings, train
from lift_harness.training.data import Collator, Example, tokenize
from lift_harness.training.objectives import Batch, NoiseKey, get_objective
from lift_harness.training.sources.synthetic import generated

LORA = {"r": 4, "alpha": 8, "dropout": 0.0}
SMALL = {
    "learning_rate": 1e-3,
    "batch_size": 4,
    "gradient_accumulation_steps": 1,
    "max_steps": 3,
    "logging_steps": 1,
    "save_steps": None,
}


@pytest.fixture(scope="module")
def examples(tokenizer):
    found = tokenize(generated("arithmetic", 12, seed=1), tokenizer)
    return [replace(example, id=i) for i, example in enumerate(found)]  # to find them by


@pytest.fixture
def fit(tiny_model, tokenizer, tmp_path):
    """fit(examples, objective, **settings): train a new model."""

    def fit(examples, objective="vanilla", seed=0, model=None, callbacks=(), **values):
        objective = get_objective(objective) if isinstance(objective, str) else objective
        settings = TrainSettings(**(SMALL | values))
        model = tiny_model() if model is None else model
        model, log = train(model, tokenizer, examples, objective, settings, tmp_path, seed, callbacks)
        return model.cpu(), log

    return fit


def trainable(model):
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


class Gradients(TrainerCallback):
    """The gradient of each optimiser step, as AdamW gets it."""

    def __init__(self):
        self.steps = []

    def on_pre_optimizer_step(self, args, state, control, model, **kwargs):
        self.steps.append({n: p.grad.cpu().clone() for n, p in model.named_parameters() if p.requires_grad})


class Recording:
    """An objective that keeps what it was called with."""

    def __init__(self, objective):
        self.objective, self.calls = objective, []

    def __call__(self, model, batch, key, num_items=None):
        loss = self.objective(model, batch, key, num_items)
        self.calls.append((key, batch, int(num_items), loss))
        return loss


# ---- repeatable


@pytest.mark.parametrize("objective", ["vanilla", "lift", "lift_a"])
@pytest.mark.parametrize("lora", [LORA | {"dropout": 0.1}, None], ids=["lora", "full"])
def test_two_runs_give_the_same_weights_and_log_bit_for_bit(fit, examples, objective, lora):
    (first, log), (second, again) = (fit(examples, objective, lora=lora) for _ in range(2))
    first, second = trainable(first), trainable(second)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert [entry["loss"] for entry in log] == [entry["loss"] for entry in again]
    assert len(log) == 3


def test_the_state_of_the_global_generator_does_not_matter(fit, examples, tiny_model):
    def weights(state):
        model = tiny_model()
        torch.manual_seed(state)
        return trainable(fit(examples, model=model, lora=LORA | {"dropout": 0.1})[0])

    first, second = weights(111), weights(222)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_another_seed_gives_other_weights(fit, examples):
    first, second = (trainable(fit(examples, lora=None, seed=seed)[0]) for seed in (0, 1))
    assert not torch.equal(*(run["model.transformer.wte.weight"] for run in (first, second)))


# ---- what is trained


def test_lora_trains_only_adapters_and_full_trains_all(fit, examples, tiny_model):
    before = dict(tiny_model().named_parameters())
    model, _ = fit(examples, lora=LORA)
    assert all("lora_" in name for name in trainable(model))
    assert {name.split(".")[-4] for name in trainable(model)} == {"q_proj", "k_proj", "v_proj"}
    model = model.unload()  # what is left without the adapters
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    full = trainable(fit(examples, lora=None)[0])
    assert full.keys() == before.keys()
    assert not any(torch.equal(full[name], before[name]) for name in before)


@pytest.mark.parametrize("lora", [LORA | {"r": 16, "alpha": 32}, None], ids=["lora", "full"])
@pytest.mark.parametrize("objective", ["vanilla", "lift"])
def test_the_loss_on_a_small_set_goes_down(fit, examples, tokenizer, objective, lora):
    def loss(model):
        """Of vanilla under noise that training has not seen."""
        model.eval()
        with torch.no_grad():
            losses = [get_objective("vanilla")(model, batch, NoiseKey(99, n)).loss for n in range(8)]
        return sum(losses).item() / 8

    few, batch = examples[:4], batch_of(examples[:4], tokenizer)
    rate = {"learning_rate": 3e-3} if lora is None else {"learning_rate": 2e-2}
    model, log = fit(few, objective, lora=lora, max_steps=60, lr_scheduler="constant", **rate)
    untrained = loss(fit(few, lora=lora, max_steps=1, learning_rate=1e-12)[0])
    assert loss(model) < 0.8 * untrained
    assert len(log) == 60


def batch_of(examples, tokenizer) -> Batch:
    inputs = Collator(tokenizer.eos_token_id)(examples)
    return Batch(inputs["input_ids"], inputs["labels"] != -100, inputs["example_id"], tokenizer.mask_token_id)


# ---- gradient accumulation


@pytest.mark.parametrize("lora", [LORA, None], ids=["lora", "full"])
@pytest.mark.parametrize("objective", ["vanilla", "lift"])
def test_two_micro_batches_of_two_equal_a_batch_of_four(fit, examples, objective, lora):
    whole, parts = Gradients(), Gradients()
    cut = {"batch_size": 2, "gradient_accumulation_steps": 2}
    common = {"lora": lora, "pad_to": 80, "max_steps": 1}
    four = examples[:4]  # a step is an epoch: the same examples in any order
    _, log = fit(four, objective, callbacks=[whole], **common)
    _, cut_log = fit(four, objective, callbacks=[parts], **common, **cut)
    assert log[0]["loss"] == pytest.approx(cut_log[0]["loss"], rel=1e-5)
    (expected,), (found,) = whole.steps, parts.steps
    assert max(grad.abs().max() for grad in expected.values()) > 1e-3
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("cut", [(4, 1), (2, 2), (1, 4)])
def test_the_gradient_of_a_step_is_that_of_the_objective_on_its_examples(fit, examples, tiny_model, cut):
    """Of rows padded only within their micro-batch, divided by the response tokens of all of them."""
    recording, steps = Recording(get_objective("vanilla")), Gradients()
    fit(
        examples,
        recording,
        lora=None,
        max_steps=1,
        max_grad_norm=1e9,
        batch_size=cut[0],
        gradient_accumulation_steps=cut[1],
        callbacks=[steps],
    )
    items = sum(int(batch.response.sum()) for _, batch, _, _ in recording.calls)
    assert [call[2] for call in recording.calls] == [items] * cut[1]
    model = tiny_model()
    for key, batch, _, _ in recording.calls:
        get_objective("vanilla")(model.to(batch.x0.device), batch, key, items).loss.backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(steps.steps[0][name], parameter.grad.cpu(), atol=1e-6, rtol=1e-4)


# ---- the noise of each epoch


@pytest.mark.parametrize(
    "n, batch_size, accumulation", [(12, 4, 1), (12, 2, 3), (10, 2, 2), (7, 2, 3), (3, 4, 1), (5, 1, 4)]
)
def test_the_epoch_of_the_noise_advances_at_each_boundary_and_never_within(
    fit, examples, n, batch_size, accumulation
):
    recording = Recording(get_objective("vanilla"))
    cut = {"batch_size": batch_size, "gradient_accumulation_steps": accumulation}
    fit(examples[:n], recording, lora=LORA, max_steps=None, epochs=3, **cut)
    seen = [(key.epoch, i) for key, batch, _, _ in recording.calls for i in batch.example_id.tolist()]
    assert [epoch for epoch, _ in seen] == [0] * n + [1] * n + [2] * n
    assert Counter(seen) == {(epoch, i): 1 for epoch in range(3) for i in range(n)}
    orders = [[i for epoch, i in seen if epoch == e] for e in range(3)]
    assert n < 5 or orders[0] != orders[1]
    assert {key.seed for key, *_ in recording.calls} == {0}


def test_an_example_has_the_same_noise_however_the_epoch_is_cut(fit, examples):
    def draws(**cut):
        recording = Recording(get_objective("vanilla"))
        fit(examples, recording, lora=LORA, max_steps=None, epochs=2, **cut)
        rows = {}
        for key, batch, _, loss in recording.calls:
            for row, i in enumerate(batch.example_id.tolist()):
                length = len(examples[i].prompt) + len(examples[i].response)
                rows[key.epoch, i] = (loss.t[row].item(), loss.supervised[row, :length].tolist())
        return rows

    fours, twos = draws(batch_size=4), draws(batch_size=2, gradient_accumulation_steps=3)
    assert len(fours) == 2 * len(examples)
    assert fours == twos
    assert all(fours[0, i] != fours[1, i] for i in range(len(examples)))


# ---- checkpoints, callbacks


def test_checkpoints_are_kept_every_so_many_steps_and_only_when_asked_for(fit, examples, tmp_path):
    fit(examples, lora=LORA, max_steps=4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.jsonl", "passes.json"]
    fit(examples, lora=LORA, max_steps=4, save_steps=2)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["checkpoint-2", "checkpoint-4", "log.jsonl", "passes.json"]
    assert (tmp_path / "checkpoint-4" / "adapter_model.safetensors").is_file()


def test_nothing_is_printed(fit, examples, capsys):
    fit(examples, lora=LORA)
    assert capsys.readouterr().out == ""


# ---- examples and batches


def test_a_training_prompt_is_the_evaluation_prompt(tokenizer, examples):
    (record,) = generated("arithmetic", 1, seed=1)
    text = tokenizer.decode(examples[0].prompt + examples[0].response)
    user, rest = text.split("<|start_header_id|>assistant<|end_header_id|>\n\n")
    assert user == f"<|startoftext|><|start_header_id|>user<|end_header_id|>\n\n{record.user}<|eot_id|>"
    assert rest == f"<reasoning>{record.response}<|eot_id|>"
    assert tokenizer.decode(examples[0].prompt).endswith("<reasoning>")


@pytest.mark.parametrize("pad_to", [None, 12])
def test_padding_is_end_of_text_and_counts_as_response(pad_to):
    batch = Collator(eos_id=9, pad_to=pad_to)([Example(4, [1, 2], [3, 4, 5]), Example(7, [1], [2])])
    width = pad_to or 5
    rows = [[1, 2, 3, 4, 5], [1, 2]]
    assert batch["input_ids"].tolist() == [row + [9] * (width - len(row)) for row in rows]
    assert batch["labels"].tolist() == [
        [-100, -100, 3, 4, 5] + [9] * (width - 5),
        [-100, 2] + [9] * (width - 2),
    ]
    assert batch["example_id"].tolist() == [4, 7]
    assert batch["padding"].tolist() == [[False] * len(row) + [True] * (width - len(row)) for row in rows]


# ---- bad settings


@pytest.mark.parametrize(
    "name, value",
    [
        ("learning_rate", 0.0),
        ("learning_rate", -1e-5),
        ("batch_size", 0),
        ("gradient_accumulation_steps", 0),
        ("epochs", 0),
        ("max_steps", 0),
        ("warmup_steps", -1),
        ("weight_decay", -0.1),
        ("max_grad_norm", 0.0),
        ("pad_to", 0),
        ("save_steps", 0),
        ("logging_steps", 0),
        ("adam_betas", (0.9,)),
        ("lora", {"r": 0}),
        ("lora", {"dropout": 1.0}),
        ("lora", {"rank": 8}),
        ("learning_rat", 1e-5),
    ],
)
def test_a_bad_setting_is_refused_by_name(name, value):
    with pytest.raises(ValidationError) as error:
        TrainSettings(**{name: value})
    assert error.value.errors()[0]["loc"][0] == name


def test_the_defaults_are_the_published_hyper_parameters():
    settings = TrainSettings()
    assert settings.lora == LoraSettings(r=128, alpha=256, dropout=0.05, target_modules=None)
    assert (settings.adam_betas, settings.weight_decay, settings.max_grad_norm) == ((0.9, 0.999), 0.1, 1.0)
    assert (settings.lr_scheduler, settings.epochs) == ("linear", 20)
    assert settings.batch_size * settings.gradient_accumulation_steps == 8
