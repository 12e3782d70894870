"""Why can a diffusion model be trained at any noise level without walking there step by step?

The forward process adds a little noise T times: x_t = √(1 − β_t)·x_(t−1) + √β_t·ε. Sums of independent Gaussians are
Gaussian, so the whole walk is one jump, x_t = √ᾱ_t·x_0 + √(1 − ᾱ_t)·ε with ᾱ_t = Π(1 − β_s): a training step draws t at
random and jumps there. The shrinking factor matters. Without it (step=add) the signal stays as it is and the variance
grows without end. Below, many walks are really walked, and mean and variance are also carried along step by step.

Legend: T steps, β_t variance added at step t, ᾱ_t share of the signal's power that is left.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from llmprep.lab import Fact, Plot, Result, Series, Table, Text

START, N_WALKS = 3.0, 20_000  # every walk starts at the same x_0


def noise_schedule(kind: Literal["linear", "cosine"], n_steps: int) -> Tensor:
    """β_1 … β_T, (T,): DDPM (arXiv 2006.11239, section 4), linear; improved DDPM (arXiv 2102.09672, equation 17)."""
    if kind == "linear":
        return (
            torch.linspace(1e-4, 0.02, n_steps, dtype=torch.float64) * 1000 / n_steps
        )  # nearly the same ᾱ_T for any large T
    level = torch.cos((torch.linspace(0, 1, n_steps + 1, dtype=torch.float64) + 0.008) / 1.008 * math.pi / 2) ** 2
    return (1 - level[1:] / level[:-1]).clamp(max=0.999)


def alpha_bar(betas: Tensor) -> Tensor:
    """ᾱ_t = Π_(s ≤ t) (1 − β_s), (T,)."""
    return (1 - betas).cumprod(dim=0)


def jump(x0: Tensor, noise: Tensor, level: Tensor) -> Tensor:
    """The closed form q(x_t | x_0), arXiv 2006.11239, equation 4: what a training step uses."""
    return level.sqrt() * x0 + (1 - level).sqrt() * noise


def carry(betas: Tensor, *, shrink: bool) -> tuple[list[float], list[float]]:
    """Factor on x_0 and variance after each step, by the rules for a·X + b·ε."""
    factor, variance, factors, variances = 1.0, 0.0, [], []
    for beta in betas.tolist():
        a = math.sqrt(1 - beta) if shrink else 1.0
        factor, variance = a * factor, a * a * variance + beta
        factors.append(factor)
        variances.append(variance)
    return factors, variances


def walk(betas: Tensor, t: int, *, shrink: bool) -> Tensor:
    """As many as t noisy steps from x_0, for many walks at once, (N_WALKS,)."""
    x = torch.full((N_WALKS,), START, dtype=torch.float64)
    for beta in betas[:t]:
        x = ((1 - beta).sqrt() if shrink else 1.0) * x + beta.sqrt() * torch.randn_like(x)
    return x


@dataclass(frozen=True)
class Params:
    schedule: Literal["linear", "cosine"] = "linear"
    step: Literal["shrink and add", "add"] = "shrink and add"
    n_steps: int = 1000  # T
    t: int = 1000  # where to look
    seed: int = 0

    def __post_init__(self) -> None:
        if not 100 <= self.n_steps <= 2000 or not 1 <= self.t <= self.n_steps:
            raise ValueError("n_steps must be between 100 and 2,000, and t between 1 and n_steps")


def run(p: Params) -> Result:
    shrink, betas = p.step == "shrink and add", noise_schedule(p.schedule, p.n_steps)
    levels = alpha_bar(betas)
    factors, variances = carry(betas, shrink=shrink)
    off = (torch.tensor(variances, dtype=torch.float64) - (1 - levels)).abs() + (
        torch.tensor(factors, dtype=torch.float64) - levels.sqrt()
    ).abs()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(p.seed)
        walked = walk(betas, p.t, shrink=shrink)
        jumped = jump(torch.full_like(walked, START), torch.randn_like(walked), levels[p.t - 1])
    signal, std = factors[p.t - 1], math.sqrt(variances[p.t - 1])
    shown = sorted({1, p.n_steps // 4, p.n_steps // 2, 3 * p.n_steps // 4, p.n_steps, p.t})
    grid = list(range(0, p.n_steps, p.n_steps // 50))
    return Result(
        takeaway=Text(
            en=f"Schedule {p.schedule}, {p.t} steps ({p.step}): {signal:.2%} of x_0's amplitude is left, the noise has "
            f"a standard deviation of {std:.3f}, measured {walked.std().item():.3f} by walking.",
            zh=f"{p.schedule} 调度，走 {p.t} 步（{p.step}）：x_0 的幅度还剩 {signal:.2%}，噪声标准差为 {std:.3f}，"
            f"逐步加噪实测为 {walked.std().item():.3f}。",
        ),
        facts=[
            Fact("signal", "", signal, levels[p.t - 1].sqrt().item() if shrink else 1.0, rtol=1e-9),
            Fact("noise_std", "", walked.std().item(), std, rtol=0.03),
            Fact("mean_of_walks", "", walked.mean().item(), signal * START, atol=0.05 * max(1.0, std)),
            Fact("std_of_jumps", "", jumped.std().item(), (1 - levels[p.t - 1]).sqrt().item(), rtol=0.03),
            Fact("mismatches", "steps", int((off > 1e-9).sum()), predicted=0 if shrink else p.n_steps),
        ],
        table=Table(
            ("step", "share of the amplitude left", "standard deviation of the noise"),
            [(t, factors[t - 1], math.sqrt(variances[t - 1])) for t in shown],
        ),
        plot=Plot(
            f"Forward process, {p.schedule} ({p.step})",
            "step",
            "",
            [
                Series("amplitude of x_0", [t + 1 for t in grid], [factors[t] for t in grid]),
                Series("standard deviation of the noise", [t + 1 for t in grid], [variances[t] ** 0.5 for t in grid]),
            ],
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
