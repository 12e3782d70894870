"""Why can one attention head not copy two tokens at once, and how many can h heads copy?

A head has one softmax per query, so it hands over one weighted mean. Asked for several independent tokens, it may look
at one of them or blur them all; either way it explains one n_sources-th of what is wanted (arXiv 1706.03762, section
3.2.2: with a single head "averaging inhibits this"). h heads are h means and explain h/n_sources, up to all of it, with
no more parameters. The layers here are really trained; where they look depends on position alone, as in a head that
reads the previous token, which makes the bound exact.

Legend: B batch, H heads, T tokens, D head_dim, C channels of content.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from llmprep.demos.architecture.attention import attention
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

T, C, D_MODEL = 8, 4, 32
HEADS = (1, 2, 4)  # head_dim stays above C, so that any head can carry a whole token


def formula_explained(n_heads: int, n_sources: int) -> float:
    """From s = a·x + b·y the best guesses of x and y leave b²/(a² + b²) and a²/(a² + b²): 1 of 2, whatever a and b."""
    return min(1.0, n_heads / n_sources)


def left_neighbours(x: Tensor, n_sources: int) -> Tensor:
    """What each token has to report, its left neighbours in order (cyclic): (B, T, C) → (B, T, n_sources·C)."""
    return torch.cat([x.roll(i, dims=1) for i in range(1, n_sources + 1)], dim=-1)


class PositionalReader(nn.Module):
    """One attention layer with learned positions: queries and keys come from positions, values from content."""

    def __init__(self, n_heads: int, n_sources: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.position = nn.Parameter(0.1 * torch.randn(T, D_MODEL))  # small: a saturated softmax would not learn
        self.wq, self.wk = (nn.Linear(D_MODEL, D_MODEL, bias=False) for _ in range(2))
        self.wv = nn.Linear(C, D_MODEL, bias=False)
        self.wo = nn.Linear(D_MODEL, n_sources * C, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) → (B, T, n_sources·C)."""
        q, k = (w(self.position).view(T, self.n_heads, -1).transpose(0, 1) for w in (self.wq, self.wk))  # (H, T, D)
        v = self.wv(x).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)  # (B, H, T, D)
        return self.wo(attention(q, k, v, causal=False).transpose(1, 2).flatten(2))


@contextmanager
def one_thread() -> Iterator[None]:
    """Matrices this small are multiplied before a second core has woken up."""
    n = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n)


def train(n_heads: int, n_sources: int, steps: int, seed: int) -> tuple[float, int]:
    """Train on fresh random tokens: (share of the variance explained on new ones, parameters)."""
    torch.manual_seed(seed)
    model = PositionalReader(n_heads, n_sources)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(steps):
        x = torch.randn(32, T, C)
        loss = (model(x) - left_neighbours(x, n_sources)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        x = torch.randn(2048, T, C)
        wanted = left_neighbours(x, n_sources)
        explained = 1 - ((model(x) - wanted).square().mean() / wanted.square().mean()).item()
    return explained, sum(w.numel() for w in model.parameters())


@dataclass(frozen=True)
class Params:
    n_heads: int = 1
    n_sources: int = 2  # tokens to copy at once
    steps: int = 200  # of Adam, on 32 fresh sequences each
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_heads not in HEADS:
            raise ValueError(f"n_heads must be one of {HEADS}")
        if not 1 <= self.n_sources <= 4:
            raise ValueError("n_sources must be between 1 and 4")
        if not 200 <= self.steps <= 1000:
            raise ValueError("steps must be between 200 and 1,000: with fewer the layer is not trained yet")


def run(p: Params) -> Result:
    with torch.random.fork_rng(devices=[]), one_thread():
        trained = {h: train(h, p.n_sources, p.steps, p.seed) for h in HEADS}
    explained, parameters = trained[p.n_heads]
    return Result(
        takeaway=Text(
            en=f"Asked for {p.n_sources} tokens at once, {p.n_heads} trained head(s) explain {explained:.0%} of the "
            f"variance (seed {p.seed}), with {parameters:,} parameters for any number of heads.",
            zh=f"要同时抄写 {p.n_sources} 个 token 时，训练好的 {p.n_heads} 个 head 能解释方差的 {explained:.0%}"
            f"（seed = {p.seed}）；无论几个 head，参数量都是 {parameters:,}。",
        ),
        facts=[
            Fact("explained", "", explained, formula_explained(p.n_heads, p.n_sources), atol=0.05),
            Fact("parameters", "", parameters),
            Fact("extra_parameters", "", parameters - trained[1][1], predicted=0),  # compared with one head
        ],
        table=Table(
            ("heads", "explained variance", "predicted", "parameters"),
            [(h, share, formula_explained(h, p.n_sources), n) for h, (share, n) in trained.items()],
        ),
        plot=Plot(
            f"Copying {p.n_sources} tokens at once",
            "heads",
            "explained share of the variance",
            [Series("trained", [str(h) for h in HEADS], [share for share, _ in trained.values()])],
            kind="bar",
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
