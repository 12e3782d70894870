"""How much harder is it to predict a token from its left side than from both sides?

Never easier: more context cannot raise an entropy, H(x_t | left, right) ≤ H(x_t | left). Causal training is therefore
the harder task for each token; whether harder is better for what is learned does not follow from it. On a Markov
source both are exact: on the left only the last token matters, in the middle the two neighbours do. The machine draws
a long text from the source and gets the same two numbers from nothing but counts of three tokens in a row.

Legend: S states (the vocabulary), P[a, b] probability that b follows a, π the stationary distribution.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from llmprep.lab import Fact, Plot, Result, Series, Table, Text

CHAINS, STEPS = 2000, 200  # texts drawn side by side, tokens of each


def random_chain(n_states: int, sharpness: float) -> Tensor:
    """P: rows are softmax(sharpness · noise); 0 makes every token uniform and independent."""
    return (sharpness * torch.randn(n_states, n_states, dtype=torch.float64)).softmax(dim=1)


def stationary(step: Tensor) -> Tensor:
    """π with π·P = π, by letting the chain run."""
    return torch.linalg.matrix_power(step, 1024)[0]


def entropy(p: Tensor) -> float:
    """−Σ p ln p in nats."""
    return -torch.special.xlogy(p, p).sum().item()


def formula_left(step: Tensor) -> float:
    """H(x_t | all before) = Σ_a π_a H(P[a]): Cover and Thomas, theorem 4.2.4."""
    return sum(p * entropy(row) for p, row in zip(stationary(step).tolist(), step, strict=True))


def formula_both(step: Tensor) -> float:
    """H(b | a, c) with p(b | a, c) = P[a, b]·P[b, c] / P²[a, c], weighted by p(a, c) = π_a · P²[a, c]."""
    total = 0.0
    for a, weight in enumerate(stationary(step).tolist()):
        for c in range(len(step)):
            paths = step[a] * step[:, c]  # over the token between
            total += weight * paths.sum().item() * entropy(paths / paths.sum())
    return total


def sample(step: Tensor) -> Tensor:
    """Texts (CHAINS, STEPS) from the stationary source."""
    tokens = [torch.multinomial(stationary(step), CHAINS, replacement=True)]
    for _ in range(STEPS - 1):
        tokens.append(torch.multinomial(step[tokens[-1]], 1)[:, 0])
    return torch.stack(tokens, dim=1)


def counted(texts: Tensor, n_states: int) -> tuple[float, float]:
    """H(b | a) and H(b | a, c) from the counts of triples (a, b, c): H(joint) − H(condition)."""
    a, b, c = texts[:, :-2].flatten(), texts[:, 1:-1].flatten(), texts[:, 2:].flatten()
    triples = torch.bincount((a * n_states + b) * n_states + c, minlength=n_states**3).view(*[n_states] * 3).double()
    triples /= triples.sum()
    left = entropy(triples.sum(dim=2)) - entropy(triples.sum(dim=(1, 2)))
    return left, entropy(triples) - entropy(triples.sum(dim=1))


@dataclass(frozen=True)
class Params:
    n_states: int = 5  # vocabulary
    sharpness: float = 1.0  # of the source; 0: tokens are independent and uniform
    seed: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.n_states <= 12:
            raise ValueError("n_states must be between 2 and 12: triples are counted")
        if not 0 <= self.sharpness <= 3:
            raise ValueError("sharpness must be between 0 and 3")


def run(p: Params) -> Result:
    rows = []
    with torch.random.fork_rng(devices=[]):
        for sharpness in sorted({0.0, 0.5, 1.0, 1.5, 2.0, p.sharpness}):
            torch.manual_seed(p.seed)  # the same noise, scaled
            step = random_chain(p.n_states, sharpness)
            found = counted(sample(step), p.n_states) if sharpness == p.sharpness else (None, None)
            rows.append((sharpness, formula_left(step), formula_both(step), *found))
    _, exact_left, exact_both, left, both = next(row for row in rows if row[0] == p.sharpness)

    return Result(
        takeaway=Text(
            en=f"A source of {p.n_states} tokens: {left:.3f} nats per token from the left, {both:.3f} from both sides, "
            f"{math.log(p.n_states):.3f} without context (seed {p.seed}).",
            zh=f"{p.n_states} 个 token 的信源：每个 token 只看左侧 {left:.3f} nats，看两侧 {both:.3f} nats，不看上下文 "
            f"{math.log(p.n_states):.3f} nats（seed = {p.seed}）。",
        ),
        facts=[
            Fact("left", "nats", left, predicted=exact_left, atol=0.01),
            Fact("both", "nats", both, predicted=exact_both, atol=0.01),
            Fact("gap", "nats", left - both, predicted=exact_left - exact_both, atol=0.01),
            Fact("gap_share", "", 1 - both / left),
        ],
        table=Table(("sharpness", "left (nats)", "both (nats)", "left, counted", "both, counted"), rows),
        plot=Plot(
            "Entropy of a token",
            "sharpness of the source",
            "nats",
            [Series(n, [r[0] for r in rows], [r[i] for r in rows]) for i, n in ((1, "given left"), (2, "given both"))],
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
