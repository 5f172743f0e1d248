"""Masked language models of transformers as diffusion models: another family through the same interface."""

import pytest
import torch
from transformers import AutoModelForMaskedLM, BertConfig, ModernBertConfig, RobertaConfig

from lift_harness.decoding import DecodingConfig, generate
from lift_harness.errors import LiftError
from lift_harness.models.masked_lm import MaskedLM

VOCAB, MASK, PAD = 50, 48, 1
SHAPE = dict(
    vocab_size=VOCAB, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=40
)
IDS = dict(pad_token_id=PAD, bos_token_id=2, eos_token_id=3)
CONFIGS = {
    "bert": BertConfig(**SHAPE, max_position_embeddings=64, **IDS),
    "roberta": RobertaConfig(**SHAPE, max_position_embeddings=66, **IDS),
    "modernbert": ModernBertConfig(
        **SHAPE, max_position_embeddings=64, cls_token_id=2, sep_token_id=3, **IDS, local_attention=8
    ),
}


@pytest.fixture(scope="module", params=CONFIGS)
def model(request):
    torch.manual_seed(0)
    inner = AutoModelForMaskedLM.from_config(CONFIGS[request.param])
    for parameter in inner.parameters():  # as initialised, all logits are nearly equal
        parameter.data += 0.2 * torch.randn_like(parameter)
    return MaskedLM(inner).eval()


def prompts(lengths, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(4, MASK, (n,), generator=generator).tolist() for n in lengths]


@torch.inference_mode()
def test_logits_are_those_of_transformers(model):
    ids = torch.tensor(prompts([12, 12]))
    expected = model.inner(input_ids=ids).logits
    assert torch.allclose(model(ids).logits, expected, atol=1e-5)
    at = torch.tensor([[3, 0], [11, 5]])
    chosen = model.logits_at(model.hidden_states(ids, at=at))
    assert torch.allclose(chosen, expected.gather(1, at[:, :, None].expand(-1, -1, VOCAB)), atol=1e-5)
    where = torch.rand(2, 12) < 0.4
    assert torch.allclose(model(ids, logits_mask=where).logits, expected[where], atol=1e-5)


@torch.inference_mode()
def test_padding_changes_nothing(model):
    ids = torch.tensor(prompts([9]))
    padded = torch.cat((ids, torch.full((1, 4), 17)), 1)
    mask = (torch.arange(13) < 9)[None]
    assert torch.allclose(model(padded, mask).logits[:, :9], model(ids).logits, atol=1e-5)


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_decoding_fills_every_mask_and_does_not_depend_on_the_batch(model, temperature):
    config = DecodingConfig(gen_length=16, block_length=8, steps=8, temperature=temperature)
    asked = prompts([3, 20, 7, 11])
    alone = generate(model, asked, config, mask_id=MASK, batch_size=1)
    together = generate(model, asked, config, mask_id=MASK, batch_size=4)
    assert [out.ids for out in alone] == [out.ids for out in together]
    assert all(MASK not in out.ids and len(out.ids) == 16 for out in alone)


def test_infilling_equals_filling_in_one_by_one_with_transformers(model):
    (text,) = prompts([14])
    holes = [2, 3, 9]
    canvas = [MASK if i in holes else token for i, token in enumerate(text)]
    config = DecodingConfig(gen_length=14, block_length=14, steps=14)
    (out,) = generate(model, [canvas], config, mask_id=MASK, infill=True)
    expected = list(canvas)
    for _ in holes:
        with torch.inference_mode():
            logits = model.inner(input_ids=torch.tensor([expected])).logits[0].double()
        p = logits.softmax(-1)
        p[:, MASK] = 0
        i = max((i for i in holes if expected[i] == MASK), key=lambda i: p[i].max().item())
        expected[i] = int(p[i].argmax())
    assert out.ids == expected


def test_a_cache_is_refused(model):
    with pytest.raises(LiftError, match="cache='dual': MaskedLM has no key/value cache; use cache=none"):
        generate(model, [[5, 6]], DecodingConfig(gen_length=32, cache="dual"), mask_id=MASK)


def test_an_unknown_head_says_where_to_add_one():
    inner = torch.nn.Linear(1, 1)
    inner.config = type("Config", (), {"model_type": "electra"})()
    with pytest.raises(LiftError, match="model_type='electra'.*known: bert, .*HEADS"):
        MaskedLM(inner)
