"""Operations against torch's own counter on real steps and real decodings."""

import pytest
import torch
from support.real_steps import Step, counted, counted_training

from lift_harness.budget.memory import Training
from lift_harness.budget.operations import decoding_operations, scoring_operations, training_operations
from lift_harness.budget.shape import shape_of
from lift_harness.decoding import DecodingConfig, generate
from lift_harness.training.objectives import get_objective

STEPS = {
    "all weights": Step(length=64),
    "checkpoints": Step(length=64, checkpointing=True),
    "adapters": Step(length=64, rank=16),
    "adapters, checkpoints": Step(length=64, rank=16, checkpointing=True),
    "blocks": Step(length=64, block=16),
    "experts in blocks": Step(length=64, shape="experts"),
    "lift": Step(length=64, objective="lift-3"),
    "lift in blocks, adapters": Step(length=64, block=16, rank=16, dropout=0.05, objective="lift-3"),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_rows_operations_are_those_that_torch_counts(name):
    step = STEPS[name]
    method, _, H = step.objective.partition("-")
    cost = get_objective(method, **({"H": int(H)} if H else {})).passes
    how = Training(
        step.rows,
        step.length,
        step.response,
        lora=step.lora,
        checkpointing=step.checkpointing,
        kind="cpu",
    )
    shape = shape_of(step.base("meta"), 4)
    found = training_operations(shape, how, step.length, step.response, cost)
    # How many logits a first pass asks for is reckoned for all objectives alike.
    within = 0.03 if step.objective == "vanilla" else 0.06
    assert found == pytest.approx(counted_training(step), rel=within)


def test_two_views_cost_two_passes():
    step = Step(length=64)
    shape = shape_of(step.base("meta"), 4)
    one, two = (get_objective("vanilla", complementary=both).passes for both in (False, True))
    how = {views: Training(int(4 * views.trained), 64, 48, kind="cpu") for views in (one, two)}
    cost = [training_operations(shape, how[views], 64, 48, views) for views in (one, two)]
    assert cost[1] == pytest.approx(2 * cost[0], rel=0.03)


@pytest.mark.parametrize("cache", ["none", "prefix", "dual"])
def test_an_answers_operations_are_those_that_torch_counts(cache):
    model, vocabulary = Step().base(), 32_000
    config = DecodingConfig(gen_length=32, block_length=16, steps=8, cache=cache, early_stop=False)
    prompts = torch.randint(vocabulary - 2, (2, 64), generator=torch.Generator().manual_seed(0)).tolist()
    with counted(model) as operations:
        generate(model, prompts, config, mask_id=vocabulary - 1, batch_size=2)
    found = decoding_operations(shape_of(model, 4), config, prompt=64)
    assert found == pytest.approx(operations.computed / 2, rel=0.05)


def test_an_answer_in_blocks():
    model, vocabulary = Step(block=8).base(), 32_000
    config = DecodingConfig(
        gen_length=16, block_length=8, cache="blocks", schedule="llada2", early_stop=False, threshold=1.0
    )
    prompts = torch.randint(vocabulary - 2, (2, 64), generator=torch.Generator().manual_seed(0)).tolist()
    with counted(model) as operations:
        made = generate(model, prompts, config, mask_id=vocabulary - 1, batch_size=2)
    assert made[0].forward_passes == config.steps == 16
    found = decoding_operations(shape_of(model, 4), config, prompt=64)
    assert found == pytest.approx(operations.computed / 2, rel=0.05)


def test_a_pass_for_the_nelbo():
    step = Step(length=64)
    model = step.base()
    batch = step.batch(model, 0)
    where = torch.zeros_like(batch.response)
    where[:, 16::2] = True
    with counted(model) as operations, torch.no_grad():
        model(input_ids=batch.x0, logits_mask=where)
    found = scoring_operations(shape_of(model, 4), 64, 48)
    assert found == pytest.approx(operations.computed / 4, rel=0.06)
