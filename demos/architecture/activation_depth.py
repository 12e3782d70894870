"""Does ReLU prevent vanishing gradients, and what does the initialisation have to do with it?

Back through L layers, a gradient meets each time the slopes of the activation and the weights. The slopes of a sigmoid
are at most 1/4, so over L − 1 layers they multiply to at most 0.25^(L−1), whatever the weights are; and the usual
weights do not make up for that. ReLU has slope exactly 1 on the active side, so nothing is lost there; but half of the
units are inactive, and only weights of variance 2/d (He, arXiv 1502.01852) make up for those. With smaller ones a ReLU
network loses its gradient as well. No residuals and no norms here: those are the other half of the answer.

Legend: N inputs, d width, L layers.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmprep.lab import Fact, Plot, Result, Series, Table, Text

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": F.relu,
    "gelu": F.gelu,
    "silu": F.silu,
}


def init(weight: Tensor, how: str) -> Tensor:
    """Variance 1/d (Xavier, for square matrices), 2/d (He), or 1/(3d), what torch.nn.Linear does by default."""
    if how == "xavier":
        return nn.init.xavier_normal_(weight)
    return nn.init.kaiming_normal_(weight) if how == "he" else nn.init.kaiming_uniform_(weight, a=math.sqrt(5))


def largest_slope(activation: Callable[[Tensor], Tensor], z: Tensor) -> float:
    """The largest derivative at any of these pre-activations, by autograd."""
    z = z.detach().requires_grad_()
    (slope,) = torch.autograd.grad(activation(z).sum(), z)
    return slope.max().item()


def gradients_by_layer(
    activation: Callable[[Tensor], Tensor], weights: list[Tensor], x: Tensor
) -> tuple[list[float], float]:
    """|dLoss/dh| at the output h of each layer (L), and the product of the largest slopes from layer 2 on."""
    outputs, slopes = [], []
    h = x
    for weight in weights:
        z = h @ weight.T
        slopes.append(largest_slope(activation, z))
        h = activation(z)
        outputs.append(h)
    loss = (h * torch.randn_like(h)).sum()
    return [g.norm().item() for g in torch.autograd.grad(loss, outputs)], math.prod(slopes[1:])


@dataclass(frozen=True)
class Params:
    activation: Literal["sigmoid", "tanh", "relu", "gelu", "silu"] = "relu"
    init: Literal["default", "xavier", "he"] = "he"
    n_layers: int = 20
    d_model: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.n_layers <= 60 or not 16 <= self.d_model <= 512:
            raise ValueError("n_layers must be between 2 and 60, d_model between 16 and 512")


def run(p: Params) -> Result:
    found = {}
    with torch.random.fork_rng(devices=[]):
        for name, activation in ACTIVATIONS.items():
            torch.manual_seed(p.seed)
            shape = (p.d_model, p.d_model)
            weights = [init(torch.empty(shape, dtype=torch.float64), p.init) for _ in range(p.n_layers)]
            x = torch.randn(64, p.d_model, dtype=torch.float64).requires_grad_()
            found[name] = gradients_by_layer(activation, weights, x)
    gradients, slopes = found[p.activation]
    ratio = gradients[0] / gradients[-1]
    bound = {"sigmoid": 0.25 ** (p.n_layers - 1), "tanh": 1.0, "relu": 1.0}.get(p.activation)
    return Result(
        takeaway=Text(
            en=f"{p.n_layers} plain {p.activation} layers, {p.init} initialisation: the gradient at the first layer is "
            f"{ratio:.1e} of that at the last; the largest slopes on the way multiply to {slopes:.1e}.",
            zh=f"{p.n_layers} 层普通 {p.activation} 网络，{p.init} 初始化：第一层的梯度是最后一层的 {ratio:.1e}；"
            f"沿途最大斜率的乘积为 {slopes:.1e}。",
        ),
        facts=[
            Fact("gradient_ratio", "", ratio),  # first layer's output over last layer's
            Fact("orders_lost", "powers of ten", -math.log10(ratio)),
            Fact("slope_product", "", slopes, predicted=bound, rtol=0.2),  # of the largest slopes, L − 1 layers
        ],
        table=Table(
            ("activation", "gradient at the first over the last layer", "product of the largest slopes"),
            [(name, g[0] / g[-1], s) for name, (g, s) in found.items()],
        ),
        plot=Plot(
            f"Gradient on its way back, {p.init} initialisation",
            "layer",
            "gradient (share of the last layer's)",
            [Series(n, list(range(1, p.n_layers + 1)), [v / g[-1] for v in g]) for n, (g, _) in found.items()],
            log_y=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
