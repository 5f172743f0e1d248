"""Who sees whom: against the definition, key by key, and the masks of the official training codes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from lift_harness.models.block_causal import block_causal, noisy_and_clean, visible_keys

sizes = st.integers(1, 9)
lengths = st.integers(1, 14)


@given(sizes, st.lists(st.integers(0, 30), min_size=1, max_size=6), st.lists(st.integers(0, 30), min_size=1))
def test_a_query_sees_the_keys_of_its_block_and_earlier_ones(size, queries, keys):
    mask = block_causal(torch.tensor([queries]), torch.tensor([keys]), size)
    assert mask.tolist() == [[[k // size <= q // size for k in keys] for q in queries]]


@given(sizes, lengths)
def test_noisy_tokens_see_their_own_block_and_the_clean_ones_before_it(size, n):
    def sees(q, k):
        (noisy_q, q), (noisy_k, k) = (divmod(i, n) for i in (q, k))  # 0 noisy, 1 clean
        q, k = q // size, k // size
        if not noisy_q:
            return q == k if not noisy_k else q > k
        return bool(noisy_k) and q >= k

    mask = noisy_and_clean(n, size)
    assert mask.tolist() == [[sees(q, k) for k in range(2 * n)] for q in range(2 * n)]


@pytest.mark.parametrize(
    ("folder", "name", "size"), [("llada2-tiny", "df_b8", 8), ("fastdllm-v2-tiny", "b32", 32)]
)
def test_the_training_mask_is_the_official_one(folder, name, size, shared):
    stored = load_file(shared / "golden" / folder / "train.safetensors")[f"{name}.attention_mask"]
    assert torch.equal(noisy_and_clean(len(stored) // 2, size), stored)


def test_packed_samples_have_masks_of_their_own(shared):
    stored = load_file(shared / "golden" / "sdar-tiny" / "train.safetensors")
    assert torch.equal(noisy_and_clean(32, 8).expand(2, -1, -1), stored["b8.attention_mask"])
    first, second = noisy_and_clean(20, 4), noisy_and_clean(12, 4)  # of row 1
    assert torch.equal(torch.block_diag(first, second).bool(), stored["b4_packed.attention_mask"][1])


@given(sizes, lengths, st.integers(0, 3), st.booleans())
def test_a_pass_sees_what_the_definition_says(size, length, before, counted):
    """Without a cache; `before` rows of padding on the left are hidden by the mask."""
    real = torch.tensor([[0] * before + [1] * length, [1] * (before + length)])
    columns = (real.cumsum(-1) - 1).clamp(min=0)
    mask = visible_keys(real, columns, size, counted, cached=False)
    if mask.ndim == 2:
        assert counted and before + length <= size
        mask = mask[:, None].expand(-1, before + length, -1)
    for row in range(2):
        for q in range(before + length):
            for k in range(before + length):
                expected = real[row, k] and columns[row, k] // size <= columns[row, q] // size
                assert mask[row, q, k] == bool(expected)


@given(sizes, st.integers(0, 3), st.integers(1, 3))
def test_no_mask_where_every_query_sees_every_key(size, finished, computed):
    """One block on the cache of the finished ones needs no mask; more of them do."""
    columns = torch.arange(finished * size, (finished + computed) * size)[None]
    mask = visible_keys(None, columns, size, counted=False, cached=True)
    if computed == 1:
        assert mask is None
        return
    keys = range((finished + computed) * size)
    assert mask.tolist() == [[[k // size <= q // size for k in keys] for q in columns[0].tolist()]]


def test_bidirectional_models_and_given_masks_are_left_alone():
    columns, real = torch.arange(6)[None], torch.ones(1, 6, dtype=torch.long)
    assert visible_keys(None, columns, None, counted=True, cached=False) is None
    assert torch.equal(visible_keys(real, columns, None, counted=True, cached=False), real.bool())
    given_one = torch.eye(6, dtype=torch.long)[None]
    assert torch.equal(visible_keys(given_one, columns, 2, counted=True, cached=True), given_one.bool())
