# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.relu_derivative import (
    WAYS,
    Params,
    autograd_slope,
    difference_quotient,
    is_subgradient,
    run,
)


@pytest.mark.parametrize(("way", "at_zero"), [("relu", 0), ("clamp", 1), ("maximum", 0.5), ("gelu", 0.5)])
def test_slopes_at_zero_are_conventions(way, at_zero):
    assert autograd_slope(WAYS[way], 0.0) == at_zero


@pytest.mark.parametrize("way", ["relu", "clamp", "maximum"])
@settings(max_examples=20, deadline=None)
@given(x=st.floats(1e-6, 1e6))
def test_all_ways_agree_away_from_zero(way, x):
    assert autograd_slope(WAYS[way], x) == 1
    assert autograd_slope(WAYS[way], -x) == 0
    assert WAYS[way](torch.tensor([x, -x])).tolist() == torch.tensor([x, 0.0]).tolist()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_relu_is_flat_at_both_zeros_in_every_precision(dtype, zero):
    x = torch.tensor([zero], dtype=dtype, requires_grad=True)
    torch.relu(x).sum().backward()
    assert x.grad.item() == 0


@settings(max_examples=30, deadline=None)
@given(slope=st.floats(-3, 3))
def test_subgradients_are_the_unit_interval(slope):
    if abs(slope) > 1e-9 and abs(slope - 1) > 1e-9:
        assert is_subgradient(slope) == (0 < slope < 1)


def test_quotients_disagree_at_zero_only():
    f = WAYS["relu"]
    assert (difference_quotient(f, 0.0, -0.25), difference_quotient(f, 0.0, 0.25)) == (0, 1)
    assert difference_quotient(f, 1.0, -0.25) == difference_quotient(f, 1.0, 0.25) == 1


def test_autograd_differentiates_the_program():
    """Three ways to write the function x, with slopes 0, 2 and 1 at 0."""
    assert [run(Params(w)).fact("identity_slope").measured for w in ("relu", "clamp", "maximum")] == [0, 2, 1]


@pytest.mark.parametrize("p", [Params("gelu", 3), Params("clamp", -0.001), Params("maximum", 100)], ids=str)
def test_run_agrees_for_odd_settings(p):
    assert all(f.agrees for f in run(p).facts)


@pytest.mark.parametrize("x", [1e-9, 1000])
def test_nonsense_is_refused(x):
    with pytest.raises(ValueError, match="must"):
        Params(x=x)
