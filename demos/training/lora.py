"""How does LoRA train a large matrix with two thin ones, and why must B start at zero?

Freeze W and learn only an update of rank r: h = Wx + (α/r)·BAx. A matrix of d·k weights then has r(d + k) trainable
ones. With B = 0 the layer starts exactly at the base model, and B receives a gradient because A is random; if both
were zero, neither ever would. The gradient passes through the frozen W to the layers below. Afterwards (α/r)·BA is
added into W: the adapter disappears, and inference costs nothing extra.

Legend: N samples, W (d, k), A (r, k), B (d, r), x (N, k), h (N, d).
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from llmprep.lab import Fact, Plot, Result, Series, Table, Text

INITS = ("b-zero", "both-zero", "both-random")


def formula_trainable(d: int, k: int, rank: int) -> int:
    """Numbers in A and B: 8 · (4096 + 4096) = 65,536 beside a frozen 4096² = 16,777,216, 256 times fewer."""
    return rank * (d + k)


class LoRALinear(torch.nn.Module):
    """A frozen linear layer with a trainable low-rank update (LoRA, arXiv 2106.09685, section 4.1)."""

    def __init__(self, weight: Tensor, rank: int, alpha: float, init: str = "b-zero") -> None:
        super().__init__()
        d, k = weight.shape
        self.weight = torch.nn.Parameter(weight, requires_grad=False)
        self.A = torch.nn.Parameter(torch.zeros(rank, k))
        self.B = torch.nn.Parameter(torch.zeros(d, rank))
        self.scaling = alpha / rank
        if init != "both-zero":
            torch.nn.init.kaiming_uniform_(self.A, a=5**0.5)  # within ±1/√k, as peft; the paper draws a Gaussian
        if init == "both-random":
            torch.nn.init.kaiming_uniform_(self.B, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(N, k) → (N, d); BA itself is never formed, two thin products are cheaper."""
        update = F.linear(F.linear(x.to(self.A.dtype), self.A), self.B)  # (N, k) → (N, r) → (N, d)
        return F.linear(x.to(self.weight.dtype), self.weight) + self.scaling * update

    def merged(self, *, scaled: bool = True) -> Tensor:
        """W + (α/r)·BA, (d, k): an ordinary matrix again. `scaled=False` forgets α/r, a classic bug."""
        return self.weight + (self.scaling if scaled else 1.0) * self.B @ self.A


def train(layer: LoRALinear, x: Tensor, target: Tensor, steps: int) -> list[float]:
    """Adam on A and B only; returns the mean squared error before each step and after the last."""
    optimizer = torch.optim.Adam([p for p in layer.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(steps):
        loss = (layer(x) - target).square().mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return [*losses, (layer(x) - target).square().mean().item()]


def gradients(layer: LoRALinear, x: Tensor, target: Tensor) -> tuple[list[Tensor | None], Tensor, Tensor]:
    """([of W, A, B], of the input by autograd, of the input by hand through the merged matrix) for one loss."""
    x = x.clone().requires_grad_()
    h = layer(x)
    h.retain_grad()
    (h - target).square().sum().backward()
    by_hand = h.grad @ layer.merged()  # dL/dx = dL/dh · (W + (α/r)·BA)
    return [layer.weight.grad, layer.A.grad, layer.B.grad], x.grad, by_hand.detach()


@dataclass(frozen=True)
class Params:
    d_out: int = 48
    d_in: int = 32
    rank: int = 8
    alpha: float = 16.0  # the update is scaled by alpha / rank
    init: Literal["b-zero", "both-zero", "both-random"] = "b-zero"
    merge: Literal["scaled", "unscaled"] = "scaled"  # unscaled: forgets alpha / rank
    n_samples: int = 128
    steps: int = 100  # of Adam, towards a matrix that differs from W by rank 2
    seed: int = 0

    def __post_init__(self) -> None:
        if not (2 <= self.d_out <= 4096 and 2 <= self.d_in <= 4096):
            raise ValueError("d_out and d_in must be between 2 and 4096: the layer is really trained")
        if not 1 <= self.rank <= min(self.d_out, self.d_in):
            raise ValueError("rank must be between 1 and the smaller side of the matrix")
        if not 0.01 <= self.alpha <= 1000:
            raise ValueError("alpha must be between 0.01 and 1000")
        if not (1 <= self.n_samples <= 4096 and 1 <= self.steps <= 1000):
            raise ValueError("n_samples must be between 1 and 4096, and steps between 1 and 1000")
        if self.d_out * self.d_in * self.n_samples * self.steps > 1e10:
            raise ValueError("d_out · d_in · n_samples · steps must be at most 1e10: lower one of them")


def run(p: Params) -> Result:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(p.seed)
        W = torch.randn(p.d_out, p.d_in) / p.d_in**0.5
        x = torch.randn(p.n_samples, p.d_in)
        task = W + torch.randn(p.d_out, 2) @ torch.randn(2, p.d_in) / p.d_in**0.5
        target = x @ task.T
        layers = {init: LoRALinear(W.clone(), p.rank, p.alpha, init) for init in INITS}

    layer = layers[p.init]
    start_mismatches = int((layer(x) != F.linear(x, W)).sum())
    (of_w, of_a, of_b), of_input, by_hand = gradients(layer, x, target)
    curves = {init: train(layers[init], x, target, p.steps) for init in INITS}
    with torch.no_grad():
        outputs = layer(x)
        off = (outputs - F.linear(x, layer.merged(scaled=p.merge == "scaled"))).abs() > 1e-3 * outputs.std()
    trainable = sum(t.numel() for t in layer.parameters() if t.requires_grad)
    frozen = sum(t.numel() for t in layer.parameters() if not t.requires_grad)
    formula = formula_trainable(p.d_out, p.d_in, p.rank)
    loss_left = curves[p.init][-1] / curves[p.init][0]
    facts = [
        Fact("trainable_params", "parameters", trainable, formula),
        Fact("reduction", "×", frozen / trainable, p.d_out * p.d_in / formula, rtol=1e-9),
        Fact("start_mismatches", "outputs", start_mismatches),
        Fact("factors_learning_at_start", "of A and B", sum(int(t.any()) for t in (of_a, of_b))),
        Fact("frozen_gradients", "tensors", int(of_w is not None), predicted=0),
        Fact("input_gradient_mismatches", "", int(((of_input - by_hand).abs() > 1e-3 * by_hand.std()).sum()), 0),
        Fact("loss_left", "of the start", loss_left),
        Fact("merge_mismatches", "outputs", int(off.sum())),
    ]
    ranks = sorted({1, 4, 8, 16, 64, p.rank})
    rows = [(r, formula_trainable(4096, 4096, r), 4096**2 / formula_trainable(4096, 4096, r)) for r in ranks]
    plotted = range(0, p.steps + 1, max(1, p.steps // 50))
    return Result(
        takeaway=Text(
            en=f"{trainable:,} trainable numbers beside {frozen:,} frozen ones; {start_mismatches} of "
            f"{outputs.numel():,} outputs differ from the base at the start, {loss_left:.2%} of the loss is left after "
            f"{p.steps} steps, and {int(off.sum())} outputs change when the adapter is merged.",
            zh=f"可训练参数 {trainable:,} 个，冻结 {frozen:,} 个；{outputs.numel():,} 个输出里，初始时有 "
            f"{start_mismatches} 个与基座不同；训练 {p.steps} 步后 loss 降到初始的 {loss_left:.2%}；"
            f"合并权重后有 {int(off.sum())} 个输出发生变化。",
        ),
        facts=facts,
        table=Table(("rank", "trainable beside 4096 × 4096", "reduction (×)"), rows),
        plot=Plot(
            "Where A and B start decides whether anything is learned",
            "Adam step",
            "mean squared error",
            [Series(init, list(plotted), [curve[i] for i in plotted]) for init, curve in curves.items()],
            log_y=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
