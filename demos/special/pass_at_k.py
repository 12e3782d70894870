"""How is pass@k estimated from n samples without bias?

pass@k asks: if k programs are drawn, does at least one pass? Draw n ≥ k, count c that pass, and average over all ways
to pick k of the n: 1 − C(n − c, k)/C(n, k). That is unbiased. The tempting plug-in 1 − (1 − c/n)^k is not: it draws the
same samples with replacement and comes out too low. Below every subset is enumerated, and the mean over all possible c
is taken in exact fractions, so the bias is a number and not noise.

Legend: n samples per problem, c of them pass, k tries allowed, p true rate of passing.
"""

from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from math import comb
from typing import Literal

from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def formula_unbiased(n: int, c: int, k: int) -> Fraction:
    """1 − C(n − c, k)/C(n, k), 1 if fewer than k fail: arXiv 2107.03374, equation 1."""
    return 1 - Fraction(comb(n - c, k), comb(n, k))


def plug_in(n: int, c: int, k: int) -> Fraction:
    """Put the measured rate into 1 − (1 − p)^k."""
    return 1 - (1 - Fraction(c, n)) ** k


def enumerate_subsets(n: int, c: int, k: int) -> Fraction:
    """Of all ways to pick k of n samples, the share with at least one that passes; the first c do."""
    picks = list(combinations(range(n), k))
    return Fraction(sum(min(pick) < c for pick in picks), len(picks))


def truth(p: Fraction, k: int) -> Fraction:
    """1 − (1 − p)^k: not all k fail."""
    return 1 - (1 - p) ** k


def mean_estimate(n: int, k: int, p: Fraction, estimator: str) -> Fraction:
    """The expectation over c, binomial with n and p, in exact fractions."""
    estimate = formula_unbiased if estimator == "unbiased" else plug_in
    return sum((comb(n, c) * p**c * (1 - p) ** (n - c) * estimate(n, c, k) for c in range(n + 1)), Fraction(0))


@dataclass(frozen=True)
class Params:
    n: int = 12  # samples per problem
    c: int = 3  # of them pass
    k: int = 5
    success_rate: float = 0.1  # p, true rate, in hundredths
    estimator: Literal["unbiased", "plug-in"] = "unbiased"

    def __post_init__(self) -> None:
        if not 1 <= self.k <= self.n <= 20 or not 0 <= self.c <= self.n:
            raise ValueError("k must be at least 1 and at most n, n at most 20, c between 0 and n")
        if not 0.01 <= self.success_rate <= 0.99 or round(self.success_rate * 100) / 100 != self.success_rate:
            raise ValueError("success_rate must be a number of hundredths between 0.01 and 0.99")


def run(p: Params) -> Result:
    enumerated = enumerate_subsets(p.n, p.c, p.k)
    rate = Fraction(round(p.success_rate * 100), 100)
    right, mean = truth(rate, p.k), mean_estimate(p.n, p.k, rate, p.estimator)
    estimate = formula_unbiased(p.n, p.c, p.k) if p.estimator == "unbiased" else plug_in(p.n, p.c, p.k)
    ks = list(range(1, p.n + 1))
    return Result(
        takeaway=Text(
            en=f"{p.c} of {p.n} samples pass: pass@{p.k} is {float(enumerated):.3f} over all subsets. At a true rate "
            f"of {p.success_rate:g} the {p.estimator} estimator is off by "
            f"{100 * float(mean - right):+.1f} points on average.",
            zh=f"{p.n} 个样本通过 {p.c} 个：枚举全部子集，pass@{p.k} = {float(enumerated):.3f}。真实通过率为 "
            f"{p.success_rate:g} 时，{p.estimator} 估计平均偏差 {100 * float(mean - right):+.1f} 个百分点。",
        ),
        facts=[
            Fact("pass_at_k", "", float(enumerated), float(formula_unbiased(p.n, p.c, p.k)), rtol=1e-12),
            Fact("estimate", "", float(estimate)),
            Fact("plug_in", "", float(plug_in(p.n, p.c, p.k))),
            Fact("truth", "", float(right)),
            Fact("bias_points", "points", 100 * float(mean - right), 0 if p.estimator == "unbiased" else None),
        ],
        table=Table(
            ("k", "unbiased", "plug-in"),
            [(k, float(formula_unbiased(p.n, p.c, k)), float(plug_in(p.n, p.c, k))) for k in ks],
        ),
        plot=Plot(
            f"{p.c} of {p.n} samples pass",
            "k",
            "pass@k",
            [
                Series("unbiased", ks, [float(formula_unbiased(p.n, p.c, k)) for k in ks]),
                Series("plug-in", ks, [float(plug_in(p.n, p.c, k)) for k in ks]),
            ],
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
