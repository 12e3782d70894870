# ruff: noqa: E402
import math

import pytest

torch = pytest.importorskip("torch")

from llmprep.demos.architecture.nb_vs_lr import (
    L2,
    Params,
    draw,
    error_rate,
    formula_error,
    logistic_regression,
    naive_bayes,
    normal_cdf,
    run,
    task,
)


@pytest.fixture
def data():
    torch.manual_seed(0)
    return draw(60, *task(4, 0.5), repetitions=3)


def test_naive_bayes_is_bayes_rule_on_fitted_gaussians(data):
    x, y = data
    for r, weights in enumerate(naive_bayes(x, y)):
        means = [x[r, y[r] == c].mean(0) for c in (0, 1)]
        variance = torch.cat([x[r, y[r] == c] - means[c] for c in (0, 1)]).square().sum(0) / (60 - 2)
        log_p = [torch.distributions.Normal(m, variance.sqrt()).log_prob(x[r]).sum(-1) for m in means]
        torch.testing.assert_close(x[r] @ weights[:-1] + weights[-1], log_p[1] - log_p[0])


def test_logistic_regression_is_the_optimum_that_autograd_sees(data):
    x, y = data
    weights = logistic_regression(x, y).requires_grad_()
    logits = (x @ weights[:, :-1, None])[..., 0] + weights[:, -1:]
    loss = (
        torch.nn.functional.binary_cross_entropy_with_logits(logits, y, reduction="sum")
        + L2 / 2 * weights.square().sum()
    )
    (gradient,) = torch.autograd.grad(loss, weights)
    assert gradient.abs().max() < 1e-8


def test_error_formula_by_hand():
    """One useful feature, means ±1, unit variance: Φ(−1) = 15.9%."""
    mean, covariance = torch.tensor([1.0, 0.0]), torch.eye(2)
    assert formula_error(mean, mean, covariance) == pytest.approx(0.158655, abs=1e-5)
    assert normal_cdf(0) == 0.5


def test_errors_are_counted():
    x, y = torch.tensor([[1.0], [-1.0], [2.0], [-2.0]]), torch.tensor([1.0, 1.0, 0.0, 0.0])
    assert error_rate(torch.tensor([[1.0, 0.0]]), x, y) == 0.5
    assert error_rate(torch.tensor([[1.0, 0.0], [1.0, 9.0]]), x, y) == 0.5
    assert error_rate(torch.tensor([[0.0, 1.0]]), x, y) == 0.5


@pytest.mark.parametrize(("correlation", "same"), [(0.0, True), (0.8, False)])
def test_same_boundary_only_without_correlation(correlation, same):
    torch.manual_seed(0)
    x, y = draw(200_000, *task(2, correlation))
    directions = [torch.nn.functional.normalize(fit(x, y)[0, :2], dim=0) for fit in (naive_bayes, logistic_regression)]
    angle = math.degrees(math.acos(min(1.0, (directions[0] @ directions[1]).item())))
    assert (angle < 2) == same
    if not same:
        assert directions[1][1] < -0.5  # the useless feature is used to cancel the noise of the useful one


@pytest.mark.parametrize("correlation", [-0.5, 0.0, 0.9])
def test_facts_agree(correlation):
    assert all(f.agrees for f in run(Params(correlation=correlation, n_features=10, seed=3)).facts)


@pytest.mark.parametrize("bad", [{"n_train": 2}, {"correlation": 1.0}, {"n_features": 7}])
def test_nonsense_is_refused(bad):
    with pytest.raises(ValueError, match="must"):
        Params(**bad)
