# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from llmprep.demos.inference.block_allocator import BlockPool, BlockTable
from llmprep.demos.inference.paged_attention import Params, paged_attention, run, write


def facts(**settings_):
    return {f.name: f for f in run(Params(**settings_)).facts}


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 99), st.randoms(use_true_random=False))
def test_equals_sdpa_wherever_the_blocks_lie(tokens, block_size, seed, shuffler):
    generator = torch.Generator().manual_seed(seed)
    q = torch.randn(8, generator=generator, dtype=torch.float64)
    kv = torch.randn(2, tokens, 8, generator=generator, dtype=torch.float64)
    pool, seq = BlockPool(50, block_size), BlockTable()
    shuffler.shuffle(pool.free)
    cache = torch.full((2, 50, block_size, 8), torch.nan, dtype=torch.float64)  # what is not written must not be read
    for t in range(tokens):
        write(pool, seq, cache, kv[:, t], copy_on_write=True)
    expected = scaled_dot_product_attention(q[None, None], *kv[:, None])[0, 0]
    torch.testing.assert_close(paged_attention(q, *cache, seq), expected)


def test_running_softmax_survives_large_scores():
    q, kv = torch.full((4,), 100.0), torch.randn(2, 6, 4) * 20
    seq = BlockTable([2, 0, 1], 6)
    cache = kv.unflatten(1, (3, 2))[:, [1, 2, 0]]  # logical blocks 0, 1, 2 lie at 2, 0, 1
    expected = scaled_dot_product_attention(q[None, None], *kv[:, None])[0, 0]
    torch.testing.assert_close(paged_attention(q, *cache, seq), expected)


def test_a_table_read_in_the_wrong_order_of_values_is_noticed():
    """Softmax does not care about order, so only a table that pairs keys with foreign values is wrong."""
    q, (k, v) = torch.randn(4), torch.randn(2, 3, 2, 4)
    right = paged_attention(q, k, v, BlockTable([0, 1, 2], 6))
    torch.testing.assert_close(paged_attention(q, k, v, BlockTable([2, 0, 1], 6)), right)
    assert not torch.allclose(paged_attention(q, k, v[[1, 0, 2]], BlockTable([0, 1, 2], 6)), right)
    assert not torch.allclose(paged_attention(q, k, v, BlockTable([0, 1, 2], 5)), right)


@pytest.mark.parametrize(
    ("settings_", "wrong"),
    [
        ({}, 0),
        ({"copy_on_write": False}, 3),
        ({"copy_on_write": False, "prompt_tokens": 96}, 0),  # a full last block is never written again
        ({"copy_on_write": False, "n_samples": 1}, 0),
        ({"copy_on_write": False, "n_samples": 7, "block_size": 1000}, 6),
        ({"block_size": 1}, 0),
    ],
)
def test_who_reads_foreign_tokens(settings_, wrong):
    got = facts(**settings_)
    assert got["wrong_samples"].measured == wrong
    assert got["wrong_samples"].agrees


@pytest.mark.parametrize(
    "settings_", [{"prompt_tokens": 0}, {"n_samples": 0}, {"block_size": 2048}, {"new_tokens": 5000}]
)
def test_nonsense_is_refused(settings_):
    with pytest.raises(ValueError, match="must"):
        Params(**settings_)
