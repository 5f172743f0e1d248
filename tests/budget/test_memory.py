"""The formula of memory against what real steps hold; shards against parameters dealt one by one."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from support.real_steps import Step, measured_training, peak, random_model

from lift_harness.budget.memory import Training, decoding_memory, model_states, most_requests, training_memory
from lift_harness.budget.shape import shape_of
from lift_harness.decoding import DecodingConfig, generate
from lift_harness.decoding.batching import cached
from lift_harness.training.settings import LoraSettings

BF16 = {"dtype": torch.bfloat16, "autocast": True}
STEPS = {
    "all weights, 1 row": Step(rows=1),
    "all weights": Step(),
    "one micro-batch": Step(micro_batches=1),
    "checkpoints": Step(checkpointing=True),
    "adapters, 1 row": Step(rows=1, rank=16),
    "adapters": Step(rank=16),
    "adapters, checkpoints": Step(rank=16, checkpointing=True),
    "adapters, dropout": Step(rank=16, dropout=0.05),
    "adapters, first pass": Step(rank=16, checkpointing=True, objective="gift"),
    "blocks": Step(block=32),
    "blocks, checkpoints": Step(block=32, checkpointing=True, rank=16),
    "experts in blocks": Step(shape="experts"),
    "bf16, adapters": Step(rank=16, dropout=0.05, **BF16),
    "bf16, all weights": Step(**BF16),
    "bf16 of float32 weights": Step(autocast=True),
    "mid": Step(shape="mid", rows=1, length=64),
    "mid, adapters": Step(shape="mid", rank=16, rows=1, length=64),
}


def reckoned(step, **changes):
    """What the formula says of a step."""
    how = dict(
        rows=step.rows,
        length=step.length,
        supervised=step.response,
        accumulated=step.micro_batches > 1,
        lora=step.lora,
        bf16=step.autocast,
        checkpointing=step.checkpointing,
        scored=step.objective == "gift",
        kind="cpu",
    )
    return training_memory(shape_of(step.base("meta"), step.dtype.itemsize), Training(**{**how, **changes}))


@pytest.mark.parametrize("name", STEPS)
def test_the_formula_is_what_a_step_holds(name):
    """Within 15 %, of all and of what is beyond weights and optimiser; as it is within 6 and 12."""
    held, beyond = measured_training(STEPS[name])
    memory = reckoned(STEPS[name])
    assert memory.weights + memory.optimiser == pytest.approx(held, rel=0.01)
    assert memory.total == pytest.approx(held + beyond, rel=0.06)
    assert memory.total - held == pytest.approx(beyond, rel=0.12)


@pytest.mark.parametrize(
    ("settings", "dtype"),
    [
        ({}, torch.float32),
        ({}, torch.bfloat16),
        ({"cache": "dual"}, torch.float32),
        ({"temperature": 0.7, "cache": "prefix"}, torch.bfloat16),
    ],
)
@pytest.mark.parametrize("vocabulary", [300, 32_000])
def test_the_formula_is_what_decoding_holds(settings, dtype, vocabulary):
    rows, prompt, block = 4, 96, 32
    model = Step(dtype=dtype).base() if vocabulary == 32_000 else narrow(dtype, vocabulary)
    draw = torch.Generator().manual_seed(0)
    prompts = torch.randint(vocabulary - 2, (rows, prompt), generator=draw).tolist()
    config = DecodingConfig(
        gen_length=2 * block, block_length=block, steps=4, early_stop=False, **{"cache": "none", **settings}
    )
    found = peak(lambda: generate(model, prompts, config, mask_id=vocabulary - 1, batch_size=rows))
    shape = shape_of(model, dtype.itemsize)
    memory = decoding_memory(
        shape,
        rows,
        prompt + 2 * block,
        block,
        with_cache=config.cache != "none",
        noisy=config.temperature > 0,
        kind="cpu",
    )
    assert memory.total == pytest.approx(found + memory.weights, rel=0.15)
    assert memory.total - memory.weights == pytest.approx(found, rel=0.25)


def narrow(dtype, vocabulary):
    """A model whose logits are little beside its layers."""
    return random_model("small", dtype, "cpu", vocab_size=vocabulary)


def test_the_most_requests_are_the_last_number_that_fits():
    shape = shape_of(Step().base("meta"), 4)
    room = 2**28
    most = most_requests(shape, room, 256, 32, with_cache=True, kind="cpu")
    needs = [decoding_memory(shape, n, 256, 32, with_cache=True, kind="cpu").total for n in (most, most + 1)]
    assert needs[0] <= room < needs[1] and most > 1
    assert most_requests(shape, shape.parameters.total * 4, 256, 32, with_cache=False, kind="cpu") == 0
    assert shape.cached == cached(Step().base("meta"))


# ---------------------------------------------------------------- shards


def dealt(model, n, strategy, bf16):
    """Bytes of weights, gradients and optimiser on the fullest of n processes, parameter by parameter.

    FSDP 2 cuts each parameter along its first dimension; DeepSpeed what is trained, in one row, into equal
    parts. FSDP trains in float32 under bf16, DeepSpeed in bf16 with a float32 copy and float32 states.
    """
    weights, gradients, states = [0] * n, [0] * n, [0] * n
    offset = 0
    trained_numbers = sum(p.numel() for p in model.parameters() if p.requires_grad)
    part = -(-trained_numbers // n)
    for parameter in model.parameters():
        trained, size = parameter.requires_grad, parameter.element_size()
        for rank in range(n):
            if strategy == "fsdp":
                rows = [len(piece) for piece in parameter.chunk(n)]
                numbers = parameter[: rows[rank]].numel() if rank < len(rows) else 0
                width = 4 if bf16 and trained else size
                weights[rank] += numbers * width
                gradients[rank] += numbers * width * trained
                states[rank] += 2 * numbers * width * trained
                continue
            begin, end = rank * part, (rank + 1) * part
            own = max(0, min(end, offset + parameter.numel()) - max(begin, offset)) if trained else 0
            low = 2 if bf16 else size
            whole = parameter.numel() if strategy == "zero2" else parameter.numel() / n
            weights[rank] += whole * low
            gradients[rank] += own * low
            states[rank] += own * (12 if bf16 else 8)
        offset += parameter.numel() * trained
    return max(weights), max(gradients), max(states)


@pytest.mark.parametrize("rank", [0, 16])
@pytest.mark.parametrize(("dtype", "bf16"), [(torch.float32, False), (torch.bfloat16, True)])
@pytest.mark.parametrize("strategy", ["fsdp", "zero2", "zero3"])
@pytest.mark.parametrize("n", [2, 8])
def test_shards_are_those_of_parameters_dealt_one_by_one(n, strategy, dtype, bf16, rank):
    base = Step(dtype=dtype).base("meta")
    shape = shape_of(base, dtype.itemsize)
    model = base
    if rank:
        targets = ["q_proj", "k_proj", "v_proj"]
        model = get_peft_model(base, LoraConfig(r=rank, target_modules=targets))
        for parameter in model.parameters():  # as peft keeps adapters of a loaded model
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
    lora = LoraSettings(r=rank) if rank else None
    how = Training(1, 64, 48, lora=lora, bf16=bf16, processes=n, strategy=strategy)
    found = model_states(shape, how)
    assert (found.weights, found.gradients, found.optimiser) == pytest.approx(
        dealt(model, n, strategy, bf16), rel=0.02
    )


def test_ddp_keeps_all_in_each_process_and_gradients_twice():
    one, eight = reckoned(Step()), reckoned(Step(), processes=8)
    assert eight._replace(communication=0.0) == one and one.communication == 0
    assert eight.communication == eight.gradients == one.weights


# ---------------------------------------------------------------- kinds of models


def test_of_experts_all_are_kept_and_those_of_a_token_pass():
    from support.families_reference import CONFIGS

    from lift_harness.models.families import MODEL_CLASSES

    def made(experts):
        changes = {"num_experts": experts, "n_group": 1, "topk_group": 1}
        family = MODEL_CLASSES["llada2_moe"]
        with torch.device("meta"):
            return shape_of(family(family.config_class(**CONFIGS["llada2"] | changes)), 4)

    few, many = made(8), made(16)
    how = Training(2, 64, 48, kind="cpu")
    assert many.parameters.total > few.parameters.total
    assert many.parameters.active == pytest.approx(few.parameters.active, rel=0.02)  # routers are wider
    assert many.products == pytest.approx(few.products)
    more, less = training_memory(many, how), training_memory(few, how)
    assert more.weights / less.weights == many.parameters.total / few.parameters.total
    assert more.activations == pytest.approx(less.activations, rel=0.1)


def test_what_an_encoder_keeps_is_said_to_be_unknown():
    from transformers import BertConfig, BertForMaskedLM

    with torch.device("meta"):
        encoder = BertForMaskedLM(BertConfig(vocab_size=1000, num_hidden_layers=2))
    memory = training_memory(shape_of(encoder, 4), Training(2, 64, 48, kind="cpu"))
    assert memory.activations is None and memory.weights == 4 * encoder.num_parameters()
