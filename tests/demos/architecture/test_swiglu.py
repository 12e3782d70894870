# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.ffn_budget import FFN
from llmprep.demos.architecture.swiglu import (
    Params,
    degree,
    plain_ffn,
    product_by_gate,
    product_by_relu,
    run,
    swiglu_ffn,
)


def test_both_are_the_modules_of_the_other_demo():
    """Written there with torch.nn.Linear, whose weights are transposed."""
    torch.manual_seed(0)
    gated, plain, x = FFN(5, 7, gated=True), FFN(5, 7, gated=False), torch.randn(2, 3, 5)
    torch.testing.assert_close(swiglu_ffn(x, gated.gate.weight.T, gated.up.weight.T, gated.down.weight.T), gated(x))
    torch.testing.assert_close(plain_ffn(x, plain.up.weight.T, plain.down.weight.T), plain(x))


@settings(max_examples=50, deadline=None)
@given(a=st.floats(-30, 30), b=st.floats(-30, 30))
def test_two_gated_units_multiply_any_two_numbers(a, b):
    x = torch.tensor([a, b], dtype=torch.float64)
    torch.testing.assert_close(product_by_gate(x[:1], x[1:]), x[:1] * x[1:], rtol=1e-9, atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(size=st.floats(1e-4, 1e4), seed=st.integers(0, 100))
def test_plain_ffn_is_homogeneous_of_degree_1_at_every_size(size, seed):
    generator = torch.Generator().manual_seed(seed)
    x, up, down = (torch.randn(8, 8, generator=generator, dtype=torch.float64) for _ in range(3))
    assert degree(lambda y: plain_ffn(y, up, down), x, size) == pytest.approx(1)


@pytest.mark.parametrize("size", [1e-5, 1e4])
def test_swiglu_is_quadratic_at_both_ends(size):
    torch.manual_seed(0)
    x, gate, up, down = torch.randn(4, 16, 16).double()
    assert degree(lambda y: swiglu_ffn(y, gate, up, down), x, size) == pytest.approx(2, abs=0.01)


def test_more_relu_units_never_fit_worse():
    torch.manual_seed(0)
    a, b = torch.rand(2, 500).double() * 2 - 1
    directions = torch.randn(3, 32).double()
    errors = [(product_by_relu(a, b, directions[:, :n]) - a * b).norm().item() for n in (4, 8, 16, 32)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] > 0.1  # piecewise linear, so never exact


@pytest.mark.parametrize("p", [Params(size=1, d_model=4, relu_units=2), Params("plain", size=1e5), Params(size=1e-6)])
def test_run_agrees_for_odd_settings(p):
    assert all(f.agrees for f in run(p).facts)


@pytest.mark.parametrize("wrong", [{"size": 0.0}, {"relu_units": 1}, {"d_model": 2}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
