"""Why do gradients vanish over many steps, and is it because the steps come one after the other?

Back through T steps a gradient is multiplied by T Jacobians, J_t = diag(φ'(a_t))·W. If every one shrinks what it
gets, the product vanishes exponentially; if every one stretches it, the product explodes. For an orthogonal W times a
radius, without activation, the answer is exact: radius^T. At radius 1 a chain of any length passes the gradient
unharmed, so the cause is the size of the Jacobians and not that the steps are sequential. The slopes of tanh are
below 1 and shrink it further: a radius above 1 is necessary to explode, and not enough.

Legend: D channels, T steps; a Jacobian is (D, D).
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def recurrent_matrix(kind: str, D: int, radius: float) -> Tensor:
    """(D, D): orthogonal times `radius`, or independent Gaussians scaled so that the spectral radius is `radius`."""
    w = torch.randn(D, D, dtype=torch.float64)
    if kind == "orthogonal":
        return radius * torch.linalg.qr(w).Q
    return radius * w / torch.linalg.eigvals(w).abs().max()


def forward(w: Tensor, inputs: Tensor, h: Tensor, *, tanh: bool) -> list[Tensor]:
    """h_t = φ(W h_(t−1) + x_t) for every row of inputs (T, D): the states h_0 … h_T."""
    states = [h]
    for x in inputs:
        h = w @ h + x
        states.append(h.tanh() if tanh else h)
        h = states[-1]
    return states


def gradient_gain(w: Tensor, inputs: Tensor, h: Tensor, *, tanh: bool) -> float:
    """Autograd: ‖dh_T/dh_0‖_F/√D, the root-mean-square length of a random unit gradient after T steps back."""
    jacobian = torch.autograd.functional.jacobian(lambda h: forward(w, inputs, h, tanh=tanh)[-1], h)
    return jacobian.norm().item() / math.sqrt(len(h))


def formula_gain(w: Tensor, inputs: Tensor, h: Tensor, *, tanh: bool) -> float:
    """The product of Jacobians, written out: J_t = diag(1 − h_t²)·W for tanh, W without (arXiv 1211.5063, eq. 5)."""
    product = torch.eye(len(h), dtype=h.dtype)
    for state in forward(w, inputs, h, tanh=tanh)[1:]:
        slopes = 1 - state**2 if tanh else torch.ones_like(state)
        product = slopes[:, None] * w @ product
    return product.norm().item() / math.sqrt(len(h))


@dataclass(frozen=True)
class Params:
    matrix: Literal["orthogonal", "gaussian"] = "orthogonal"
    activation: Literal["none", "tanh"] = "tanh"
    radius: float = 0.9  # spectral radius of W; for an orthogonal W also its spectral norm
    steps: int = 200  # T
    D: int = 64
    input_std: float = 0.0  # of x_t
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.1 <= self.radius <= 2:
            raise ValueError("radius must be between 0.1 and 2")
        if not 1 <= self.steps <= 300 or not 2 <= self.D <= 128:
            raise ValueError("steps must be between 1 and 300, D between 2 and 128")
        if not 0 <= self.input_std <= 2:
            raise ValueError("input_std must be between 0 and 2")


def run(p: Params) -> Result:
    tanh = p.activation == "tanh"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(p.seed)
        w = recurrent_matrix(p.matrix, p.D, p.radius)
        inputs = p.input_std * torch.randn(p.steps, p.D, dtype=torch.float64)
        h = 0.1 * torch.randn(p.D, dtype=torch.float64)
        lengths = sorted({max(1, p.steps // 20), max(1, p.steps // 4), max(1, p.steps // 2), p.steps})
        gains = [gradient_gain(w, inputs[:T], h, tanh=tanh) for T in lengths]
    powers = [p.radius**T for T in lengths]
    exact = p.matrix == "orthogonal" and not tanh
    return Result(
        takeaway=Text(
            en=f"{p.steps} steps with a {p.matrix} matrix of spectral radius {p.radius:g}, activation {p.activation}, "
            f"multiply a gradient by {gains[-1]:.2g}; radius^T is {powers[-1]:.2g} (seed {p.seed}).",
            zh=f"{p.matrix} 矩阵、谱半径 {p.radius:g}、激活函数 {p.activation}：{p.steps} 步把梯度乘以 "
            f"{gains[-1]:.2g}，radius^T 是 {powers[-1]:.2g}（seed = {p.seed}）。",
        ),
        facts=[
            Fact("gain", "×", gains[-1], formula_gain(w, inputs, h, tanh=tanh), rtol=1e-6),
            Fact("gain_over_power", "×", gains[-1] / powers[-1], predicted=1 if exact else None, rtol=1e-6),
            Fact("spectral_norm", "×", torch.linalg.matrix_norm(w, 2).item()),
        ],
        table=Table(("steps", "gradient gain", "radius^T"), list(zip(lengths, gains, powers, strict=True))),
        plot=Plot(
            f"{p.matrix}, {p.activation}, radius {p.radius:g}",
            "steps",
            "gradient gain (×)",
            [Series("autograd", lengths, gains), Series("radius^T", lengths, powers)],
            log_y=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
