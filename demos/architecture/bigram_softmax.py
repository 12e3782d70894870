"""What does a softmax over next tokens converge to when gradient descent trains it on plain text?

To the counts. A neural bigram model has one row of V logits for each token and is trained with cross-entropy on pairs
of neighbours: labels that the text itself supplies. The loss of row h is −Σ_w c(hw)·log p(w | h), and its gradient,
c(h)·p(w | h) − c(hw), vanishes where p(w | h) = c(hw) / c(h). So an n-gram table is the optimum of the objective that
an LLM is trained with, for a model that shares nothing between contexts; the loss that remains is the conditional
entropy of the counts. Weight decay pulls the rows towards uniform: it is the network's smoothing.

Legend: V vocabulary, N pairs of a text.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from llmprep.demos.architecture.ngram import read_tokens
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

STEPS = 1500


def formula_bigram(tokens: Sequence[str]) -> dict[tuple[str, str], float]:
    """p(w | h) = c(hw) / c(h) for each pair of the text."""
    firsts = Counter(tokens[:-1])
    return {(h, w): n / firsts[h] for (h, w), n in Counter(pairwise(tokens)).items()}


def formula_entropy(tokens: Sequence[str]) -> float:
    """−1/N · Σ c(hw) · log(c(hw) / c(h)): no bigram model has a lower cross-entropy on this text. In nats."""
    p, pairs = formula_bigram(tokens), list(pairwise(tokens))
    return -math.fsum(math.log(p[pair]) for pair in pairs) / len(pairs)


def train_bigram(ids: Tensor, vocab: int, weight_decay: float) -> tuple[Tensor, list[float]]:
    """Token ids (N + 1,) → probabilities (V, V) and the loss of each step; no counting, only cross-entropy and Adam."""
    logits = torch.zeros(vocab, vocab, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=1.0, eps=1e-12)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    losses = []
    for _ in range(STEPS):
        nll = -logits.log_softmax(dim=-1)[ids[:-1], ids[1:]].mean()  # of (N,) pairs
        losses.append(nll.item())
        optimizer.zero_grad()
        (nll + weight_decay / 2 * logits.square().sum()).backward()
        optimizer.step()
        schedule.step()
    return logits.detach().softmax(dim=-1), losses


@dataclass(frozen=True)
class Params:
    n_characters: int = 11_000  # of the chapter, from its start
    weight_decay: float = 0.0  # L2 on the logits
    tolerance: float = 1e-5  # a probability farther than this from its count ratio is off

    def __post_init__(self) -> None:
        if not 1000 <= self.n_characters <= 11_000:
            raise ValueError("n_characters must be between 1,000 and 11,000")
        if not 0 <= self.weight_decay <= 1:
            raise ValueError("weight_decay must be between 0 and 1")
        if not 1e-5 <= self.tolerance < 1:
            raise ValueError("tolerance must be between 1e-5 and 1")


def run(p: Params) -> Result:
    tokens = read_tokens("character")[: p.n_characters]
    vocabulary = sorted(set(tokens))
    ids = torch.tensor([vocabulary.index(token) for token in tokens])
    trained, losses = train_bigram(ids, len(vocabulary), p.weight_decay)

    counted = formula_bigram(tokens)
    contexts = sorted(set(tokens[:-1]))
    gaps = [
        abs(trained[vocabulary.index(h), vocabulary.index(w)].item() - counted.get((h, w), 0.0))
        for h in contexts
        for w in vocabulary
    ]
    entropy = formula_entropy(tokens)
    exact = p.weight_decay == 0
    facts = [
        Fact("cells_off", "probabilities", sum(gap > p.tolerance for gap in gaps), predicted=0 if exact else None),
        Fact("cells", "probabilities", len(gaps)),
        Fact("loss", "nats", losses[-1], predicted=entropy if exact else None, rtol=1e-4),
        Fact("first_loss", "nats", losses[0], predicted=math.log(len(vocabulary)), rtol=1e-9),
    ]
    shown = sorted(counted, key=lambda pair: -counted[pair])[:8]
    steps = [1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000, STEPS]
    return Result(
        takeaway=Text(
            en=f"Of {len(gaps):,} trained probabilities, {facts[0].measured:,} are farther than {p.tolerance:g} from "
            f"c(hw) / c(h); the loss ends at {losses[-1]:.4f} nats, the entropy of the counts is {entropy:.4f}.",
            zh=f"训练得到的 {len(gaps):,} 个概率里，与 c(hw) / c(h) 相差超过 {p.tolerance:g} 的有 "
            f"{facts[0].measured:,} 个；损失收敛到 {losses[-1]:.4f} nats，计数的条件熵是 {entropy:.4f}。",
        ),
        facts=facts,
        table=Table(
            ("pair", "counted", "trained"),
            [
                (f"{h!r} → {w!r}", counted[h, w], trained[vocabulary.index(h), vocabulary.index(w)].item())
                for h, w in shown
            ],
        ),
        plot=Plot(
            "Softmax bigram in training",
            "step",
            "cross-entropy (nats)",
            [
                Series("trained", steps, [losses[step - 1] for step in steps]),
                Series("entropy of the counts", steps, [entropy] * len(steps)),
            ],
            log_x=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
