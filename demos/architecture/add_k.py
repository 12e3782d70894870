"""How much probability does add-k smoothing take away from what was really seen?

p(w | h) = (c(hw) + k) / (c(h) + k·V) mixes the counted share with the uniform one. The counts keep the share
c(h) / (c(h) + k·V), and k·V, the text that was made up, takes the rest. A vocabulary is large and most contexts are
rare, so add-one drowns the evidence; that is why k is small, or why one backs off instead of adding. The machine does
what the formula pretends: it writes the text down, puts k copies of every token of the vocabulary under it, and counts.

Legend: V vocabulary, h context, w next token.
"""

from collections import Counter
from dataclasses import dataclass
from fractions import Fraction

from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def formula_probability(next_count: int, context_count: int, vocab: int, k: float) -> float:
    """(c(hw) + k) / (c(h) + k·V). Seen 10 of 1,000 times, V = 50,000, add-one: 11 / 51,000 = 0.00022, not 0.01."""
    return (next_count + k) / (context_count + k * vocab)


def formula_counted_share(context_count: int, vocab: int, k: float) -> float:
    """The weight λ of the counts in add-k = λ · counts + (1 − λ) / V."""
    return context_count / (context_count + k * vocab)


def followers(next_count: int, context_count: int) -> Counter[int]:
    """A text after one context: token 0 next_count times, token 1 the other times; the rest of V was never seen."""
    return Counter({0: next_count, 1: context_count - next_count})


def pretend(text: Counter[int], vocab: int, k: Fraction) -> Counter[int]:
    """The text `denominator` times over, then `numerator` copies of each token: k more of each, in whole ones."""
    copies = Counter({token: n * k.denominator for token, n in text.items()})
    for token in range(vocab):
        copies[token] += k.numerator
    return copies


@dataclass(frozen=True)
class Params:
    context_count: int = 1000  # c(h): how often the context stood in the text
    next_count: int = 10  # c(hw): how often this token followed it
    vocab: int = 50_000  # V, tokens
    k: float = 1.0  # added to every count

    def __post_init__(self) -> None:
        if not 0 <= self.next_count <= self.context_count or self.context_count < 1:
            raise ValueError("next_count must be between 0 and context_count, which must be at least 1")
        if not 2 <= self.vocab <= 500_000:
            raise ValueError("vocab must be between 2 and 500,000")
        if not 1e-4 <= self.k <= 1000:
            raise ValueError("k must be between 0.0001 and 1,000")


def run(p: Params) -> Result:
    k = Fraction(p.k).limit_denominator(1_000_000)
    counted = pretend(followers(p.next_count, p.context_count), p.vocab, k)
    total = counted.total()
    probability = counted[0] / total
    invented = k.numerator * p.vocab / total
    unseen_mass = sum(n for token, n in counted.items() if token > 1) / total  # tokens that never followed
    facts = [
        Fact(
            "probability",
            "",
            probability,
            formula_probability(p.next_count, p.context_count, p.vocab, p.k),
            rtol=1e-5,
        ),
        Fact("counted_share", "", 1 - invented, formula_counted_share(p.context_count, p.vocab, p.k), atol=1e-5),
        Fact("unsmoothed", "", p.next_count / p.context_count),
        Fact("unseen_mass", "", unseen_mass),
    ]
    values = [10.0**e for e in range(-4, 3)]
    kept = [100 * formula_counted_share(p.context_count, p.vocab, value) for value in values]
    return Result(
        takeaway=Text(
            en=f"A context seen {p.context_count:,} times, V = {p.vocab:,}: add-{p.k:g} leaves the counts "
            f"{1 - invented:.1%} of the probability; a token seen {p.next_count:,} times falls from "
            f"{p.next_count / p.context_count:.3g} to {probability:.3g}.",
            zh=f"上下文出现 {p.context_count:,} 次、V = {p.vocab:,} 时，add-{p.k:g} 只给真实计数留下 "
            f"{1 - invented:.1%} 的概率；出现过 {p.next_count:,} 次的 token，概率从 "
            f"{p.next_count / p.context_count:.3g} 变成 {probability:.3g}。",
        ),
        facts=facts,
        table=Table(("k", "left to the counts (%)"), list(zip(values, kept, strict=True))),
        plot=Plot(
            f"A context seen {p.context_count:,} times, V = {p.vocab:,}",
            "k",
            "left to the counts (%)",
            [Series("add-k", values, kept)],
            log_x=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
