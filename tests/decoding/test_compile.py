"""`torch.compile` changes nothing but the speed (the compiler itself: benchmarks/decode.py --compile)."""

import pytest
import torch
from support.block_models import load_blocks, write_blocks
from support.llada_reference import MASK, random_prompts

from lift_harness.decoding import Request, run, settings_for


@pytest.fixture(params=["llada", "sdar"])
def model(request, llada, tmp_path):
    """With a cache that is not exact, and in blocks with one that is."""
    return llada("gqa") if request.param == "llada" else load_blocks(write_blocks(tmp_path, "sdar"))


def test_compiled_passes_give_the_same_tokens_from_few_graphs(model, monkeypatch):
    compile_ = torch.compile
    # Trace and guard as always, but run the graphs as they are: generating code takes half a minute.
    monkeypatch.setattr(torch, "compile", lambda *args, mode, **kw: compile_(*args, backend="eager", **kw))
    cache = "dual" if model.block_size is None else "blocks"
    config = settings_for(model, dict(gen_length=16, block_length=8, cache=cache))
    requests = [Request(tuple(prompt), config, key=i) for i, prompt in enumerate(random_prompts([4, 11, 7]))]
    eager = run(model, requests, mask_id=MASK, batch_size=2)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compiled = run(model, requests, mask_id=MASK, batch_size=2, compile=True)
    assert [out.ids for out in compiled] == [out.ids for out in eager]
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 4
    assert not torch._dynamo.utils.counters["graph_break"]
