"""Bad settings and requests: one line each, that names what was wrong and its value."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.llada_reference import MASK, VOCAB

from lift_harness.decoding import DecodingConfig, Request, generate, run
from lift_harness.decoding.request import TooLong, excess_tokens
from lift_harness.errors import LiftError

SPECULATE = dict(speculate=4)
DREAM = dict(schedule="dream")


def refused(build, names):
    with pytest.raises(LiftError) as error:
        build()
    message = str(error.value)
    assert all(name in message for name in names), message
    assert "\n" not in message and len(message) < 300


@pytest.mark.parametrize(
    "values, names",
    [
        # wrong kinds
        (dict(gen_length=64.0), ["gen_length=64.0", "whole number"]),
        (dict(block_length=True), ["block_length=True"]),
        (dict(steps="8"), ["steps='8'", "whole number"]),
        (dict(gen_length=None), ["gen_length=None", "whole number"]),
        (dict(speculate=2.0), ["speculate=2.0"]),
        (dict(temperature="0.5"), ["temperature='0.5'"]),
        (dict(temperature=None), ["temperature=None"]),
        (dict(temperature=[0.5]), ["temperature=[0.5]"]),
        (dict(cfg_scale="1"), ["cfg_scale='1'"]),
        (dict(top_p="0.9"), ["top_p='0.9'"]),
        (dict(top_k=5.0), ["top_k=5.0"]),
        (dict(seed=0.5), ["seed=0.5"]),
        (dict(seed="0"), ["seed='0'"]),
        (dict(early_stop="yes"), ["early_stop='yes'", "true or false"]),
        (dict(early_stop=1), ["early_stop=1"]),
        (dict(schedule=None), ["schedule=None"]),
        (dict(cache=True), ["cache=True"]),
        # out of range
        (dict(gen_length=0), ["gen_length=0"]),
        (dict(block_length=-1), ["block_length=-1"]),
        (dict(steps=0), ["steps=0"]),
        (dict(speculate=0), ["speculate=0", "at least 1"]),
        (dict(temperature=-0.5), ["temperature=-0.5"]),
        (dict(temperature=math.nan), ["temperature=nan"]),
        (dict(temperature=math.inf), ["temperature=inf"]),
        (dict(cfg_scale=-1.0), ["cfg_scale=-1.0"]),
        (dict(cfg_scale=math.inf), ["cfg_scale=inf"]),
        (dict(top_p=0), ["top_p=0", "(0, 1]"]),
        (dict(top_p=1.5), ["top_p=1.5", "(0, 1]"]),
        (dict(top_p=math.nan), ["top_p=nan"]),
        (dict(top_k=-1), ["top_k=-1", "0 (off)"]),
        (dict(eps=0.0), ["eps=0.0"]),
        (dict(eps=1.0), ["eps=1.0"]),
        # unknown names
        (dict(remasking="low_confidense"), ["remasking='low_confidense'", "low_confidence"]),
        (dict(schedule="fixt"), ["schedule='fixt'", "fixed"]),
        (dict(cache="nonne"), ["cache='nonne'", "none"]),
        (dict(cache="paged"), ["cache='paged'", "dual", "none", "prefix"]),
        # lengths
        (dict(gen_length=100), ["gen_length=100", "block_length=32", "gen_length=128"]),
        (dict(gen_length=16, block_length=32), ["gen_length=16", "block_length=32", "gen_length=32"]),
        (dict(steps=30), ["steps=30", "128 / 32", "multiple of 4"]),
        (DREAM | dict(steps=30), ["steps=30", "multiple of 4"]),
        (dict(confidence_from="models"), ["confidence_from='models'", "model"]),
        # the option of a schedule
        (dict(schedule="threshold"), ["threshold in [0, 1]", "threshold=None"]),
        (dict(schedule="threshold", threshold=1.5), ["threshold=1.5"]),
        (dict(schedule="threshold", threshold=math.nan), ["threshold=nan"]),
        (dict(schedule="threshold", threshold="0.9"), ["threshold='0.9'"]),
        (dict(schedule="factor", factor=0.0), ["factor=0.0"]),
        (dict(schedule="factor"), ["factor above 0", "factor=None"]),
        (dict(schedule="entropy_bound"), ["entropy_bound=None"]),
        (dict(schedule="entropy_bound", entropy_bound=-0.1), ["entropy_bound=-0.1"]),
        (dict(threshold=0.9), ["threshold=0.9", "schedule='fixed'", "schedule=threshold"]),
        (dict(entropy_bound=0.1), ["entropy_bound=0.1", "schedule='fixed'"]),
        (dict(schedule="threshold", threshold=0.9, factor=1.0), ["factor=1.0", "schedule='threshold'"]),
        (
            dict(schedule="threshold", threshold=0.9, remasking="entropy"),
            ["schedule='threshold'", "remasking='entropy'", "low_confidence or margin"],
        ),
        (
            dict(schedule="factor", factor=1.0, remasking="random"),
            ["schedule='factor'", "remasking='random'", "low_confidence or margin"],
        ),
        # speculation
        (SPECULATE | dict(cfg_scale=1.5), ["speculate=4", "cfg_scale=1.5", "speculate=1"]),
        (SPECULATE | dict(cache="dual"), ["speculate=4", "cache='dual'"]),
        (SPECULATE | dict(schedule="threshold", threshold=0.9), ["speculate=4", "schedule='threshold'"]),
        (SPECULATE | DREAM | dict(block_length=128), ["speculate=4", "schedule='dream'"]),
        # tokens
        (dict(suppress_tokens="a;b"), ["suppress_tokens='a;b'", "501;502"]),
        (dict(suppress_tokens=""), ["suppress_tokens=''"]),
        (dict(suppress_tokens="5;;-6"), ["suppress_tokens='5;;-6'"]),
        (dict(suppress_tokens=[5, -6]), ["suppress_tokens=[5, -6]"]),
        (dict(suppress_tokens=[5, "6"]), ["suppress_tokens=[5, '6']"]),
        (dict(suppress_tokens=[True]), ["suppress_tokens=[True]"]),
        (dict(suppress_tokens=5.0), ["suppress_tokens=5.0"]),
        (dict(suppress_tokens=None), ["suppress_tokens=None"]),
    ],
    ids=str,
)
def test_a_bad_setting_is_one_line_that_names_it_and_its_value(values, names):
    refused(lambda: DecodingConfig(**values), names)
    refused(lambda: DecodingConfig().replace(**values), names)


@pytest.mark.parametrize("name", ["remasking", "schedule", "cache"])
@pytest.mark.parametrize("value", [["none"], {"none": 1}, 3])
def test_a_name_of_another_kind_is_refused_like_an_unknown_one(name, value):
    refused(lambda: DecodingConfig(**{name: value}), [f"{name}={value!r}", "is not known"])


@pytest.mark.parametrize("value", [(501, 502), [501, 502], "501;502", " 501 502 ", "501; 502"])
def test_suppressed_tokens_may_be_a_list_or_text(value):
    assert DecodingConfig(suppress_tokens=value).suppress_tokens == (501, 502)
    assert DecodingConfig(suppress_tokens=501) == DecodingConfig(suppress_tokens="501")


def test_settings_at_the_edge_of_their_range_are_allowed():
    DecodingConfig(top_p=1, top_k=0, temperature=0, cfg_scale=0, seed=-1)
    DecodingConfig(schedule="threshold", threshold=0, steps=30)  # `steps` is not used
    DecodingConfig(schedule="threshold", threshold=1, remasking="margin")
    DecodingConfig(schedule="entropy_bound", entropy_bound=0, remasking="random")
    DecodingConfig(gen_length=32, schedule="dream", steps=7, cache="dual", cfg_scale=1)


def test_an_unknown_setting_is_refused_with_the_nearest_name():
    refused(
        lambda: DecodingConfig().replace(gen_len=64), ["unknown decoding setting 'gen_len'", "gen_length"]
    )


# ---- requests


@pytest.fixture(scope="module")
def model(llada):
    return llada("mha")


SHORT = DecodingConfig(gen_length=32, block_length=32, steps=1)


@pytest.mark.parametrize(
    "prompt, values, names",
    [
        ([], {}, ["prompt 1 is empty"]),
        ([5] * 97, {}, ["prompt 1 has 97 tokens", "gen_length=32", "128"]),
        ([5] * 129, dict(infill=True), ["prompt 1 has 129 tokens", "128"]),
        ([5] * 9, dict(infill=True), ["prompt 1", "no mask token", str(MASK)]),
        ([], dict(infill=True), ["prompt 1 is empty"]),
        ([5], dict(suppress_tokens=[3, VOCAB]), [f"suppress_tokens={VOCAB}", f"vocabulary of {VOCAB}"]),
    ],
    ids=["empty", "long", "long to infill", "nothing to infill", "empty to infill", "no such token"],
)
def test_a_request_that_cannot_be_decoded_is_refused_before_any_work(model, prompt, values, names):
    done, infill = {}, values.get("infill", False)
    config = SHORT.replace(**{name: value for name, value in values.items() if name != "infill"})
    requests = [Request((1, MASK), SHORT, infill=infill), Request(tuple(prompt), config, infill=infill)]
    refused(lambda: run(model, requests, mask_id=MASK, on_done=done.__setitem__), names)
    prompts = [request.ids for request in requests]
    options = dict(infill=infill, on_done=done.__setitem__)
    refused(lambda: generate(model, prompts, config, mask_id=MASK, **options), names)
    assert not done


class WithoutCache:
    """A model that takes no cache."""

    logit_shift = 0

    def __init__(self, model):
        self.model, self.logits_at = model, model.logits_at
        self.config, self.device, self.dtype = model.config, model.device, model.dtype

    def hidden_states(self, input_ids, attention_mask=None, position_ids=None, at=None):
        return self.model.hidden_states(input_ids, attention_mask, position_ids, at=at)


@pytest.mark.parametrize("cache", ["prefix", "dual"])
def test_a_model_without_a_cache_decodes_without_one_and_refuses_one(model, cache):
    plain = WithoutCache(model)
    assert generate(plain, [[5, 6]], SHORT, mask_id=MASK) == generate(model, [[5, 6]], SHORT, mask_id=MASK)
    refused(
        lambda: generate(plain, [[5, 6]], SHORT.replace(cache=cache), mask_id=MASK),
        [f"cache={cache!r}", "WithoutCache", "cache=none"],
    )


@pytest.mark.parametrize("infill", [False, True])
def test_a_prompt_that_just_fits_is_decoded(model, infill):
    prompt = [5] * 96 + [MASK] * 32 * infill
    (out,) = generate(model, [prompt], SHORT, mask_id=MASK, infill=infill)
    assert len(out.ids) == (128 if infill else 32) and MASK not in out.ids


@given(given=st.integers(1, 20), wanted=st.integers(0, 20), context=st.integers(1, 20))
def test_the_excess_is_the_fewest_tokens_to_cut(given, wanted, context):
    fitting = [cut for cut in range(given) if given - cut + wanted <= context]  # a token has to stay
    if not fitting:
        refused(
            lambda: excess_tokens(given, wanted, context, remedy=None),
            [f"gen_length={wanted} leaves no room", str(context)],
        )
        return
    assert excess_tokens(given, wanted, context, remedy=None) == fitting[0]
    if fitting[0]:
        with pytest.raises(TooLong, match=f"^x: it has {given} tokens.* {context}; do that$"):
            excess_tokens(given, wanted, context, remedy="do that", where="x: ", before="it")
    else:
        assert excess_tokens(given, wanted, context, remedy="do that") == 0
