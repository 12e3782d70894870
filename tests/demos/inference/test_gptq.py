# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.inference.gptq import Params, correlated_inputs, formula_error_ratios, gptq, output_error, rtn, run
from llmprep.demos.inference.quantization import quantize_absmax


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def facts(**settings_):
    return {f.name: f for f in run(Params(**{"d_in": 128, "group_size": 64, "n_calib": 2048, **settings_})).facts}


def quantise_then_refit(w, x, bits, group_size, damping):
    """Slow and obvious: fix a column, then refit all later ones by least squares on the damped objective."""
    step = quantize_absmax(w, bits, group_size)[1].repeat_interleave(group_size, dim=1).double()
    hessian = x.T @ x
    hessian = hessian + damping * hessian.diagonal().mean() * torch.eye(len(hessian), dtype=x.dtype)
    top = 2 ** (bits - 1) - 1
    refitted, fixed = w.clone(), torch.zeros_like(w)
    for j in range(w.shape[1]):
        fixed[:, j] = (refitted[:, j] / step[:, j]).round().clamp(-top, top) * step[:, j]
        later = slice(j + 1, None)
        error = (w - fixed)[:, : j + 1]  # (d_out, j + 1); the later columns must cancel error·X
        refitted[:, later] = (
            w[:, later] + torch.linalg.solve(hessian[later, later], hessian[later, : j + 1] @ error.T).T
        )
    return fixed


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), correlation=st.floats(0, 0.9), bits=st.sampled_from([3, 4, 8]))
def test_gptq_is_greedy_rounding_with_the_later_columns_refitted(seed, correlation, bits):
    w = torch.randn(4, 32, generator=rng(seed), dtype=torch.float64)
    x = correlated_inputs(64, 32, correlation, rng(seed)).double()
    slow = quantise_then_refit(w, x, bits, 16, damping=0.01)
    torch.testing.assert_close(gptq(w, x, bits, 16), slow, rtol=0, atol=1e-5)


def test_without_correlation_gptq_is_round_to_nearest():
    w, x = torch.randn(8, 32, generator=rng()), torch.diag(torch.linspace(0.1, 50, 32))
    assert torch.equal(gptq(w, x, 4, 16), rtn(w, 4, 16))


def test_every_weight_lies_on_the_grid_of_rtn():
    w, x = torch.randn(16, 64, generator=rng()), correlated_inputs(256, 64, 0.8, rng(1))
    codes = gptq(w, x, 4, 32) / quantize_absmax(w, 4, 32)[1].repeat_interleave(32, dim=1)
    torch.testing.assert_close(codes, codes.round())
    assert codes.abs().max() <= 7.001


def test_round_to_nearest_has_the_smallest_weight_error_of_the_grid():
    w, x = torch.randn(16, 64, generator=rng()), correlated_inputs(256, 64, 0.8, rng(1))
    assert ((w - rtn(w, 4, 32)).abs() <= (w - gptq(w, x, 4, 32)).abs() + 1e-6).all()


def test_inputs_correlate_as_they_should():
    x = correlated_inputs(20_000, 12, 0.7, rng())
    expected = 0.7 ** (torch.arange(12)[:, None] - torch.arange(12)).abs()
    torch.testing.assert_close(x.T @ x / len(x), expected, rtol=0, atol=0.04)


def test_the_ratio_is_the_unpredictable_share_of_each_channel():
    """The same number from regressions of each channel on the later ones: sum of residual variances over all."""
    x = correlated_inputs(6000, 24, 0.6, rng()).double()
    residuals = [
        x[:, j] - x[:, j + 1 :] @ torch.linalg.lstsq(x[:, j + 1 :], x[:, j : j + 1]).solution[:, 0] for j in range(23)
    ]
    share = sum(r.square().sum() for r in residuals) / x[:, :23].square().sum()
    assert share.sqrt().item() == pytest.approx(formula_error_ratios(0.6)[0], rel=0.03)


@pytest.mark.parametrize(("correlation", "outputs", "weights"), [(0.0, 1, 1), (0.6, 0.8, 1.16619), (0.8, 0.6, 1.28062)])
def test_formula(correlation, outputs, weights):
    assert formula_error_ratios(correlation) == pytest.approx((outputs, weights), rel=1e-5)


def test_output_error_on_a_layer_that_is_ten_per_cent_too_small():
    w, x = torch.randn(4, 8, generator=rng()), torch.randn(16, 8, generator=rng(1))
    assert output_error(w, 0.9 * w, x) == pytest.approx(0.1, rel=1e-5)


@pytest.mark.parametrize("settings_", [{}, {"bits": 3}, {"bits": 8, "correlation": 0.0}, {"group_size": 16, "seed": 3}])
def test_facts_agree(settings_):
    assert all(f.agrees for f in facts(**settings_).values())


def test_a_small_calibration_set_flatters_gptq():
    few = facts(correlation=0.0, n_calib=64)
    assert few["calib_over_rtn"].measured < 0.7
    assert few["gptq_over_rtn"].measured > 1.3


@pytest.mark.parametrize(
    "wrong",
    [{"bits": 1}, {"bits": 9}, {"group_size": 24}, {"group_size": 8}, {"correlation": 1.0}, {"correlation": -0.1},
     {"n_calib": 0}, {"d_in": 64}, {"d_out": 8}],
)  # fmt: skip
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
