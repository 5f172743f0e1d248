"""Logits that are no numbers stop a run with a line that names the request."""

import math

import pytest
import torch
from support.llada_reference import EOS, MASK

from lift_harness.decoding import DecodingConfig, Request, generate, run
from lift_harness.decoding.likelihood import Text, elbo, greedy_matches
from lift_harness.errors import LiftError

POISON = 7  # a canvas with this token has logits that are no numbers
COMMON = {"gen_length": 16, "steps": 8, "block_length": 8, "suppress_tokens": (POISON,)}
ADAPTIVE = {
    "threshold": {"threshold": 0.9},
    "factor": {"factor": 1.0},
    "entropy_bound": {"entropy_bound": 0.5},
}


class Poisoned:
    """A model that computes NaN (or infinity) at one id of the vocabulary for canvases with `POISON`."""

    def __init__(self, model, value):
        self.model, self.value = model, value

    def __getattr__(self, name):
        return getattr(self.model, name)

    def hidden_states(self, ids, *args, **kwargs):
        hidden = self.model.hidden_states(ids, *args, **kwargs)
        poisoned = (ids == POISON).any(-1)
        mark = torch.where(poisoned, 1.0, 0.0)[:, None, None].expand(*hidden.shape[:2], 1)
        return torch.cat((hidden, mark), -1)

    def logits_at(self, hidden):
        logits = self.model.logits_at(hidden[..., :-1])
        logits[hidden[..., -1] > 0, 3] = self.value
        return logits


@pytest.fixture(params=[math.nan, math.inf], ids=str)
def poisoned(request, llada):
    return Poisoned(llada("mha"), request.param)


def settings():
    """Every measure and schedule, with temperature, caches, guidance and speculation."""
    for remasking in ("low_confidence", "margin", "entropy", "random"):
        yield remasking, {"remasking": remasking}
    for schedule, option in ADAPTIVE.items():
        yield schedule, {"schedule": schedule, **option}
    yield "sampled", {"temperature": 0.7, "top_p": 0.9, "top_k": 20, "confidence_from": "sampling"}
    yield "dual cache", {"cache": "dual"}
    yield "guided", {"cfg_scale": 1.0}
    yield "speculation", {"speculate": 2}


SETTINGS = dict(settings())


@pytest.mark.parametrize("name", SETTINGS)
def test_a_request_whose_logits_are_no_numbers_is_named(name, poisoned):
    config = DecodingConfig(**COMMON, **SETTINGS[name])
    requests = [
        Request((5, 6, 9), config, key=0, name="lift_gsm8k doc 3"),
        Request((5, POISON, 9), config, key=1, name="lift_gsm8k doc 4"),
    ]
    with pytest.raises(LiftError, match="^lift_gsm8k doc 4: the model's logits are NaN or infinite"):
        run(poisoned, requests, mask_id=MASK, eos_id=EOS)
    assert len(run(poisoned, requests[:1], mask_id=MASK, eos_id=EOS)[0].ids) == 16


def test_a_prompt_without_a_name_is_named_by_its_number(poisoned):
    config = DecodingConfig(gen_length=8, steps=8, block_length=8)
    with pytest.raises(LiftError, match="^request 1: the model's logits"):
        generate(poisoned, [[5, 6], [5, POISON]], config, mask_id=MASK)


@pytest.mark.parametrize("target", [(11, 12), tuple(range(10, 20))], ids=["exact", "sampled"])
def test_a_text_whose_logits_are_no_numbers_is_named(target, poisoned):
    texts = [Text((5, 6), target, 1, "arc doc 0"), Text((5, POISON), target, 2, "arc doc 1")]
    with pytest.raises(LiftError, match="^arc doc 1: the model's logits are NaN or infinite"):
        elbo(poisoned, texts, mask_id=MASK, mc_num=4)
    with pytest.raises(LiftError, match="^arc doc 1: the model's logits are NaN or infinite"):
        greedy_matches(poisoned, texts, mask_id=MASK)
    assert elbo(poisoned, texts[:1], mask_id=MASK, mc_num=4)[0].value < 0
