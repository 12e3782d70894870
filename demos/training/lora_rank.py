"""What can a LoRA update of rank r learn, and what is out of its reach?

Give a frozen layer a task whose ideal update Δ is known. By Eckart–Young no matrix of rank r comes closer to Δ than
its first r singular directions, so the loss left after training can't be below the tail Σ_{i>r} σᵢ² / Σ σᵢ², and
trained LoRA does get there. A light task (Δ of low rank) is learned completely from a small r on; a Δ with energy in
every direction is not, and needs a rank comparable to the width, where LoRA no longer saves anything.

Legend: N samples, Δ (d, k) the ideal update, x (N, k), σ singular values of Δ seen through the data.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from llmprep.demos.training.lora import LoRALinear, formula_trainable
from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def ideal_update(kind: str, d: int, task_rank: int) -> Tensor:
    """Δ (d, d): "low-rank", "power-law" (σᵢ falls like 1/i) or "full-rank" (every direction counts)."""
    if kind == "low-rank":
        return torch.randn(d, task_rank) @ torch.randn(task_rank, d) / d
    delta = torch.randn(d, d) / d**0.5
    if kind == "power-law":
        U, _, Vh = torch.linalg.svd(delta)
        delta = U @ torch.diag(1 / torch.arange(1, d + 1)) @ Vh
    return delta


def tail_energy(delta: Tensor, x: Tensor) -> list[float]:
    """Share of Σσ² beyond rank r, for r = 0 … d (Eckart–Young 1936). The loss sees Δ through the data: take Δxᵀ."""
    energy = torch.linalg.svdvals((delta @ x.T).double()).square()  # (min(d, N),)
    tail = energy.flip(0).cumsum(0).flip(0)
    return [*(tail / tail[0]).tolist(), 0.0]


def trained_residual(delta: Tensor, x: Tensor, rank: int, steps: int) -> float:
    """Train A and B by Adam with a decaying rate; returns the share of the task's energy that stays unlearned."""
    layer = LoRALinear(torch.zeros_like(delta), rank, alpha=rank)
    target = F.linear(x, delta)  # the base is subtracted on both sides, so W = 0 loses nothing
    optimizer = torch.optim.Adam([layer.A, layer.B], lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        (layer(x) - target).square().mean().backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return ((layer(x) - target).square().sum() / target.square().sum()).item()


@dataclass(frozen=True)
class Params:
    update: Literal["low-rank", "power-law", "full-rank"] = "low-rank"
    task_rank: int = 8  # of the ideal update, where it is low
    rank: int = 4  # of LoRA
    d_model: int = 32
    n_samples: int = 128
    steps: int = 300
    seed: int = 0

    def __post_init__(self) -> None:
        if not 4 <= self.d_model <= 64:
            raise ValueError("d_model must be between 4 and 64: one layer is trained for each rank in the plot")
        if not (1 <= self.rank <= self.d_model and 1 <= self.task_rank <= self.d_model):
            raise ValueError("rank and task_rank must be between 1 and d_model")
        if not self.d_model <= self.n_samples <= 1024:
            raise ValueError("n_samples must be between d_model and 1024, or the task is not determined")
        if not 300 <= self.steps <= 2000:
            raise ValueError("steps must be between 300 and 2000: fewer do not converge")


def run(p: Params) -> Result:
    ranks = sorted({r for r in (1, 2, 4, 8, 16) if r <= p.d_model} | {p.rank})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(p.seed)
        delta = ideal_update(p.update, p.d_model, p.task_rank)
        x = torch.randn(p.n_samples, p.d_model)
        trained = {r: trained_residual(delta, x, r, p.steps) for r in ranks}
    bounds = tail_energy(delta, x)
    residual, bound = trained[p.rank], bounds[p.rank]
    rank_for_90 = sum(b > 0.1 for b in bounds)
    below = sum(trained[r] < 0.999 * bounds[r] for r in ranks if bounds[r] > 1e-6)
    size_for_90 = formula_trainable(p.d_model, p.d_model, rank_for_90) / p.d_model**2
    facts = [
        Fact("residual", "of the task", residual, bound, rtol=0.05, atol=0.005),
        Fact("learned", "of the task", 1 - residual),
        Fact("ranks_below_the_bound", "of those trained", below, predicted=0),
        Fact("rank_for_90_percent", "", rank_for_90),
        Fact("adapter_size_for_90_percent", "of the matrix", size_for_90),
    ]
    sizes = [formula_trainable(p.d_model, p.d_model, r) / p.d_model**2 for r in ranks]
    rows = [
        (r, round(100 * size, 1), round(100 * trained[r], 2), round(100 * bounds[r], 2))
        for r, size in zip(ranks, sizes, strict=True)
    ]
    return Result(
        takeaway=Text(
            en=f"LoRA of rank {p.rank} leaves {residual:.1%} of a {p.update} update unlearned; the best matrix of that "
            f"rank leaves {bound:.1%}.",
            zh=f"用 rank {p.rank} 的 LoRA 去学 {p.update} 型更新，训练后仍有 {residual:.1%} 学不到；"
            f"同秩的最优逼近也会剩下 {bound:.1%}。",
        ),
        facts=facts,
        table=Table(("rank", "A and B (% of the matrix)", "unlearned (%)", "least possible (%)"), rows),
        plot=Plot(
            f"Rank against a {p.update} update",
            "LoRA rank",
            "share left unlearned",
            [
                Series("trained LoRA", ranks, [trained[r] for r in ranks]),
                Series("Eckart–Young", ranks, [bounds[r] for r in ranks]),
            ],
            log_x=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
