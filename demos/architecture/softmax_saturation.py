"""Why are attention scores divided by √d_k?

With independent components of mean 0 and variance 1, q·k is a sum of d_k products of variance 1, so its standard
deviation is √d_k. Scores that large saturate the softmax: most queries put all their weight on one key, their
Jacobian diag(p) − ppᵀ vanishes, and the few queries that are still undecided own nearly the whole gradient.
Dividing by √d_k keeps every query at work; dividing by d_k makes the weights uniform, so that nothing is selected.

Legend: S sequences, T tokens in each (as many keys as queries), D head_dim = d_k. Random unit-variance q, k, v.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from llmprep.lab import Fact, Plot, Result, Series, Table, Text

TOKENS = 4096  # queries in all, whatever the length of a sequence


def divisor(scale: str, head_dim: int) -> float:
    """What the scores are divided by: the root is that of arXiv 1706.03762, section 3.2.1."""
    return {"none": 1.0, "sqrt": math.sqrt(head_dim), "linear": float(head_dim)}[scale]


def formula_score_std(scale: str, head_dim: int) -> float:
    """√Var(q·k) = √d_k, then divided."""
    return math.sqrt(head_dim) / divisor(scale, head_dim)


def attend(q: Tensor, k: Tensor, v: Tensor, divide_by: float) -> tuple[Tensor, Tensor, Tensor]:
    """Scores (S, T, T), weights (S, T, T) and output (S, T, D)."""
    scores = q @ k.mT / divide_by
    weights = scores.softmax(dim=-1)
    return scores, weights, weights @ v


def gradient_norm_per_query(q: Tensor, k: Tensor, v: Tensor, divide_by: float, upstream: Tensor) -> Tensor:
    """|dLoss/dq| of each query (S·T), by autograd, where dLoss/dOutput is `upstream`."""
    q = q.detach().clone().requires_grad_()
    attend(q, k, v, divide_by)[2].backward(upstream)
    return q.grad.norm(dim=-1).flatten()


def perplexity(weights: Tensor) -> Tensor:
    """exp(entropy) of each row: n equal weights give n, a single one gives 1."""
    return torch.special.entr(weights).sum(dim=-1).exp()


def top_tenth_share(gradient_norms: Tensor) -> float:
    """The share of the squared gradient that the tenth of the queries with the largest gradient owns."""
    squares = gradient_norms.square().sort(descending=True).values
    return (squares[: len(squares) // 10].sum() / squares.sum()).item()


@dataclass(frozen=True)
class Params:
    head_dim: int = 512  # d_k
    n_keys: int = 64  # tokens in a sequence
    scale: Literal["none", "sqrt", "linear"] = "sqrt"  # divide by 1, √d_k or d_k
    saturated_above: float = 0.99  # weight on one key above which a query counts as saturated
    seed: int = 0

    def __post_init__(self) -> None:
        if not 4 <= self.head_dim <= 1024:
            raise ValueError("head_dim must be between 4 and 1,024")
        if not 2 <= self.n_keys <= 1024 or TOKENS % self.n_keys:
            raise ValueError("n_keys must be a power of two between 2 and 1,024")
        if not 0.5 <= self.saturated_above < 1:
            raise ValueError("saturated_above must be at least 0.5 and below 1")


def measure(
    q: Tensor, k: Tensor, v: Tensor, upstream: Tensor, divide_by: float, saturated_above: float
) -> tuple[dict[str, float], Tensor]:
    """What one scale does to scores, weights and gradients; and the gradient norms themselves, sorted."""
    scores, weights, _ = attend(q, k, v, divide_by)
    norms = gradient_norm_per_query(q, k, v, divide_by, upstream).sort().values
    p10, p50, p90 = (norms[int(len(norms) * share)].item() for share in (0.1, 0.5, 0.9))
    return {
        "score_std": scores.std().item(),
        "saturated_share": (weights.amax(dim=-1) > saturated_above).double().mean().item(),
        "jacobian_trace": (1 - weights.square().sum(dim=-1)).mean().item(),  # Σ p(1 − p), the trace of diag(p) − ppᵀ
        "softmax_perplexity": perplexity(weights).mean().item(),
        "grad_median": p50,
        "grad_p90": p90,
        "grad_p90_over_p10": p90 / p10,
        "top_tenth_share": top_tenth_share(norms),
    }, norms


def run(p: Params) -> Result:
    shape = (TOKENS // p.n_keys, p.n_keys, p.head_dim)  # (S, T, D)
    generator = torch.Generator().manual_seed(p.seed)
    q, k, v, upstream = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(4))
    names = {"none": "1", "sqrt": "√d_k", "linear": "d_k"}
    measured = {scale: measure(q, k, v, upstream, divisor(scale, p.head_dim), p.saturated_above) for scale in names}
    found, _ = measured[p.scale]
    predicted = formula_score_std(p.scale, p.head_dim)

    percentiles = list(range(2, 100, 4))
    curves = [
        Series(f"÷ {names[scale]}", percentiles, [norms[len(norms) * i // 100].item() for i in percentiles])
        for scale, (_, norms) in measured.items()
    ]
    saturated, top_share = f"{found['saturated_share']:.0%}", f"{found['top_tenth_share']:.0%}"
    return Result(
        takeaway=Text(
            en=f"d_k = {p.head_dim}, scores divided by {names[p.scale]}: standard deviation {found['score_std']:.2f}; "
            f"{saturated} of the queries put over {p.saturated_above:.0%} of their weight on one of {p.n_keys} keys, "
            f"and the tenth of the queries with the largest gradient owns {top_share} of the squared gradient.",
            zh=f"d_k = {p.head_dim}，分数除以 {names[p.scale]}：标准差为 {found['score_std']:.2f}；"
            f"面对 {p.n_keys} 个 key，{saturated} 的 query 把 {p.saturated_above:.0%} 以上的权重压在其中一个上；"
            f"梯度最大的那十分之一 query 占梯度平方和的 {top_share}。",
        ),
        facts=[
            Fact("score_std", "", found["score_std"], predicted, rtol=0.06),
            *(Fact(name, "", value) for name, value in found.items() if name != "score_std"),
        ],
        table=Table(("scores divided by", *found), [(names[s], *facts.values()) for s, (facts, _) in measured.items()]),
        plot=Plot("Gradient that reaches a query", "percentile of the queries", "|dLoss/dq|", curves, log_y=True),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
