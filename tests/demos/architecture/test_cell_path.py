# ruff: noqa: E402
import math

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.cell_path import Params, autograd_jacobian, formula_jacobians, fresh, gain, run

F64 = torch.float64


@given(st.integers(2, 6), st.integers(1, 8), st.floats(-2, 5), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_chain_rule_by_hand_equals_autograd(width, steps, forget_bias, seed):
    torch.manual_seed(seed)
    w = fresh(torch.nn.LSTMCell, width, forget_bias)
    x, h, c = (torch.randn(*shape, dtype=F64) for shape in ((steps, width), (width,), (width,)))
    product, total = formula_jacobians(w, x, h.tanh(), c)
    torch.testing.assert_close(autograd_jacobian(w, x, h.tanh(), c, detour=False), torch.diag(product))
    torch.testing.assert_close(autograd_jacobian(w, x, h.tanh(), c, detour=True), total)


def test_total_derivative_agrees_with_finite_differences_of_torchs_own_cell():
    torch.manual_seed(0)
    w = fresh(torch.nn.LSTMCell, 4, 1.0)
    x, h, c = torch.randn(6, 4, dtype=F64), torch.randn(4, dtype=F64).tanh(), torch.randn(4, dtype=F64)

    def last_cell(c):
        state = (h, c)
        for x_t in x:
            state = w(x_t, state)
        return state[1]

    with torch.no_grad():
        columns = [(last_cell(c + e) - last_cell(c - e)) / 2e-5 for e in 1e-5 * torch.eye(4, dtype=F64)]
        _, total = formula_jacobians(w, x, h, c)
    torch.testing.assert_close(torch.stack(columns, dim=1), total, atol=1e-8, rtol=1e-6)


def test_without_recurrent_weights_there_is_no_second_road():
    torch.manual_seed(0)
    w = fresh(torch.nn.LSTMCell, 5, 1.0)
    torch.nn.init.zeros_(w.weight_hh)
    x, c = torch.randn(7, 5, dtype=F64), torch.randn(5, dtype=F64)
    product, total = formula_jacobians(w, x, c.tanh(), c)
    torch.testing.assert_close(total, torch.diag(product))


def test_one_step_has_no_detour_yet_and_twenty_have():
    assert run(Params(steps=1)).fact("total_over_path").measured == 1
    assert run(Params(steps=20)).fact("total_over_path").measured > 10


@pytest.mark.parametrize(("bias", "steps"), [(0.0, 10), (2.0, 10), (5.0, 20)])
def test_path_is_close_to_the_sigmoid_of_the_bias_to_the_power_of_the_steps(bias, steps):
    expected = (1 + math.exp(-bias)) ** -steps
    assert run(Params(forget_bias=bias, steps=steps)).fact("path_gain").measured == pytest.approx(expected, rel=0.5)


def test_gain_of_an_orthogonal_matrix_is_one():
    q, _ = torch.linalg.qr(torch.randn(8, 8, dtype=F64))
    assert gain(q) == pytest.approx(1)


@pytest.mark.parametrize("wrong", [{"forget_bias": 20}, {"steps": 0}, {"hidden": 1}, {"input_std": -1}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
