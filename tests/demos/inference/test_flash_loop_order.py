# ruff: noqa: E402, N803
import pytest

torch = pytest.importorskip("torch")

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from llmprep.demos.inference.flash_attention import Chip, flash_attention, tile_sizes
from llmprep.demos.inference.flash_loop_order import (
    Params,
    formula_keys_outside,
    formula_queries_outside,
    keys_outside,
    run,
    tile_sizes_keys_outside,
)


def qkv(N, D):
    return torch.randn(3, N, D, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@given(st.integers(1, 40), st.integers(1, 24), st.integers(60, 3000))
@settings(max_examples=60, deadline=None)
def test_either_order_is_exact_and_follows_its_formula(N, D, sram):
    sizes = tile_sizes(sram, D), tile_sizes_keys_outside(sram, D)
    assume(min(map(min, sizes)) >= 1)
    block = sizes[0][0]
    q, k, v = qkv(N, D)
    expected = (q @ k.T * D**-0.5).softmax(-1) @ v
    by_keys, by_queries = Chip(sram), Chip(sram)
    torch.testing.assert_close(keys_outside(by_keys, q, k, v), expected)
    torch.testing.assert_close(flash_attention(by_queries, q, k, v), expected)
    assert by_keys.traffic == formula_keys_outside(N, D, block)
    assert by_queries.traffic == formula_queries_outside(N, D, block)


def test_a_hand_made_case():
    """N=4, D=2, two blocks of keys: K, V 16; per block Q 8, O in and out 16, statistics 16; start 8 + 8."""
    assert formula_keys_outside(4, 2, block_kv=2) == 16 + 2 * (24 + 16) + 16
    assert formula_queries_outside(4, 2, block_q=2) == 16 + 32 + 4


@pytest.mark.parametrize("N", [1024, 4096])
def test_queries_outside_save_a_third(N):
    """3ND against 2ND a block; without the statistics the ratio would tend to 1.5."""
    block, _ = tile_sizes(51_200, 64)
    assert formula_keys_outside(N, 64, block) / formula_queries_outside(N, 64, block) == pytest.approx(1.53, abs=0.01)


def test_facts_agree():
    result = run(Params(seq_len=300, head_dim=16, sram_elements=3000))
    assert [f for f in result.facts if not f.agrees] == []


@pytest.mark.parametrize("wrong", [{"seq_len": 0}, {"head_dim": 0}, {"sram_elements": 10}])
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
