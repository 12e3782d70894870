"""How can softmax be computed in one pass, before the largest score is known?

Keep a running maximum m, the sum l of exp(score − m) and the weighted sum o of the values. A later block may raise
the maximum: multiply what has been gathered so far by exp(m_old − m_new) and go on. Nothing is approximated, no score
is read twice, and two such summaries merge in any order. This is what lets FlashAttention cut a row of scores into
tiles, and flash-decoding give the tiles of one long KV cache to different cores.
"""

import functools
import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from llmprep.lab import Fact, Plot, Result, Series, Table, Text


class Row:
    """A row of scores in slow memory; it counts every score that is handed out."""

    def __init__(self, scores: list[float]) -> None:
        self.scores, self.reads = scores, 0

    def __iter__(self) -> Iterator[float]:
        for score in self.scores:
            self.reads += 1
            yield score

    def block(self, start: int, size: int) -> list[float]:
        """Copy a block into fast memory: there it may be looked at as often as one likes."""
        scores = self.scores[start : start + size]
        self.reads += len(scores)
        return scores


def safe_softmax(row: Row) -> list[float]:
    """Three passes: the maximum, the sum, the weights. Without the maximum, exp overflows (FP16: above 11)."""
    m = max(row)
    total = sum(math.exp(x - m) for x in row)
    return [math.exp(x - m) / total for x in row]


def online_softmax(row: Row) -> list[float]:
    """Two passes: maximum and sum come together (Milakov and Gimelshein, arXiv 1805.02867, algorithm 3)."""
    m, total = -math.inf, 0.0
    for x in row:
        m_new = max(m, x)
        total = total * math.exp(m - m_new) + math.exp(x - m_new)
        m = m_new
    return [math.exp(x - m) / total for x in row]


class Partial(NamedTuple):
    """Softmax attention over some of the keys: all that has to be remembered of them."""

    m: float  # largest score so far
    total: float  # sum of exp(score − m)
    out: float  # sum of exp(score − m) · value, for one channel of V


def attend(scores: list[float], values: list[float]) -> Partial:
    """Summarise one block; exp is taken against the maximum of that block."""
    m = max(scores)
    weights = [math.exp(x - m) for x in scores]
    return Partial(m, sum(weights), sum(w * v for w, v in zip(weights, values, strict=True)))


def merge(a: Partial, b: Partial, rescale: bool = True) -> Partial:
    """Put two summaries on the same maximum and add them; without `rescale`, as a wrong kernel would."""
    m = max(a.m, b.m)
    scale_a, scale_b = (math.exp(a.m - m), math.exp(b.m - m)) if rescale else (1.0, 1.0)
    return Partial(m, a.total * scale_a + b.total * scale_b, a.out * scale_a + b.out * scale_b)


def in_pairs(partials: list[Partial], rescale: bool = True) -> Partial:
    """Merge like a tournament, as flash-decoding does with blocks that were computed in parallel."""
    while len(partials) > 1:
        odd = partials[len(partials) // 2 * 2 :]
        partials = [merge(a, b, rescale) for a, b in zip(partials[::2], partials[1::2], strict=False)] + odd
    return partials[0]


def expected_rescales(n_blocks: int) -> float:
    """Blocks that raise the maximum, if scores come in random order: 1 + 1/2 + … + 1/n, about ln n + 0.58."""
    return sum(1 / i for i in range(1, n_blocks + 1))


@dataclass(frozen=True)
class Params:
    n_keys: int = 1024  # scores in a row
    block: int = 64  # scores that fit in fast memory
    n_rows: int = 200  # independent rows
    score_std: float = 8.0  # standard deviation of the scores
    rescale: bool = True  # False: forget to rescale what was gathered under a smaller maximum
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_keys < 2 or self.block < 1 or self.n_keys % self.block:
            raise ValueError("n_keys must be at least 2 and a multiple of block")
        if self.n_rows < 200 or self.n_rows * self.n_keys > 2_000_000:
            raise ValueError("n_rows must be at least 200, with n_rows · n_keys at most 2,000,000")
        if not 0 < self.score_std <= 1e6:
            raise ValueError("score_std must be between 0 and 1e6")


def run(p: Params) -> Result:
    rng = random.Random(p.seed)
    mismatches = raised = 0
    reads = {"safe": 0, "online": 0, "one pass": 0}
    for _ in range(p.n_rows):
        scores = [rng.gauss(0, p.score_std) for _ in range(p.n_keys)]
        values = [rng.gauss(0, 1) for _ in range(p.n_keys)]
        rows = {name: Row(scores) for name in reads}
        weights = safe_softmax(rows["safe"])
        mismatches += math.dist(weights, online_softmax(rows["online"])) > 1e-9

        starts = range(0, p.n_keys, p.block)
        partials = [attend(rows["one pass"].block(i, p.block), values[i : i + p.block]) for i in starts]
        one_by_one = functools.reduce(functools.partial(merge, rescale=p.rescale), partials)
        expected = sum(w * v for w, v in zip(weights, values, strict=True))
        for whole in (one_by_one, in_pairs(partials, p.rescale)):
            mismatches += abs(whole.out / whole.total - expected) > 1e-9

        maxima = list(itertools.accumulate((partial.m for partial in partials), max))
        raised += len(set(maxima))
        for name, row in rows.items():
            reads[name] += row.reads

    n_blocks = p.n_keys // p.block
    safe, online, one_pass = (count / (p.n_rows * p.n_keys) for count in reads.values())
    facts = [
        Fact("mismatches", "results", mismatches, predicted=0 if p.rescale else None),
        Fact("safe_reads", "reads per score", safe, predicted=3),
        Fact("online_reads", "reads per score", online, predicted=2),
        Fact("one_pass_reads", "reads per score", one_pass, predicted=1),
        Fact("n_blocks", "blocks", n_blocks),
        Fact("rescales", "blocks per row", raised / p.n_rows, expected_rescales(n_blocks), rtol=0.15),
    ]
    lengths = [2**i for i in range(13)]
    return Result(
        takeaway=Text(
            en=f"{p.n_keys:,} scores in blocks of {p.block}: {one_pass:.0f} read per score instead of {safe:.0f}, "
            f"{raised / p.n_rows:.1f} of {n_blocks} blocks raise the maximum, {mismatches} results differ.",
            zh=f"{p.n_keys:,} 个分数，每块 {p.block} 个：每个分数只读 {one_pass:.0f} 次，而不是 {safe:.0f} 次；"
            f"{n_blocks} 块里平均有 {raised / p.n_rows:.1f} 块抬高了最大值；{mismatches} 个结果不一致。",
        ),
        facts=facts,
        table=Table(
            ("method", "reads per score"),
            [("safe softmax", safe), ("online softmax", online), ("online softmax times V, by blocks", one_pass)],
        ),
        plot=Plot(
            "Blocks that raise the running maximum",
            "blocks in a row",
            "blocks",
            [Series("expected", lengths, [expected_rescales(n) for n in lengths])],
            log_x=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
