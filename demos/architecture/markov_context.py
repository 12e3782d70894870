"""How much does it help to see both sides of a token instead of the left side only, and is the harder task the better?

Conditioning never adds uncertainty: H(x | left, right) ≤ H(x | left). For a stationary Markov chain both are short
formulas. Left to right only the last token counts, H(x_t | x_(t−1)) = h₁. With both neighbours it is 2·h₁ − h₂, where
h₂ = H(x_(t+2) | x_t) is the uncertainty over two steps, so the right side is worth h₂ − h₁. That makes next-token
prediction the harder task; it does not make what it learns better. Left to right, the losses of a text add up to its
whole entropy; filling in scores each token after its neighbours have given part of it away. The machine tabulates the
probability of every text of five tokens and takes the entropies from that table.

Legend: K states; the joint has T axes of size K.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from llmprep.lab import Fact, Plot, Result, Series, Table, Text

T = 5  # tokens of a text; the third one is predicted


def entropy(p: Tensor) -> float:
    """−Σ p·log p of a table of probabilities: nats."""
    return -torch.special.xlogy(p, p).sum().item()


def random_chain(n_states: int, seed: int) -> Tensor:
    """Transition probabilities (K, K): softmax of standard normal logits, row by row."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n_states, n_states, generator=generator, dtype=torch.float64).softmax(dim=-1)


def sticky_chain(n_states: int, stay: float) -> Tensor:
    """Repeats the last token with probability `stay`, else goes to one of the others, all alike."""
    other = (1 - stay) / (n_states - 1)
    return torch.full((n_states, n_states), other, dtype=torch.float64).fill_diagonal_(stay)


def stationary(step: Tensor) -> Tensor:
    """π with π·P = π: the left eigenvector for eigenvalue 1, here by letting the chain run."""
    return torch.linalg.matrix_power(step, 4096)[0]


def formula_entropies(step: Tensor) -> tuple[float, float]:
    """(h₁, 2·h₁ − h₂) with h_n = Σ_i π_i · H(row i of Pⁿ). Two states, stay = 0.9: 0.325 and 0.179 nats."""
    pi = stationary(step)
    h1, h2 = (sum(w.item() * entropy(row) for w, row in zip(pi, p, strict=True)) for p in (step, step @ step))
    return h1, 2 * h1 - h2


def joint_table(step: Tensor) -> Tensor:
    """p(x_1 … x_5): (K, K, K, K, K)."""
    joint = stationary(step)
    for _ in range(T - 1):
        joint = joint[..., None] * step  # one axis more
    return joint


def conditional_entropy(joint: Tensor, target: int, given: tuple[int, ...]) -> float:
    """H(x_target | x_given) = H(both) − H(given), each from a marginal of the table."""

    def of(axes: tuple[int, ...]) -> float:
        away = tuple(i for i in range(joint.dim()) if i not in axes)
        return entropy(joint.sum(dim=away) if away else joint)

    return of((target, *given)) - of(given)


@dataclass(frozen=True)
class Params:
    context: Literal["left", "both sides"] = "both sides"
    source: Literal["random", "sticky"] = "random"
    n_states: int = 5
    stay: float = 0.9  # of the sticky source: probability of repeating the last token
    seed: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.n_states <= 8:
            raise ValueError("n_states must be between 2 and 8")
        if not 0.01 <= self.stay <= 0.99:
            raise ValueError("stay must be between 0.01 and 0.99")


def run(p: Params) -> Result:
    step = random_chain(p.n_states, p.seed) if p.source == "random" else sticky_chain(p.n_states, p.stay)
    joint = joint_table(step)
    left, both = conditional_entropy(joint, 2, (0, 1)), conditional_entropy(joint, 2, (0, 1, 3, 4))
    alone = conditional_entropy(joint, 2, ())
    text = entropy(joint)
    left_sum = sum(conditional_entropy(joint, t, tuple(range(t))) for t in range(T))
    fill_sum = sum(conditional_entropy(joint, t, tuple(i for i in range(T) if i != t)) for t in range(T))

    h1, filled = formula_entropies(step)
    causal = p.context == "left"
    facts = [
        Fact("entropy", "nats", left if causal else both, predicted=h1 if causal else filled, atol=1e-9),
        Fact("losses_of_text", "nats", left_sum if causal else fill_sum, predicted=text if causal else None, atol=1e-9),
        Fact("entropy_left", "nats", left, predicted=h1, atol=1e-9),
        Fact("entropy_both", "nats", both, predicted=filled, atol=1e-9),
        Fact("right_side_worth", "nats", left - both, predicted=h1 - filled, atol=1e-9),
        Fact("entropy_of_text", "nats", text, predicted=alone + (T - 1) * h1, atol=1e-9),
    ]
    seen = ["nothing", "left", "both sides"]
    return Result(
        takeaway=Text(
            en=f"A token of this source has {alone:.3f} nats of entropy, {left:.3f} given all tokens on its left and "
            f"{both:.3f} given both sides; over a text the left-to-right losses add up to its entropy of {text:.3f}, "
            f"the fill-in losses to {fill_sum:.3f}.",
            zh=f"该信源的一个 token，熵为 {alone:.3f} nats，给定左侧全部 token 后为 {left:.3f}，给定两侧后为 "
            f"{both:.3f}；整段文本上，从左到右的损失之和等于文本的熵 {text:.3f}，填空的损失之和只有 {fill_sum:.3f}。",
        ),
        facts=facts,
        table=Table(
            ("known", "entropy of a token (nats)", "perplexity"),
            [(name, h, math.exp(h)) for name, h in zip(seen, (alone, left, both), strict=True)],
        ),
        plot=Plot(
            f"A Markov source of {p.n_states} states",
            "known",
            "entropy of a token (nats)",
            [Series("entropy", seen, [alone, left, both])],
            kind="bar",
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
