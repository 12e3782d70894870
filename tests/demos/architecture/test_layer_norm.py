# ruff: noqa: E402, N812
import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.layer_norm import (
    Params,
    formula_gradient,
    formula_output_rms,
    layer_norm,
    rms_norm,
    run,
)


def tokens(seed: int, d: int = 12) -> torch.Tensor:
    return torch.randn(5, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 1


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), d=st.integers(2, 40), eps=st.sampled_from([0.0, 1e-6, 1e-5, 0.1]))
def test_both_are_torchs_kernels(seed, d, eps):
    x = tokens(seed, d)
    torch.testing.assert_close(layer_norm(x, eps), F.layer_norm(x, (d,), eps=eps))
    torch.testing.assert_close(rms_norm(x, eps), F.rms_norm(x, (d,), eps=eps))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), shift=st.floats(-50, 50), scale=st.floats(0.01, 100))
def test_invariances(seed, shift, scale):
    x = tokens(seed)
    torch.testing.assert_close(layer_norm(scale * x + shift, 0.0), layer_norm(x, 0.0), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(rms_norm(scale * x, 0.0), rms_norm(x, 0.0))
    torch.testing.assert_close(rms_norm(-scale * x, 0.0), -rms_norm(x, 0.0))


def test_rms_norm_is_layer_norm_where_the_mean_is_zero():
    x = tokens(1)
    x = x - x.mean(dim=-1, keepdim=True)
    torch.testing.assert_close(rms_norm(x, 1e-5), layer_norm(x, 1e-5))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), d=st.integers(3, 20), centre=st.booleans())
def test_gradient_by_hand_is_autograds_and_sees_no_ignored_direction(seed, d, centre):
    x, u = tokens(seed, d), tokens(seed + 1, d)
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((layer_norm if centre else rms_norm)(leaf, 0.0), leaf, u)
    torch.testing.assert_close(formula_gradient(x, u, centre=centre), gradient, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close((gradient * x).sum(-1), torch.zeros(5).double(), atol=1e-9, rtol=0)
    if centre:
        torch.testing.assert_close(gradient.sum(-1), torch.zeros(5).double(), atol=1e-9, rtol=0)


def test_variance_is_the_biased_one():
    """Dividing by d − 1 instead of d is the usual slip: the outputs would be too small by √((d − 1)/d)."""
    out = layer_norm(tokens(0, 4), 0.0)
    torch.testing.assert_close(out.var(dim=-1, correction=0), torch.ones(5).double())
    assert out.var(dim=-1, correction=1)[0].item() == pytest.approx(4 / 3)


@pytest.mark.parametrize(("size", "eps", "out"), [(1, 1e-5, 1), (1e-3, 1e-5, 0.3015), (1e-3, 1e-6, 0.7071), (5, 0, 1)])
def test_eps_shrinks_small_tokens(size, eps, out):
    assert formula_output_rms(size, eps) == pytest.approx(out, rel=1e-3)
    assert run(Params("rms", input_rms=size, eps=eps)).fact("output_rms").measured == pytest.approx(out, rel=1e-3)


@pytest.mark.parametrize("p", [Params(d_model=4, scale=-0.01), Params("rms", d_model=256, shift=-500), Params(seed=9)])
def test_run_agrees_for_odd_settings(p):
    assert all(f.agrees for f in run(p).facts)


@pytest.mark.parametrize("wrong", [{"d_model": 2}, {"scale": 0.0}, {"eps": -1e-5}, {"input_rms": 0.0}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
