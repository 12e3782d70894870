"""Which initialisation keeps activations at the same size through many layers?

A unit sums fan_in products, so a layer multiplies the mean square of its input by fan_in·Var(w), and the activation
function multiplies it by a share of its own: ½ for ReLU, which silences half. To keep the size, Var(w) = 1/fan_in
without an activation (Xavier, for equal widths) and 2/fan_in for ReLU (He, also called Kaiming). Any other variance
is a factor per layer, raised to the depth. PyTorch's own default for nn.Linear is 1/(3·fan_in).

Legend: B vectors, n units in every layer, L layers.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from llmprep.lab import Fact, Plot, Result, Series, Table, Text

INITS = ("he", "xavier", "torch_default", "small")
SMALL_STD = 0.01


def fresh_layer(init: str, n: int) -> nn.Linear:
    """A layer n → n as torch's own functions initialise it, without bias."""
    layer = nn.Linear(n, n, bias=False, dtype=torch.float64)  # already in torch's default
    if init == "he":
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    elif init == "xavier":
        nn.init.xavier_normal_(layer.weight)
    elif init == "small":
        nn.init.normal_(layer.weight, std=SMALL_STD)
    return layer


def formula_gain_per_layer(init: str, activation: str, n: int) -> float | None:
    """√(fan_in · Var(w) · share): arXiv 1502.01852, equation 9. tanh has no such constant: it depends on the size."""
    variance = {"he": 2 / n, "xavier": 1 / n, "torch_default": 1 / (3 * n), "small": SMALL_STD**2}[init]
    share = {"relu": 0.5, "none": 1.0, "tanh": None}[activation]
    return None if share is None else math.sqrt(n * variance * share)


def propagate(init: str, activation: str, x: Tensor, depth: int) -> tuple[list[float], list[float]]:
    """Root mean square of every layer's output (L + 1 values with the input), and of the gradient there, L first."""
    act = {"relu": torch.relu, "tanh": torch.tanh, "none": lambda x: x}[activation]
    states = [x.requires_grad_()]
    for _ in range(depth):
        states.append(act(fresh_layer(init, x.shape[1])(states[-1])))
    gradients = torch.autograd.grad(states[-1], states, torch.randn_like(x))
    sizes = [[t.square().mean().sqrt().item() for t in ts] for ts in (states, gradients)]
    return sizes[0], sizes[1]


@dataclass(frozen=True)
class Params:
    init: Literal["he", "xavier", "torch_default", "small"] = "he"
    activation: Literal["relu", "tanh", "none"] = "relu"
    depth: int = 50  # L, layers
    width: int = 512  # n
    batch: int = 32  # B
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.depth <= 100 or not 128 <= self.width <= 512 or not 16 <= self.batch <= 256:
            raise ValueError("depth must be between 1 and 100, width between 128 and 512, batch between 16 and 256")


def run(p: Params) -> Result:
    curves, rows = [], []
    sizes: list[float] = []
    back: list[float] = []
    for init in INITS:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(p.seed)
            x = torch.randn(p.batch, p.width, dtype=torch.float64)
            forward, gradients = propagate(init, p.activation, x, p.depth)
        curves.append(Series(init, list(range(p.depth + 1)), forward))
        predicted = formula_gain_per_layer(init, p.activation, p.width)
        rows.append((init, predicted, (forward[-1] / forward[0]) ** (1 / p.depth), forward[-1]))
        if init == p.init:
            sizes, back = forward, gradients
    predicted = formula_gain_per_layer(p.init, p.activation, p.width)
    size = sizes[-1] / sizes[0]
    return Result(
        takeaway=Text(
            en=f"{p.init} with activation {p.activation}: {p.depth} layers of {p.width} units multiply the size of the "
            f"activations by {size:.2g} ({size ** (1 / p.depth):.3f} per layer).",
            zh=f"{p.init} 初始化、激活函数 {p.activation}：{p.depth} 层、每层 {p.width} 个单元，激活值的大小乘以 "
            f"{size:.2g}（每层 {size ** (1 / p.depth):.3f}）。",
        ),
        facts=[
            Fact("final_size", "×", size),
            Fact("gain_per_layer", "×", size ** (1 / p.depth), predicted, rtol=0.1),
            Fact("gradient_per_layer", "×", (back[0] / back[-1]) ** (1 / p.depth), predicted, rtol=0.1),
        ],
        table=Table(("initialisation", "predicted per layer", "measured per layer", "size at the end"), rows),
        plot=Plot(f"Size of activations, {p.activation}", "layer", "root mean square", curves, log_y=True),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
