"""What is the Jacobian of softmax, and what does backprop do instead of building it?

Softmax divides every exponential by the same sum, so each weight depends on every score: J = diag(p) − ppᵀ.
Adding a constant to all scores changes nothing, hence J·1 = 0 and the rank is n − 1, not n. The same freedom makes
softmax safe: subtract the maximum first and no exponential exceeds 1. Backprop needs only u·J = p ∘ (u − u·p), so it
keeps p (n numbers), never J (n²). An elementwise sigmoid has a diagonal J of full rank: nothing competes there.

Legend: n keys, one row of scores z (n), weights p (n), incoming gradient u (n).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def naive_softmax(z: Tensor) -> Tensor:
    """The definition, typed in: exp(z) overflows to inf, and inf/inf is nan."""
    return z.exp() / z.exp().sum(dim=-1, keepdim=True)


def safe_softmax(z: Tensor) -> Tensor:
    """The same function, since a common shift cancels; the largest exponential is exp(0) = 1."""
    return naive_softmax(z - z.amax(dim=-1, keepdim=True))


def formula_jacobian(p: Tensor) -> Tensor:
    """dp_i/dz_j = p_i(δ_ij − p_j), that is diag(p) − ppᵀ: (n) → (n, n)."""
    return torch.diag(p) - torch.outer(p, p)


def formula_vjp(p: Tensor, u: Tensor) -> Tensor:
    """u·J without J: each incoming gradient minus their mean under p, times p. O(n) work and memory."""
    return p * (u - (u * p).sum())


def overflow_score(dtype: torch.dtype) -> float:
    """The largest score whose naive softmax is finite in `dtype`, found by halving the interval from 0 to 1,000."""
    low, high = 0.0, 1000.0
    while True:
        middle = torch.tensor([(low + high) / 2, 0.0], dtype=dtype)
        if middle[0].item() in (low, high):  # no number of this type lies between
            return low
        if naive_softmax(middle).isfinite().all():
            low = middle[0].item()
        else:
            high = middle[0].item()


def bytes_kept(activation: Callable[[Tensor], Tensor], z: Tensor) -> int:
    """Bytes that autograd keeps for the backward pass of one call."""
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.nbytes) or t, lambda t: t):
        activation(z.detach().clone().requires_grad_())
    return sum(kept)


def differing(a: Tensor, b: Tensor) -> int:
    """How many elements differ by more than 1e-12, far above the noise of float64 at this size."""
    return int(((a - b).abs() > 1e-12).sum())


@dataclass(frozen=True)
class Params:
    n_keys: int = 64
    activation: Literal["softmax", "sigmoid"] = "softmax"  # sigmoid: every score for itself
    subtract_max: bool = True  # in the hand-written softmax
    top_score: float = 100.0  # largest score that the hand-written softmax is given
    dtype: Literal["float64", "float32", "bfloat16", "float16"] = "float32"  # of the hand-written softmax
    by_hand: bool = False  # weigh what the hand-written softmax keeps for the backward pass, not torch's
    seed: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.n_keys <= 512:
            raise ValueError("n_keys must be between 2 and 512: the Jacobian is really built")
        if not 1 <= self.top_score <= 1000:
            raise ValueError("top_score must be between 1 and 1,000")
        if self.by_hand and self.activation != "softmax":
            raise ValueError("activation must be softmax where it is written by hand")


def run(p: Params) -> Result:
    n, dtype = p.n_keys, getattr(torch, p.dtype)
    generator = torch.Generator().manual_seed(p.seed)
    z, u = torch.randn(2, n, generator=generator, dtype=torch.float64)
    is_softmax = p.activation == "softmax"

    def activation(scores: Tensor) -> Tensor:
        return scores.softmax(dim=-1) if is_softmax else scores.sigmoid()

    weights = activation(z)
    jacobian = torch.autograd.functional.jacobian(activation, z)  # (n, n), a backward pass for each row
    _, vjp = torch.autograd.functional.vjp(activation, z, u)
    by_formula = formula_jacobian(weights) if is_softmax else torch.diag(weights * (1 - weights))
    vjp_by_formula = formula_vjp(weights, u) if is_softmax else u * weights * (1 - weights)
    rank = int(torch.linalg.matrix_rank(jacobian))
    shifted = differing(activation(z + p.top_score), weights)

    big = torch.linspace(0, p.top_score, n).to(dtype)
    broken = int((~(safe_softmax if p.subtract_max else naive_softmax)(big).isfinite()).sum())
    limit, log_max = overflow_score(dtype), math.log(torch.finfo(dtype).max)
    kept = bytes_kept(safe_softmax if p.by_hand else activation, z.to(dtype))
    full = jacobian.to(dtype).nbytes

    facts = [
        Fact("rank", "", rank, n - 1 if is_softmax else n),
        Fact("jacobian_mismatches", "entries", differing(jacobian, by_formula), predicted=0),
        Fact("vjp_mismatches", "entries", differing(vjp, vjp_by_formula), predicted=0),
        Fact("nonzero_row_sums", "rows", differing(jacobian.sum(dim=1), torch.zeros_like(z)), 0 if is_softmax else n),
        Fact("weights_changed_by_shift", "weights", shifted, 0 if is_softmax else None),
        Fact("overflow_score", "", limit, log_max, rtol=2 * torch.finfo(dtype).eps),
        Fact("broken_weights", "weights", broken, 0 if p.subtract_max else None),
        Fact("kept_bytes", "B", kept, None if p.by_hand else n * dtype.itemsize),
        Fact("jacobian_bytes", "B", full, n * n * dtype.itemsize),
    ]
    rows = [
        (name, overflow_score(getattr(torch, name)), math.log(torch.finfo(getattr(torch, name)).max))
        for name in ("float64", "float32", "bfloat16", "float16")
    ]
    return Result(
        takeaway=Text(
            en=f"The {p.activation} Jacobian over {n} keys has rank {rank}; backprop keeps {kept:,} B instead of its "
            f"{full:,} B. Without subtracting the maximum, exp overflows beyond a score of {limit:.2f} in {p.dtype}.",
            zh=f"{n} 个 key 的 {p.activation} 雅可比矩阵秩为 {rank}；反向传播只保留 {kept:,} B，"
            f"整个矩阵则要 {full:,} B。不减最大值时，{p.dtype} 下分数超过 {limit:.2f}，exp 就会溢出。",
        ),
        facts=facts,
        table=Table(("dtype", "largest score before exp overflows", "ln of the largest number"), rows),
        plot=Plot(
            f"Jacobian of {p.activation} over {n} keys",
            "rank",
            "singular value",
            [Series(p.activation, list(range(1, n + 1)), torch.linalg.svdvals(jacobian).tolist())],
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
