"""A stack of windows can reach L × W tokens; how much of that distance does information really travel?

Let every layer average its window of W tokens, and let a residual connection keep a share α of each token as it was.
The influence of an input token on the last output is then a sum of L random steps: none with probability α, else 0 to
W − 1 tokens back. Its mean grows like (1 − α)·L·(W − 1)/2, its spread like √L·W only: the far end of the theoretical
reach gets practically nothing, and with a strong residual even the typical distance stays within a few windows.
The influence is measured by autograd; averaging stands for attention that prefers no token.

Legend: T tokens, L layers, W window, α residual share.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from llmprep.demos.architecture.sliding_window import formula_reach
from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def window_mean(x: Tensor, window: int) -> Tensor:
    """(T,) → the mean of each token and the W − 1 before it; before the text there are zeros."""
    total = x.cumsum(dim=0)
    before = torch.cat([torch.zeros(window, dtype=x.dtype), total])[: len(x)]  # the sum up to W tokens earlier
    return (total - before) / window


def influence_by_distance(n_layers: int, window: int, residual: float) -> Tensor:
    """How much the input at each distance 0, 1, … moves the last output, by autograd, (reach,); they sum to 1."""
    inputs = torch.zeros(formula_reach(n_layers, window), dtype=torch.float64, requires_grad=True)
    x = inputs
    for _ in range(n_layers):
        x = residual * x + (1 - residual) * window_mean(x, window)
    return torch.autograd.grad(x[-1], inputs)[0].flip(0)


def formula_mean(n_layers: int, window: int, residual: float) -> float:
    """L steps of (1 − α)·(W − 1)/2 tokens on average."""
    return n_layers * (1 - residual) * (window - 1) / 2


def formula_std(n_layers: int, window: int, residual: float) -> float:
    """The root of L times the variance of one step, E[d²] − E[d]²."""
    second = (1 - residual) * (window - 1) * (2 * window - 1) / 6
    return math.sqrt(n_layers * (second - formula_mean(1, window, residual) ** 2))


@dataclass(frozen=True)
class Params:
    n_layers: int = 32
    window: int = 128  # W, tokens
    residual: float = 0.9  # α: share of a token that a layer leaves as it was
    share: float = 0.95  # of the influence, for the effective reach

    def __post_init__(self) -> None:
        if not 1 <= self.n_layers <= 64 or not 2 <= self.window <= 512:
            raise ValueError("n_layers must be between 1 and 64, window between 2 and 512")
        if not 0 <= self.residual < 1 or not 0.5 <= self.share < 1:
            raise ValueError("residual must be in [0, 1), share in [0.5, 1)")


def run(p: Params) -> Result:
    influence = influence_by_distance(p.n_layers, p.window, p.residual)
    distance = torch.arange(len(influence), dtype=torch.float64)
    mean = (influence * distance).sum().item()
    std = math.sqrt((influence * (distance - mean) ** 2).sum().item())
    within = int((influence.cumsum(0) < p.share).sum()) + 1  # tokens, the nearest first
    reach = len(influence)
    beyond_window = influence[p.window :].sum().item()
    rows = []
    for residual in sorted({0.0, 0.5, 0.9, 0.95, p.residual}):
        v = influence_by_distance(p.n_layers, p.window, residual)
        rows.append((residual, (v * distance).sum().item(), int((v.cumsum(0) < p.share).sum()) + 1, reach))
    steps = range(0, reach, max(reach // 200, 1))
    return Result(
        takeaway=Text(
            en=f"{p.n_layers} layers, window {p.window}, residual share {p.residual:g}: {p.share:.0%} of the influence "
            f"comes from the last {within:,} tokens, {within / reach:.0%} of the theoretical {reach:,}.",
            zh=f"{p.n_layers} 层、窗口 {p.window}、残差占比 {p.residual:g}：{p.share:.0%} 的影响来自最近 {within:,} 个 "
            f"token，只有理论值 {reach:,} 的 {within / reach:.0%}。",
        ),
        facts=[
            Fact("theoretical_reach", "tokens", reach),
            Fact("total_influence", "", influence.sum().item(), predicted=1, atol=1e-9),
            Fact("mean_distance", "tokens", mean, formula_mean(p.n_layers, p.window, p.residual), rtol=1e-6),
            Fact("spread", "tokens", std, formula_std(p.n_layers, p.window, p.residual), rtol=1e-6),
            Fact("effective_reach", "tokens", within),
            Fact("effective_share", "", within / reach),
            Fact("windows_reached", "windows", within / p.window),
            Fact("beyond_one_window", "", beyond_window),
        ],
        table=Table(
            ("residual share", "mean distance (tokens)", f"{p.share:.0%} of the influence (tokens)", "theory (tokens)"),
            rows,
        ),
        plot=Plot(
            f"Influence on the last token, {p.n_layers} layers, window {p.window}",
            "distance (tokens)",
            "cumulative share",
            [Series(f"residual {p.residual:g}", list(steps), influence.cumsum(0)[:: steps.step].tolist())],
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
