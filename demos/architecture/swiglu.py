"""What can a gated FFN compute that a plain one cannot?

A plain FFN, W2·relu(W1·x), is piecewise linear: double the input and, without biases, the output doubles. SwiGLU,
W_down·(silu(W_gate·x) ∘ W_up·x), multiplies two linear functions of the input: double a small or a large input and the
output grows fourfold. So two hidden units multiply two numbers exactly, since silu(a) − silu(−a) = a, while ReLU units
can only approximate the product, better the more there are. Whether that is why gates help is open: the gains
are empirical (arXiv 2002.05202, section 4). The price of the quadratic: a large activation comes out larger still.

Legend: N inputs, d width, ff hidden units.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def plain_ffn(x: Tensor, w_up: Tensor, w_down: Tensor) -> Tensor:
    """(N, d) → the same, with w_up (d, ff) and w_down (ff, d): arXiv 2002.05202, equation 2."""
    return F.relu(x @ w_up) @ w_down


def swiglu_ffn(x: Tensor, w_gate: Tensor, w_up: Tensor, w_down: Tensor) -> Tensor:
    """(N, d) → the same: arXiv 2002.05202, equation 6; Llama calls the matrices gate, up and down."""
    return (F.silu(x @ w_gate) * (x @ w_up)) @ w_down


def degree(ffn: Callable[[Tensor], Tensor], x: Tensor, size: float) -> float:
    """The power with which the output grows around inputs of this size: log2 of its growth when they double."""
    return math.log2((ffn(2 * size * x).norm() / ffn(size * x).norm()).item())


def product_by_gate(a: Tensor, b: Tensor) -> Tensor:
    """silu(a)·b + silu(−a)·(−b) = a·b with two hidden units: (N) and (N) → (N)."""
    gate = torch.tensor([[1.0, -1.0], [0.0, 0.0]], dtype=a.dtype)  # (d, ff): a and −a
    up = torch.tensor([[0.0, 0.0], [1.0, -1.0]], dtype=a.dtype)  # b and −b
    return swiglu_ffn(torch.stack([a, b], dim=1), gate, up, torch.ones(2, 1, dtype=a.dtype))[:, 0]


def product_by_relu(a: Tensor, b: Tensor, directions: Tensor) -> Tensor:
    """The best that ReLU units with these input weights and biases (3, ff) can do: output weights by least squares."""
    hidden = F.relu(torch.stack([a, b, torch.ones_like(a)], dim=1) @ directions)  # (N, ff)
    return hidden @ torch.linalg.lstsq(hidden, a * b, driver="gelsd").solution


@dataclass(frozen=True)
class Params:
    ffn: Literal["swiglu", "plain"] = "swiglu"
    size: float = 0.01  # standard deviation of the inputs whose growth is measured
    relu_units: int = 16  # of the plain FFN that approximates the product
    d_model: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1e-6 <= self.size <= 1e6:
            raise ValueError("size must be between 1e-6 and 1e6")
        if not 2 <= self.relu_units <= 512 or not 4 <= self.d_model <= 512:
            raise ValueError("relu_units must be between 2 and 512, d_model between 4 and 512")


def run(p: Params) -> Result:
    d = p.d_model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(p.seed)
        x, grid = torch.randn(256, d, dtype=torch.float64), torch.rand(2, 2000, dtype=torch.float64) * 2 - 1
        gate, up, down = (torch.randn(shape, dtype=torch.float64) / 8 for shape in ((d, 4 * d), (d, 4 * d), (4 * d, d)))
        product = grid[0] * grid[1]
        spread = product.std()
        units = sorted({2, 4, 8, 16, 32, 64, p.relu_units})
        directions = torch.randn(3, max(units), dtype=torch.float64)
        errors = [((product_by_relu(*grid, directions[:, :n]) - product).std() / spread).item() for n in units]
    ffns: dict[str, Callable[[Tensor], Tensor]] = {
        "swiglu": lambda y: swiglu_ffn(y, gate, up, down),
        "plain": lambda y: plain_ffn(y, up, down),
    }
    found = degree(ffns[p.ffn], x, p.size)
    wrong = int(((product_by_gate(*grid) - product).abs() > 1e-12).sum())
    zeros = {"swiglu": F.silu(x @ gate) * (x @ up), "plain": F.relu(x @ up)}[p.ffn]
    zero_share = (zeros == 0).double().mean().item()
    far = p.size <= 0.01 or p.size >= 100  # near 0 silu(a) ≈ a/2, far out silu(a) ≈ relu(a)
    sizes = [10.0**e for e in range(-3, 4)]
    error = errors[units.index(p.relu_units)]
    return Result(
        takeaway=Text(
            en=f"Doubling inputs of size {p.size:g} multiplies the output of a {p.ffn} FFN by {2**found:.2f}. Two "
            f"gated units multiply two numbers exactly; {p.relu_units} ReLU units miss by {error:.0%} of the spread.",
            zh=f"把大小为 {p.size:g} 的输入加倍，{p.ffn} FFN 的输出变为 {2**found:.2f} 倍。"
            f"两个带门控的单元就能精确算出两数之积；{p.relu_units} 个 ReLU 单元的误差是标准差的 {error:.0%}。",
        ),
        facts=[
            Fact("degree", "", found, (1 if p.ffn == "plain" else 2) if far or p.ffn == "plain" else None, atol=0.05),
            Fact("output_growth", "×", 2**found),
            Fact("product_mismatches", "of 2,000", wrong, predicted=0),  # two gated units
            Fact("relu_product_error", "of the standard deviation", error),
            Fact("zero_share", "of hidden values", zero_share, 0.5 if p.ffn == "plain" else 0, atol=0.02),
        ],
        table=Table(
            ("ReLU units", "error of a·b (share of its standard deviation)"), list(zip(units, errors, strict=True))
        ),
        plot=Plot(
            "Growth of the output when the input doubles",
            "standard deviation of the input",
            "factor",
            [Series(name, sizes, [2 ** degree(ffn, x, size) for size in sizes]) for name, ffn in ffns.items()],
            log_x=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
