# ruff: noqa: E402, N812
import math

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from llmprep.demos.architecture.softmax_saturation import (
    Params,
    attend,
    divisor,
    formula_score_std,
    gradient_norm_per_query,
    perplexity,
    run,
    top_tenth_share,
)


@pytest.fixture(scope="module")
def by_scale():
    return {s: run(Params(head_dim=256, scale=s)) for s in ("none", "sqrt", "linear")}


@pytest.mark.parametrize("scale", ["none", "sqrt", "linear"])
@pytest.mark.parametrize("head_dim", [4, 64, 256])
def test_scores_spread_as_predicted(scale, head_dim):
    result = run(Params(head_dim=head_dim, scale=scale, seed=3))
    assert result.fact("score_std").agrees
    assert result.fact("score_std").measured == pytest.approx(formula_score_std(scale, head_dim), rel=0.03)


@given(st.integers(1, 10_000))
def test_the_root_brings_the_spread_back_to_one(head_dim):
    assert formula_score_std("sqrt", head_dim) == pytest.approx(1)
    assert formula_score_std("none", head_dim) ** 2 == pytest.approx(head_dim)  # Vaswani et al., footnote 4


def test_only_the_root_is_what_torch_computes():
    q, k, v = torch.randn(3, 2, 8, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torchs = F.scaled_dot_product_attention(q, k, v)
    same = [torch.allclose(attend(q, k, v, divisor(s, 16))[2], torchs) for s in ("none", "sqrt", "linear")]
    assert same == [False, True, False]


def test_gradient_is_that_of_the_jacobian():
    """dLoss/dq = Kᵀ·J·(V·upstream)/√d with J = diag(p) − ppᵀ, written out for one query."""
    q, k, v, upstream = torch.randn(4, 1, 5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    _, weights, _ = attend(q, k, v, math.sqrt(3))
    p = weights[0, 2]
    by_hand = k[0].T @ (torch.diag(p) - torch.outer(p, p)) @ (v[0] @ upstream[0, 2]) / math.sqrt(3)
    norms = gradient_norm_per_query(q, k, v, math.sqrt(3), upstream)
    assert norms[2].item() == pytest.approx(by_hand.norm().item())


@pytest.mark.parametrize("n", [1, 2, 64])
def test_perplexity_counts_equal_weights(n):
    equal = torch.zeros(100, dtype=torch.float64)
    equal[:n] = 1 / n
    assert perplexity(equal).item() == pytest.approx(n)


def test_top_tenth_share():
    assert top_tenth_share(torch.ones(1000)) == pytest.approx(0.1)
    assert top_tenth_share(torch.eye(1000)[3]) == pytest.approx(1.0)


def test_without_scale_few_queries_own_the_gradient(by_scale):
    none, root, linear = (by_scale[s] for s in ("none", "sqrt", "linear"))
    assert none.fact("top_tenth_share").measured > 2 * root.fact("top_tenth_share").measured
    assert none.fact("grad_p90_over_p10").measured > 1000 > 3 > root.fact("grad_p90_over_p10").measured
    assert none.fact("grad_p90").measured > 5 * root.fact("grad_p90").measured
    assert none.fact("jacobian_trace").measured < 0.3 < root.fact("jacobian_trace").measured
    assert linear.fact("softmax_perplexity").measured > 63


@pytest.mark.parametrize("wrong", [{"head_dim": 2}, {"head_dim": 2048}, {"n_keys": 48}, {"n_keys": 1}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
