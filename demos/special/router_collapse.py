"""Why does a router need load balancing, and what happens without it?

An expert learns only from the tokens it gets. One that is slightly better early on gets more of them, so it becomes
better still: the rich get richer, and the others stay as they were born. A balance loss leans against that, and so does
a bias per expert that is added only for the choice, and raised while the expert has too little to do. Here a small
top-1 layer is really trained on tokens of several kinds, each of which wants a linear map of its own.

Legend: B tokens, d channels, N experts.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmprep.demos.architecture.one_head_limit import one_thread
from llmprep.demos.special.balance_loss import balance_loss
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

D, KINDS, BATCH, N_TEST = 16, 16, 128, 4096
Balance = Literal["none", "loss", "bias"]


class SwitchLayer(nn.Module):
    """y = p_i · E_i(x) with i = argmax p: Switch Transformer, arXiv 2101.03961, section 2.1. Experts are linear."""

    def __init__(self, n_experts: int) -> None:
        super().__init__()
        self.router = nn.Linear(D, n_experts, bias=False)
        self.experts = nn.Parameter(torch.randn(n_experts, D, D) / D**0.5)
        self.register_buffer("bias", torch.zeros(n_experts))  # for the choice only: arXiv 2408.15664

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, d) → output (B, d), router probabilities (B, N), chosen expert (B,)."""
        probs = self.router(x).softmax(dim=-1)
        chosen = (probs + self.bias).argmax(dim=-1)
        y = torch.einsum("bd,bde->be", x, self.experts[chosen])
        return probs.gather(1, chosen[:, None]) * y, probs, chosen


def kinds_of_tokens() -> tuple[Tensor, Tensor]:
    """Where tokens of each kind lie, (K, d), and the map that each kind wants, (K, d, d)."""
    return D**0.5 * F.normalize(torch.randn(KINDS, D), dim=-1), torch.randn(KINDS, D, D) / D**0.5


def batch(centres: Tensor, maps: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """As many tokens of random kinds, and what the layer should make of them, both (n, d)."""
    kind = torch.randint(KINDS, (n,))
    x = centres[kind] + torch.randn(n, D) / 2
    return x, torch.einsum("bd,bde->be", x, maps[kind])


def drop_overflow(chosen: Tensor, n_experts: int, capacity: int) -> int:
    """Fill each expert's buffer in the order of the tokens; how many find theirs full."""
    room, dropped = [capacity] * n_experts, 0
    for expert in chosen.tolist():
        dropped += room[expert] == 0
        room[expert] -= room[expert] > 0
    return dropped


def formula_dropped(load: list[int], capacity: int) -> int:
    """Σ max(0, load_i − capacity), with capacity = factor · tokens / N: arXiv 2101.03961, equation 3."""
    return sum(max(0, tokens - capacity) for tokens in load)


def train(balance: Balance, n_experts: int, alpha: float, steps: int) -> tuple[list[float], Tensor, float]:
    """The busiest expert's share while training; for new tokens the choices (B,), and the error relative to y = 0."""
    centres, maps = kinds_of_tokens()
    layer = SwitchLayer(n_experts)
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.01)
    history = []
    for _ in range(steps):
        x, wanted = batch(centres, maps, BATCH)
        y, probs, chosen = layer(x)
        loss = F.mse_loss(y, wanted) + (alpha * balance_loss(probs) if balance == "loss" else 0)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        share = torch.bincount(chosen, minlength=n_experts) / BATCH
        if balance == "bias":
            layer.bias += 0.01 * torch.sign(1 / n_experts - share)  # too busy: down; too idle: up
        history.append(share.max().item())
    with torch.no_grad():
        x, wanted = batch(centres, maps, N_TEST)
        y, _, chosen = layer(x)
    return history, chosen, (F.mse_loss(y, wanted) / wanted.square().mean()).item()


@dataclass(frozen=True)
class Params:
    balance: Balance = "none"  # what keeps the experts busy
    alpha: float = 0.1  # weight of the balance loss
    n_experts: int = 16  # N; as many as there are kinds of tokens
    capacity_factor: float = 1.25  # room in an expert's buffer, relative to an even share
    steps: int = 200
    n_seeds: int = 4  # layers, each trained on kinds of its own
    seed: int = 0  # of the first

    def __post_init__(self) -> None:
        if not 2 <= self.n_experts <= 32:
            raise ValueError("n_experts must be between 2 and 32")
        if not 0 <= self.alpha <= 10 or not 1 <= self.capacity_factor <= 4:
            raise ValueError("alpha must be between 0 and 10, capacity_factor between 1 and 4")
        if not 100 <= self.steps <= 600 or not 1 <= self.n_seeds <= 8:
            raise ValueError("steps must be between 100 and 600, n_seeds between 1 and 8")


def run(p: Params) -> Result:
    capacity = int(p.capacity_factor * N_TEST / p.n_experts)
    histories, busiest, used, errors, dropped, expected = [], [], [], [], 0, 0
    for seed in range(p.seed, p.seed + p.n_seeds):
        with torch.random.fork_rng(devices=[]), one_thread():
            torch.manual_seed(seed)
            history, chosen, error = train(p.balance, p.n_experts, p.alpha, p.steps)
        load = torch.bincount(chosen, minlength=p.n_experts).tolist()
        histories.append(history)
        busiest.append(max(load) / N_TEST)
        used.append(sum(tokens > N_TEST // 100 for tokens in load))
        errors.append(error)
        dropped += drop_overflow(chosen, p.n_experts, capacity)
        expected += formula_dropped(load, capacity)
    n, share, error = p.n_seeds, sum(busiest) / p.n_seeds, sum(errors) / p.n_seeds
    return Result(
        takeaway=Text(
            en=f"Balance {p.balance}, {p.n_experts} experts, {n} seeds: {min(used)} to {max(used)} of them get more "
            f"than 1% of the tokens, the busiest {share:.0%}; {dropped / (n * N_TEST):.0%} of the tokens overflow, "
            f"and the error is {error:.1%}.",
            zh=f"均衡手段 {p.balance}，{p.n_experts} 个专家，{n} 个 seed：有 {min(used)} 到 {max(used)} 个专家"
            f"拿到 1% 以上的 token，最忙的占 {share:.0%}；"
            f"{dropped / (n * N_TEST):.0%} 的 token 溢出，相对误差 {error:.1%}。",
        ),
        facts=[
            Fact("busiest_share", "", share),
            Fact("experts_used", "experts", sum(used) / n),
            Fact("experts_used_least", "experts", min(used)),
            Fact("experts_used_most", "experts", max(used)),
            Fact("error", "", error),
            Fact("tokens_dropped", "tokens", dropped, predicted=expected),
            Fact("dropped_share", "", dropped / (n * N_TEST)),
        ],
        table=Table(
            ("seed", "busiest expert's share", "experts in use", "relative error"),
            list(zip(range(p.seed, p.seed + n), busiest, used, errors, strict=True)),
        ),
        plot=Plot(
            f"Balance: {p.balance}",
            "step",
            "share of the busiest expert",
            [
                Series("mean of the seeds", list(range(p.steps)), [sum(h) / n for h in zip(*histories, strict=True)]),
                Series("even share", [0, p.steps - 1], [1 / p.n_experts] * 2),
            ],
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
