"""Is attention without position information invariant to the order of its tokens?

No, it is *equivariant*: shuffle the tokens and the outputs are shuffled with them, P·f(x) = f(P·x). Each token gets the
same vector as before, at its new place, so nothing can tell "dog bites man" from "man bites dog". Only what is pooled
over all tokens, such as their mean, is *invariant*. Position vectors break the symmetry, and so does a causal mask: it
ties what a token sees to its place, although it adds no position to anything.

Legend: B batch, T tokens.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from llmprep.demos.architecture.multi_head import MultiHeadAttention
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

Layer = Callable[[Tensor], Tensor]
TOLERANCE = 1e-9  # far above the noise of float64, far below any change that is meant


def rows_that_agree(a: Tensor, b: Tensor) -> int:
    """How many token vectors of two (1, T, d_model) tensors are the same."""
    return int(((a - b).abs().amax(dim=-1) < TOLERANCE).sum())


def outputs_that_follow(layer: Layer, x: Tensor, order: Tensor) -> int:
    """Equivariance, f(P·x) = P·f(x): outputs that moved along with their tokens."""
    return rows_that_agree(layer(x[:, order]), layer(x)[:, order])


def outputs_that_stay(layer: Layer, x: Tensor, order: Tensor) -> int:
    """Invariance, f(P·x) = f(x): outputs that are the same at the same place."""
    return rows_that_agree(layer(x[:, order]), layer(x))


def no_fixed_point(T: int) -> Tensor:
    """A random order of T places in which none keeps its own: one cycle through all of them."""
    cycle = torch.randperm(T)
    order = torch.empty(T, dtype=torch.long)
    order[cycle] = cycle.roll(1)
    return order


@dataclass(frozen=True)
class Params:
    mask: Literal["none", "causal"] = "none"
    positions: Literal["none", "added"] = "none"  # added: a random vector for each place, as in GPT-2 and BERT
    seq_len: int = 64  # tokens
    n_heads: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        if not 3 <= self.seq_len <= 512:
            raise ValueError("seq_len must be between 3 and 512: with two tokens there is one other order")
        if self.n_heads not in (1, 2, 4, 8):
            raise ValueError("n_heads must be 1, 2, 4 or 8")


def run(p: Params) -> Result:
    T, d_model = p.seq_len, 32
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(p.seed)
        attend = MultiHeadAttention(d_model, p.n_heads).double()
        place = torch.randn(T, d_model, dtype=torch.float64)
        x = torch.randn(1, T, d_model, dtype=torch.float64)
        order = no_fixed_point(T)

    rows = []
    with torch.no_grad():
        for mask in ("none", "causal"):
            for positions in ("none", "added"):

                def layer(x: Tensor, mask: str = mask, positions: str = positions) -> Tensor:
                    return attend(x + place if positions == "added" else x, causal=mask == "causal")

                pooled = layer(x).mean(dim=1, keepdim=True), layer(x[:, order]).mean(dim=1, keepdim=True)
                follow, stay = outputs_that_follow(layer, x, order), outputs_that_stay(layer, x, order)
                rows.append((mask, positions, follow, stay, rows_that_agree(*pooled)))
    follow, stay, pooled_same = next(row[2:] for row in rows if row[:2] == (p.mask, p.positions))

    blind = p.mask == "none" and p.positions == "none"
    return Result(
        takeaway=Text(
            en=f"Mask {p.mask}, positions {p.positions}: after a shuffle of {T} tokens, {follow} outputs follow their "
            f"tokens and {stay} stay the same in place.",
            zh=f"掩码 {p.mask}，位置 {p.positions}：打乱 {T} 个 token 后，{follow} 个输出跟着 token 走，"
            f"{stay} 个输出在原位置保持不变。",
        ),
        facts=[
            Fact("outputs_that_follow", "outputs", follow, predicted=T if blind else 0),
            Fact("outputs_that_stay", "outputs", stay, predicted=0),
            Fact("pooled_unchanged", "", pooled_same, predicted=1 if blind else 0),  # 1: the mean over all tokens
        ],
        table=Table(("mask", "positions", "outputs that follow", "outputs that stay", "pooled mean unchanged"), rows),
        plot=Plot(
            f"After a shuffle of {T} tokens",
            "mask / positions",
            "outputs",
            [
                Series("follow their tokens", [f"{r[0]} / {r[1]}" for r in rows], [r[2] for r in rows]),
                Series("stay the same in place", [f"{r[0]} / {r[1]}" for r in rows], [r[3] for r in rows]),
            ],
            kind="bar",
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
