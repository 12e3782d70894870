"""Do the fill-in predictions of a masked model multiply to the probability of a text?

Left to right they do: Π p(x_t | x_<t) is the joint, by the chain rule, and sums to 1 over all texts. A masked model
gives p(x_t | all other tokens). Each such factor is right, but their product counts what neighbours tell each other
once from each side, so it is not a probability of anything: on a source that repeats one token for ever every factor
is 1, and the V possible texts get 1 each. What one computes from it, the "pseudo-perplexity" of BERT, is too low to be
held against the perplexity of GPT. The machine tabulates the joint of a small source, so that both kinds of
conditional are exact, and adds up the products over every text.

Legend: V vocabulary, T tokens of a text; the joint has T axes of size V.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def sticky_joint(vocab: int, seq_len: int, stay: float) -> Tensor:
    """p(x_1 … x_T) of a source that repeats its last token with probability `stay`, else takes one of the others."""
    step = torch.full((vocab, vocab), (1 - stay) / (vocab - 1), dtype=torch.float64).fill_diagonal_(stay)
    joint = torch.full((vocab,), 1 / vocab, dtype=torch.float64)
    for _ in range(seq_len - 1):
        joint = joint[..., None] * step  # (V, …, V), one axis more
    return joint


def left_to_right(joint: Tensor, t: int) -> Tensor:
    """p(x_t | x_<t) for every text: sum the later tokens out, then divide."""
    later = tuple(range(t + 1, joint.dim()))
    upto = joint.sum(dim=later, keepdim=True) if later else joint
    return (upto / upto.sum(dim=t, keepdim=True)).nan_to_num().expand_as(joint)  # 0/0: a past that never happens


def fill_in(joint: Tensor, t: int) -> Tensor:
    """p(x_t | all other tokens) for every text: what a perfect masked model says about a single [MASK]."""
    return (joint / joint.sum(dim=t, keepdim=True)).nan_to_num()


def products(joint: Tensor, factors: str) -> Tensor:
    """Π_t of the factors, for every text: (V, …, V)."""
    factor = left_to_right if factors == "left to right" else fill_in
    return torch.stack([factor(joint, t) for t in range(joint.dim())]).prod(dim=0)


def perplexity(joint: Tensor, score: Tensor) -> float:
    """Exponential of the mean −log score per token, over texts drawn from the source."""
    possible = joint > 0
    return math.exp(-(joint[possible] * score[possible].log()).sum().item() / joint.dim())


@dataclass(frozen=True)
class Params:
    factors: Literal["fill in", "left to right"] = "fill in"
    vocab: int = 3
    seq_len: int = 4  # tokens of a text
    stay: float = 0.8  # probability that the source repeats its last token; 1 / vocab: no memory

    def __post_init__(self) -> None:
        if self.vocab < 2 or self.seq_len < 2 or self.vocab**self.seq_len > 100_000:
            raise ValueError("vocab and seq_len must be at least 2, and vocab**seq_len at most 100,000")
        if not 0 < self.stay <= 1:
            raise ValueError("stay must be above 0 and at most 1")


def run(p: Params) -> Result:
    curve = [i / 10 for i in range(1, 11)]
    totals = {
        factors: [products(sticky_joint(p.vocab, p.seq_len, stay), factors).sum().item() for stay in curve]
        for factors in ("left to right", "fill in")
    }
    joint = sticky_joint(p.vocab, p.seq_len, p.stay)
    score = products(joint, p.factors)
    total = score.sum().item()
    true_perplexity = perplexity(joint, joint)

    exact = p.factors == "left to right" or math.isclose(p.stay, 1 / p.vocab)  # independent tokens: no double counting
    predicted = 1 if exact else p.vocab if p.stay == 1 else None
    facts = [
        Fact("total", "", total, predicted=predicted, atol=1e-9),
        Fact("texts", "texts", joint.numel(), predicted=p.vocab**p.seq_len),
        Fact("perplexity", "", perplexity(joint, score), true_perplexity if exact else None, rtol=1e-9),
        Fact("true_perplexity", "", true_perplexity),
    ]
    name_zh = {"fill in": "填空式", "left to right": "从左到右"}[p.factors]
    return Result(
        takeaway=Text(
            en=f"Exact {p.factors!r} conditionals of a small source: their products over all {joint.numel():,} texts "
            f"sum to {total:.3f}, and give a perplexity of {facts[2].measured:.3f} where the true one is "
            f"{true_perplexity:.3f}.",
            zh=f"小信源上精确的{name_zh}条件概率：对全部 {joint.numel():,} 种文本，连乘积之和为 {total:.3f}；由它算出的"
            f"困惑度是 {facts[2].measured:.3f}，真实困惑度是 {true_perplexity:.3f}。",
        ),
        facts=facts,
        table=Table(
            ("probability of repeating", "left to right: total", "fill in: total"),
            list(zip(curve, totals["left to right"], totals["fill in"], strict=True)),
        ),
        plot=Plot(
            f"Sum of the products over all texts of {p.seq_len} tokens",
            "probability of repeating the last token",
            "total",
            [Series(name, curve, values) for name, values in totals.items()],
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
