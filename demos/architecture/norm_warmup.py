"""Does post-norm really need learning-rate warm-up, and does pre-norm do without?

The same 12 layers learn to reverse six tokens, with the same Adam. Only the place of the norm and the warm-up differ.
With post-norm and the full rate from the first step, the loss stays at ln V, that of guessing; with warm-up it falls.
Pre-norm learns from the first step on. That is a statement about one small network and one rate: with a sixth of the
rate, post-norm begins to learn without warm-up too.

Legend: B batch, T tokens, V vocabulary.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from llmprep.demos.architecture.norm_placement import xavier_stack
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

B, T, V, D_MODEL, N_LAYERS = 16, 6, 16, 32, 12
LAST = 10  # steps whose mean loss is reported


def learning_rate(step: int, peak: float, warmup_steps: int) -> float:
    """Linear from peak/warmup_steps up to `peak`, then constant; steps count from 0."""
    return peak * min(1.0, (step + 1) / max(1, warmup_steps))


def train(placement: str, peak: float, warmup_steps: int, steps: int, seed: int) -> list[float]:
    """The loss of each step; every batch is new, so it is a test loss as well."""
    torch.manual_seed(seed)
    layers = xavier_stack(N_LAYERS, D_MODEL, norm_first=placement == "pre")
    tokens, positions, head = nn.Embedding(V, D_MODEL), nn.Embedding(T, D_MODEL), nn.Linear(D_MODEL, V)
    last_norm = nn.LayerNorm(D_MODEL) if placement == "pre" else nn.Identity()
    parts = nn.ModuleList([layers, tokens, positions, head, last_norm])
    optimiser = torch.optim.Adam(parts.parameters(), lr=peak, betas=(0.9, 0.98))  # the betas of arXiv 1706.03762
    losses = []
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = learning_rate(step, peak, warmup_steps)
        ids = torch.randint(V, (B, T))
        x = tokens(ids) + positions.weight  # (B, T, D_MODEL)
        for layer in layers:
            x = layer(x)
        loss = F.cross_entropy(head(last_norm(x)).flatten(0, 1), ids.flip(1).flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


@dataclass(frozen=True)
class Params:
    placement: Literal["post", "pre"] = "post"
    warmup_steps: int = 0
    peak_lr: float = 0.003  # of Adam
    steps: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.warmup_steps <= self.steps or not 2 * LAST <= self.steps <= 400:
            raise ValueError("steps must be between 20 and 400, and warmup_steps at most that")
        if not 0 < self.peak_lr <= 0.1:
            raise ValueError("peak_lr must be above 0 and at most 0.1")


def run(p: Params) -> Result:
    with torch.random.fork_rng(devices=[]):
        losses = train(p.placement, p.peak_lr, p.warmup_steps, p.steps, p.seed)
    loss = sum(losses[-LAST:]) / LAST
    guessing = F.cross_entropy(torch.zeros(1, V), torch.zeros(1, dtype=torch.long)).item()
    every = range(0, p.steps, max(1, p.steps // 10))
    return Result(
        takeaway=Text(
            en=f"{p.placement}-norm, {p.warmup_steps} warm-up steps, rate {p.peak_lr:g}: after {p.steps} steps the "
            f"loss is {loss:.2f}; guessing would give {guessing:.2f} (seed {p.seed}).",
            zh=f"{p.placement}-norm，warm-up {p.warmup_steps} 步，学习率 {p.peak_lr:g}：训练 {p.steps} 步后 loss 为 "
            f"{loss:.2f}；瞎猜是 {guessing:.2f}（seed = {p.seed}）。",
        ),
        facts=[
            Fact("loss", "nats", loss),
            Fact("guessing", "nats", guessing, predicted=math.log(V), rtol=1e-6),
            Fact("learned", "nats", guessing - loss),
            Fact("layers", "layers", N_LAYERS),
        ],
        table=Table(
            ("step", "learning rate", "loss"),
            [(s, learning_rate(s, p.peak_lr, p.warmup_steps), losses[s]) for s in every],
        ),
        plot=Plot(
            f"Reversing {T} tokens with {N_LAYERS} {p.placement}-norm layers",
            "step",
            "loss (nats)",
            [
                Series(f"{p.warmup_steps} warm-up steps", list(range(p.steps)), losses),
                Series("guessing", [0, p.steps - 1], [guessing, guessing]),
            ],
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
