"""How long a context can an n-gram model use, and what does smoothing give it for the n-grams it never saw?

An n-gram model looks n − 1 tokens back and divides counts: p(w | h) = c(hw) / c(h). One more token of context makes
the guess sharper and the table emptier: most long n-grams of a new text never stood in the old one, and get 0. Add-k
pretends that every token followed every context k times more; it pays the same to the possible and the absurd, so
its perplexity on new text falls with n and then rises. Kneser-Ney takes a fixed discount off each count and gives
what it saved to the shorter context, where a token counts by how many different contexts it followed, not how often.

Legend: V vocabulary, n order, h context of n − 1 tokens, w next token.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Literal

from llmprep import content
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

Context = tuple[str, ...]
Counts = Mapping[Context, Counter[str]]
Row = dict[str, float]  # p(w | h) for each w of the vocabulary


def count(tokens: Sequence[str], n: int) -> Counts:
    """c(hw): how often each token w followed each context h of n − 1 tokens."""
    counts: defaultdict[Context, Counter[str]] = defaultdict(Counter)
    for i in range(n - 1, len(tokens)):
        counts[tuple(tokens[i - n + 1 : i])][tokens[i]] += 1
    return dict(counts)


def count_continuations(tokens: Sequence[str], n: int) -> Counts:
    """N₁₊(•hw): after how many different tokens hw was seen. "Francisco" is frequent, but follows one word only."""
    counts: defaultdict[Context, Counter[str]] = defaultdict(Counter)
    for longer, followers in count(tokens, n + 1).items():
        for token in followers:
            counts[longer[1:]][token] += 1
    return dict(counts)


def add_k(counts: Counts, context: Context, vocabulary: Sequence[str], k: float) -> Row:
    """p(w | h) = (c(hw) + k) / (c(h) + k·V); k = 1 is Laplace's rule."""
    followers = counts.get(context, Counter())
    total = followers.total() + k * len(vocabulary)
    return {w: (followers[w] + k) / total for w in vocabulary}


def discounted(followers: Counter[str] | None, shorter: Row, discount: float) -> Row:
    """p(w | h) = max(c(hw) − d, 0) / c(h) + d·N₁₊(h•) / c(h) · p(w | shorter h), or the latter alone for a new h."""
    if not followers:
        return shorter
    total, saved = followers.total(), discount * len(followers)  # N₁₊(h•): how many different tokens followed h
    return {w: (max(followers[w] - discount, 0) + saved * shorter[w]) / total for w in shorter}


def stupid(followers: Counter[str] | None, shorter: Row) -> Row:
    """c(hw) / c(h) where hw was seen, 0.4 · S(w | shorter h) where not (Brants et al. 2007): sums to anything."""
    return {w: followers[w] / followers.total() if followers and followers[w] else 0.4 * shorter[w] for w in shorter}


def back_off(
    tables: Sequence[Counts], vocabulary: Sequence[str], mix: Callable[[Counter[str] | None, Row], Row]
) -> Callable[[Context], Row]:
    """The model whose order n is tables[n − 1], mixed with order n − 1, and so on down to 1/V.

    Discounted, with continuation counts in all tables but the last, this is interpolated Kneser-Ney (Kneser and Ney
    1995; Chen and Goodman 1998); with plain counts in all of them it is absolute discounting.
    """

    @cache
    def row_of(context: Context) -> Row:
        shorter = row_of(context[1:]) if context else dict.fromkeys(vocabulary, 1 / len(vocabulary))
        return mix(tables[len(context)].get(context), shorter)

    return row_of


def perplexity(row_of: Callable[[Context], Row], tokens: Sequence[str], n: int, start: int) -> float:
    """The exponential of the mean −log p of tokens[start:], each given the n − 1 before it."""
    places = range(start, len(tokens))
    nats = [-math.log(row_of(tuple(tokens[i - n + 1 : i]))[tokens[i]]) for i in places]
    return math.exp(sum(nats) / len(nats))


def read_tokens(unit: str) -> list[str]:
    """A chapter of "Alice" in lower case, as characters or as words."""
    text = (content.data_dir() / "corpus" / "alice.txt").read_text(encoding="utf-8").lower()
    return list(text) if unit == "character" else text.split()


@dataclass(frozen=True)
class Params:
    smoothing: Literal["add-k", "absolute discount", "kneser-ney", "stupid backoff"] = "add-k"
    order: int = 3  # n: the model looks n − 1 tokens back
    max_order: int = 7  # the curve goes from 1 to this n
    unit: Literal["character", "word"] = "character"
    k: float = 0.1  # added to every count
    discount: float = 0.75  # taken off every count
    held_out: float = 0.1  # share of the text, its end, that is not counted

    def __post_init__(self) -> None:
        if not 2 <= self.max_order <= 8 or not 1 <= self.order <= self.max_order:
            raise ValueError("max_order must be between 2 and 8, order between 1 and max_order")
        if not 1e-6 <= self.k <= 1000 or not 0 < self.discount < 1:
            raise ValueError("k must be between 1e-6 and 1,000, discount between 0 and 1")
        if not 0.02 <= self.held_out <= 0.5:
            raise ValueError("held_out must be between 0.02 and 0.5")


def model(p: Params, tokens: Sequence[str], vocabulary: Sequence[str], n: int) -> Callable[[Context], Row]:
    """The smoothed model of order n, counted from `tokens`."""
    counts = count(tokens, n)
    if p.smoothing == "add-k":
        return lambda context: add_k(counts, context, vocabulary, p.k)
    lower = count_continuations if p.smoothing == "kneser-ney" else count
    tables = [*(lower(tokens, m) for m in range(1, n)), counts]
    mix = stupid if p.smoothing == "stupid backoff" else partial(discounted, discount=p.discount)
    return back_off(tables, vocabulary, mix)


def run(p: Params) -> Result:
    tokens = read_tokens(p.unit)
    vocabulary = sorted(set(tokens))  # of the whole text, so that no token is out of it
    start = round(len(tokens) * (1 - p.held_out))
    orders = list(range(1, p.max_order + 1))
    curve, unseen = [], []
    for n in orders:
        counts = count(tokens[:start], n)
        pairs = [(tuple(tokens[i - n + 1 : i]), tokens[i]) for i in range(start, len(tokens))]
        unseen.append(sum(w not in counts.get(h, ()) for h, w in pairs) / len(pairs))
        curve.append(perplexity(model(p, tokens[:start], vocabulary, n), tokens, n, start))

    row_of, n = model(p, tokens[:start], vocabulary, p.order), p.order
    held_out_contexts = {tuple(tokens[i - n + 1 : i]) for i in range(start, len(tokens))}
    sums = [math.fsum(row_of(context).values()) for context in held_out_contexts]
    improper = p.smoothing == "stupid backoff"  # its scores are no probabilities, and their perplexity flatters it
    best = min(orders, key=lambda n: curve[n - 1])
    facts = [
        Fact("perplexity", "", curve[p.order - 1]),
        Fact("unseen_share", "", unseen[p.order - 1]),
        Fact("best_order", "", best),
        Fact("best_perplexity", "", curve[best - 1]),
        Fact("perplexity_at_1", "", curve[0]),
        Fact("perplexity_at_max", "", curve[-1]),
        Fact("rows_off", "contexts", sum(abs(total - 1) > 1e-9 for total in sums), predicted=None if improper else 0),
        Fact("mean_row_sum", "", math.fsum(sums) / len(sums), predicted=None if improper else 1, atol=1e-9),
        Fact("rows", "contexts", len(sums)),
        Fact("contexts_seen", "contexts", len(count(tokens[:start], n))),
        Fact("contexts_possible", "contexts", len(vocabulary) ** (n - 1)),
    ]
    name_en = f"add-{p.k:g}" if p.smoothing == "add-k" else p.smoothing
    name_zh = {"absolute discount": "绝对折扣", "kneser-ney": " Kneser-Ney ", "stupid backoff": " Stupid Backoff "}.get(
        p.smoothing, f" {name_en} "
    )
    unit_zh = {"character": "字符", "word": "词"}[p.unit]
    at_best, at_max, missing = curve[best - 1], curve[-1], unseen[p.order - 1]
    return Result(
        takeaway=Text(
            en=f"Smoothed by {name_en}, {p.unit} n-grams reach their best held-out perplexity of {at_best:.2f} at "
            f"n = {best} (n = 1: {curve[0]:.2f}, n = {p.max_order}: {at_max:.2f}); at n = {p.order}, "
            f"{missing:.1%} of the held-out n-grams were never seen.",
            zh=f"用{name_zh}平滑，{unit_zh} n-gram 的留出集困惑度在 n = {best} 时最低，为 {at_best:.2f}"
            f"（n = 1 时 {curve[0]:.2f}，n = {p.max_order} 时 {at_max:.2f}）；n = {p.order} 时，"
            f"留出集里有 {missing:.1%} 的 n-gram 从未见过。",
        ),
        facts=facts,
        table=Table(
            ("n", "perplexity, held out", "n-grams never seen (%)"),
            [(n, curve[n - 1], 100 * unseen[n - 1]) for n in orders],
        ),
        plot=Plot(
            f"Held-out perplexity of {p.unit} n-grams, {name_en}",
            "n",
            "perplexity",
            [Series(name_en, orders, curve)],
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
