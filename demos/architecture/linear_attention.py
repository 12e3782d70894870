"""Why is attention without softmax an RNN?

Without the softmax, (q·k₁)v₁ + (q·k₂)v₂ + … can be regrouped as q·(k₁v₁ᵀ + k₂v₂ᵀ + …): the whole past is one D × D
matrix, S ← γ·S + k vᵀ, with a decay γ that forgets. The outputs are the same as those of masked products of all
tokens at once. So one layer has two forms: parallel for training, with a T × T table, and recurrent for generation,
with a state that does not grow. With a softmax in between, the sum can't be regrouped.

Legend: T tokens, D head_dim.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def recurrent_form(q: Tensor, k: Tensor, v: Tensor, gamma: float) -> tuple[Tensor, int]:
    """Token by token, (T, D) each → (T, D); and how many numbers the layer carries from token to token."""
    S, outputs = torch.zeros(k.shape[1], v.shape[1], dtype=q.dtype), []
    for q_t, k_t, v_t in zip(q, k, v, strict=True):
        S = gamma * S + torch.outer(k_t, v_t)
        outputs.append(q_t @ S)
    return torch.stack(outputs), S.numel()


def decay_mask(T: int, gamma: float) -> Tensor:
    """M_ts = γ^(t−s) for s ≤ t, 0 for later tokens: (T, T), as in RetNet (arXiv 2307.08621, section 2.1)."""
    t = torch.arange(T, dtype=torch.float64)
    return torch.where(t[:, None] >= t, gamma ** (t[:, None] - t).clamp(min=0), 0.0)


def parallel_form(q: Tensor, k: Tensor, v: Tensor, gamma: float) -> Tensor:
    """All tokens at once: ((QKᵀ) ∘ M)·V; without decay it is causal linear attention (arXiv 2006.16236)."""
    return ((q @ k.T) * decay_mask(len(q), gamma)) @ v


def with_softmax(q: Tensor, k: Tensor, v: Tensor, gamma: float) -> Tensor:
    """The same products, but normalised by softmax before they meet V: this has no state of fixed size."""
    M = decay_mask(len(q), gamma)
    scores = (q @ k.T).masked_fill(M == 0, -torch.inf)
    return (scores.softmax(dim=1) * M) @ v


@dataclass(frozen=True)
class Params:
    attention: Literal["linear", "softmax"] = "linear"  # the parallel form
    gamma: float = 0.95  # decay per token; 1: none
    seq_len: int = 256  # T
    head_dim: int = 32  # D
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.5 <= self.gamma <= 1:
            raise ValueError("gamma must be between 0.5 and 1")
        if not 2 <= self.seq_len <= 1024 or not 1 <= self.head_dim <= 128:
            raise ValueError("seq_len must be between 2 and 1,024, head_dim between 1 and 128")


def run(p: Params) -> Result:
    T, D = p.seq_len, p.head_dim
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(p.seed)
        q, k, v = torch.randn(3, T, D, dtype=torch.float64) / math.sqrt(D)
    recurrent, state_numbers = recurrent_form(q, k, v, p.gamma)
    parallel = {"linear": parallel_form, "softmax": with_softmax}[p.attention](q, k, v, p.gamma)
    mismatches = int(((recurrent - parallel).abs() > 1e-9).sum())
    lengths = [2**i for i in range(4, 14)]
    return Result(
        takeaway=Text(
            en=f"{p.attention} attention over {T:,} tokens: {mismatches:,} of {recurrent.numel():,} outputs differ "
            f"from a loop that carries {state_numbers:,} numbers from token to token.",
            zh=f"{p.attention} 注意力，{T:,} 个 token：{recurrent.numel():,} 个输出中有 {mismatches:,} 个"
            f"与循环形式不同，循环只在 token 之间传递 {state_numbers:,} 个数。",
        ),
        facts=[
            Fact("outputs", "outputs", recurrent.numel()),
            Fact("mismatches", "outputs", mismatches, predicted=0 if p.attention == "linear" else None),
            Fact("state_numbers", "numbers", state_numbers, predicted=D * D),
            Fact("table_numbers", "numbers", decay_mask(T, p.gamma).numel(), predicted=T * T),
        ],
        table=Table(
            ("form", "numbers held", "tokens at once"),
            [("recurrent", state_numbers, 1), ("parallel", T * T, T)],
        ),
        plot=Plot(
            "What one head holds for the past",
            "tokens",
            "numbers",
            [
                Series("state of linear attention", lengths, [D * D] * len(lengths)),
                Series("keys and values", lengths, [2 * D * n for n in lengths]),
            ],
            log_x=True,
            log_y=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
