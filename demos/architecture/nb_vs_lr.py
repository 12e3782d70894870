"""Which learns more from few examples, a generative or a discriminative classifier, and which wins in the end?

Naive Bayes is generative: it fits p(x | y), here a mean per class and a variance per feature, as if features were
independent, and gets p(y | x) by Bayes' rule. Logistic regression is discriminative: it fits p(y | x). Both end in
a linear rule w·x + b, so only the way of learning differs (Ng and Jordan 2001). An assumption that is true replaces
data: naive Bayes then needs fewer examples, and both reach the same boundary. Where features are correlated, one of
them tells the noise of another, which naive Bayes cannot use: it is ahead with few examples and behind with many.

Legend: R repetitions, n examples, D features; two classes, Gaussian with means ±μ and one covariance Σ.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from llmprep.lab import Fact, Plot, Result, Series, Table, Text

L2 = 0.01  # keeps the weights of logistic regression finite where few examples can be separated
REPETITIONS, TEST_EXAMPLES = 40, 10_000


def normal_cdf(z: float) -> float:
    """Φ(z)."""
    return 0.5 * math.erfc(-z / math.sqrt(2))


def formula_error(direction: Tensor, mean: Tensor, covariance: Tensor) -> float:
    """Error of the rule sign(v·x) on means ±μ: Φ(−v·μ / √(vᵀΣv)). The best v is Σ⁻¹μ, naive Bayes heads for μ / σ²."""
    return normal_cdf(-(direction @ mean / (direction @ covariance @ direction).sqrt()).item())


def task(n_features: int, correlation: float) -> tuple[Tensor, Tensor]:
    """μ and Σ (unit variances): features come in correlated pairs, one of which says nothing of y itself."""
    covariance = torch.block_diag(*[torch.tensor([[1, correlation], [correlation, 1]])] * (n_features // 2))
    mean = torch.tensor([1.0, 0.0]).repeat(n_features // 2) * 1.5 / math.sqrt(n_features / 2)
    return mean.double(), covariance.double()


def draw(n: int, mean: Tensor, covariance: Tensor, repetitions: int = 1) -> tuple[Tensor, Tensor]:
    """Examples (R, n, D) and labels (R, n), as many of one class as of the other."""
    y = (torch.arange(n) % 2).double().expand(repetitions, n)
    noise = torch.randn(repetitions, n, len(mean), dtype=torch.float64) @ torch.linalg.cholesky(covariance).T
    return noise + (2 * y - 1)[..., None] * mean, y


def naive_bayes(x: Tensor, y: Tensor) -> Tensor:
    """No optimisation, only averages: class means and a shared variance per feature → (R, D + 1) weights and bias."""
    one, zero = y[..., None], 1 - y[..., None]  # (R, n, 1)
    mean_1, mean_0 = (x * one).sum(1) / one.sum(1), (x * zero).sum(1) / zero.sum(1)  # (R, D)
    centred = x - one * mean_1[:, None] - zero * mean_0[:, None]
    weights = (mean_1 - mean_0) / (centred.square().sum(1) / (x.shape[1] - 2))
    return torch.cat([weights, -(weights * (mean_1 + mean_0) / 2).sum(-1, keepdim=True)], dim=-1)


def logistic_regression(x: Tensor, y: Tensor) -> Tensor:
    """Newton's method on the cross-entropy of p(y | x), all repetitions at once → (R, D + 1) weights and bias."""
    x = torch.cat([x, torch.ones_like(x[..., :1])], dim=-1)  # (R, n, D + 1)
    weights = torch.zeros(len(x), x.shape[-1], 1, dtype=x.dtype)
    ridge = L2 * torch.eye(x.shape[-1], dtype=x.dtype)
    for _ in range(12):
        p = (x @ weights).sigmoid()  # (R, n, 1)
        gradient = x.mT @ (p - y[..., None]) + L2 * weights
        weights = weights - torch.linalg.solve(x.mT @ (x * p * (1 - p)) + ridge, gradient)
    return weights[..., 0]


def error_rate(weights: Tensor, x: Tensor, y: Tensor) -> float:
    """Mean share of the examples (n, D) that the rules (R, D + 1) put into the wrong class, by counting."""
    scores = x @ weights[:, :-1].T + weights[:, -1]  # (n, R)
    return ((scores > 0) != (y[:, None] > 0)).double().mean().item()


@dataclass(frozen=True)
class Params:
    n_train: int = 50  # labelled examples
    correlation: float = 0.0  # between the two features of a pair
    n_features: int = 30
    seed: int = 0

    def __post_init__(self) -> None:
        if not 6 <= self.n_train <= 1000:
            raise ValueError("n_train must be between 6 and 1,000")
        if not -0.95 <= self.correlation <= 0.95:
            raise ValueError("correlation must be between -0.95 and 0.95")
        if self.n_features % 2 or not 2 <= self.n_features <= 50:
            raise ValueError("n_features must be even, and between 2 and 50")


def run(p: Params) -> Result:
    mean, covariance = task(p.n_features, p.correlation)
    best = torch.linalg.solve(covariance, mean)
    sizes = sorted({10, 20, 50, 100, 300, 1000, p.n_train})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(p.seed)
        (test_x,), (test_y,) = draw(TEST_EXAMPLES, mean, covariance)
        errors = {}
        for n in sizes:
            x, y = draw(n, mean, covariance, REPETITIONS)
            errors[n] = tuple(error_rate(fit(x, y), test_x, test_y) for fit in (naive_bayes, logistic_regression))
    no_bias = torch.zeros(1, 1, dtype=torch.float64)
    best_error = error_rate(torch.cat([best[None], no_bias], dim=-1), test_x, test_y)
    nb_limit = error_rate(torch.cat([mean[None], no_bias], dim=-1), test_x, test_y)

    nb, lr = errors[p.n_train]
    noise = 5 * 0.5 / math.sqrt(TEST_EXAMPLES)
    facts = [
        Fact("nb_error", "", nb),
        Fact("lr_error", "", lr),
        Fact("lr_over_nb", "", lr / nb),
        Fact("best_error", "", best_error, formula_error(best, mean, covariance), atol=noise),
        Fact("nb_limit", "", nb_limit, formula_error(mean, mean, covariance), atol=noise),
    ]
    series = [Series(n, sizes, [errors[m][i] for m in sizes]) for i, n in enumerate(("naive Bayes", "logistic"))]
    return Result(
        takeaway=Text(
            en=f"{p.n_train} examples of {p.n_features} features, correlation {p.correlation:g}: naive Bayes errs on "
            f"{nb:.1%}, logistic regression on {lr:.1%}; with endless data they would reach {nb_limit:.1%} and "
            f"{best_error:.1%}.",
            zh=f"{p.n_features} 个特征、{p.n_train} 个样本、相关系数 {p.correlation:g}：朴素贝叶斯错误率 {nb:.1%}，"
            f"逻辑回归 {lr:.1%}；数据无限多时分别趋于 {nb_limit:.1%} 和 {best_error:.1%}。",
        ),
        facts=facts,
        table=Table(
            ("examples", "naive Bayes (%)", "logistic (%)"), [(n, *(100 * e for e in errors[n])) for n in sizes]
        ),
        plot=Plot(
            f"Test error, correlation {p.correlation:g}",
            "examples",
            "error",
            [*series, Series("best possible", sizes, [best_error] * len(sizes))],
            log_x=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
