"""LoRA: which matrices get an adapter, and how many parameters that trains."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from llmprep.calc.shapes import Shape, Weight
from llmprep.errors import UserError

Targets = Literal["qv", "attention", "all-linear"]
TARGETS: tuple[Targets, ...] = ("qv", "attention", "all-linear")
MIXING = ("attention", "cross-attention", "state space", "linear attention")
OUTSIDE = ("token embedding", "position embedding", "pooler", "output head")


@dataclass(frozen=True)
class Adapters:
    """Low-rank updates of some matrices (Hu et al., arXiv 2106.09685, section 4.1): W + B·A, A (r, in), B (out, r).

    "qv" is the paper's choice, W_q and W_v; "all-linear" is QLoRA's and means what it means in peft: every matrix of
    a layer, experts and routers too, but not the embedding and the head.
    """

    rank: int
    targets: Targets = "all-linear"

    def on(self, part: str, name: str) -> bool:
        """Whether the matrix `name` of that part of a layer gets an adapter."""
        if self.targets == "qv":
            return part in MIXING and name in ("W_q", "W_v")
        return part in MIXING if self.targets == "attention" else part not in OUTSIDE

    def size(self, weight: Weight) -> int:
        """Parameters that train one copy of the matrix: r·(in + out); 0 where it gets none."""
        on = weight.kind == "matrix" and self.on(weight.part, weight.name)
        return self.rank * sum(weight.shape) if on else 0


def in_layers(shape: Shape) -> Iterator[tuple[int, Weight]]:
    """(sets stored, weight) for every kind of tensor inside the layers."""
    for stack in (*shape.encoder, *shape.stacks):
        for weight in stack.layer.weights(shape.d_model, shape.norm_size):
            yield stack.stored, weight


def trainable(shape: Shape, adapters: Adapters) -> int:
    """Parameters of all adapters. GPT-3 175B, r = 4 on W_q and W_v: 96 · 2 · 4 · (12288 + 12288) = 18,874,368.

    Each matrix counts alone. A checkpoint that fuses some (GPT-2's c_attn, Phi-3's qkv_proj) gives them one A.
    """
    n = sum(stored * weight.copies * adapters.size(weight) for stored, weight in in_layers(shape))
    if not n:
        raise UserError(f"--targets {adapters.targets}: a {shape.family} has no such matrices; take all-linear")
    return n


def linear(shape: Shape) -> int:
    """Parameters of the matrices inside the layers: what QLoRA stores in NF4."""
    return sum(n * weight.copies * weight.size for n, weight in in_layers(shape) if weight.kind == "matrix")
