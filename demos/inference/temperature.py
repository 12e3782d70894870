"""What does temperature change in the next-token distribution, and what does it leave alone?

Dividing the logits z by T before the softmax raises every probability to the power 1/T and renormalises. The
ranking stays; the odds of any two tokens become exp((z_i − z_j) / T); the entropy can only rise with T, because
dH/dT = Var(z) / T³ ≥ 0. T → 0 is argmax and T → ∞ is uniform. Only z / T counts, so one T means different
things on models whose logits have different scales.

The machine draws tokens with the Gumbel-max race, argmax(z / T + noise), which never computes a softmax.
Legend: V tokens, sorted by logit; the logits fall by `gap` from each rank to the next.
"""

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def softmax(logits: Sequence[float], temperature: float = 1.0) -> list[float]:
    """Probabilities p ∝ exp(z / T), (V,) → (V,), with the largest logit subtracted (Hinton et al. 2015, eq. 1)."""
    top = max(logits)
    weights = [math.exp((z - top) / temperature) for z in logits]
    total = sum(weights)
    return [w / total for w in weights]


def scaled_probabilities(logits: Sequence[float], temperature: float) -> list[float]:
    """The mistake: divide the probabilities by T instead. Renormalising undoes it, so nothing happens."""
    divided = [p / temperature for p in softmax(logits)]
    total = sum(divided)
    return [p / total for p in divided]


def entropy(probs: Sequence[float]) -> float:
    """Shannon entropy in nats; exp of it is the perplexity, the number of equally likely tokens it is worth."""
    return -sum(p * math.log(p) for p in probs if p > 0)


def formula_entropy_slope(logits: Sequence[float], temperature: float) -> float:
    """dH/dT = Var(z) / T³, the variance taken under p itself. It is what makes the entropy monotone."""
    probs = softmax(logits, temperature)
    mean = sum(p * z for p, z in zip(probs, logits, strict=True))
    return sum(p * (z - mean) ** 2 for p, z in zip(probs, logits, strict=True)) / temperature**3


def gumbel_draw(logits: Sequence[float], temperature: float, rng: random.Random) -> int:
    """argmax(z / T + g), g = −ln(−ln u), is distributed as softmax(z / T) (Maddison et al. 2014)."""
    noisy = [z / temperature - math.log(-math.log(rng.random() or 0.5)) for z in logits]
    return max(range(len(noisy)), key=noisy.__getitem__)


@dataclass(frozen=True)
class Params:
    gap: float = 1.0  # logits between one rank and the next; three times the gap is three times the scale
    temperature: float = 1.0
    vocab: int = 32  # tokens
    divide: Literal["logits", "probabilities"] = "logits"  # what T divides; "probabilities" is a mistake
    n_draws: int = 20_000
    seed: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.vocab <= 1000:
            raise ValueError("vocab must be between 2 and 1000")
        if not 1000 <= self.n_draws <= 200_000 or self.n_draws * self.vocab > 2_000_000:
            raise ValueError("n_draws must be between 1000 and 200000, and n_draws · vocab at most 2 million")
        if not (0.001 <= self.gap <= 100 and 0.001 <= self.temperature <= 1000):
            raise ValueError("gap must be between 0.001 and 100, temperature between 0.001 and 1000")
        if self.gap / self.temperature > 50:
            raise ValueError("gap / temperature must be at most 50: beyond that the second token has no odds to show")


def run(p: Params) -> Result:
    logits = [-p.gap * rank for rank in range(p.vocab)]
    right = p.divide == "logits"
    distribution = softmax if right else scaled_probabilities
    probs = distribution(logits, p.temperature)

    rng = random.Random(p.seed)
    drawn = Counter(gumbel_draw(logits, p.temperature if right else 1.0, rng) for _ in range(p.n_draws))
    total_variation = sum(abs(drawn[token] / p.n_draws - q) for token, q in enumerate(probs)) / 2

    step = p.temperature * 1e-3
    above, below = (entropy(distribution(logits, p.temperature + d)) for d in (step, -step))
    slope = formula_entropy_slope(logits, p.temperature) if right else 0.0

    grid = [p.gap * 2 ** (i / 4) for i in range(-12, 13 + 4 * p.vocab.bit_length())]  # from gap/8 to beyond 8·gap·V
    at = [distribution(logits, t) for t in grid]
    rises = sum(after > before + 1e-9 for before, after in pairwise(map(entropy, at)))
    reordered = sum(first < second for q in at for first, second in pairwise(q))

    odds, worth = probs[0] / probs[1], math.exp(entropy(probs))
    scaled = math.exp(entropy(distribution([3 * z for z in logits], p.temperature)))
    at_a_third = math.exp(entropy(distribution(logits, p.temperature / 3)))
    facts = [
        Fact("odds", ": 1", odds, math.exp(p.gap / (p.temperature if right else 1.0)), rtol=1e-6),
        Fact("top_share", "", probs[0]),
        Fact("perplexity", "tokens", worth),
        Fact("perplexity_3x_logits", "tokens", scaled, at_a_third if right else None, rtol=1e-9),
        Fact("draws_off", "", total_variation, predicted=0, atol=math.sqrt(p.vocab / p.n_draws)),
        Fact("entropy_slope", "nats per unit of T", (above - below) / (2 * step), slope, rtol=1e-3, atol=1e-7),
        Fact("temperatures", "", len(grid)),
        Fact("entropy_rises", "steps", rises, len(grid) - 1 if right else 0),
        Fact("reordered", "pairs", reordered, predicted=0),
    ]
    rows = []
    for t in sorted({0.1, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 10.0, p.temperature}):
        q = distribution(logits, t)
        rows.append((t, q[0], q[0] / q[1] if q[1] else None, math.exp(entropy(q))))
    axis = [0.1 * 2 ** (i / 4) for i in range(27)]
    curves = [
        Series(f"gap {g:g}", axis, [math.exp(entropy(distribution([-g * i for i in range(p.vocab)], t))) for t in axis])
        for g in (p.gap / 3, p.gap, p.gap * 3)
    ]
    return Result(
        takeaway=Text(
            en=f"At T = {p.temperature:g} a lead of {p.gap:g} in the logits means odds of {odds:,.3g} to 1; the "
            f"distribution is worth {worth:.2f} equal tokens, and {p.n_draws:,} draws agree.",
            zh=f"T = {p.temperature:g} 时，logit 领先 {p.gap:g} 意味着 {odds:,.3g} : 1 的几率；"
            f"整个分布相当于 {worth:.2f} 个等概率 token，{p.n_draws:,} 次采样与之相符。",
        ),
        facts=facts,
        table=Table(("T", "share of the top token", "odds of first to second (: 1)", "perplexity (tokens)"), rows),
        plot=Plot("What a distribution is worth", "temperature", "equal tokens", curves, log_x=True),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
