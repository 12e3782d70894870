"""What is a dead ReLU unit, and can it come back?

A unit whose pre-activation is negative for every input has slope 0 on all of them: no gradient reaches its weights, so
no optimiser can move them, and it stays as it is for good (weight decay and changed inputs aside). One too large step
that pushes a bias down is enough. Here the biases of half the units are pushed down by hand, then the network is
trained. GELU, SiLU and leaky ReLU have a slope on the negative side: small, but Adam divides by its size.

Legend: N inputs, d features, ff hidden units.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from llmprep.lab import Fact, Plot, Result, Series, Table, Text

N, D, FF = 512, 8, 64
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "silu": F.silu,
    "leaky_relu": lambda z: F.leaky_relu(z, 0.01),
}


def train_after_a_push(
    activation: Callable[[Tensor], Tensor], push: float, steps: int
) -> tuple[Tensor, Tensor, Tensor, float]:
    """Which of the FF units are silent on all inputs at first, which moved, which fire at the end; and the loss."""
    x = torch.randn(N, D, dtype=torch.float64)
    target = x[:, :1] * x[:, 1:2] + x[:, 2:3].sin()
    keys = torch.randn(D, FF, dtype=torch.float64) / D**0.5
    bias = torch.zeros(FF, dtype=torch.float64)
    bias[: FF // 2] = -push
    values, offset = torch.randn(FF, 1, dtype=torch.float64) / FF**0.5, torch.zeros(1, dtype=torch.float64)
    before, parameters = keys.clone(), [w.requires_grad_() for w in (keys, bias, values, offset)]
    silent = (x @ keys + bias <= 0).all(dim=0)
    optimiser = torch.optim.Adam(parameters, lr=0.02)
    for _ in range(steps):
        loss = (activation(x @ keys + bias) @ values + offset - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        return silent, (keys != before).any(dim=0), (x @ keys + bias > 0).any(dim=0), loss.item()


@dataclass(frozen=True)
class Params:
    activation: Literal["relu", "gelu", "silu", "leaky_relu"] = "relu"
    push: float = 6.0  # how far the biases of half the units are below 0
    steps: int = 200  # of Adam
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.push <= 10 or not 10 <= self.steps <= 1000:
            raise ValueError("push must be between 0 and 10, steps between 10 and 1,000")


def run(p: Params) -> Result:
    rows, facts = [], []
    for name, activation in ACTIVATIONS.items():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(p.seed)
            silent, moved, awake, loss = train_after_a_push(activation, p.push, p.steps)
        n_silent, stuck, woken = int(silent.sum()), int((silent & ~moved).sum()), int((silent & awake).sum())
        rows.append((name, n_silent, stuck, woken, loss))
        if name == p.activation:
            facts = [
                Fact("units", "units", FF),
                Fact("silent_at_first", "units", n_silent),
                Fact("stuck", "units", stuck, predicted=n_silent if name == "relu" else 0),
                Fact("woken", "units", woken, predicted=0 if name == "relu" else None),
                Fact("loss", "", loss),
            ]
    _, n_silent, stuck, woken, _ = rows[list(ACTIVATIONS).index(p.activation)]
    return Result(
        takeaway=Text(
            en=f"{p.activation}: of {n_silent} units that no input excites, {stuck} never change a weight in {p.steps} "
            f"steps of Adam, and {woken} fire again.",
            zh=f"{p.activation}：{n_silent} 个对所有输入都不激活的单元中，{stuck} 个在 {p.steps} 步 Adam 之后"
            f"权重分毫未动，{woken} 个重新激活。",
        ),
        facts=facts,
        table=Table(("activation", "silent at first", "never moved", "fire again", "loss"), rows),
        plot=Plot(
            f"Silent units after {p.steps} steps",
            "activation",
            "units",
            [
                Series("never moved", [row[0] for row in rows], [row[2] for row in rows]),
                Series("fire again", [row[0] for row in rows], [row[3] for row in rows]),
            ],
            kind="bar",
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
