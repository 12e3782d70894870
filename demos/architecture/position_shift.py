"""Which position schemes give the same scores when the whole text moves to later positions?

"The word before" means the same at place 5 as at place 500, so one would like the score of a query at m and a key at n
to depend on m − n. Absolute schemes add a vector to each token, and the cross terms of x + p_m and x' + p_n keep m and
n apart: every score changes when the text moves. Relative schemes put the distance into the score itself: Shaw adds a
learned vector for it to the key, T5 a learned number, ALiBi a fixed penalty; RoPE rotates query and key. A learned
table has one more limit: there is no row beyond its end, and rows beyond the longest training text are never trained.

Legend: T tokens, D channels (one head).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from llmprep.demos.architecture import alibi, relative_bias
from llmprep.demos.architecture.length_generalisation import sinusoids
from llmprep.demos.architecture.rope import frequencies, rotate
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

Scheme = Literal["learned", "sinusoidal", "shaw", "t5", "alibi", "rope"]
ABSOLUTE = ("learned", "sinusoidal")
SCHEMES: tuple[Scheme, ...] = ("learned", "sinusoidal", "shaw", "t5", "alibi", "rope")


class Scores:
    """q·k/√D of one head for tokens (T, D) that stand at given positions, with one scheme or another."""

    def __init__(self, D: int, table_len: int, clip: int) -> None:
        self.clip = clip
        self.wq, self.wk = torch.randn(2, D, D, dtype=torch.float64) / D**0.5
        self.table = torch.randn(table_len, D, dtype=torch.float64)  # learned: a row for each position
        self.sinusoids = sinusoids(table_len, D).double()
        self.key_of_distance = torch.randn(2 * clip + 1, D, dtype=torch.float64)  # Shaw: arXiv 1803.02155, section 3.2
        self.bias_of_bucket = torch.randn(32, dtype=torch.float64)  # T5
        self.theta = frequencies(D)

    def __call__(self, scheme: Scheme, x: Tensor, positions: Tensor) -> Tensor:
        """(T, D) → (T, T), a row for each query."""
        if scheme == "learned":
            x = x + self.table[positions]  # IndexError beyond the table
        if scheme == "sinusoidal":
            x = x + self.sinusoids[positions]
        q, k = x @ self.wq, x @ self.wk
        if scheme == "rope":
            q, k = (rotate(t, positions, self.theta) for t in (q, k))
        scores = q @ k.mT
        distance = positions[:, None] - positions  # query minus key
        if scheme == "shaw":
            vectors = self.key_of_distance[(-distance).clamp(-self.clip, self.clip) + self.clip]  # (T, T, D)
            scores = scores + (q[:, None] * vectors).sum(dim=-1)
        scores = scores / x.shape[1] ** 0.5
        if scheme == "t5":
            buckets = [[relative_bias.bucket(max(d, 0)) for d in row] for row in distance.tolist()]
            scores = scores + self.bias_of_bucket[torch.tensor(buckets)]
        if scheme == "alibi":
            scores = scores - alibi.slopes(8)[0] * distance
        return scores


def rows_never_trained(table_len: int, trained_len: int, d_model: int = 8) -> int:
    """Back-propagate from texts of trained_len tokens: rows of a learned table that get a gradient of exactly 0."""
    table = torch.nn.Embedding(table_len, d_model)
    table(torch.arange(trained_len)).square().sum().backward()
    assert table.weight.grad is not None
    return int((table.weight.grad == 0).all(dim=1).sum())


@dataclass(frozen=True)
class Params:
    scheme: Scheme = "rope"
    shift: int = 500  # positions by which the text moves
    seq_len: int = 24  # tokens
    table_len: int = 1024  # rows of the learned table, max_position_embeddings
    trained_len: int = 256  # tokens of the longest training text
    clip: int = 16  # Shaw: distances beyond this are treated as this
    seed: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.seq_len <= 128 or not 1 <= self.clip <= 128:
            raise ValueError("seq_len must be between 2 and 128, clip between 1 and 128")
        if not 1 <= self.shift <= self.table_len - self.seq_len or self.table_len > 8192:
            raise ValueError("shift must be at least 1, and shift + seq_len at most table_len, which is at most 8,192")
        if not 1 <= self.trained_len <= self.table_len:
            raise ValueError("trained_len must be between 1 and table_len")


def run(p: Params) -> Result:
    T, D = p.seq_len, 32
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(p.seed)
        scores, x = Scores(D, p.table_len, p.clip), torch.randn(T, D, dtype=torch.float64)
        untrained = rows_never_trained(p.table_len, p.trained_len)
    here = torch.arange(T)
    changed = {s: int(((scores(s, x, here + p.shift) - scores(s, x, here)).abs() > 1e-6).sum().item()) for s in SCHEMES}
    where = dict(zip(SCHEMES, ("input", "input", "key", "score", "score", "q and k"), strict=True))
    return Result(
        takeaway=Text(
            en=f"Moving {T} tokens by {p.shift} positions changes {changed[p.scheme]} of {T * T} scores ({p.scheme}); "
            f"a learned table of {p.table_len:,} rows keeps {untrained:,} untrained after texts of {p.trained_len:,}.",
            zh=f"把 {T} 个 token 整体后移 {p.shift} 个位置，{T * T} 个分数中有 {changed[p.scheme]} 个改变"
            f"（{p.scheme}）；{p.table_len:,} 行的可学习位置表，用长 {p.trained_len:,} 的文本训练后有 {untrained:,} 行"
            f"从未训练过。",
        ),
        facts=[
            Fact("scores", "scores", T * T),
            Fact("changed_scores", "scores", changed[p.scheme], predicted=T * T if p.scheme in ABSOLUTE else 0),
            Fact("rows_never_trained", "rows", untrained, predicted=p.table_len - p.trained_len),
        ],
        table=Table(("scheme", "acts on", "scores that change"), [(s, where[s], changed[s]) for s in SCHEMES]),
        plot=Plot(
            f"Scores that change when the text moves by {p.shift}",
            "scheme",
            "scores",
            [Series(f"of {T * T}", list(SCHEMES), [changed[s] for s in SCHEMES])],
            kind="bar",
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
