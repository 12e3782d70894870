"""How many experts does a batch of tokens wake up?

One token reads k of N experts. But each token of a batch chooses for itself, and a weight that any of them wants has to
come from memory. If choices are independent and even, an expert is passed over by one token with probability 1 − k/N
and by all B with (1 − k/N)^B, so N·(1 − (1 − k/N)^B) are touched. Here tokens really draw, and their choices are
counted. A real router is a little less even, and neighbouring tokens agree more often, so this is the upper end.

Legend: B tokens in a step, N experts of a layer, k per token.
"""

import random
from dataclasses import dataclass
from typing import Literal

from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def formula_touched(n_experts: int, top_k: int, batch: int) -> float:
    """N·(1 − (1 − k/N)^B): 8 experts, top-2 → 2 for one token, 7.9 for sixteen."""
    return n_experts * (1 - (1 - top_k / n_experts) ** batch)


def draw_touched(n_experts: int, top_k: int, batch: int, rng: random.Random) -> int:
    """Let every token draw k different experts, and count those that anyone drew."""
    touched: set[int] = set()
    for _ in range(batch):
        touched.update(rng.sample(range(n_experts), top_k))
    return len(touched)


def mean_touched(n_experts: int, top_k: int, batch: int, trials: int, seed: int) -> float:
    """The average over independent batches."""
    rng = random.Random(seed)
    return sum(draw_touched(n_experts, top_k, batch, rng) for _ in range(trials)) / trials


@dataclass(frozen=True)
class Params:
    n_experts: int = 8  # N
    top_k: int = 2
    batch: int = 16  # B, tokens in the step
    choice: Literal["each token", "whole batch"] = "each token"  # who chooses
    trials: int = 1000  # batches
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.top_k <= self.n_experts <= 512:
            raise ValueError("top_k must be at least 1 and at most n_experts, n_experts at most 512")
        if not 1 <= self.batch <= 1024 or not 300 <= self.trials <= 3000:
            raise ValueError("batch must be between 1 and 1,024, trials between 300 and 3,000")


def run(p: Params) -> Result:
    draws = p.batch if p.choice == "each token" else 1
    touched = mean_touched(p.n_experts, p.top_k, draws, max(1, min(p.trials, 200_000 // draws)), p.seed)
    batches = [2**i for i in range(9)]
    curves = [
        Series(f"{k} of {n}", batches, [formula_touched(n, k, b) / n for b in batches])
        for n, k in dict.fromkeys([(p.n_experts, p.top_k), (8, 2), (128, 8), (256, 8)])
    ]
    rows = [(b, formula_touched(p.n_experts, p.top_k, b), b * p.top_k / p.n_experts) for b in batches]
    return Result(
        takeaway=Text(
            en=f"{p.batch} tokens, top-{p.top_k} of {p.n_experts}, chosen by {p.choice}: {touched:.2f} experts read.",
            zh=f"{p.batch} 个 token，{p.n_experts} 选 {p.top_k}（{p.choice}）：平均要读 {touched:.2f} 个专家。",
        ),
        facts=[
            Fact("touched", "experts", touched, formula_touched(p.n_experts, p.top_k, draws), rtol=0.03),
            Fact("touched_share", "", touched / p.n_experts),
            Fact("tokens_per_touched_expert", "tokens", p.batch * p.top_k / touched),
        ],
        table=Table(("tokens in the step", "experts touched", "tokens per expert"), rows),
        plot=Plot(
            "Share of a layer's experts that a step has to read", "tokens in the step", "share", curves, log_x=True
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
