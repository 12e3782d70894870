"""What is the derivative of ReLU, also at zero?

It is 1 for x > 0 and 0 for x < 0. At 0 the difference quotients from the left and from the right disagree, so there is
no derivative, only a range of subgradients: every slope in [0, 1] is that of a line which touches ReLU at 0 and stays
below it. Autograd must return a number, and which one depends on how ReLU is written. It differentiates the program,
not the function: relu(x) − relu(−x) is x, whose derivative is 1, yet at 0 autograd may say 0 or 2.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from llmprep.lab import Fact, Plot, Result, Series, Table, Text

Function = Callable[[Tensor], Tensor]
WAYS: dict[str, Function] = {
    "relu": F.relu,
    "clamp": lambda x: x.clamp(min=0),
    "maximum": lambda x: torch.maximum(x, torch.zeros_like(x)),
    "gelu": F.gelu,  # for comparison: smooth at 0
}


def autograd_slope(f: Function, x: float) -> float:
    """What backward() returns at x."""
    leaf = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(f(leaf), leaf)
    return slope.item()


def difference_quotient(f: Function, x: float, h: float) -> float:
    """(f(x + h) − f(x)) / h: from the right for h > 0, from the left for h < 0."""
    a, b = (f(torch.tensor(t, dtype=torch.float64)).item() for t in (x + h, x))
    return (a - b) / h + 0.0  # no negative zero


def is_subgradient(slope: float) -> bool:
    """Whether the line slope·x lies nowhere above max(0, x), tried on a grid."""
    x = torch.linspace(-2, 2, 401, dtype=torch.float64)
    return bool((slope * x <= x.clamp(min=0) + 1e-12).all())


@dataclass(frozen=True)
class Params:
    written: Literal["relu", "clamp", "maximum", "gelu"] = "relu"  # how the activation is written in torch
    x: float = 0.0

    def __post_init__(self) -> None:
        if not -100 <= self.x <= 100 or 0 < abs(self.x) < 0.001:
            raise ValueError("x must be 0, or of size 0.001 to 100: difference quotients need room")


def run(p: Params) -> Result:
    f, is_relu, h = WAYS[p.written], p.written != "gelu", 2.0**-20
    slope = autograd_slope(f, p.x)
    left, right = (difference_quotient(f, p.x, step) for step in (-h, h))
    identity = autograd_slope(lambda x: f(x) - f(-x), p.x)  # the function x, if written with two activations
    expected = float(p.x > 0) if is_relu and p.x else None
    subgradients = [i / 10 for i in range(-10, 21) if is_subgradient(i / 10)]
    rows = [
        (
            name,
            autograd_slope(g, -1.0),
            autograd_slope(g, 0.0),
            autograd_slope(g, 1.0),
            autograd_slope(lambda x, g=g: g(x) - g(-x), 0.0),
        )
        for name, g in WAYS.items()
    ]
    shown = [i / 4 for i in range(-8, 9)]
    return Result(
        takeaway=Text(
            en=f"torch's {p.written} at {p.x:g}: autograd returns {slope:g}; the difference quotient is {left:.3g} "
            f"from the left and {right:.3g} from the right. f(x) − f(−x) = x gets the slope {identity:g}.",
            zh=f"torch 的 {p.written} 在 {p.x:g} 处：autograd 返回 {slope:g}；差商从左边是 {left:.3g}，从右边是 "
            f"{right:.3g}。f(x) − f(−x) = x 得到的斜率是 {identity:g}。",
        ),
        facts=[
            Fact("slope", "", slope, predicted=expected),
            Fact("slope_of_clamp", "", autograd_slope(WAYS["clamp"], p.x)),
            Fact("slope_of_gelu", "", autograd_slope(WAYS["gelu"], p.x)),
            Fact("left_quotient", "", left, predicted=expected if p.x else 0 if is_relu else 0.5, atol=1e-5),
            Fact("right_quotient", "", right, predicted=expected if p.x else 1 if is_relu else 0.5, atol=1e-5),
            Fact("identity_slope", "", identity, predicted=1 if p.x or not is_relu else None, atol=1e-9),
            Fact("smallest_subgradient", "", min(subgradients), predicted=0),  # of max(0, x) at 0
            Fact("largest_subgradient", "", max(subgradients), predicted=1),
        ],
        table=Table(("written as", "slope at −1", "slope at 0", "slope at 1", "slope of f(x) − f(−x) at 0"), rows),
        plot=Plot(
            "What autograd returns",
            "x",
            "slope",
            [Series(name, shown, [autograd_slope(g, x) for x in shown]) for name, g in WAYS.items()],
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
