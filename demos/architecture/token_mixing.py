"""Which block of a Transformer lets tokens see each other?

Only attention does. FFN and LayerNorm work on each token alone, with the same weights for all, and the residual adds a
token to itself. So a stack without attention is a dictionary from token to output, however deep it is. The mask limits
what attention may read to the tokens so far; cross-attention reads, beside its own token, the source alone. The machine
asks autograd, block by block, which input tokens one output depends on.

Legend: B batch, T tokens, d width.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from llmprep.demos.architecture.transformer_layer import Attention, FeedForward
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

D_MODEL, N_HEADS = 32, 4


def tokens_read(block: Callable[[Tensor], Tensor], x: Tensor, position: int) -> int:
    """How many tokens of x (1, T, d) can change the output at `position`: those that get a gradient from it."""
    x = x.detach().clone().requires_grad_()
    (gradient,) = torch.autograd.grad(block(x)[0, position].square().sum(), x)
    return int((gradient[0] != 0).any(dim=-1).sum())


@dataclass(frozen=True)
class Params:
    block: Literal["self-attention", "masked self-attention", "cross-attention", "FFN", "LayerNorm"] = "self-attention"
    seq_len: int = 16  # tokens; the source of the cross-attention has as many
    position: int = 5  # of the output token that is asked, from 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.seq_len <= 256 or not 0 <= self.position < self.seq_len:
            raise ValueError("seq_len must be between 2 and 256, and position below it")


def run(p: Params) -> Result:
    T = p.seq_len
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(p.seed)
        attend = Attention(D_MODEL, N_HEADS).double()
        ffn, norm = FeedForward(D_MODEL, 4 * D_MODEL).double(), nn.LayerNorm(D_MODEL).double()
        x, target = torch.randn(2, 1, T, D_MODEL, dtype=torch.float64)
    blocks: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {  # and what each should read
        "self-attention": (lambda y: attend(y, y), T),
        "masked self-attention": (lambda y: attend(y, y, causal=True), p.position + 1),
        "cross-attention": (lambda source: attend(target, source), T),
        "FFN": (ffn, 1),
        "LayerNorm": (norm, 1),
    }
    read = {name: tokens_read(block, x, p.position) for name, (block, _) in blocks.items()}
    return Result(
        takeaway=Text(
            en=f"Through {p.block}, output {p.position} (counted from 0) depends on {read[p.block]} of {T} tokens.",
            zh=f"经过 {p.block}，第 {p.position} 个输出（从 0 数起）依赖 {T} 个 token 中的 {read[p.block]} 个。",
        ),
        facts=[
            Fact("tokens_read", "tokens", read[p.block], predicted=blocks[p.block][1]),
            Fact("read_by_self_attention", "tokens", read["self-attention"], predicted=T),
            Fact("read_by_masked_self_attention", "tokens", read["masked self-attention"], predicted=p.position + 1),
        ],
        table=Table(
            ("block", f"tokens read by output {p.position}", "predicted"),
            [(name, n, blocks[name][1]) for name, n in read.items()],
        ),
        plot=Plot(
            f"What output {p.position} of {T} depends on",
            "block",
            "tokens",
            [Series("tokens read", list(read), list(read.values()))],
            kind="bar",
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
