"""What do residual connections and the place of the norm do to a gradient that crosses many layers?

Going back through a block multiplies a gradient by its Jacobian. Let its branch f scale a random vector by g:
- plain, f(x): the gradient is scaled by g in every block, g^L in all: any g but 1 vanishes or explodes.
- residual, x + f(x): the identity passes everything, so nothing vanishes, but √(1 + g²) per block explodes.
- pre-norm, x + f(norm(x)): the stream grows, so each branch counts less and less: √(1 + L·g²) in all.
- post-norm, norm(x + f(x)): growth is divided away in every block, about 1 in all; but then the last block's own
  gradient does not shrink with depth as it does in pre-norm, which is why post-norm needs warm-up.
Below, L blocks are really built and differentiated; all of this is about initialisation.

Legend: B vectors, d_model channels, L blocks.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from llmprep.lab import Fact, Plot, Result, Series, Table, Text

BLOCKS = ("plain", "residual", "pre_norm", "post_norm")


def norm(x: Tensor) -> Tensor:
    """LayerNorm without weights."""
    return F.layer_norm(x, x.shape[-1:])


def fresh_weights(L: int, d_model: int, g: float) -> list[tuple[Tensor, Tensor]]:
    """Two matrices a block: He for the ReLU, then g/√d_model, so that the branch scales lengths by g."""
    shape = (L, d_model, d_model)
    inner = math.sqrt(2 / d_model) * torch.randn(shape, dtype=torch.float64)
    outer = g / math.sqrt(d_model) * torch.randn(shape, dtype=torch.float64)
    return list(zip(inner.unbind(), outer.unbind(), strict=True))


def apply_block(block: str, x: Tensor, inner: Tensor, outer: Tensor) -> Tensor:
    """One block, (B, d_model) → the same."""

    def f(x: Tensor) -> Tensor:
        return (x @ inner).relu() @ outer

    return {
        "plain": lambda: f(x),
        "residual": lambda: x + f(x),
        "pre_norm": lambda: x + f(norm(x)),
        "post_norm": lambda: norm(x + f(x)),
    }[block]()


def gradient_gain(block: str, x: Tensor, weights: list[tuple[Tensor, Tensor]], upstream: Tensor) -> tuple[float, float]:
    """Autograd: (‖gradient at the first block's input‖ / ‖at the last one's output‖, ‖gradient of the last matrix‖).

    The stack ends in a norm, as every Transformer does, and the loss is a random direction of its output.
    """
    stream = x.clone().requires_grad_()
    out, last = stream, weights[-1][1].clone().requires_grad_()
    for inner, outer in weights[:-1]:
        out = apply_block(block, out, inner, outer)
    out = apply_block(block, out, weights[-1][0], last)
    first, end, matrix = torch.autograd.grad((norm(out) * upstream).sum(), [stream, out, last])
    return (first.norm() / end.norm()).item(), matrix.norm().item()


def formula_gain(block: str, L: int, g: float) -> float:
    """Independent branches on a unit stream: variances add up in the stream, and so do squared gradients."""
    return {
        "plain": g**L,
        "residual": (1 + g**2) ** (L / 2),
        "pre_norm": math.sqrt(1 + L * g**2),  # Π over l of √(1 + g²/(1 + l·g²)) telescopes
        "post_norm": 1.0,
    }[block]


@dataclass(frozen=True)
class Params:
    block: Literal["plain", "residual", "pre_norm", "post_norm"] = "plain"
    depth: int = 96  # L, blocks
    branch_gain: float = 0.8  # g: how much a branch scales the length of a vector at initialisation
    d_model: int = 128
    batch: int = 64  # B
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.depth <= 128 or not 0.3 <= self.branch_gain <= 2:
            raise ValueError("depth must be between 1 and 128, branch_gain between 0.3 and 2")
        if not 64 <= self.d_model <= 256 or not 16 <= self.batch <= 256:
            raise ValueError("d_model must be between 64 and 256, batch between 16 and 256")


def run(p: Params) -> Result:
    depths = sorted({max(1, p.depth // 16), max(1, p.depth // 4), max(1, p.depth // 2), p.depth})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(p.seed)
        weights = fresh_weights(p.depth, p.d_model, p.branch_gain)
        x, upstream = torch.randn(2, p.batch, p.d_model, dtype=torch.float64)
    measured = {(b, L): gradient_gain(b, x, weights[:L], upstream) for b in BLOCKS for L in depths}

    gain, _ = measured[p.block, p.depth]
    predicted = formula_gain(p.block, p.depth, p.branch_gain)
    last = {b: measured[b, p.depth][1] for b in BLOCKS}
    g2 = p.branch_gain**2
    facts = [
        Fact("gradient_gain", "×", gain),
        Fact("gain_per_block", "×", gain ** (1 / p.depth), predicted ** (1 / p.depth), rtol=0.1),
        Fact(
            "last_post_over_pre",  # gradient of the last matrix: post-norm over pre-norm
            "×",
            last["post_norm"] / last["pre_norm"],
            predicted=math.sqrt((1 + p.depth * g2) / (1 + g2)),
            rtol=0.25,
        ),
    ]
    rows = [(b, measured[b, p.depth][0], formula_gain(b, p.depth, p.branch_gain), last[b]) for b in BLOCKS]
    curves = [Series(b, depths, [measured[b, L][0] for L in depths]) for b in BLOCKS]
    return Result(
        takeaway=Text(
            en=f"{p.block}: {p.depth} blocks whose branch scales by {p.branch_gain:g} multiply a gradient by "
            f"{gain:.2g} (predicted {predicted:.2g}), at initialisation.",
            zh=f"{p.block}：每个分支把长度缩放 {p.branch_gain:g} 倍，初始化时 {p.depth} 个块把梯度乘以 "
            f"{gain:.2g}（理论值 {predicted:.2g}）。",
        ),
        facts=facts,
        table=Table(("block", "gradient, first/last", "predicted", "gradient of the last matrix"), rows),
        plot=Plot("Gradient at the input over gradient at the output", "blocks", "×", curves, log_y=True),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
