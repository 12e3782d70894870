"""Does a repetition penalty make a token that has occurred less likely?

CTRL divides the logit z of every token seen so far by θ > 1. That lowers a positive logit and RAISES a negative
one, so today's libraries multiply the negative ones by θ instead. The odds against an unseen token then always
fall, by exp(z / θ − z) or exp(z·θ − z): strongly far from zero, not at all at z = 0. But softmax has no zero point.
Adding a constant to all logits changes no probability, and yet it changes what the penalty does. Subtracting does
not have this flaw: presence takes a fixed amount from every token seen, frequency takes it once per occurrence.

The machine: penalise a vector of logits, take the softmax, and look at probabilities and odds before and after.
Legend: V tokens, Gaussian logits, a fifth of them seen; one token has the logit and the count of the settings.
"""

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from llmprep.demos.inference.temperature import softmax
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

Rule = Literal["none", "sign_aware", "ctrl", "presence", "frequency"]


def penalise(logits: Sequence[float], text: Sequence[int], rule: Rule, strength: float) -> list[float]:
    """The logits after a penalty on the tokens that occur in `text`, (V,) → (V,).

    ctrl: z / θ (Keskar et al. 2019, section 4.1). sign_aware: z / θ if z > 0, else z · θ (transformers, vLLM).
    presence: z − strength. frequency: z − strength · count (OpenAI API).
    """
    out = list(logits)
    for token, count in Counter(text).items():
        z = logits[token]
        if rule == "ctrl" or (rule == "sign_aware" and z > 0):
            out[token] = z / strength
        elif rule == "sign_aware":
            out[token] = z * strength
        elif rule in ("presence", "frequency"):
            out[token] = z - strength * (count if rule == "frequency" else 1)
    return out


def formula_odds_factor(z: float, count: int, rule: Rule, strength: float) -> float:
    """What the odds of a seen token against an unseen one are multiplied by. z = −6, θ = 1.2: 2.7 or 0.30."""
    change = {
        "none": 0.0,
        "ctrl": z / strength - z,
        "sign_aware": z / strength - z if z > 0 else z * strength - z,
        "presence": -strength,
        "frequency": -strength * count,
    }[rule]
    return math.exp(change)


@dataclass(frozen=True)
class Params:
    rule: Rule = "sign_aware"
    strength: float = 1.2  # θ for ctrl and sign_aware (1: no penalty), the amount subtracted for presence and frequency
    logit: float = -6.0  # of one token that has occurred
    count: int = 3  # how often it has occurred
    logit_shift: float = 0.0  # added to every logit: no probability changes
    vocab: int = 500  # tokens
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rule in ("ctrl", "sign_aware") and not 1 <= self.strength <= 3:
            raise ValueError("strength must be 1 to 3 for ctrl and sign_aware")
        if not (0 <= self.strength <= 10 and 1 <= self.count <= 20):
            raise ValueError("strength must be 0 to 10, count 1 to 20")
        if not (-20 <= self.logit <= 20 and -50 <= self.logit_shift <= 50 and 50 <= self.vocab <= 20_000):
            raise ValueError("logit must be −20 to 20, logit_shift −50 to 50, vocab 50 to 20000")


def run(p: Params) -> Result:
    rng = random.Random(p.seed)
    logits = [p.logit] + [rng.gauss(0, 3) for _ in range(p.vocab - 1)]
    seen = range(p.vocab // 5)
    text = [token for token in seen for _ in range(rng.randint(1, 3) if token else p.count)]
    unseen = p.vocab - 1

    def penalised(shift: float) -> tuple[list[float], list[float]]:
        z = [x + shift for x in logits]
        return softmax(z), softmax(penalise(z, text, p.rule, p.strength))

    before, after = penalised(p.logit_shift)
    factors = [(after[token] / after[unseen]) / (before[token] / before[unseen]) for token in seen]
    expected = formula_odds_factor(p.logit + p.logit_shift, p.count, p.rule, p.strength)
    multiplied = p.rule in ("ctrl", "sign_aware") and p.strength > 1
    raised = sum(logits[t] + p.logit_shift < 0 for t in seen) if p.rule == "ctrl" and multiplied else 0
    moved = sum(abs(a - b) for a, b in zip(after, penalised(0.0)[1], strict=True)) / 2
    facts = [
        Fact("odds_factor", "×", factors[0], expected, rtol=1e-6),
        Fact("seen_tokens", "tokens", len(seen)),
        Fact("raised_odds", "tokens", sum(f > 1 + 1e-9 for f in factors), raised),
        Fact("raised_probability", "tokens", sum(after[t] > before[t] * (1 + 1e-9) for t in seen)),
        Fact("shift_effect", "", round(moved, 9), None if multiplied else 0),
    ]
    rules: tuple[tuple[str, Rule, float], ...] = (
        ("ctrl, θ = 1.2", "ctrl", 1.2),
        ("sign-aware, θ = 1.2", "sign_aware", 1.2),
        ("presence 1", "presence", 1.0),
        ("frequency 1", "frequency", 1.0),
    )
    axis = [x / 2 for x in range(-20, 21)]
    return Result(
        takeaway=Text(
            en=f"{p.rule} {p.strength:g} multiplies the odds of a seen token with logit {p.logit + p.logit_shift:g} by "
            f"{factors[0]:.2f} and raises those of {facts[2].measured} of {len(seen)} seen tokens.",
            zh=f"{p.rule} {p.strength:g} 把 logit 为 {p.logit + p.logit_shift:g} 的已出现 token 的几率变为 "
            f"{factors[0]:.2f} 倍；{len(seen)} 个已出现 token 中有 {facts[2].measured} 个几率反而上升。",
        ),
        facts=facts,
        table=Table(
            ("logit", *(f"{label} (×)" for label, _, _ in rules)),
            [
                (z, *(formula_odds_factor(z, p.count, rule, s) for _, rule, s in rules))
                for z in (-10, -6, -1, 0, 1, 6, 10)
            ],
        ),
        plot=Plot(
            f"Odds of a token seen {p.count} times",
            "logit",
            "×",
            [Series(label, axis, [formula_odds_factor(z, p.count, rule, s) for z in axis]) for label, rule, s in rules],
            log_y=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
