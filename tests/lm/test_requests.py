"""What an lm-eval Instance asks for: which requests are the same text, and which sample each one is."""

import dataclasses

import pytest
from lm_eval.api.instance import Instance

from lift_harness.lm.model import LiftDLM


@pytest.fixture(scope="module")
def lm():
    return LiftDLM(pretrained="lift-tiny", batch_size=4, gen_length=8)


def instance(context, doc_id=0, repeats=1, **kwargs):
    return Instance("generate_until", {}, (context, kwargs), 0, metadata=("other", doc_id, repeats))


def test_each_repeat_of_an_instance_is_another_sample(lm):
    one, two = instance("1+1", 0, 2, temperature=1.0), instance("2+2", 1, 2, temperature=1.0)
    requests = lm.resolve([one, one, two, two])
    assert [(request.doc_id, request.sample) for request in requests] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert len({(request.key, request.sample) for request in requests}) == 4


def test_what_lm_eval_pads_a_rank_with_is_decoded_once(lm):
    last = instance("1+1", 0, 2, temperature=1.0)
    texts = lm.generate_until([last] * 6, disable_tqdm=True)  # two samples, and twice two more of padding
    assert texts[:2] == texts[2:4] == texts[4:]
    assert lm.counts["requests"] == 2


def test_instances_are_told_apart_by_what_they_ask(lm):
    sampled = {"temperature": 1.0}
    same = [instance("1+1", **sampled), instance("1+1", **sampled)]  # two objects, one text
    first, again = lm.resolve(same)
    assert first == again and first.sample == 0
    others = [
        instance("1+2", **sampled),
        instance("1+1", 1, **sampled),
        instance("1+1", temperature=0.5),
        instance("1+1", until=["3"], **sampled),
        instance("1+1", max_gen_toks=3, **sampled),
    ]
    assert len(set(lm.resolve([*same, *others]))) == 1 + len(others)


def test_the_request_for_the_engine_says_the_same(lm):
    (one,) = lm.resolve([instance("1+1", until=["2"], max_gen_toks=5)])
    canvas = dataclasses.replace(one, sample=3).canvas(lm.tokenizer)
    assert (canvas.ids, canvas.config, canvas.key) == (one.prompt, one.config, one.key)
    assert (canvas.sample, canvas.max_tokens) == (3, 5)
    two, three = (lm.tokenizer(text)["input_ids"] for text in ("1+2", "3+3"))
    assert canvas.finished(two) and not canvas.finished(three)
    (unstopped,) = lm.resolve([instance("1+1", until=[])])
    assert unstopped.canvas(lm.tokenizer).finished is None
