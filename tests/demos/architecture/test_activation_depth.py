# ruff: noqa: E402
import math

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.activation_depth import (
    ACTIVATIONS,
    Params,
    gradients_by_layer,
    init,
    largest_slope,
    run,
)


@pytest.mark.parametrize(("how", "variance"), [("default", 1 / 300), ("xavier", 1 / 100), ("he", 2 / 100)])
def test_variances_of_the_initialisations(how, variance):
    torch.manual_seed(0)
    assert init(torch.empty(100, 100), how).var().item() == pytest.approx(variance, rel=0.05)


@settings(max_examples=20, deadline=None)
@given(name=st.sampled_from(list(ACTIVATIONS)), seed=st.integers(0, 100))
def test_gradients_are_the_chain_rule_written_out(name, seed):
    """Two layers: dLoss/dh1 = (dLoss/dh2 ∘ φ'(z2))·W2."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        weights = [torch.randn(6, 6).double() for _ in range(2)]
        x = torch.randn(3, 6).double().requires_grad_()
        state = torch.get_rng_state()
        (first, last), _ = gradients_by_layer(ACTIVATIONS[name], weights, x)
        torch.set_rng_state(state)
        upstream = torch.randn(3, 6, dtype=torch.float64)
    z2 = (ACTIVATIONS[name](x @ weights[0].T) @ weights[1].T).detach().requires_grad_()
    (slope,) = torch.autograd.grad(ACTIVATIONS[name](z2).sum(), z2)
    assert last == pytest.approx(upstream.norm().item())
    assert first == pytest.approx(((upstream * slope) @ weights[1]).norm().item())


@pytest.mark.parametrize(("name", "slope"), [("sigmoid", 0.25), ("tanh", 1), ("relu", 1), ("gelu", 1.129)])
def test_largest_slopes(name, slope):
    z = torch.linspace(-5, 5, 2001).double()
    assert largest_slope(ACTIVATIONS[name], z) == pytest.approx(slope, abs=1e-3)


def test_relu_keeps_its_gradient_with_he_and_loses_it_with_the_default():
    """Half of the units, variance 1/(3d): each layer keeps 1/6 of the squared gradient."""
    he, default = (run(Params(init=i)).fact("orders_lost").measured for i in ("he", "default"))
    assert abs(he) < 0.5
    assert default == pytest.approx(19 * math.log10(6) / 2, rel=0.1)


@pytest.mark.parametrize(
    "p",
    [Params("sigmoid", "default", 60, 16), Params("sigmoid", "he", 2, 512), Params("tanh", "he", 60, 16, seed=3)],
    ids=str,
)
def test_run_agrees_for_odd_settings(p):
    assert all(f.agrees for f in run(p).facts)


@pytest.mark.parametrize("wrong", [{"n_layers": 1}, {"d_model": 8}, {"n_layers": 100}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
