# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.jacobian_product import (
    Params,
    formula_gain,
    forward,
    gradient_gain,
    recurrent_matrix,
    run,
)


@given(st.booleans(), st.integers(2, 12), st.integers(1, 15), st.floats(0.3, 1.5), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_product_of_jacobians_equals_autograd(tanh, width, steps, radius, seed):
    torch.manual_seed(seed)
    w = recurrent_matrix("gaussian", width, radius)
    inputs, h = torch.randn(steps, width, dtype=torch.float64), torch.randn(width, dtype=torch.float64)
    assert formula_gain(w, inputs, h, tanh=tanh) == pytest.approx(gradient_gain(w, inputs, h, tanh=tanh))


@pytest.mark.parametrize("kind", ["orthogonal", "gaussian"])
def test_matrix_has_the_wanted_spectral_radius(kind):
    torch.manual_seed(0)
    w = recurrent_matrix(kind, 32, 0.9)
    assert torch.linalg.eigvals(w).abs().max().item() == pytest.approx(0.9)
    norm = torch.linalg.matrix_norm(w, 2).item()
    assert norm == pytest.approx(0.9) if kind == "orthogonal" else norm > 1.3  # a random matrix also stretches


def test_states_are_those_of_torchs_rnn():
    torch.manual_seed(0)
    w, inputs = recurrent_matrix("gaussian", 5, 0.9), torch.randn(7, 5, dtype=torch.float64)
    rnn = torch.nn.RNN(5, 5, bias=False, dtype=torch.float64)
    with torch.no_grad():
        rnn.weight_hh_l0.copy_(w)
        rnn.weight_ih_l0.copy_(torch.eye(5))
        theirs, _ = rnn(inputs, torch.zeros(1, 5, dtype=torch.float64))
    ours = forward(w, inputs, torch.zeros(5, dtype=torch.float64), tanh=True)[1:]
    torch.testing.assert_close(torch.stack(ours), theirs)


@pytest.mark.parametrize(("radius", "expected"), [(0.5, 0.5**100), (1.0, 1.0), (1.1, 1.1**100)])
def test_orthogonal_without_activation_is_exact(radius, expected):
    fact = run(Params(activation="none", radius=radius, steps=100, D=16)).fact("gain")
    assert fact.measured == pytest.approx(expected)


def test_a_radius_above_one_need_not_explode():
    vanished = run(Params(radius=1.1, input_std=0.5, steps=100)).fact("gain").measured
    assert vanished < 1e-6 < 1e3 < run(Params(radius=1.1, activation="none", steps=100)).fact("gain").measured


@pytest.mark.parametrize("wrong", [{"radius": 0}, {"steps": 0}, {"D": 1}, {"input_std": -1}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
