# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.inference.smoothquant import (
    Params,
    levels_used,
    llm_int8,
    run,
    sample_activations,
    smoothing_factors,
    to_int8,
    w8a8,
    w8a16,
)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def facts(**settings_):
    return {f.name: f for f in run(Params(**{"n_tokens": 64, "d_in": 128, "d_out": 32, **settings_})).facts}


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 8),
    d_in=st.integers(1, 64),
    d_out=st.integers(1, 8),
    per_row=st.booleans(),
    seed=st.integers(0, 999),
)
def test_the_integer_gemm_is_the_product_of_the_decoded_matrices(n, d_in, d_out, per_row, seed):
    """Steps taken out of the sum give what multiplying the decoded floats gives: nothing is lost but the rounding."""
    x, w = torch.randn(n, d_in, generator=rng(seed)), torch.randn(d_out, d_in, generator=rng(seed + 1))
    decoded = [(codes.double() * step) for codes, step in (to_int8(x, per_row=per_row), to_int8(w, per_row=per_row))]
    torch.testing.assert_close(w8a8(x, w, per_row=per_row).double(), decoded[0] @ decoded[1].T, rtol=1e-4, atol=1e-5)


def test_codes_and_step_by_hand():
    codes, step = to_int8(torch.tensor([[0.5, -1.0], [2.0, 0.1]]))
    assert codes.tolist() == [[32, -64], [127, 6]]
    assert step.item() == pytest.approx(2 / 127)
    assert to_int8(torch.tensor([[0.5, -1.0], [2.0, 0.1]]), per_row=True)[0].tolist() == [[64, -127], [127, 6]]


def test_integers_do_not_overflow_in_the_longest_sum():
    x = torch.ones(1, 512)
    assert w8a8(x, x).item() == pytest.approx(512, rel=1e-6)  # 127 · 127 · 512 is far beyond int8 and int16


def test_weight_only_rounds_no_activation():
    x, w = torch.randn(8, 32, generator=rng()), torch.eye(32)
    torch.testing.assert_close(w8a16(x, w), x)
    assert not torch.allclose(w8a8(x, w), x, atol=1e-4)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_smoothing_is_exact_before_rounding(alpha):
    x, w = sample_activations(64, 32, 2, 100.0, rng()).double(), torch.randn(16, 32, generator=rng(1)).double()
    s = smoothing_factors(x, w, alpha)
    torch.testing.assert_close((x / s) @ (w * s).T, x @ w.T)


def test_half_way_both_sides_have_the_same_range_in_each_channel():
    """Paper, section 4: at α = 0.5 activations and weights of a channel share one maximum."""
    x, w = sample_activations(64, 32, 2, 100.0, rng()), torch.randn(16, 32, generator=rng(1))
    s = smoothing_factors(x, w, 0.5)
    torch.testing.assert_close((x / s).abs().amax(dim=0), (w * s).abs().amax(dim=0))
    torch.testing.assert_close((x / smoothing_factors(x, w, 1.0)).abs().amax(dim=0), torch.ones(32))
    torch.testing.assert_close((w * smoothing_factors(x, w, 0.0)).abs().amax(dim=0), torch.ones(32))


def test_llm_int8_between_its_extremes():
    x, w = sample_activations(64, 32, 3, 100.0, rng()), torch.randn(16, 32, generator=rng(1))
    y, share = llm_int8(x, w)
    assert share == pytest.approx(3 / 32)
    assert (y - x @ w.T).norm() < 0.2 * (w8a8(x, w, per_row=True) - x @ w.T).norm()
    more_in_float, larger_share = llm_int8(x, w, threshold=2.5)
    assert larger_share > share
    assert (more_in_float - x @ w.T).norm() < (y - x @ w.T).norm()
    none_in_float, share = llm_int8(x, w, threshold=1e9)
    assert share == 0
    torch.testing.assert_close(none_in_float, w8a8(x, w, per_row=True))


def test_levels_are_counted_over_the_span():
    assert levels_used(torch.tensor([[0, -3], [2, 3]], dtype=torch.int8)) == 5  # spans 3 and 7
    assert levels_used(torch.tensor([[-127], [127]], dtype=torch.int8)) == 255


def test_outliers_sit_in_every_token():
    x = sample_activations(512, 32, 2, 100.0, rng())
    assert (x[:, :2] > 40).all()
    assert x[:, 2:].abs().max() < 6


@pytest.mark.parametrize(
    "settings_", [{}, {"n_outliers": 0}, {"outlier_gain": 1000.0}, {"alpha": 0.0}, {"n_tokens": 16, "d_in": 16}]
)
def test_facts_agree(settings_):
    assert all(f.agrees for f in facts(**settings_).values())


def test_each_remedy_has_its_place():
    error = {name: f.measured for name, f in facts().items()}
    assert error["llm_int8_error"] < error["smooth_error"] < 0.5 * error["per_token_error"] < 0.5 * error["w8a8_error"]
    mild = {name: f.measured for name, f in facts(outlier_gain=1.0).items()}
    assert mild["w8a8_error"] < 0.03


@pytest.mark.parametrize(
    "wrong", [{"alpha": 1.5}, {"outlier_gain": 0.0}, {"n_outliers": 99}, {"n_tokens": 4}, {"d_out": 4096}]
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
