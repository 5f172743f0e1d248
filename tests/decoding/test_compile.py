"""`torch.compile` changes nothing but the speed (the compiler itself: benchmarks/decode.py --compile)."""

import torch
from support.llada_reference import MASK, random_prompts

from lift_harness.decoding import DecodingConfig, Request, run


def test_compiled_passes_give_the_same_tokens_from_few_graphs(llada, monkeypatch):
    compile_ = torch.compile
    # Trace and guard as always, but run the graphs as they are: generating code takes half a minute.
    monkeypatch.setattr(torch, "compile", lambda *args, mode, **kw: compile_(*args, backend="eager", **kw))
    model = llada("gqa")
    config = DecodingConfig(gen_length=16, block_length=8, steps=8, cache="dual")
    requests = [Request(tuple(prompt), config, key=i) for i, prompt in enumerate(random_prompts([4, 11, 7]))]
    eager = run(model, requests, mask_id=MASK, batch_size=2)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compiled = run(model, requests, mask_id=MASK, batch_size=2, compile=True)
    assert [out.ids for out in compiled] == [out.ids for out in eager]
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 4
    assert not torch._dynamo.utils.counters["graph_break"]
