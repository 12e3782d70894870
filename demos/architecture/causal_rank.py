"""Is a causal attention matrix of full rank, and what is that worth?

It is, exactly: a triangular matrix has the product of its diagonal as determinant, and softmax weights are positive.
But a bidirectional softmax matrix is of full rank as well for any scores that are not degenerate, although QKᵀ has rank
head_dim only: the exponential is not linear. And as numbers go the causal matrix is the worse one: its condition is
beyond float64, so that `matrix_rank`, which calls small singular values zero, denies what is true. The machine takes
the rank without rounding: every float is a whole number times a power of two, and elimination modulo a prime is exact.

Legend: n tokens, D head_dim, A the n × n matrix of attention weights.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from llmprep.lab import Fact, Plot, Result, Series, Table, Text

PRIME = 2**31 - 1  # products of two residues fit into 64 bits


def attention_matrix(n: int, head_dim: int, scores: str, *, causal: bool) -> Tensor:
    """A = softmax(QKᵀ/√D) of random queries and keys in float64, (n, n); "uniform": all scores are 0."""
    q, k = torch.randn(2, n, head_dim, dtype=torch.float64)
    s = q @ k.T / head_dim**0.5 if scores == "random" else torch.zeros(n, n, dtype=torch.float64)
    if causal:
        s = s.masked_fill(torch.ones(n, n, dtype=torch.bool).triu(diagonal=1), -torch.inf)
    return s.softmax(dim=-1)


def residues(a: Tensor) -> Tensor:
    """Every float64 is m · 2^e with a whole m below 2^53: the same matrix modulo PRIME, as int64."""
    mantissa, exponent = torch.frexp(a)
    whole = (mantissa * 2.0**53).long() % PRIME
    half = pow(2, -1, PRIME)
    powers = torch.tensor([pow(half, i, PRIME) for i in range(1200)])
    return whole * powers[(53 - exponent.long()).clamp(max=1199)] % PRIME


def exact_rank(a: Tensor) -> int:
    """Gaussian elimination modulo PRIME: never above the true rank of the float matrix, so n out of n is a proof."""
    m, rank = residues(a), 0
    for column in range(m.shape[1]):
        pivots = m[rank:, column].nonzero()
        if len(pivots) == 0:
            continue
        pivot = rank + int(pivots[0])
        m[[rank, pivot]] = m[[pivot, rank]]
        inverse = pow(int(m[rank, column]), -1, PRIME)
        factors = m[rank + 1 :, column] * inverse % PRIME
        m[rank + 1 :] = (m[rank + 1 :] - factors[:, None] * m[rank] % PRIME) % PRIME
        rank += 1
    return rank


def log_determinant(a: Tensor) -> float:
    """Of a triangular matrix: Σ ln A[i, i], the formula of the whiteboard, and free of cancellation."""
    return a.diagonal().log().sum().item()


def effective_rank(singular_values: Tensor) -> float:
    """Exponential of the entropy of σ/Σσ: n equal values count as n (Roy and Vetterli, 2007)."""
    share = singular_values / singular_values.sum()
    return torch.special.entr(share).sum().exp().item()


def log10_condition(singular_values: Tensor) -> float:
    """log10 of σ_max/σ_min; what exceeds 16 is as far as float64 can see."""
    return (singular_values[0] / singular_values[-1].clamp(min=1e-300)).log10().item()


def log_determinant_by_lu(a: Tensor) -> float:
    """The general way, LU with row exchanges: it rounds, and a triangle of this condition does not forgive it."""
    return torch.linalg.lu_factor(a)[0].diagonal().abs().log().sum().item()


@dataclass(frozen=True)
class Params:
    mask: Literal["causal", "none"] = "causal"
    scores: Literal["random", "uniform"] = "random"
    n_tokens: int = 64
    head_dim: int = 16
    n_seeds: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.n_tokens <= 256 or not 1 <= self.head_dim <= 128:
            raise ValueError("n_tokens must be between 2 and 256, head_dim between 1 and 128")
        if not 1 <= self.n_seeds <= 50:
            raise ValueError("n_seeds must be between 1 and 50")


def run(p: Params) -> Result:
    n, found = p.n_tokens, {}
    with torch.random.fork_rng(devices=[]):
        for mask in ("causal", "none"):
            torch.manual_seed(p.seed)
            matrices = [attention_matrix(n, p.head_dim, p.scores, causal=mask == "causal") for _ in range(p.n_seeds)]
            sigmas = [torch.linalg.svdvals(a) for a in matrices]
            found[mask] = {
                "exact_rank": min(exact_rank(a) for a in matrices),
                "judged_full": sum(int(torch.linalg.matrix_rank(a)) == n for a in matrices),
                "effective_rank": torch.tensor([effective_rank(s) for s in sigmas]).median().item(),
                "log10_condition": torch.tensor([log10_condition(s) for s in sigmas]).median().item(),
                "ones_on_the_diagonal": max(int((a.diagonal() == 1).sum()) for a in matrices),
                "sigmas": sigmas[0].tolist(),
            }
        torch.manual_seed(p.seed)
        first = attention_matrix(n, p.head_dim, p.scores, causal=True)
        q, k = torch.randn(2, n, p.head_dim, dtype=torch.float64)
    true_log_det = log_determinant(first)
    mine = found[p.mask]

    degenerate = p.scores == "uniform" and p.mask == "none"
    facts = [
        Fact("exact_rank", "", mine["exact_rank"], predicted=1 if degenerate else n),  # the smallest over the seeds
        Fact("judged_full", "matrices", mine["judged_full"]),  # by torch.linalg.matrix_rank in float64
        Fact("effective_rank", "", mine["effective_rank"]),
        Fact("log10_condition", "", mine["log10_condition"]),
        Fact("score_rank", "", int(torch.linalg.matrix_rank(q @ k.T)), predicted=min(n, p.head_dim)),
        Fact("log_determinant", "", true_log_det),  # of the first causal matrix
        Fact("lu_error", "", log_determinant_by_lu(first) - true_log_det),
        Fact("ones_on_the_diagonal", "", found["causal"]["ones_on_the_diagonal"], predicted=1),
    ]
    columns = ("exact_rank", "judged_full", "effective_rank", "log10_condition")
    places = list(range(1, n + 1))
    mask_zh = "因果" if p.mask == "causal" else "双向"
    return Result(
        takeaway=Text(
            en=f"{n} tokens, mask {p.mask}: rank {mine['exact_rank']} exactly; matrix_rank calls {mine['judged_full']} "
            f"of {p.n_seeds} matrices full; effective rank {mine['effective_rank']:.1f}, condition "
            f"1e{mine['log10_condition']:.0f} (medians).",
            zh=f"{n} 个 token，{mask_zh}注意力矩阵：精确的秩是 {mine['exact_rank']}；matrix_rank 判定满秩的有 "
            f"{mine['judged_full']}/{p.n_seeds} 个；有效秩 {mine['effective_rank']:.1f}，条件数 "
            f"1e{mine['log10_condition']:.0f}（中位数）。",
        ),
        facts=facts,
        table=Table(
            ("mask", "exact rank", f"judged full (of {p.n_seeds})", "effective rank", "log10 of the condition"),
            [(mask, *(values[c] for c in columns)) for mask, values in found.items()],
        ),
        plot=Plot(
            "Singular values of one matrix",
            "place",
            "singular value",
            [Series(mask, places, [max(s, 1e-18) for s in values["sigmas"]]) for mask, values in found.items()],
            log_y=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
