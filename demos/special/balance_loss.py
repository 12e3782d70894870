"""What does the load-balancing loss of a mixture of experts measure, and whom does it push?

L = N · Σ f_i·P_i, where f_i is the share of tokens whose best expert is i, a count, and P_i the mean probability that
the router gives to i. It is 1 when all experts get the same and N when one gets all for sure. No gradient flows through
a count, so dL/dP_i = N·f_i: the probability of an expert is pushed down in proportion to its load. For the same reason
1 is the value at balance and not quite the minimum: near-ties go one way in f and both ways in P.

Legend: T tokens, N experts.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from llmprep.lab import Fact, Plot, Result, Series, Table, Text

N_TOKENS = 20_000  # T, enough for shares to come out nearly even


def balance_loss(probs: Tensor) -> Tensor:
    """Switch Transformer, arXiv 2101.03961, equations 4 to 6, without the factor α: (T, N) → a number."""
    n_experts = probs.shape[1]
    f = F.one_hot(probs.argmax(dim=-1), n_experts).to(probs).mean(dim=0)  # (N,), a count: no gradient
    P = probs.mean(dim=0)  # (N,)
    return n_experts * (f * P).sum()


def formula_skewed(n_experts: int, busiest_share: float) -> float:
    """Share s to one expert, the rest spread evenly: N·(s² + (1 − s)²/(N − 1)), or 1 at s = 1/N and N at s = 1."""
    return n_experts * (busiest_share**2 + (1 - busiest_share) ** 2 / (n_experts - 1))


def hard_routing(n_tokens: int, n_experts: int, busiest_share: float) -> Tensor:
    """Router probabilities 0 and 1: the first expert gets its share, the others take turns. (T, N)."""
    busiest = round(busiest_share * n_tokens)
    expert = [0] * busiest + [1 + i % (n_experts - 1) for i in range(n_tokens - busiest)]
    return F.one_hot(torch.tensor(expert), n_experts).double()


def near_ties() -> Tensor:
    """51 tokens lean to expert 0 by 0.51 to 0.49, 49 go to expert 1 for sure: f = (0.51, 0.49), P = (0.26, 0.74)."""
    return torch.tensor([[0.51, 0.49]] * 51 + [[0.0, 1.0]] * 49, dtype=torch.float64)


def pushes(probs: Tensor) -> Tensor:
    """What autograd sends back to P, the mean over tokens of each expert's probability: (T, N) → (N,)."""
    probs = probs.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(balance_loss(probs), probs)  # each token's probability is P/T
    return gradient.sum(dim=0)


@dataclass(frozen=True)
class Params:
    routing: Literal["balanced", "skewed", "collapsed", "near ties"] = "balanced"
    n_experts: int = 8  # N; near ties: two
    busiest_share: float = 0.5  # of the tokens, for "skewed"

    def __post_init__(self) -> None:
        if not 2 <= self.n_experts <= 64:
            raise ValueError("n_experts must be between 2 and 64")
        if not 1 / self.n_experts <= self.busiest_share <= 1:
            raise ValueError("busiest_share must be between 1/n_experts and 1: it is the largest share")


def run(p: Params) -> Result:
    N, ties = (2, True) if p.routing == "near ties" else (p.n_experts, False)
    share = {"balanced": 1 / N, "collapsed": 1.0, "skewed": p.busiest_share, "near ties": 0.51}[p.routing]
    probs = near_ties() if ties else hard_routing(N_TOKENS, N, share)
    loss, push = balance_loss(probs).item(), pushes(probs)
    shares = [1 / N + i / 10 * (1 - 1 / N) for i in range(11)]
    curve = [balance_loss(hard_routing(N_TOKENS, N, s)).item() for s in shares]
    load = torch.bincount(probs.argmax(dim=-1), minlength=N).double() / probs.shape[0]
    return Result(
        takeaway=Text(
            en=f"{N} experts, {p.routing}: the busiest takes {load.max().item():.1%} of the tokens and the loss is "
            f"{loss:.3f}; its probability is pushed down with {push.max().item():.2f} and the idlest one's with "
            f"{push.min().item():.2f}.",
            zh=f"{N} 个专家，{p.routing}：最忙的专家拿到 {load.max().item():.1%} 的 token，损失为 {loss:.3f}；"
            f"它的概率受到的下压梯度是 {push.max().item():.2f}，最闲的是 {push.min().item():.2f}。",
        ),
        facts=[
            Fact("loss", "", loss, None if ties else formula_skewed(N, share), rtol=0.02),
            Fact("push_on_busiest", "", push.max().item(), N * share, rtol=0.02),
            Fact("push_on_idlest", "", push.min().item(), N * (1 - share) / (N - 1), rtol=0.02, atol=1e-9),
        ],
        table=Table(
            ("expert", "share of tokens f", "mean probability P", "gradient on P"),
            [(i, load[i].item(), probs[:, i].mean().item(), push[i].item()) for i in range(min(N, 8))],
        ),
        plot=Plot(
            f"{N} experts, hard routing",
            "share of tokens of the busiest expert",
            "balance loss",
            [Series("N · Σ f·P", shares, curve)],
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
