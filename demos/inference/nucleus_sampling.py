"""How many tokens do top-k and top-p keep, and why does one number fit no two contexts?

Top-k keeps a fixed number of tokens; top-p keeps the smallest set whose mass reaches p, and so follows the shape
of the distribution. Both cut the tail, renormalise what is left and sample from it. The tail is worth cutting
because errors add up: with a mass of 1 − p outside, n tokens of pure sampling avoid it with probability p^n only.

Legend: V tokens sorted by probability, logits that fall by `gap` per rank, so p_i ∝ r^i with r = exp(−gap / T).
Three contexts: `peaked` falls ten times faster than `gap`, `flat` ten times slower.
"""

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, combinations
from typing import Literal

from llmprep.demos.inference.temperature import softmax
from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def formula_nucleus_size(gap: float, temperature: float, top_p: float) -> int:
    """Since n tokens hold 1 − rⁿ of the mass, n = ⌈T · ln(1 / (1 − p)) / gap⌉; p = 0.95 and gap 0.3: 10 tokens."""
    return math.ceil(temperature * math.log(1 / (1 - top_p)) / gap)


def top_k_set(probs: Sequence[float], k: int) -> list[int]:
    """The k most likely tokens (Fan et al. 2018)."""
    return sorted(range(len(probs)), key=lambda token: -probs[token])[:k]


def nucleus(probs: Sequence[float], top_p: float) -> list[int]:
    """The smallest set whose mass is at least p (Holtzman et al. 2020, section 3.1), most likely first."""
    order = sorted(range(len(probs)), key=lambda token: -probs[token])
    kept, mass = [], 0.0
    for token in order:
        kept.append(token)
        mass += probs[token]
        if mass >= top_p:
            break
    return kept


def below_p(probs: Sequence[float], top_p: float) -> list[int]:
    """The mistake: stop before the token that would cross p. On a peaked distribution nothing would be left."""
    order = sorted(range(len(probs)), key=lambda token: -probs[token])
    masses = accumulate(probs[token] for token in order)
    return [token for token, mass in zip(order, masses, strict=True) if mass < top_p] or order[:1]


def renormalise(probs: Sequence[float], kept: Sequence[int]) -> list[float]:
    """Zero outside the kept set, and a sum of 1 inside, (V,) → (V,)."""
    mass = sum(probs[token] for token in kept)
    inside = set(kept)
    return [q / mass if token in inside else 0.0 for token, q in enumerate(probs)]


def smallest_set_by_search(probs: Sequence[float], top_p: float) -> int:
    """The size of the smallest set with mass ≥ p, found by trying every subset of V tokens: slow and obvious."""
    sizes = range(1, len(probs) + 1)
    return next(n for n in sizes if any(sum(c) >= top_p - 1e-12 for c in combinations(probs, n)))


def texts_hit_by_tail(probs: Sequence[float], kept: Sequence[int], n_tokens: int, n: int, rng: random.Random) -> float:
    """Share of n texts of pure sampling, n_tokens long, with at least one token from outside the kept set."""
    inside = set(kept)
    tokens, cumulative = range(len(probs)), list(accumulate(probs))
    texts = (rng.choices(tokens, cum_weights=cumulative, k=n_tokens) for _ in range(n))
    return sum(any(token not in inside for token in text) for text in texts) / n


@dataclass(frozen=True)
class Params:
    method: Literal["top_p", "top_k", "below_p"] = "top_p"  # below_p is a mistake
    top_p: float = 0.95  # probability mass
    top_k: int = 50  # tokens
    temperature: float = 1.0  # applied before the cut
    gap: float = 0.3  # logits per rank in the medium context; ×10 in the peaked one, ÷10 in the flat one
    vocab: int = 2000  # tokens
    n_tokens: int = 20  # length of a text sampled without any cut
    n_draws: int = 20_000
    n_searched: int = 200  # small distributions whose every subset is tried
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.05 <= self.top_p <= 0.999:
            raise ValueError("top_p must be between 0.05 and 0.999")
        if not (0.02 <= self.gap <= 10 and 0.05 <= self.temperature <= 10):
            raise ValueError("gap must be between 0.02 and 10, temperature between 0.05 and 10")
        if not 100 <= self.vocab <= 20_000 or self.vocab * self.gap / self.temperature < 200:
            raise ValueError("vocab must be 100 to 20000 and gap · vocab / temperature at least 200: no cut-off tail")
        if not (1 <= self.top_k <= self.vocab and 1 <= self.n_tokens <= 200 and 1000 <= self.n_draws <= 50_000):
            raise ValueError("top_k must be 1 to vocab, n_tokens 1 to 200, n_draws 1000 to 50000")
        if not 1 <= self.n_searched <= 1000:
            raise ValueError("n_searched must be between 1 and 1000")


def run(p: Params) -> Result:
    def cut(probs: Sequence[float]) -> list[int]:
        if p.method == "top_k":
            return top_k_set(probs, p.top_k)
        return nucleus(probs, p.top_p) if p.method == "top_p" else below_p(probs, p.top_p)

    rng = random.Random(p.seed)
    searched = [softmax([rng.gauss(0, 2) for _ in range(8)]) for _ in range(p.n_searched)]
    wrong_sizes = sum(len(cut(probs)) != smallest_set_by_search(probs, p.top_p) for probs in searched)

    facts, rows = [], []
    contexts = {"peaked": p.gap * 10, "medium": p.gap, "flat": p.gap / 10}
    for context, gap in contexts.items():
        probs = softmax([-gap * rank for rank in range(p.vocab)], p.temperature)
        kept = cut(probs)
        mass = sum(probs[token] for token in kept)
        size = formula_nucleus_size(gap, p.temperature, p.top_p) if p.method == "top_p" else None
        facts.append(Fact(f"size_{context}", "tokens", len(kept), size))
        facts.append(Fact(f"mass_{context}", "", mass))
        rows.append((context, probs[0], len(kept), mass, len(nucleus(probs, p.top_p)), sum(probs[: p.top_k])))
        if context == "medium":
            target, inside, medium_mass = renormalise(probs, kept), kept, mass
            hit = texts_hit_by_tail(probs, kept, p.n_tokens, p.n_draws // 10, rng)

    drawn = Counter(rng.choices(inside, [target[token] for token in inside], k=p.n_draws))
    total_variation = sum(abs(drawn[token] / p.n_draws - target[token]) for token in inside) / 2
    miss = 1 - medium_mass**p.n_tokens
    facts += [
        Fact("wrong_sizes", "distributions", wrong_sizes, 0 if p.method == "top_p" else None),
        Fact("draws_off", "", total_variation, 0, atol=math.sqrt(len(inside) / p.n_draws)),
        Fact("texts_hit", "", hit, miss, atol=5 * math.sqrt(max(miss * (1 - miss), 1e-3) / (p.n_draws // 10))),
    ]
    method = {"top_p": f"Top-p {p.top_p:g}", "top_k": f"Top-{p.top_k}", "below_p": f"Below {p.top_p:g}"}[p.method]
    sizes = ", ".join(str(row[2]) for row in rows)
    axis = [t / 10 for t in range(2, 21)]
    return Result(
        takeaway=Text(
            en=f"{method} keeps {sizes} tokens of a peaked, a medium and a flat distribution; without a cut "
            f"{hit:.0%} of {p.n_tokens}-token texts touch the tail of the medium one.",
            zh=f"{method}：在尖锐、中等、平坦三种分布上分别保留 {sizes} 个 token；若不截断，"
            f"长 {p.n_tokens} 个 token 的文本有 {hit:.0%} 在中等分布上至少有一次落入尾部。",
        ),
        facts=facts,
        table=Table(
            ("context", "top token", "kept", "kept mass", f"top-p {p.top_p:g} (tokens)", f"top-{p.top_k} (mass)"),
            rows,
        ),
        plot=Plot(
            f"Size of the nucleus at p = {p.top_p:g}",
            "temperature",
            "tokens",
            [
                Series(name, axis, [formula_nucleus_size(gap, t, p.top_p) for t in axis])
                for name, gap in contexts.items()
            ],
            log_y=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
