"""How much of the attention can one relevant key keep as the context grows?

Softmax weights sum to 1, so every further key takes a share. If the relevant key scores `gap` logits above the n − 1
others, its weight is 1 / (1 + (n − 1)·e^−gap): a gap that is ample among a thousand keys drowns among a hundred
thousand. To keep half of the weight the gap must be ln(n − 1), so each doubling of the text costs ln 2 = 0.69 logits
more. If the other scores scatter with standard deviation σ, the highest of them count most: σ²/2 on top. A gap that
was learned at one length does not grow by itself; multiplying the scores by ln n / ln(trained length) makes it grow.
The weight is read from attention over real vectors: the value of the relevant key is 1, that of all others 0.

Legend: n keys (tokens), D head_dim, gap and σ in logits.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from llmprep.demos.architecture.attention import attention
from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def formula_weight(n: int, gap: float, sigma: float = 0.0) -> float:
    """1 / (1 + (n − 1)·e^(σ²/2 − gap)): with gap 8, 0.74 among 1,024 keys and 0.022 among 131,072."""
    return 1 / (1 + (n - 1) * math.exp(sigma * sigma / 2 - gap))


def formula_gap_for_half(n: int, sigma: float = 0.0) -> float:
    """ln(n − 1) + σ²/2 logits: 6.9 for 1,024 keys, 11.8 for 131,072."""
    return math.log(n - 1) + sigma * sigma / 2


def haystack(n: int, sigma: float, head_dim: int) -> tuple[Tensor, Tensor]:
    """A query (D,) and keys (n, D) whose scores q·k/√D scatter with σ around 0; the first key scores exactly 0."""
    q = torch.randn(head_dim, dtype=torch.float64)
    q = q * math.sqrt(head_dim) / q.norm()
    keys = sigma * torch.randn(n, head_dim, dtype=torch.float64)
    keys[0] = 0
    return q, keys


def weight_of_first(q: Tensor, keys: Tensor, gap: float) -> float:
    """Lift the score of the first key by `gap`, run attention with value 1 for it and 0 for the others."""
    needle = torch.zeros_like(keys[:1]) + gap * q / math.sqrt(len(q))  # q·needle/√D = gap, as |q|² = D
    keys = torch.cat([needle, keys[1:]])
    values = torch.zeros(len(keys), 1, dtype=torch.float64)
    values[0] = 1
    out = attention(q[None, None, None], keys[None, None], values[None, None], causal=False)  # (1, 1, 1, 1)
    return out.item()


def find_gap_for_half(q: Tensor, keys: Tensor) -> float:
    """The gap at which the first key gets half of the weight, by halving an interval."""
    low, high = 0.0, 32.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if weight_of_first(q, keys, middle) < 0.5 else (low, middle)
    return (low + high) / 2


@dataclass(frozen=True)
class Params:
    n_tokens: int = 131_072  # keys in view, the relevant one among them
    gap: float = 8.0  # logits by which it beats the mean of the others, at the trained length
    noise: float = 0.0  # σ, standard deviation of the other scores, logits
    scale: Literal["fixed", "log-n"] = "fixed"  # log-n: scores times ln n / ln(trained_len)
    trained_len: int = 8192  # tokens, for log-n
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1024 <= self.n_tokens <= 262_144:
            raise ValueError("n_tokens must be between 1,024 and 262,144: attention over them is really run")
        if not 0 <= self.gap <= 20 or not 0 <= self.noise <= 1:
            raise ValueError("gap must be between 0 and 20 logits, noise between 0 and 1")
        if not 256 <= self.trained_len <= 262_144:
            raise ValueError("trained_len must be between 256 and 262,144")
        if self.scale == "log-n" and self.noise:
            raise ValueError("noise must be 0 with log-n scaling, which would scale it as well")


def run(p: Params) -> Result:
    def gap_at(n: int) -> float:
        return p.gap * math.log(n) / math.log(p.trained_len) if p.scale == "log-n" else p.gap

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(p.seed)
        q, keys = haystack(p.n_tokens, p.noise, head_dim=16)
    gap = gap_at(p.n_tokens)
    weight = weight_of_first(q, keys, gap)
    needed = find_gap_for_half(q, keys)
    needed_at_half_length = find_gap_for_half(q, keys[: p.n_tokens // 2])
    lengths = [n for n in (2**i for i in range(10, 19)) if n <= p.n_tokens]
    weights = [weight_of_first(q, keys[:n], gap_at(n)) for n in lengths]
    needed_predicted = formula_gap_for_half(p.n_tokens, p.noise)
    growth_predicted = needed_predicted - formula_gap_for_half(p.n_tokens // 2, p.noise)  # ln 2
    loose = 0.25 if p.noise else 1e-9  # a sum of n random e^score comes close to its mean only slowly
    return Result(
        takeaway=Text(
            en=f"One key {gap:.1f} logits above {p.n_tokens - 1:,} others gets {weight:.1%} of the attention; for half "
            f"of it the gap must be {needed:.1f}, {needed - needed_at_half_length:.2f} more than at half the length.",
            zh=f"一个 key 比其余 {p.n_tokens - 1:,} 个高 {gap:.1f} 个 logit，分到 {weight:.1%} 的注意力；"
            f"要占一半，差距须达 {needed:.1f}，比长度减半时多 {needed - needed_at_half_length:.2f}。",
        ),
        facts=[
            Fact("needle_weight", "", weight, formula_weight(p.n_tokens, gap, p.noise), rtol=loose),
            Fact("needle_gap", "logits", gap),
            Fact("gap_for_half", "logits", needed, needed_predicted, atol=max(loose, 1e-6)),
            Fact("gap_per_doubling", "logits", needed - needed_at_half_length, growth_predicted, atol=max(loose, 1e-6)),
        ],
        table=Table(
            ("tokens", "gap (logits)", "weight of the one key", "gap needed for half (logits)"),
            [(n, gap_at(n), w, find_gap_for_half(q, keys[:n])) for n, w in zip(lengths, weights, strict=True)],
        ),
        plot=Plot(
            f"Attention on one key that leads by {p.gap:g} logits, scale {p.scale}",
            "tokens",
            "weight",
            [Series("one relevant key", lengths, weights)],
            log_x=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
