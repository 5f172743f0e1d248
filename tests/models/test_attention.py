"""Which attention a layer asks for; what it computes is tested with the models."""

import pytest
import torch
import torch.nn.functional as F
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from lift_harness.models import layers

IDS = torch.arange(1, 11).repeat(2, 1)
MASK = torch.arange(10) < torch.tensor([[10], [6]])


@pytest.fixture
def asked(monkeypatch):
    """What SDPA was asked for: (number of key heads, enable_gqa), a layer each."""
    calls, sdpa = [], F.scaled_dot_product_attention

    def recorded(q, k, v, attn_mask=None, enable_gqa=False):
        calls.append((k.shape[1], enable_gqa))
        return sdpa(q, k, v, attn_mask=attn_mask, enable_gqa=enable_gqa)

    monkeypatch.setattr(F, "scaled_dot_product_attention", recorded)
    return calls


@torch.inference_mode()
def test_keys_are_repeated_where_a_mask_and_grouped_heads_leave_the_slow_kernel(llada, asked, monkeypatch):
    model = llada("gqa")
    heads, groups = model.config.n_heads, model.config.n_kv_heads
    grouped = model.hidden_states(IDS, MASK)
    assert set(asked) == {(groups, True)} and groups < heads
    monkeypatch.setattr(layers, "REPEATS_KEYS", ("cpu",))
    asked.clear()
    repeated = model.hidden_states(IDS, MASK)
    assert set(asked) == {(heads, False)}
    assert (repeated - grouped)[MASK].abs().max() < 1e-5
    asked.clear()
    model.hidden_states(IDS)
    assert set(asked) == {(groups, True)}  # without a mask the fast kernels take groups


@torch.inference_mode()
def test_flash_attn_is_not_asked_where_it_would_take_the_mask_for_other_columns(llada, asked, monkeypatch):
    model, flash = llada("mha"), []

    def recorded(module, q, k, v, mask, is_causal):
        flash.append((q.shape[2], k.shape[2]))
        seen = None if mask is None else mask[:, None, None, :]
        out = torch.ops.aten.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        return out.transpose(1, 2), None

    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._global_mapping, "flash_attention_2", recorded)
    some = torch.tensor([[0, 3], [2, 1]])
    wanted = model.hidden_states(IDS, MASK, at=some)
    asked.clear()
    monkeypatch.setattr(model.config, "_attn_implementation_internal", "flash_attention_2")
    ours = model.hidden_states(IDS, MASK, at=some)
    layers_ = model.config.n_layers
    assert flash == [(10, 10)] * (layers_ - 1) and len(asked) == 1
    assert (ours - wanted).abs().max() < 1e-5
    flash.clear()
    model.hidden_states(IDS, at=some)
    assert flash == [(10, 10)] * (layers_ - 1) + [(2, 10)]
