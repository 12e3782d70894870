"""How does T5 turn every distance into one of 32 learned numbers, and where does it stop telling distances apart?

A relative bias is a number per head and distance, learned, and added to the score; nothing is added to the tokens. T5
does not learn one for each distance: half of the buckets hold one distance each, the rest grow like a logarithm up to
a maximum, and all that lies beyond shares the last one. So any length has a bias, distances beyond the last bucket
look alike, and 32 numbers per head replace a table of position vectors. One such table serves all layers of a stack.

Legend: H heads, T tokens.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from llmprep import content
from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def bucket(distance: int, n_buckets: int = 32, max_distance: int = 128) -> int:
    """Bucket of a key `distance` tokens back, as in T5's decoder: arXiv 1910.10683, section 2.1, and its code.

    0 … 15 have buckets of their own, 16 … 18 share bucket 16, all from 113 on are in bucket 31.
    """
    exact = n_buckets // 2
    if distance < exact:
        return distance
    grown = math.log(distance / exact) / math.log(max_distance / exact) * (n_buckets - exact)
    return min(exact + int(grown), n_buckets - 1)


def bucket_both_ways(distance: int, n_buckets: int = 32, max_distance: int = 128) -> int:
    """The encoder's: one half of the buckets for keys before the query, one for keys after it (distance < 0)."""
    half = n_buckets // 2
    return bucket(abs(distance), half, max_distance) + (half if distance < 0 else 0)


def bias(table: Tensor, T: int, max_distance: int = 128) -> Tensor:
    """A learned table (n_buckets, H) → what is added to the scores of T queries and keys before the mask, (H, T, T)."""
    of_distance = torch.tensor([bucket(max(d, 0), len(table), max_distance) for d in range(-T + 1, T)])
    distance = torch.arange(T)[:, None] - torch.arange(T)  # query minus key
    return table[of_distance[distance + T - 1]].permute(2, 0, 1)


def formula_last_bucket_starts(n_buckets: int, max_distance: int) -> int:
    """Solve the logarithm for the last bucket: e·(max/e)^((n − 1 − e)/(n − e)), rounded up, with e = n/2."""
    exact = n_buckets // 2
    return math.ceil(exact * (max_distance / exact) ** ((n_buckets - 1 - exact) / (n_buckets - exact)) - 1e-9)


@dataclass(frozen=True)
class Params:
    n_buckets: int = 32
    max_distance: int = 128  # tokens
    seq_len: int = 1024  # tokens of the text
    model: str = "t5-base"  # for the number of heads and channels

    def __post_init__(self) -> None:
        if self.n_buckets % 2 or not 4 <= self.n_buckets <= 256:
            raise ValueError("n_buckets must be even and between 4 and 256")
        if not 2 * self.n_buckets <= self.max_distance < self.seq_len <= 2048:
            raise ValueError("must be 2 * n_buckets <= max_distance < seq_len <= 2048")
        if "d_kv" not in content.model(self.model)["config"]:
            raise ValueError("model must be a T5, whose config names num_heads and d_model")


def run(p: Params) -> Result:
    config = content.model(p.model)["config"]
    n_heads, d_model = config["num_heads"], config["d_model"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        table = torch.randn(p.n_buckets, n_heads)
    last_row = bias(table[:, :1], p.seq_len, p.max_distance)[0, -1].flip(
        0
    )  # of one head, by distance from the last query
    distinct = int(last_row.unique().numel())
    same_as_farthest = int((last_row == last_row[-1]).sum())
    alone = sum(int((last_row == b).sum()) == 1 for b in last_row[: p.n_buckets])
    starts = p.seq_len - same_as_farthest
    learned = torch.empty(p.seq_len, d_model, device="meta").numel()  # a vector for each position
    sizes: dict[int, list[int]] = {}
    for d in range(p.seq_len):
        sizes.setdefault(bucket(d, p.n_buckets, p.max_distance), []).append(d)
    shown = sorted({0, 1, p.n_buckets // 2, 3 * p.n_buckets // 4, p.n_buckets - 2, p.n_buckets - 1})
    return Result(
        takeaway=Text(
            en=f"{p.n_buckets} buckets cover {p.seq_len:,} distances: {alone} have a bucket of their own, all from "
            f"{starts} on share one; {table.numel():,} numbers instead of a table of {learned:,}.",
            zh=f"{p.n_buckets} 个桶覆盖 {p.seq_len:,} 种距离：其中 {alone} 种独占一个桶，从 {starts} 起全部共用一个；"
            f"参数为 {table.numel():,} 个，而位置向量表要 {learned:,} 个。",
        ),
        facts=[
            Fact("distinct_biases", "numbers", distinct, predicted=p.n_buckets),
            Fact("distances_alone", "distances", alone),
            Fact("last_bucket_starts", "tokens", starts, formula_last_bucket_starts(p.n_buckets, p.max_distance)),
            Fact("distances_alike", "distances", same_as_farthest),  # those in the last bucket
            Fact("bias_parameters", "parameters", table.numel(), predicted=p.n_buckets * n_heads),
            Fact("table_parameters", "parameters", learned, predicted=p.seq_len * d_model),
        ],
        table=Table(
            ("bucket", "from distance", "to distance", "distances"),
            [(b, sizes[b][0], sizes[b][-1], len(sizes[b])) for b in shown if b in sizes],
        ),
        plot=Plot(
            "Bucket of each distance",
            "distance (tokens)",
            "bucket",
            [
                Series(
                    "T5",
                    list(range(1, p.seq_len)),
                    [bucket(d, p.n_buckets, p.max_distance) for d in range(1, p.seq_len)],
                )
            ],
            log_x=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
