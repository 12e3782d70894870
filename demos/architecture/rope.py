"""What exactly does RoPE guarantee, and where must the rotation happen?

Split q and k into pairs of channels and turn pair i of the token at position m by the angle m·θ_i, θ_i = base^(−2i/D).
A rotation keeps lengths, and (R_m q)·(R_n k) = q·R_(n−m) k: the score depends on the distance m − n alone, exactly and
for any content. It holds because the rotation comes *after* the projections W_q and W_k. Rotate the token's embedding
before them, and W_qᵀ·W_k stands between the two rotations: the score depends on the absolute positions again.
Values are not rotated, so what a token hands over carries no position.

Legend: H heads, T tokens, D head_dim.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def frequencies(head_dim: int, base: float = 10_000.0) -> Tensor:
    """θ_i = base^(−2i/D) in radians per token, (D/2,): arXiv 2104.09864, section 3.2.2."""
    return base ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)


def rotate(x: Tensor, positions: Tensor, theta: Tensor) -> Tensor:
    """Turn the channel pairs (2i, 2i + 1) of x (…, T, D) by positions · θ_i: the same paper, equation 34.

    Llama's checkpoints in Hugging Face format pair channel i with i + D/2 instead: the same up to a permutation
    of the rows of W_q and W_k, which has to be applied when weights change sides.
    """
    angle = positions[:, None].to(theta) * theta  # (T, D/2)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)  # (…, T, D)


def rotate_as_complex(x: Tensor, positions: Tensor, theta: Tensor) -> Tensor:
    """The same in one line: each pair is a complex number, times e^(i·mθ), as in Meta's Llama code."""
    angle = positions[:, None].to(theta) * theta
    turned = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous()) * torch.polar(torch.ones_like(angle), angle)
    return torch.view_as_real(turned).flatten(-2)


def scores_after_projection(x: Tensor, wq: Tensor, wk: Tensor, positions: Tensor, theta: Tensor) -> Tensor:
    """RoPE as it is: project, then rotate. x (T, D), weights (D, D) → scores (T, T)."""
    return rotate(x @ wq, positions, theta) @ rotate(x @ wk, positions, theta).mT


def scores_before_projection(x: Tensor, wq: Tensor, wk: Tensor, positions: Tensor, theta: Tensor) -> Tensor:
    """The mistake: rotate the embedding, then project."""
    turned = rotate(x, positions, theta)
    return (turned @ wq) @ (turned @ wk).mT


@dataclass(frozen=True)
class Params:
    rotated: Literal["queries and keys", "embeddings"] = "queries and keys"
    shift: int = 5000  # positions by which the whole text is moved
    seq_len: int = 32  # tokens
    head_dim: int = 64
    base: float = 10_000.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.head_dim % 2 or not 2 <= self.head_dim <= 512:
            raise ValueError("head_dim must be even and between 2 and 512: channels are rotated in pairs")
        if not 2 <= self.seq_len <= 256 or not 1 <= self.shift <= 1_000_000:
            raise ValueError("seq_len must be between 2 and 256, shift between 1 and 1,000,000")
        if self.base <= 1:
            raise ValueError("base must be above 1")


def run(p: Params) -> Result:
    T, D = p.seq_len, p.head_dim
    theta, positions = frequencies(D, p.base), torch.arange(T)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(p.seed)
        x = torch.randn(T, D, dtype=torch.float64)
        wq, wk = torch.randn(2, D, D, dtype=torch.float64) / D**0.5
    scores = scores_after_projection if p.rotated == "queries and keys" else scores_before_projection
    here = scores(x, wq, wk, positions, theta)
    shifts = sorted({1, 10, 100, 1000, p.shift})
    moved = [int(((scores(x, wq, wk, positions + s, theta) - here).abs() > 1e-6).sum()) for s in shifts]
    changed = moved[shifts.index(p.shift)]
    rotated = rotate(x, positions + p.shift, theta)
    norms_changed = int(((rotated.norm(dim=-1) - x.norm(dim=-1)).abs() > 1e-9).sum())
    mismatches = int(((rotated - rotate_as_complex(x, positions + p.shift, theta)).abs() > 1e-9).sum())

    relative = p.rotated == "queries and keys"
    return Result(
        takeaway=Text(
            en=f"Rotating {p.rotated}: moving {T} tokens by {p.shift:,} positions changes {changed:,} of {T * T:,} "
            f"scores and {norms_changed} of {T} vector lengths.",
            zh=f"旋转 {p.rotated}：把 {T} 个 token 整体后移 {p.shift:,} 个位置，{T * T:,} 个分数中有 {changed:,} 个"
            f"改变，{T} 个向量中有 {norms_changed} 个长度改变。",
        ),
        facts=[
            Fact("scores", "scores", T * T),
            Fact("changed_scores", "scores", changed, predicted=0 if relative else None),
            Fact("norms_changed", "vectors", norms_changed, predicted=0),
            Fact("mismatches", "numbers", mismatches, predicted=0),  # compared with complex multiplication
        ],
        table=Table(("text moved by (positions)", "scores that change"), list(zip(shifts, moved, strict=True))),
        plot=Plot(
            f"Scores that change when the text moves, of {T * T:,}",
            "positions",
            "scores",
            [Series(f"rotating {p.rotated}", shifts, moved)],
            log_x=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
