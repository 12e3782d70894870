# ruff: noqa: E402, N812
import math

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from llmprep.demos.architecture.activation_values import (
    FUNCTIONS,
    Params,
    gelu,
    gelu_sigmoid,
    gelu_tanh,
    minimise,
    run,
    silu,
    slope_by_difference,
    slope_by_hand,
)

TORCHS = {"relu": F.relu, "gelu": F.gelu, "silu": F.silu, "sigmoid": torch.sigmoid}


@pytest.mark.parametrize("name", list(FUNCTIONS))
@given(x=st.floats(-30, 30))
def test_values_and_slopes_are_torchs(name, x):
    leaf = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    value = TORCHS[name](leaf)
    assert FUNCTIONS[name](x) == pytest.approx(value.item(), rel=1e-9, abs=1e-12)
    (slope,) = torch.autograd.grad(value, leaf)
    assert slope_by_hand(name, x) == pytest.approx(slope.item(), rel=1e-9, abs=1e-12)


@given(x=st.floats(-10, 10))
def test_tanh_form_is_torchs_and_transformers_new_gelu(x):
    expected = F.gelu(torch.tensor(x, dtype=torch.float64), approximate="tanh").item()
    assert gelu_tanh(x) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(x=st.floats(-8, 8))
def test_identities(x):
    assert gelu(x) - gelu(-x) == pytest.approx(x)
    assert silu(x) - silu(-x) == pytest.approx(x)
    assert abs(gelu_tanh(x) - gelu(x)) < 5e-4
    assert abs(gelu_sigmoid(x) - gelu(x)) < 0.021


@pytest.mark.parametrize(
    ("f", "at", "value"), [(gelu, -0.7518, -0.1700), (silu, -1.2785, -0.2785), (math.cos, math.pi, -1.0)]
)
def test_minima(f, at, value):
    found = minimise(f, -4, 5) if f is not math.cos else minimise(f, 0, 6)
    assert found == pytest.approx(at, abs=1e-4)
    assert f(found) == pytest.approx(value, abs=1e-4)


def test_differences_see_a_wrong_slope():
    assert abs(slope_by_difference(silu, 1.0) - slope_by_hand("sigmoid", 1.0)) > 0.5


@pytest.mark.parametrize(
    ("name", "largest", "at"), [("sigmoid", 0.25, 0), ("gelu", 1.1289, math.sqrt(2)), ("silu", 1.0998, 2.3994)]
)
def test_largest_slopes(name, largest, at):
    result = run(Params(name))
    assert result.fact("largest_slope").measured == pytest.approx(largest, abs=1e-4)
    assert result.fact("steepest_at").measured == pytest.approx(at, abs=0.005)


@pytest.mark.parametrize("p", [Params("relu", x=0), Params("sigmoid", x=-8), Params("silu", x=8)], ids=str)
def test_run_agrees_for_odd_settings(p):
    assert all(f.agrees for f in run(p).facts)


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="must"):
        Params(x=9)
