# ruff: noqa: E402, N803
import math

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.alibi import (
    Params,
    bias,
    farthest_won,
    formula_mass_beyond,
    mass_beyond,
    run,
    slopes,
    weights_of_last_query,
)


@pytest.mark.parametrize(
    ("n_heads", "expected"),
    [
        (1, [2**-8]),
        (8, [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256]),  # section 3 of the paper
        (16, [2 ** (-i / 2) for i in range(1, 17)]),
        (12, [2**-i for i in range(1, 9)] + [2 ** (-i / 2) for i in (1, 3, 5, 7)]),  # no power of two
    ],
)
def test_slopes(n_heads, expected):
    torch.testing.assert_close(slopes(n_heads), torch.tensor(expected, dtype=torch.float64))


def test_bias_is_zero_on_the_diagonal_and_falls_with_distance():
    b = bias(8, 5)
    assert b.shape == (8, 5, 5)
    assert (b.diagonal(dim1=1, dim2=2) == 0).all()
    assert b[0, 4].tolist() == [-2.0, -1.5, -1.0, -0.5, 0.0]  # slope 1/2


def test_bias_of_the_key_index_alone_gives_the_same_weights_under_a_causal_mask():
    """BLOOM adds m·j: a constant per row away from −m·(i − j), which softmax does not see."""
    future = torch.ones(9, 9, dtype=torch.bool).triu(1)
    by_key = slopes(4)[:, None, None] * torch.arange(9)
    a, b = (x.expand(4, 9, 9).masked_fill(future, -torch.inf).softmax(-1) for x in (bias(4, 9), by_key))
    torch.testing.assert_close(a, b)


@settings(max_examples=50, deadline=None)
@given(slope=st.floats(0.001, 1), T=st.integers(2, 600), data=st.data())
def test_share_beyond_a_distance_is_the_geometric_series(slope, T, data):
    distance = data.draw(st.integers(1, T - 1))
    weights = weights_of_last_query(T, slope)
    assert weights.sum().item() == pytest.approx(1)
    assert mass_beyond(weights, distance) == pytest.approx(formula_mass_beyond(slope, distance, T), rel=1e-6, abs=1e-12)
    assert (
        mass_beyond(weights, distance) <= math.exp(-slope * distance) + 1e-12
    )  # the limit of a long text is the largest


def test_without_a_slope_the_share_grows_with_the_text():
    shares = [mass_beyond(weights_of_last_query(T, 0.0), 64) for T in (128, 1024, 8192)]
    assert shares == pytest.approx([0.5, 1 - 64 / 1024, 1 - 64 / 8192])


@pytest.mark.parametrize(
    ("gap", "slope", "expected"), [(4.5, 1 / 16, 71), (1.0, 1 / 2, 1), (1.2, 1 / 2, 2), (0.1, 1 / 2, 0)]
)
def test_content_wins_up_to_gap_over_slope(gap, slope, expected):
    assert farthest_won(gap, slope, 200) == expected


@pytest.mark.parametrize(
    "p",
    [
        Params(scheme="none"),
        Params(n_heads=12, head=12, distance=1, seq_len=2),
        Params(n_heads=1, head=1, gap=50.0),
        Params(n_heads=112, head=100, distance=500),
    ],
    ids=str,
)
def test_run_agrees_for_odd_settings(p):
    assert all(f.agrees for f in run(p).facts)


@pytest.mark.parametrize(
    "wrong", [{"head": 9}, {"head": 0}, {"distance": 1024}, {"gap": 0.0}, {"n_heads": 200}], ids=str
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
