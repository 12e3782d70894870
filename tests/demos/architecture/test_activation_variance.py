# ruff: noqa: E402
import math

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given
from hypothesis import strategies as st

from llmprep.demos.architecture.activation_variance import (
    INITS,
    Params,
    formula_gain_per_layer,
    fresh_layer,
    propagate,
    run,
)


@pytest.mark.parametrize("init", INITS)
def test_variance_of_the_weights_is_what_the_formula_says(init):
    """With activation none, the formula is √(n·Var(w))."""
    torch.manual_seed(0)
    layer = fresh_layer(init, 400)
    predicted = formula_gain_per_layer(init, "none", 400)
    assert math.sqrt(400 * layer.weight.var().item()) == pytest.approx(predicted, rel=0.02)


@pytest.mark.parametrize("n", [128, 256, 1000])
def test_known_gains_do_not_depend_on_the_width(n):
    assert formula_gain_per_layer("he", "relu", n) == pytest.approx(1)
    assert formula_gain_per_layer("xavier", "none", n) == pytest.approx(1)
    assert formula_gain_per_layer("xavier", "relu", n) == pytest.approx(math.sqrt(1 / 2))
    assert formula_gain_per_layer("torch_default", "relu", n) == pytest.approx(math.sqrt(1 / 6))


@given(st.integers(0, 10**6))
def test_relu_keeps_half_of_the_mean_square_of_a_symmetric_input(seed):
    x = torch.randn(20_000, generator=torch.Generator().manual_seed(seed))
    assert (x.relu().square().mean() / x.square().mean()).item() == pytest.approx(0.5, abs=0.05)


def test_sizes_are_those_of_a_stack_written_with_torch():
    torch.manual_seed(3)
    x = torch.randn(16, 128, dtype=torch.float64)
    forward, gradients = propagate("he", "relu", x, 6)
    torch.manual_seed(3)
    x = torch.randn(16, 128, dtype=torch.float64)
    stack = torch.nn.Sequential(*[m for _ in range(6) for m in (fresh_layer("he", 128), torch.nn.ReLU())])
    assert forward[-1] == stack(x).square().mean().sqrt().item()
    assert len(forward) == len(gradients) == 7


@pytest.mark.parametrize(("init", "activation"), [("he", "relu"), ("xavier", "relu"), ("torch_default", "none")])
def test_measured_gains_agree(init, activation):
    result = run(Params(init=init, activation=activation, depth=30, width=128, batch=16, seed=2))
    assert all(f.agrees for f in result.facts)


def test_xavier_with_tanh_shrinks_slowly_and_not_exponentially():
    final = run(Params(init="xavier", activation="tanh", depth=50, width=256)).fact("final_size").measured
    assert 0.03 < final < 0.3


@pytest.mark.parametrize("wrong", [{"depth": 0}, {"width": 10}, {"batch": 1}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
