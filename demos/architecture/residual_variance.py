"""Why does GPT-2 scale the initial weights of its residual branches by 1/√(2L)?

A Transformer of L layers adds 2L branches (attention and MLP) to its residual stream. In pre-norm each branch starts
from a normalised input, so each adds about the same variance v, whatever the stream is: 1 + 2L·v at the end, which
grows with depth. Multiply the last matrix of every branch by 1/√(2L), and each adds v/(2L): 1 + v, at any depth.
The blocks below are those of a small GPT-2, really initialised and run.

Legend: B texts, T tokens, L layers.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from llmprep.demos.architecture.causal_mask import Block
from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def fresh_block(d_model: int, n_heads: int, weight_std: float, residual_scale: float) -> Block:
    """Normal(0, weight_std), and `residual_scale` times that in the two matrices that write to the stream."""
    block = Block(d_model, n_heads)
    writers = (block.attention.wo.weight, block.down.weight)
    for w in block.parameters():
        if w.dim() == 2:  # not the weights of the norms
            nn.init.normal_(w, std=weight_std)
    with torch.no_grad():
        for w in writers:
            w.mul_(residual_scale)
    return block


def stream_variance(x: Tensor, n_layers: int, n_heads: int, weight_std: float, residual_scale: float) -> list[float]:
    """Variance of the stream before the first and after every layer, L + 1 values. x: (B, T, d_model)."""
    variances = [x.var().item()]
    for _ in range(n_layers):
        x = fresh_block(x.shape[-1], n_heads, weight_std, residual_scale)(x, causal=True)
        variances.append(x.var().item())
    return variances


def formula_scale(n_layers: int) -> float:
    """1/√N with N the number of residual branches, two a layer (GPT-2 paper, section 2.3)."""
    return 1 / math.sqrt(2 * n_layers)


@dataclass(frozen=True)
class Params:
    scaled: bool = True  # multiply the writing matrices by 1/√(2L)
    n_layers: int = 48  # L, a multiple of four; compared with a quarter of it
    d_model: int = 128
    weight_std: float = 0.08
    tokens: int = 32  # T, in each of 8 texts
    seed: int = 0

    def __post_init__(self) -> None:
        if not 8 <= self.n_layers <= 64 or self.n_layers % 4:
            raise ValueError("n_layers must be a multiple of four between 8 and 64")
        if self.d_model % 32 or not 128 <= self.d_model <= 256 or not 16 <= self.tokens <= 64:
            raise ValueError("d_model must be a multiple of 32 between 128 and 256, tokens between 16 and 64")
        if not 0.05 <= self.weight_std <= 0.12:
            raise ValueError("weight_std must be between 0.05 and 0.12: branches that add something, and not too much")


def run(p: Params) -> Result:
    curves = {}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for n_layers in (p.n_layers // 4, p.n_layers):
            for scaled in (True, False):
                torch.manual_seed(p.seed)
                x = torch.randn(8, p.tokens, p.d_model)
                scale = formula_scale(n_layers) if scaled else 1.0
                curves[n_layers, scaled] = stream_variance(x, n_layers, p.d_model // 32, p.weight_std, scale)
    added = {key: variances[-1] - variances[0] for key, variances in curves.items()}
    L, start, variance = p.n_layers, curves[p.n_layers, p.scaled][0], curves[p.n_layers, p.scaled][-1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(p.seed)
        block = fresh_block(p.d_model, p.d_model // 32, p.weight_std, formula_scale(L) if p.scaled else 1.0)
    writer_std = block.down.weight.std().item()
    labels = {True: "scaled by 1/√(2L)", False: "not scaled"}
    return Result(
        takeaway=Text(
            en=f"After {L} pre-norm layers the residual stream has a variance of {variance:.2f} "
            f"({labels[p.scaled]}; it starts at {start:.2f}, seed {p.seed}).",
            zh=f"{L} 层 pre-norm 之后，残差流的方差是 {variance:.2f}"
            f"（{'写回矩阵乘了 1/√(2L)' if p.scaled else '写回矩阵没有缩放'}；起点是 {start:.2f}，seed = {p.seed}）。",
        ),
        facts=[
            Fact("variance", "", variance),
            Fact(
                "growth",  # of what the branches add, at four times the depth
                "×",
                added[L, p.scaled] / added[L // 4, p.scaled],
                predicted=1 if p.scaled else 4,
                rtol=0.3,
            ),
            Fact("unscaled_over_scaled", "×", added[L, False] / added[L, True], predicted=2 * L, rtol=0.35),
            Fact(
                "scale", "×", writer_std / p.weight_std, predicted=formula_scale(L) if p.scaled else 1.0, rtol=0.02
            ),  # of the weights really drawn
        ],
        table=Table(
            ("layers", "variance, scaled by 1/√(2L)", "variance, not scaled"),
            [(n, curves[n, True][-1], curves[n, False][-1]) for n in (L // 4, L)],
        ),
        plot=Plot(
            f"Residual stream through {L} layers",
            "layer",
            "variance",
            [Series(labels[s], list(range(L + 1)), curves[L, s]) for s in (True, False)],
            log_y=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
