# ruff: noqa: E402, N803, N806, N812
import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from llmprep.demos.inference import flash_attention as demo
from llmprep.demos.inference.flash_attention import (
    Chip,
    Params,
    flash_attention,
    formula_flash,
    formula_standard,
    hide_future,
    run,
    standard_attention,
    tile_sizes,
)


def qkv(N, D, seed=0):
    return torch.randn(3, N, D, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def kernel(q, k, v, causal):
    return F.scaled_dot_product_attention(q[None, None], k[None, None], v[None, None], is_causal=causal)[0, 0]


def facts(**settings_):
    return {f.name: f for f in run(Params(**settings_)).facts}


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("N", "D", "sram"), [(1, 4, 200), (37, 8, 500), (64, 16, 4096), (100, 5, 300), (50, 8, 10**6)])
def test_equals_torchs_attention(N, D, sram, causal):
    q, k, v = qkv(N, D)
    for attention in (standard_attention, flash_attention):
        torch.testing.assert_close(attention(Chip(sram), q, k, v, causal), kernel(q, k, v, causal))


def test_stays_exact_when_the_largest_scores_come_last():
    """A kernel that forgets to rescale is wrong here, and one without a running maximum overflows."""
    q, k, v = qkv(60, 8)
    k = k * torch.linspace(1, 500, 60, dtype=torch.float64)[:, None]
    torch.testing.assert_close(flash_attention(Chip(600), q, k, v), kernel(q, k, v, causal=False))


def test_writes_the_logsumexp_that_the_backward_pass_needs(monkeypatch):
    q, k, v = qkv(40, 8)
    stored = {}
    monkeypatch.setattr(
        Chip, "store", lambda _, where, t: (where.copy_(t), stored.update({where.dim(): where._base}))[0]
    )
    flash_attention(Chip(500), q, k, v)
    torch.testing.assert_close(stored[1], torch.logsumexp(q @ k.T * 8**-0.5, -1))


@pytest.mark.parametrize("first_query", [0, 3, 8])
@pytest.mark.parametrize("first_key", [0, 2, 8])
def test_a_tile_of_the_mask_is_cut_from_the_whole(first_query, first_key):
    whole = hide_future(torch.zeros(12, 12))
    tile = hide_future(torch.zeros(4, 3), first_query, first_key)
    assert torch.equal(tile, whole[first_query : first_query + 4, first_key : first_key + 3])


@given(st.integers(1, 40), st.integers(1, 24), st.integers(50, 3000), st.booleans())
@settings(max_examples=60, deadline=None)
def test_tiles_always_fit_and_traffic_follows_the_formula(N, D, sram, causal):
    assume(min(tile_sizes(sram, D)) >= 1)
    chip = Chip(sram)
    flash_attention(chip, *qkv(N, D), causal)  # MemoryError if a tile did not fit
    full = formula_flash(N, D, tile_sizes(sram, D)[0])
    assert chip.traffic <= full if causal else chip.traffic == full


def test_too_large_a_tile_is_refused(monkeypatch):
    monkeypatch.setattr(demo, "tile_sizes", lambda *_: (40, 40))
    with pytest.raises(MemoryError, match="do not fit"):
        flash_attention(Chip(1000), *qkv(64, 8))


def test_counts_a_hand_made_case():
    """N=4, D=2, blocks of 2 queries: Q and O 16, K and V twice 32, logsumexp 4."""
    assert formula_standard(4, 2) == 4 * 8 + 4 * 16
    assert formula_flash(4, 2, block_q=2) == 16 + 32 + 4


@pytest.mark.parametrize("attention", [standard_attention, flash_attention])
@pytest.mark.parametrize("causal", [False, True])
def test_counts_the_flops_that_torch_counts(attention, causal):
    chip = Chip(700)
    with FlopCounterMode(display=False) as counter:
        attention(chip, *qkv(50, 8), causal)
    assert chip.flops == counter.get_total_flops()


@pytest.mark.parametrize(("seq_len", "saving"), [(1024, 4.9), (4096, 5.9)])
def test_known_savings(seq_len, saving):
    assert facts(seq_len=seq_len)["traffic_saving"].measured == pytest.approx(saving, abs=0.06)


@pytest.mark.parametrize(("head_dim", "sram"), [(32, 51_200), (64, 51_200), (128, 204_800)])
def test_saving_tends_to_m_over_two_d_squared(head_dim, sram):
    N = 2**20
    saving = formula_standard(N, head_dim) / formula_flash(N, head_dim, tile_sizes(sram, head_dim)[0])
    assert saving == pytest.approx(sram / (2 * head_dim**2), rel=0.02)


def test_causal_flops_approach_half():
    shares = [facts(seq_len=n, causal=True)["flops_ratio"].measured for n in (256, 1024, 2048)]
    assert shares == sorted(shares, reverse=True)
    assert all((n + 1) / (2 * n) < share < 1 for n, share in zip((256, 1024, 2048), shares, strict=True))


def test_ridge_of_the_a100_lies_between():
    f = facts(seq_len=4096)
    assert f["standard_intensity"].measured < 153.02 < f["tiled_intensity"].measured
    assert f["ridge"].measured == pytest.approx(153.0, abs=0.1)


@pytest.mark.parametrize("wrong", [{"seq_len": 0}, {"seq_len": 8192}, {"head_dim": 0}, {"sram_elements": 100}])
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
