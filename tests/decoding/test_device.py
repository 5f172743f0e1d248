"""A pass on a device that is not there: nothing on the wrong one, nothing that makes the host wait for it.

Fake tensors have a device and a shape and no numbers: what mixes devices fails, and so does what asks for a
number (`item`, `tolist`, `nonzero`, an index of booleans).
"""

from collections import Counter, deque
from contextlib import contextmanager

import pytest
import torch
from support.llada_reference import MASK, random_prompts
from support.waits import Waits
from torch._functorch import config as functorch_config
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from lift_harness.decoding import DecodingConfig, Request, run, settings_for
from lift_harness.decoding.batch import Batch
from lift_harness.decoding.engine import passes, take_step
from lift_harness.decoding.row import Row
from lift_harness.models.configuration_backbone import SDARConfig
from lift_harness.models.configuration_dream import DreamConfig
from lift_harness.models.configuration_llada import LLaDAConfig
from lift_harness.models.modeling_backbone import SDARForCausalLM
from lift_harness.models.modeling_dream import DreamModel
from lift_harness.models.modeling_llada import LLaDAModelLM

IDS = dict(vocab_size=60, mask_token_id=58, eos_token_id=59, pad_token_id=59)


def empty_model(family):
    """A model without numbers."""
    if family == "sdar":
        shape = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4)
        config = SDARConfig(**shape, **IDS, num_key_value_heads=2, head_dim=8, block_size=8)
        make = SDARForCausalLM, config
    elif family == "dream":
        shape = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4)
        make = DreamModel, DreamConfig(**shape, **IDS, num_key_value_heads=2)
    else:
        make = LLaDAModelLM, LLaDAConfig(d_model=32, n_heads=4, n_layers=2, mlp_hidden_size=48, **IDS)
    with torch.device("meta"):
        return make[0](make[1]).eval()


class IndicesOnDevice(TorchDispatchMode):
    """Fails where an index comes from the host: it would be copied, and the host wait for that."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.overloadpacket.__name__ in ("index", "index_put", "index_put_"):
            assert all(index is None or index.device == args[0].device for index in args[1]), function
        return function(*args, **(kwargs or {}))


@contextmanager
def no_numbers(model):
    """Tensors without numbers on a device of their own; builds without CUDA refuse copies to "cuda"."""
    with functorch_config.patch(fake_tensor_allow_meta=True), FakeTensorMode(), IndicesOnDevice():
        for module in model.modules():
            for name, parameter in module._parameters.items():
                if parameter is not None:
                    fake = torch.empty(parameter.shape, device="meta")
                    module._parameters[name] = torch.nn.Parameter(fake, requires_grad=False)
        with torch.inference_mode():
            yield


@pytest.mark.parametrize("family", ["llada", "dream"])
@pytest.mark.parametrize(
    "settings",
    [
        dict(),
        dict(cache="prefix"),
        dict(cache="dual", temperature=0.7, top_k=5, top_p=0.9),
        dict(cfg_scale=1.0, suppress_tokens=(3, 4)),
        dict(remasking="random", cache="dual"),
        dict(remasking="margin", confidence_from="sampling", temperature=1.0),
    ],
    ids=str,
)
def test_a_planned_pass_neither_mixes_devices_nor_waits_for_one(family, settings):
    check_planned_passes(family, dict(gen_length=16, block_length=8, steps=8) | settings)


@pytest.mark.parametrize(
    "settings",
    [
        dict(schedule="sdar_static"),
        dict(schedule="sdar_sequential", cache="none", temperature=0.7),
        dict(schedule="bd3lm", grid="answer", cfg_scale=1.0),
    ],
    ids=str,
)
def test_a_planned_pass_over_blocks_does_not_either(settings):
    check_planned_passes("sdar", dict(gen_length=20) | settings)


def check_planned_passes(family, settings):
    model = empty_model(family)
    config = settings_for(model, settings)
    prompts = [[1, 2], [1, 2], [1, 2, 3]]  # two samples of a problem, and another
    requests = [Request(tuple(prompt), config, key=i) for i, prompt in enumerate(prompts)]
    with no_numbers(model):
        slots, width = len(requests), max(request.length for request in requests)
        batch = Batch(model, model.hidden_states, requests[0], slots, width, 58, False, Counter())
        queue = deque(Row(i, request, 0, request.blocks(58)) for i, request in enumerate(requests))
        batch.expect(queue)
        batch.admit(queue)
        for _ in range(3):  # a first pass and later ones
            for rows, whole in passes(batch):
                take_step(batch, rows, whole)
    assert all(row.steps == 3 for row in batch.rows)
    assert batch.ids.device.type == batch.confidence.device.type == "meta"


# ---- how often the host waits


@contextmanager
def lists_counted(seen, monkeypatch):
    """`tolist` reads memory directly: no operation shows it."""
    tolist = torch.Tensor.tolist

    def counted(tensor):
        seen["tolist"] += 1
        return tolist(tensor)

    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "tolist", counted)
        yield


@pytest.mark.parametrize(
    "settings, a_pass",
    [
        (dict(steps=16), 1),
        (dict(steps=16, cache="dual"), 1),
        (dict(schedule="threshold", threshold=0.9), 2),
        (dict(steps=16, speculate=4), 2),
        (dict(schedule="llada2"), 2),
        (dict(schedule="llada21", editing_threshold=0.0, max_post_steps=2), 3),
    ],
    ids=str,
)
def test_the_host_waits_no_more_often_for_many_rows_than_for_one(llada, monkeypatch, settings, a_pass):
    """Once a pass where the logits decide, once a block to see what ended, and for what is finished."""
    model, waits = llada("mha"), {}
    config = DecodingConfig(gen_length=32, block_length=16, early_stop=False, **settings)
    for rows in (1, 6):
        requests = [Request(tuple(p), config, key=i) for i, p in enumerate(random_prompts([9] * rows))]
        counts, mode = Counter(), Waits()
        with lists_counted(mode.seen, monkeypatch), mode:
            outs = run(model, requests, mask_id=MASK, batch_size=rows, counts=counts)
        results = 2 * len(outs)  # steps and confidences, once each, when a request is finished
        waits[rows] = (mode.seen["tolist"] - results) / counts["calls"]
        assert mode.seen.keys() == {"tolist"}
    assert all(0 < number <= a_pass for number in waits.values())
