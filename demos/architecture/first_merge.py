"""Why do BPE and WordPiece not merge the same pair first?

Both grow their vocabulary by merging neighbours; they differ in what they maximise. BPE takes the pair with the highest
count n(ab). WordPiece takes the pair that raises the likelihood of the corpus most, under a model that draws tokens
independently. Its circulating formula, n(ab) / (n(a)·n(b)), asks only how much likelier the two are together than
apart: it forgets to multiply by how often that happens, and so prefers pairs that are rare but inseparable. The true
gain is about n(ab)·ln(N·n(ab) / (n(a)·n(b))). Here each candidate is really merged and the likelihood measured again.

Legend: n counts of tokens and pairs, N tokens in all; ## marks a piece that does not begin a word.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from llmprep.demos.architecture.byte_pair_encoding import read_corpus
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

Pair = tuple[str, str]
Word = tuple[str, ...]
Words = dict[Word, int]

# "e" and "r" meet most often; "l" never comes without "o"; "s", "k" and "y" occur in one rare word only.
TOY = {"low": 12, "lower": 10, "newer": 9, "wider": 8, "new": 6, "sky": 4}


def spell(words: Mapping[str, int]) -> Words:
    """WordPiece's alphabet: "sky" is s ##k ##y (Devlin et al. 2018 write continuations with ##)."""
    return {tuple(c if i == 0 else f"##{c}" for i, c in enumerate(word)): n for word, n in words.items()}


def count_tokens(words: Words) -> Counter[str]:
    """n(a): how often each token occurs."""
    counts: Counter[str] = Counter()
    for word, n in words.items():
        for token in word:
            counts[token] += n
    return counts


def count_pairs(words: Words) -> Counter[Pair]:
    """n(ab): how often two tokens stand side by side."""
    counts: Counter[Pair] = Counter()
    for word, n in words.items():
        for pair in pairwise(word):
            counts[pair] += n
    return counts


def merge(words: Words, pair: Pair) -> Words:
    """The corpus with each occurrence of the pair written as one token."""
    merged: Words = {}
    for word, n in words.items():
        out: list[str] = []
        for token in word:
            if out and (out[-1], token) == pair:
                out[-1] += token.removeprefix("##")
            else:
                out.append(token)
        merged[tuple(out)] = n
    return merged


def ratio(n_ab: int, n_a: int, n_b: int) -> float:
    """The score that tutorials give for WordPiece: 4 / (4·4) = 0.25 for a pair seen 4 times and never apart."""
    return n_ab / (n_a * n_b)


def formula_gain(n_ab: int, n_a: int, n_b: int, total: int) -> float:
    """Change of the log-likelihood Σ n·ln(n/N), in nats, if a ≠ b: five terms change, all others stay."""

    def term(n: int) -> float:
        return n * math.log(n) if n else 0.0

    before = term(n_a) + term(n_b) - term(total)
    return term(n_a - n_ab) + term(n_b - n_ab) + term(n_ab) - term(total - n_ab) - before


def log_likelihood(words: Words) -> float:
    """Nats: every token of the corpus, priced by its own relative frequency."""
    counts = count_tokens(words)
    total = counts.total()
    return sum(n * sum(math.log(counts[token] / total) for token in word) for word, n in words.items())


@dataclass(frozen=True)
class Params:
    corpus: Literal["toy", "alice", "tokens-en"] = "toy"
    score: Literal["count", "ratio", "likelihood"] = "likelihood"  # what the merged pair maximises; count is BPE

    @property
    def words(self) -> Words:
        """Words and how often they occur, spelt out."""
        if self.corpus == "toy":
            return spell(TOY)
        return spell(Counter(re.findall("[a-z]+", read_corpus(self.corpus).lower())))


def run(p: Params) -> Result:
    words = p.words
    tokens, pairs = count_tokens(words), count_pairs(words)
    before = log_likelihood(words)
    gains = {pair: log_likelihood(merge(words, pair)) - before for pair in pairs}
    ratios = {(a, b): ratio(n, tokens[a], tokens[b]) for (a, b), n in pairs.items()}

    def first(score: Mapping[Pair, float]) -> Pair:
        return max(sorted(score), key=lambda pair: (score[pair], pairs[pair]))

    by_score = {"count": first(pairs), "ratio": first(ratios), "likelihood": first(gains)}
    chosen = by_score[p.score]
    a, b = chosen
    total = tokens.total()
    facts = [
        Fact("pair_count", "", pairs[chosen]),
        Fact("highest_count", "", max(pairs.values())),
        Fact("left_count", "", tokens[a]),
        Fact("right_count", "", tokens[b]),
        Fact("ratio", "", ratios[chosen]),
        Fact("gain", "nats", gains[chosen], formula_gain(pairs[chosen], tokens[a], tokens[b], total), rtol=1e-6),
        Fact("bpe_gain", "nats", gains[by_score["count"]]),
        Fact("ratio_gain", "nats", gains[by_score["ratio"]]),
        Fact("best_gain", "nats", max(gains.values())),
        Fact("takes_bpe_pair", "", int(chosen == by_score["count"])),
        Fact("tokens", "tokens", total),
    ]
    shown = list(by_score.items()) + [("next by gain", q) for q in sorted(gains, key=lambda q: -gains[q])[1:4]]
    rows = [(name, " + ".join(q), pairs[q], ratios[q], gains[q]) for name, q in shown]
    best = sorted(pairs, key=lambda q: -pairs[q])[:12]
    return Result(
        takeaway=Text(
            en=f"By {p.score}, the first merge is {a} + {b}, seen {pairs[chosen]:,} times: it raises the "
            f"log-likelihood by {gains[chosen]:.1f} nats, the best pair by {max(gains.values()):.1f}.",
            zh=f"按 {p.score} 选，第一次合并的是 {a} + {b}，出现 {pairs[chosen]:,} 次："
            f"对数似然提高 {gains[chosen]:.1f} nat，而最优的一对能提高 {max(gains.values()):.1f} nat。",
        ),
        facts=facts,
        table=Table(("maximises", "pair", "count", "ratio", "gain (nats)"), rows),
        plot=Plot(
            "What merging each of the most frequent pairs gains",
            "pair",
            "log-likelihood (nats)",
            [Series("gain", [" + ".join(q) for q in best], [gains[q] for q in best])],
            kind="bar",
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
