"""What does beam search find that greedy decoding misses, and when is a wider beam worse?

Beam search keeps the `width` most likely prefixes at every step. Width 1 is greedy decoding, width V^(T−1) is
exact, and in between it approximates argmax log p(y): usually better with width, but not monotone, because a
second and a third prefix can push out the very one that greedy would have followed to a better end.

The machine searches random Markov models, where dynamic programming gives the true argmax to compare with.
Legend: V tokens, T steps, rows (V + 1, V) of log-probabilities: row 0 starts, row t + 1 follows token t.
"""

import heapq
import itertools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llmprep.lab import Fact, Plot, Result, Series, Table, Text

Prefix = tuple[int, ...]
Step = Callable[[Prefix], Sequence[float]]


def beam_search(
    step: Step, width: int, max_len: int, eos: int | None = None, length_penalty: float = 0.0
) -> list[tuple[float, Prefix]]:
    """Best first: (log p(y) / |y|^length_penalty, y); |y| counts the end token, as transformers does."""
    running: list[tuple[float, Prefix]] = [(0.0, ())]
    finished: list[tuple[float, Prefix]] = []
    for length in range(1, max_len + 1):
        candidates = ((lp + x, (*y, token)) for lp, y in running for token, x in enumerate(step(y)))
        best = heapq.nlargest(2 * width, candidates)  # at most `width` of them end, so `width` can go on
        ended = [(lp, y) for lp, y in best[:width] if y[-1] == eos]
        running = [(lp, y) for lp, y in best if y[-1] != eos][:width]
        finished += [(lp / length**length_penalty, y) for lp, y in ended]
    finished += [(lp / max_len**length_penalty, y) for lp, y in running]
    return sorted(finished, reverse=True)[:width]


def viterbi(rows: Sequence[Sequence[float]], length: int) -> float:
    """The exact maximum of log p over all V^T sequences, in T·V² steps (possible because p is Markov)."""
    best = list(rows[0]) if length else [0.0]
    for _ in range(length - 1):
        best = [max(b + rows[i + 1][j] for i, b in enumerate(best)) for j in range(len(best))]
    return max(best)


def best_by_enumeration(step: Step, vocab: int, length: int) -> float:
    """The same maximum by scoring every sequence."""
    strings = itertools.product(range(vocab), repeat=length)
    return max(sum(step(y[:t])[token] for t, token in enumerate(y)) for y in strings)


def random_rows(rng: random.Random, vocab: int) -> list[list[float]]:
    """A Markov model: the softmax of unit Gaussian logits in each row."""
    logits = [[rng.gauss(0, 1) for _ in range(vocab)] for _ in range(vocab + 1)]
    return [[z - math.log(sum(map(math.exp, row))) for z in row] for row in logits]


def markov(rows: Sequence[Sequence[float]], p_end: float = 0.0) -> Step:
    """The model as a function of the prefix; with p_end > 0 every step may also emit the end token, number V."""
    if p_end:
        rows = [[*(x + math.log1p(-p_end) for x in row), math.log(p_end)] for row in rows]
    return lambda y: rows[y[-1] + 1 if y else 0]


def garden_path(y: Prefix) -> list[float]:
    """Three tokens, three steps. 0.4 · 0.4 · 1 = 0.16 is best, but after two steps two prefixes with 0.175 lead."""
    table = {(): (0.4, 0.35, 0.25), (0,): (0.4, 0.3, 0.3), (1,): (0.5, 0.5, 0.0), (0, 0): (1.0, 0.0, 0.0)}
    return [math.log(p) if p else -math.inf for p in table.get(y, (0.4, 0.3, 0.3))]


@dataclass(frozen=True)
class Params:
    beam_width: int = 4
    vocab: int = 20  # tokens
    length: int = 12  # tokens, the same for all sequences
    n_models: int = 100  # random Markov models
    seed: int = 0

    def __post_init__(self) -> None:
        if not (1 <= self.beam_width <= 128 and 2 <= self.vocab <= 50 and 2 <= self.length <= 20):
            raise ValueError("beam_width must be 1 to 128, vocab 2 to 50, length 2 to 20")
        if not 10 <= self.n_models <= 1000:
            raise ValueError("n_models must be between 10 and 1000")
        if (self.beam_width + 31) * self.vocab * self.length * self.n_models > 3_000_000:
            raise ValueError("beam_width · vocab · length · n_models must be smaller: this would search for too long")


def run(p: Params) -> Result:
    rng = random.Random(p.seed)
    models = [random_rows(rng, p.vocab) for _ in range(p.n_models)]
    argmax = [viterbi(rows, p.length) for rows in models]
    small = [random_rows(rng, 3) for _ in range(20)]
    mismatches = sum(abs(viterbi(r, 4) - best_by_enumeration(markov(r), 3, 4)) > 1e-9 for r in small)

    widths = sorted({1, 2, 4, 8, 16, p.beam_width})
    scores = {w: [beam_search(markov(rows), w, p.length)[0][0] for rows in models] for w in widths}
    found = {w: sum(s > a - 1e-9 for s, a in zip(scores[w], argmax, strict=True)) / p.n_models for w in widths}
    worse = {w: sum(s < g - 1e-9 for s, g in zip(scores[w], scores[1], strict=True)) / p.n_models for w in widths}
    on_path = {w: math.exp(beam_search(garden_path, w, 3)[0][0]) for w in widths}

    width, exact = p.beam_width, p.beam_width >= p.vocab ** (p.length - 1)
    facts = [
        Fact("found_share", "", found[width], 1 if exact else None),
        Fact("greedy_found_share", "", found[1]),
        Fact("worse_than_greedy", "", worse[width], 0 if exact or width == 1 else None),
        Fact("path_prob", "", on_path[width]),
        Fact("path_prob_greedy", "", on_path[1]),
        Fact("path_prob_best", "", math.exp(best_by_enumeration(garden_path, 3, 3))),
        Fact("mismatches", "models", mismatches, predicted=0),
    ]
    return Result(
        takeaway=Text(
            en=f"Width {width} finds the most likely of all sequences in {found[width]:.0%} of {p.n_models} random "
            f"models, greedy decoding in {found[1]:.0%}; in {worse[width]:.0%} the beam does worse than greedy.",
            zh=f"在 {p.n_models} 个随机模型中，束宽 {width} 在 {found[width]:.0%} 的模型上找到概率最大的序列，"
            f"贪心解码为 {found[1]:.0%}；另有 {worse[width]:.0%} 的情况束搜索反而不如贪心。",
        ),
        facts=facts,
        table=Table(
            ("width", "finds the argmax", "worse than greedy", "probability found on the garden path"),
            [(w, found[w], worse[w], on_path[w]) for w in widths],
        ),
        plot=Plot(
            "Beam search against the exact argmax",
            "beam width",
            "share of models",
            [
                Series("finds the argmax", widths, [found[w] for w in widths]),
                Series("worse than greedy", widths, [worse[w] for w in widths]),
            ],
            log_x=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
