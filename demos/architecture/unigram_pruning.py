"""How does the Unigram tokenizer find its vocabulary: by growing or by shrinking?

BPE and WordPiece grow; Unigram starts with far too many pieces, all frequent substrings, and prunes. It is a language
model: each piece has a probability, a word's cut has the product, and the best cut is found by Viterbi. Expectation
maximisation (EM) fits the probabilities over *all* cuts of each word. Then the pieces whose loss hurts the likelihood
least are dropped, a share at a time, never single characters. Since every cut has a probability, other cuts than
the best can be sampled while training (subword regularisation), which BPE's one cut does not offer.

Legend: p(piece) probabilities that sum to 1; alpha[j] and beta[j] sum over all cuts of what lies before and after j.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise, product

from llmprep.demos.architecture.byte_pair_encoding import encode, read_corpus, train
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

Probs = dict[str, float]


def seed_pieces(words: Mapping[str, int], longest: int) -> Counter[str]:
    """All substrings up to `longest` letters that occur at least twice, and every single letter."""
    counts: Counter[str] = Counter()
    for word, n in words.items():
        for i in range(len(word)):
            for j in range(i + 1, min(i + longest, len(word)) + 1):
                counts[word[i:j]] += n
    return Counter({piece: n for piece, n in counts.items() if n > 1 or len(piece) == 1})


def ends(word: str, i: int, p: Probs, longest: int) -> list[int]:
    """Where a piece that starts at i may end."""
    return [j for j in range(i + 1, min(i + longest, len(word)) + 1) if word[i:j] in p]


def viterbi(word: str, p: Probs, longest: int, forbidden: str = "") -> tuple[float, list[str]]:
    """The likeliest cut and its log-probability; `forbidden` is a piece that must not be used."""
    best: list[tuple[float, list[str]]] = [(0.0, [])] + [(-math.inf, [])] * len(word)
    for i in range(len(word)):
        for j in ends(word, i, p, longest):
            piece = word[i:j]
            score = best[i][0] + math.log(p[piece])
            if piece != forbidden and score > best[j][0]:
                best[j] = score, [*best[i][1], piece]
    return best[-1]


def expected_counts(words: Mapping[str, int], p: Probs, longest: int) -> tuple[Counter[str], float]:
    """E-step: how often each piece is used, averaged over all cuts; and the log-likelihood of the corpus, in nats."""
    counts: Counter[str] = Counter()
    log_likelihood = 0.0
    for word, n in words.items():
        size = len(word)
        spans = [(i, j, p[word[i:j]]) for i in range(size) for j in ends(word, i, p, longest)]
        alpha, beta = [1.0] + [0.0] * size, [0.0] * size + [1.0]
        for i, j, prob in spans:
            alpha[j] += alpha[i] * prob
        for i, j, prob in reversed(spans):
            beta[i] += beta[j] * prob
        log_likelihood += n * math.log(alpha[size])
        for i, j, prob in spans:
            counts[word[i:j]] += n * alpha[i] * prob * beta[j] / alpha[size]
    return counts, log_likelihood


def normalise(counts: Mapping[str, float]) -> Probs:
    """M-step: relative frequencies. A letter that every cut avoids keeps a trace, so that each word can be spelt."""
    kept = {piece: max(n, 1e-6) for piece, n in counts.items() if n > 1e-6 or len(piece) == 1}
    total = sum(kept.values())
    return {piece: n / total for piece, n in kept.items()}


def prune(words: Mapping[str, int], p: Probs, longest: int, size: int) -> Probs:
    """Keep the `size` pieces that are dearest: uses on the best cuts × what spelling the piece otherwise costs."""
    uses: Counter[str] = Counter()
    for word, n in words.items():
        for piece in viterbi(word, p, longest)[1]:
            uses[piece] += n
    letters = [piece for piece in p if len(piece) == 1]
    longer = [piece for piece in p if len(piece) > 1]
    loss = {piece: uses[piece] * (math.log(p[piece]) - viterbi(piece, p, longest, piece)[0]) for piece in longer}
    dearest = sorted(longer, key=lambda piece: (-loss[piece], piece))[: size - len(letters)]
    return {piece: p[piece] for piece in [*letters, *dearest]}


def best_by_enumeration(word: str, p: Probs) -> float:
    """The likeliest cut among all 2^(n−1), tried one by one: slow and obvious."""
    best = -math.inf
    for bars in product((False, True), repeat=len(word) - 1):
        edges = [0, *(i + 1 for i, bar in enumerate(bars) if bar), len(word)]
        pieces = [word[i:j] for i, j in pairwise(edges)]
        if all(piece in p for piece in pieces):
            best = max(best, sum(math.log(p[piece]) for piece in pieces))
    return best


@dataclass(frozen=True)
class Params:
    vocab_size: int = 300  # pieces
    longest: int = 6  # letters of the longest piece
    keep: float = 0.75  # share of the pieces that a round of pruning leaves
    em_steps: int = 2  # before each pruning

    def __post_init__(self) -> None:
        if not 60 <= self.vocab_size <= 600:
            raise ValueError("vocab_size must be between 60 and 600 pieces")
        if not 2 <= self.longest <= 10 or not 0.5 <= self.keep <= 0.9 or not 1 <= self.em_steps <= 4:
            raise ValueError("longest must be 2 to 10 letters, keep 0.5 to 0.9, em_steps 1 to 4")


def run(p: Params) -> Result:
    words = Counter(re.findall("[a-z]+", read_corpus("alice").lower()))
    counts: Mapping[str, float] = seed_pieces(words, p.longest)
    n_seed, letters = len(counts), sum(len(piece) == 1 for piece in counts)
    probs = normalise(counts)
    sizes, curve, falls = [], [], 0
    while True:
        history = []
        for _ in range(p.em_steps):
            counts, log_likelihood = expected_counts(words, probs, p.longest)
            history.append(log_likelihood)
            probs = normalise(counts)
        history.append(expected_counts(words, probs, p.longest)[1])
        falls += sum(b < a - 1e-3 for a, b in pairwise(history))
        sizes.append(len(probs))
        curve.append(history[-1] / words.total())
        if len(probs) <= p.vocab_size:
            break
        probs = prune(words, probs, p.longest, max(p.vocab_size, int(p.keep * len(probs))))

    short = sorted(word for word in words if 1 < len(word) <= 9)[::5]
    wrong = sum(abs(viterbi(w, probs, p.longest)[0] - best_by_enumeration(w, probs)) > 1e-9 for w in short)
    tokens = sum(n * len(viterbi(word, probs, p.longest)[1]) for word, n in words.items())
    bpe, _, _ = train("\n".join(words.elements()), p.vocab_size - letters)  # besides the letters, as many pieces
    bpe_tokens = sum(n * len(encode(word, bpe)) for word, n in words.items())
    facts = [
        Fact("seed_pieces", "pieces", n_seed),
        Fact("vocab_size", "pieces", len(probs)),
        Fact("letters_kept", "pieces", sum(len(piece) == 1 for piece in probs), predicted=letters),
        Fact("em_steps_that_fell", "steps", falls, predicted=0),
        Fact("viterbi_mismatches", "words", wrong, predicted=0),
        Fact("words_checked", "words", len(short)),
        Fact("rounds", "rounds", len(sizes)),
        Fact("tokens_per_word", "tokens", tokens / words.total()),
        Fact("bpe_tokens_per_word", "tokens", bpe_tokens / words.total()),
        Fact("nats_per_word", "nats", -curve[-1]),
    ]
    longest_words = sorted(words, key=lambda word: (-len(word), word))[:8]
    rows = []
    for word in longest_words:
        score, cut = viterbi(word, probs, p.longest)
        total = expected_counts({word: 1}, probs, p.longest)[1]
        rows.append(("|".join(cut), 100 * math.exp(score - total)))
    return Result(
        takeaway=Text(
            en=f"{n_seed:,} substrings are pruned to {len(probs):,} pieces in {len(sizes) - 1} rounds; a word "
            f"takes {tokens / words.total():.2f}; from a BPE vocabulary of that size {bpe_tokens / words.total():.2f}.",
            zh=f"{n_seed:,} 个子串经过 {len(sizes) - 1} 轮剪枝剩下 {len(probs):,} 个，平均每个词 "
            f"{tokens / words.total():.2f} 个 token；同样大小的 BPE 词表要 {bpe_tokens / words.total():.2f} 个。",
        ),
        facts=facts,
        table=Table(("best cut", "its share of the word's probability (%)"), rows),
        plot=Plot(
            "What pruning costs",
            "pieces in the vocabulary",
            "cost of a word (nats)",
            [Series("alice", sizes, [-value for value in curve])],
            log_x=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
