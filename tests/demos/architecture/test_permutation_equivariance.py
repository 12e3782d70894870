# ruff: noqa: E402, N803
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.permutation_equivariance import (
    Params,
    no_fixed_point,
    outputs_that_follow,
    outputs_that_stay,
    run,
)


@settings(max_examples=30, deadline=None)
@given(T=st.integers(2, 50), seed=st.integers(0, 1000))
def test_every_token_moves_and_none_is_lost(T, seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        order = no_fixed_point(T)
    assert sorted(order.tolist()) == list(range(T))
    assert (order != torch.arange(T)).all()


@settings(max_examples=20, deadline=None)
@given(T=st.integers(3, 20), seed=st.integers(0, 1000))
def test_torchs_own_attention_is_equivariant_and_not_invariant(T, seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        theirs = torch.nn.MultiheadAttention(8, 2, batch_first=True, dtype=torch.float64)
        x = torch.randn(1, T, 8, dtype=torch.float64)
        order = no_fixed_point(T)

    def layer(x):
        return theirs(x, x, x, need_weights=False)[0]

    assert outputs_that_follow(layer, x, order) == T
    assert outputs_that_stay(layer, x, order) == 0


def test_the_two_counts_know_known_layers():
    x, order = torch.randn(1, 6, 4, dtype=torch.float64), torch.tensor([1, 2, 3, 4, 5, 0])
    tokenwise, pooled = torch.nn.functional.gelu, lambda x: x.mean(dim=1, keepdim=True).expand_as(x)
    assert (outputs_that_follow(tokenwise, x, order), outputs_that_stay(tokenwise, x, order)) == (6, 0)
    assert (outputs_that_follow(pooled, x, order), outputs_that_stay(pooled, x, order)) == (6, 6)  # invariant is both


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("mask", "positions", "follow"), [("none", "none", 40), ("causal", "none", 0), ("none", "added", 0)]
)
def test_mask_or_positions_break_the_symmetry(mask, positions, follow, seed):
    result = run(Params(mask=mask, positions=positions, seq_len=40, seed=seed))
    assert result.fact("outputs_that_follow").measured == follow
    assert all(f.agrees for f in result.facts)


@pytest.mark.parametrize(
    "p", [Params(seq_len=3, n_heads=1), Params(mask="causal", positions="added", seq_len=300)], ids=str
)
def test_run_agrees_for_odd_settings(p):
    assert all(f.agrees for f in run(p).facts)


@pytest.mark.parametrize("wrong", [{"seq_len": 2}, {"n_heads": 3}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
