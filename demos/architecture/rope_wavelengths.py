"""How far does a RoPE pair turn in the texts of training, and what does a larger base change?

Pair i turns by θ_i = base^(−2i/D) radians per token and is back where it began after 2π/θ_i tokens. The first pairs
turn once in a few tokens and tell neighbours apart; the last ones crawl. A pair that completes a turn in training has
shown all its angles to the model. A pair that does not will show new ones as soon as the text is longer: these make
plain RoPE fail beyond the trained length. A larger base slows all pairs but the first: wavelengths grow, and distant
positions stay apart, but *more* pairs are left with an unfinished turn, so it calls for training at the longer length.

Legend: T tokens, D head_dim.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from llmprep.demos.architecture.rope import frequencies, rotate
from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def formula_wavelength(pair: int, head_dim: int, base: float) -> float:
    """2π·base^(2i/D) tokens: 6.28 for the first pair, close to 2π·base for the last."""
    return 2 * math.pi * base ** (2 * pair / head_dim)


def formula_unfinished(head_dim: int, base: float, trained_len: int) -> int:
    """Pairs slower than one turn in T tokens: those with i > (D/2)·ln(T/2π)/ln(base)."""
    finished = math.floor(head_dim / 2 * math.log((trained_len - 1) / (2 * math.pi)) / math.log(base)) + 1
    return head_dim // 2 - min(max(finished, 0), head_dim // 2)


def angles_travelled(theta: Tensor, T: int) -> Tensor:
    """Turn one arrow per pair through T positions and add up how far it moves from step to step, (D/2,) radians."""
    arrows = torch.tensor([1.0, 0.0], dtype=torch.float64).repeat(len(theta)).expand(T, -1)  # all point along x
    x, y = rotate(arrows, torch.arange(T), theta).unflatten(-1, (-1, 2)).unbind(dim=-1)  # (T, D/2) each
    step = torch.atan2(x[:-1] * y[1:] - y[:-1] * x[1:], x[:-1] * x[1:] + y[:-1] * y[1:])
    return step.sum(dim=0)


@dataclass(frozen=True)
class Params:
    head_dim: int = 128
    base: float = 10_000.0  # rope_theta in a config
    trained_len: int = 4096  # tokens

    def __post_init__(self) -> None:
        if self.head_dim % 2 or not 4 <= self.head_dim <= 256:
            raise ValueError("head_dim must be even and between 4 and 256")
        if not 16 <= self.trained_len <= 16_384:
            raise ValueError("trained_len must be between 16 and 16,384: every position is really turned through")
        if not 10 <= self.base <= 1e9:
            raise ValueError("base must be between 10 and 1e9")


def run(p: Params) -> Result:
    T, pairs = p.trained_len, p.head_dim // 2
    travelled = angles_travelled(frequencies(p.head_dim, p.base), T)
    wavelengths = (2 * math.pi * (T - 1) / travelled).tolist()  # tokens for one turn, from the turns that were made
    unfinished = int((travelled < 2 * math.pi).sum())
    shown = sorted({0, pairs // 4, pairs // 2, pairs - 1 - unfinished, 3 * pairs // 4, pairs - 1} - {-1})
    slowest = formula_wavelength(pairs - 1, p.head_dim, p.base)
    return Result(
        takeaway=Text(
            en=f"With base {p.base:,.0f} and head_dim {p.head_dim} the slowest pair needs {wavelengths[-1]:,.0f} "
            f"tokens for one turn; {unfinished} of {pairs} pairs do not complete one within {T:,} tokens.",
            zh=f"base = {p.base:,.0f}、head_dim = {p.head_dim} 时，最慢的一对转一圈要 {wavelengths[-1]:,.0f} 个 token；"
            f"{T:,} 个 token 之内，{pairs} 对中有 {unfinished} 对转不满一圈。",
        ),
        facts=[
            Fact("pairs", "pairs", pairs),
            Fact("longest_wavelength", "tokens", wavelengths[-1], predicted=slowest, rtol=1e-6),
            Fact("shortest_wavelength", "tokens", wavelengths[0], predicted=2 * math.pi, rtol=1e-9),
            Fact("unfinished_pairs", "pairs", unfinished, formula_unfinished(p.head_dim, p.base, T)),
            Fact("slowest_turns", "turns", travelled[-1].item() / (2 * math.pi), (T - 1) / slowest, rtol=1e-6),
        ],
        table=Table(
            ("pair", "wavelength (tokens)", f"turns within {T:,} tokens"),
            [(i, wavelengths[i], travelled[i].item() / (2 * math.pi)) for i in shown],
        ),
        plot=Plot(
            f"Tokens for one turn, head_dim {p.head_dim}",
            "pair",
            "tokens",
            [
                Series(f"base {p.base:,.0f}", list(range(pairs)), wavelengths),
                Series("trained length", [0, pairs - 1], [T, T]),
            ],
            log_y=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
