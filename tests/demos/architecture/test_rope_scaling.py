# ruff: noqa: E402, N803
import math

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.rope import frequencies, rotate
from llmprep.demos.architecture.rope_scaling import (
    METHODS,
    Params,
    linear,
    ntk,
    overshooting_pairs,
    run,
    yarn,
    yarn_attention_factor,
)


@settings(max_examples=30, deadline=None)
@given(position=st.integers(0, 20_000), factor=st.floats(1.5, 32))
def test_linear_scaling_is_dividing_the_positions(position, factor):
    x = torch.randn(1, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    a = rotate(x, torch.tensor([position]), linear(32, 1e4, factor))
    b = rotate(x, torch.tensor([position / factor], dtype=torch.float64), frequencies(32))
    torch.testing.assert_close(a, b)


@settings(max_examples=30, deadline=None)
@given(half=st.integers(4, 128), factor=st.floats(1.5, 32), base=st.floats(1000, 1e7))
def test_ntk_keeps_the_fastest_pair_and_interpolates_the_slowest(half, factor, base):
    theta, scaled = frequencies(2 * half, base), ntk(2 * half, base, factor)
    assert scaled[0] == theta[0]
    assert (theta[-1] / scaled[-1]).item() == pytest.approx(factor)
    assert ((theta / scaled).diff() > 0).all()


@settings(max_examples=50, deadline=None)
@given(half=st.integers(4, 128), factor=st.floats(1.5, 32), L=st.integers(256, 100_000), base=st.floats(1000, 1e7))
def test_yarn_keeps_fast_pairs_and_divides_unfinished_ones(half, factor, L, base):
    theta, scaled = frequencies(2 * half, base), yarn(2 * half, base, factor, L)
    turns = L * theta / (2 * math.pi)
    slowed = theta / scaled
    torch.testing.assert_close(slowed[turns < 0.999], torch.full_like(slowed[turns < 0.999], factor))
    fast = turns > 32.001
    torch.testing.assert_close(
        slowed[fast][:-1], torch.ones_like(slowed[fast][:-1]), rtol=0.0, atol=1e-9
    )  # whole indices
    assert ((slowed > 1 - 1e-9) & (slowed < factor * (1 + 1e-9))).all()


def test_yarn_sharpens_by_the_logarithm():
    assert yarn_attention_factor(1) == 1
    assert yarn_attention_factor(16) == pytest.approx(1.2773, abs=1e-4)


def test_overshooting_pairs_are_those_that_did_not_finish_a_turn():
    theta = frequencies(16, 1e4)  # wavelengths 6.28 · 10^(i/2): 6, 20, 63, 199, 628, …
    assert overshooting_pairs(theta, theta, 100, 200).tolist() == [False] * 3 + [True] * 5
    assert not overshooting_pairs(theta / 2, theta, 100, 200).any()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "other",
    [
        {},
        {"base": 500_000.0, "trained_len": 8192},
        {"head_dim": 8, "factor": 1.5},
        {"base": 1000.0, "trained_len": 8192},
    ],
    ids=str,
)
def test_run_agrees_for_odd_settings(method, other):
    assert all(f.agrees for f in run(Params(method=method, **other)).facts)


@pytest.mark.parametrize(
    "wrong", [{"head_dim": 6}, {"factor": 1.0}, {"base": 2.0}, {"factor": 8.0, "trained_len": 8192}], ids=str
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
