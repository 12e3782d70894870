"""Why does speculative decoding leave the output distribution unchanged, and how many tokens does a call yield?

A cheap draft model q proposes γ tokens; one call of the target model p scores them all. Token x is accepted with
probability min(1, p(x) / q(x)); at the first rejection a token is drawn from the residual max(p − q, 0), normalised,
and if nothing is rejected one more comes from p. Acceptance contributes min(p, q) to the probability of x and the
residual p − min(p, q): together exactly p. So a token is accepted with α = Σ min(p, q) = 1 − TV(p, q), and with the
same α in every position a call yields 1 + α + … + α^γ tokens.

The machine follows every branch of the algorithm exactly, and also runs it and counts the calls.
Legend: V tokens, γ drafted tokens, target and draft (V, V): row c is the next-token distribution after token c.
"""

import math
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import mean, pstdev
from typing import Literal

from llmprep.demos.inference.temperature import softmax
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

Rows = Sequence[Sequence[float]]
Models = tuple[Rows, Rows]  # target, draft
Rule = Literal["exact", "accept_all", "resample_target"]


def formula_tokens_per_call(acceptance: float, gamma: int) -> float:
    """(1 − α^(γ+1)) / (1 − α) (Leviathan et al. 2023, eq. 1). α = 0.8 and γ = 4: 3.36."""
    if acceptance > 1 - 1e-9:
        return gamma + 1
    return (1 - acceptance ** (gamma + 1)) / (1 - acceptance)


def total_variation(p: Sequence[float], q: Sequence[float]) -> float:
    """Half the L1 distance of two distributions."""
    return sum(abs(a - b) for a, b in zip(p, q, strict=True)) / 2


def accept_probability(p: float, q: float, rule: Rule) -> float:
    """The chance to keep a drafted token, p and q its probabilities (Leviathan et al. 2023, section 2.3)."""
    return 1.0 if rule == "accept_all" else min(1.0, p / q)


def replacement(p: Sequence[float], q: Sequence[float], rule: Rule) -> list[float]:
    """What a rejected token is replaced from: the residual norm(max(0, p − q)), (V,) → (V,)."""
    residual = [max(a - b, 0.0) for a, b in zip(p, q, strict=True)]
    total = sum(residual)
    return [r / total for r in residual] if total > 0 and rule == "exact" else list(p)


def speculative_call(models: Models, last: int, gamma: int, rule: Rule, rng: random.Random) -> tuple[list[int], int]:
    """The 1 to γ + 1 tokens that one target call yields after token `last`, and how many drafts were accepted."""
    target, draft = models
    tokens: list[int] = []
    for _ in range(gamma):
        p, q = target[last], draft[last]
        x = rng.choices(range(len(q)), q)[0]
        if rng.random() >= accept_probability(p[x], q[x], rule):
            return [*tokens, rng.choices(range(len(p)), replacement(p, q, rule))[0]], len(tokens)
        tokens.append(x)
        last = x
    return [*tokens, rng.choices(range(len(target)), target[last])[0]], gamma


def exact_distribution(models: Models, gamma: int, length: int, rule: Rule) -> dict[tuple[int, ...], float]:
    """The probability of every text of `length` tokens after token 0, by following each acceptance and rejection.

    A state is the text so far and how many drafts of the current call are left.
    """
    target, draft = models
    states: dict[tuple[tuple[int, ...], int], float] = {((0,), gamma): 1.0}
    for _ in range(length):
        after: dict[tuple[tuple[int, ...], int], float] = defaultdict(float)
        for (text, left), weight in states.items():
            p, q = target[text[-1]], draft[text[-1]]
            kept = [b * accept_probability(a, b, rule) if left else 0.0 for a, b in zip(p, q, strict=True)]
            instead = replacement(p, q, rule) if left else p  # no drafts left: the target's own extra token
            for x in range(len(p)):
                after[(*text, x), left - 1] += weight * kept[x]
                after[(*text, x), gamma] += weight * (1 - sum(kept)) * instead[x]
        states = {state: weight for state, weight in after.items() if weight > 0}
    texts: dict[tuple[int, ...], float] = defaultdict(float)
    for (text, _), weight in states.items():
        texts[text] += weight
    return texts


def noisy_copy(p: Sequence[float], acceptance: float, rng: random.Random) -> list[float]:
    """A draft: p with Gaussian noise on its logits, scaled by bisection until 1 − TV(p, q) is the acceptance."""
    noise = [rng.gauss(0, 1) for _ in p]
    worst, peak = p.index(min(p)), noise.index(max(noise))
    noise[worst], noise[peak] = noise[peak], noise[worst]  # then enough noise reaches any acceptance above min(p)
    low, high = 0.0, 1000.0
    for _ in range(100):
        middle = (low + high) / 2
        q = softmax([math.log(a) + middle * z for a, z in zip(p, noise, strict=True)])
        low, high = (middle, high) if 1 - total_variation(p, q) > acceptance else (low, middle)
    return softmax([math.log(a) + low * z for a, z in zip(p, noise, strict=True)])


@dataclass(frozen=True)
class Params:
    acceptance: float = 0.8  # α
    gamma: int = 4  # drafted tokens per target call
    rule: Rule = "exact"  # accept_all and resample_target are mistakes
    vocab: int = 8  # tokens
    n_tokens: int = 40_000
    seed: int = 0

    def __post_init__(self) -> None:
        if not (3 <= self.vocab <= 12 and 1 <= self.gamma <= 32):
            raise ValueError("vocab must be between 3 and 12, gamma between 1 and 32")
        if not 1 / self.vocab + 0.01 <= self.acceptance <= 1:
            raise ValueError("acceptance must be at least 1 / vocab + 0.01 and at most 1")
        if not 10_000 <= self.n_tokens <= 200_000:
            raise ValueError("n_tokens must be between 10000 and 200000")


def run(p: Params) -> Result:
    rng = random.Random(p.seed)
    target = [softmax([rng.gauss(0, 1) for _ in range(p.vocab)]) for _ in range(p.vocab)]
    draft = [noisy_copy(row, p.acceptance, rng) for row in target]
    overlap = mean(sum(map(min, a, b)) for a, b in zip(target, draft, strict=True))

    followed = exact_distribution((target, draft), p.gamma, 3, p.rule)
    wanted = [math.prod(target[a][b] for a, b in pairwise(text)) for text in followed]
    tv_exact = total_variation(list(followed.values()), wanted)

    text, yields, accepted, tested = [0], [], 0, 0
    while len(text) <= p.n_tokens:
        new, kept = speculative_call((target, draft), text[-1], p.gamma, p.rule, rng)
        text += new
        yields.append(len(new))
        accepted, tested = accepted + kept, tested + min(kept + 1, p.gamma)
    pairs, firsts = Counter(pairwise(text)), Counter(text[:-1])
    gaps = (abs(pairs[a, b] - firsts[a] * target[a][b]) for a in range(p.vocab) for b in range(p.vocab))
    tv_sampled = sum(gaps) / 2 / len(text)

    everything = p.rule == "accept_all"
    alpha = 1.0 if everything else overlap
    per_call, calls = mean(yields), len(yields)
    slack = 5 * pstdev(yields) / math.sqrt(calls) + 10 * p.gamma / calls  # the second term: when rejections are rare
    noise = 5 * math.sqrt(alpha * (1 - alpha) / tested) + 10 / tested
    facts = [
        Fact("tv_exact", "", round(tv_exact, 9), predicted=0 if p.rule == "exact" else None),
        Fact("tv_sampled", "", tv_sampled, 0 if p.rule == "exact" else None, atol=p.vocab / math.sqrt(p.n_tokens)),
        Fact("acceptance_rate", "", accepted / tested, alpha, atol=noise),
        Fact("tokens_per_call", "tokens", per_call, formula_tokens_per_call(alpha, p.gamma), atol=slack),
    ]
    gammas = list(range(1, 17))
    return Result(
        takeaway=Text(
            en=f"With α = {accepted / tested:.2f} and γ = {p.gamma} a target call yields {per_call:.2f} tokens; with "
            f"every branch followed, three-token texts are {tv_exact:.3f} away (TV) from the target's own.",
            zh=f"α = {accepted / tested:.2f}、γ = {p.gamma} 时，目标模型每次前向得到 {per_call:.2f} 个 token；"
            f"穷举所有分支，三个 token 的文本分布与目标模型的总变差为 {tv_exact:.3f}。",
        ),
        facts=facts,
        table=Table(
            ("γ", *(f"tokens per call, α = {a:g}" for a in (0.5, 0.7, 0.8, 0.9))),
            [(g, *(formula_tokens_per_call(a, g) for a in (0.5, 0.7, 0.8, 0.9))) for g in (1, 2, 3, 4, 5, 8, 16)],
        ),
        plot=Plot(
            "Tokens per call of the target model",
            "γ, drafted tokens",
            "tokens",
            [
                Series(f"α = {a:g}", gammas, [formula_tokens_per_call(a, g) for g in gammas])
                for a in (0.5, 0.7, 0.8, 0.9)
            ],
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
