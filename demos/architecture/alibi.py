"""How does ALiBi encode position, and why does a longer text not disturb it?

Nothing is added to the tokens. Head i of h subtracts m_i·(distance) from each score, with the fixed slope
m_i = 2^(−8i/h). In softmax a penalty per step is a factor e^(−m) per step: with equal content the weights fall
geometrically, and the share beyond distance D is e^(−m·D), whatever the length of the text. The head has a soft window
of about 1/m tokens, which a longer text does not stretch; without a bias the share beyond D would grow towards 1.
The price: content that is to be read from a distance d must outscore its rivals by m·d.

Legend: H heads, T tokens.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def slopes(n_heads: int) -> Tensor:
    """m_i = 2^(−8i/h) for i = 1 … h, (H,): arXiv 2108.12409, section 3. For 8 heads 1/2, 1/4, …, 1/256.

    A number of heads that is no power of two takes the slopes of the power below, then every second one of the
    power above (the authors' code).
    """
    below = 2 ** int(math.log2(n_heads))
    exact = 2.0 ** (-8 / below * torch.arange(1, below + 1, dtype=torch.float64))
    if below == n_heads:
        return exact
    return torch.cat([exact, slopes(2 * below)[0::2][: n_heads - below]])


def bias(n_heads: int, T: int) -> Tensor:
    """−m·(i − j), to be added to the scores of query i and key j before the causal mask: (H, T, T)."""
    distance = torch.arange(T)[:, None] - torch.arange(T)
    return -slopes(n_heads)[:, None, None] * distance


def weights_of_last_query(T: int, slope: float, scores: Tensor | None = None) -> Tensor:
    """Softmax over T keys for the query at the end, (T,) from the farthest key to the query itself."""
    distance = torch.arange(T - 1, -1, -1, dtype=torch.float64)
    content = torch.zeros(T, dtype=torch.float64) if scores is None else scores
    return (content - slope * distance).softmax(dim=0)


def mass_beyond(weights: Tensor, distance: int) -> float:
    """The share of attention on keys at `distance` or farther, from the weights (T,) of the last query."""
    return weights[: len(weights) - distance].sum().item()


def formula_mass_beyond(slope: float, distance: int, T: int) -> float:
    """The geometric series (r^D − r^T)/(1 − r^T) with r = e^(−m): r^D for a long text, 1 − D/T without a slope."""
    if slope == 0:
        return 1 - distance / T
    return (math.exp(-slope * distance) - math.exp(-slope * T)) / -math.expm1(-slope * T)


def farthest_won(gap: float, slope: float, T: int) -> int:
    """Lift one key by `gap` logits over its rivals; the largest distance at which it still beats the query's own."""
    won = 0
    for d in range(1, T):
        content = torch.zeros(T, dtype=torch.float64)
        content[T - 1 - d] = gap
        w = weights_of_last_query(T, slope, content)
        if w[T - 1 - d] <= w[-1]:
            break
        won = d
    return won


@dataclass(frozen=True)
class Params:
    scheme: Literal["alibi", "none"] = "alibi"
    n_heads: int = 8
    head: int = 4  # counted from 1, the steepest
    distance: int = 64  # tokens
    seq_len: int = 1024  # tokens
    gap: float = 4.5  # logits by which the wanted key beats the others

    def __post_init__(self) -> None:
        if not 1 <= self.head <= self.n_heads <= 128:
            raise ValueError("head must be between 1 and n_heads, n_heads at most 128")
        if not 1 <= self.distance < self.seq_len <= 4096:
            raise ValueError("distance must be at least 1 and below seq_len, seq_len at most 4,096")
        if not 0 < self.gap <= 50:
            raise ValueError("gap must be above 0 and at most 50")


def run(p: Params) -> Result:
    T = p.seq_len
    m_all = slopes(p.n_heads).tolist()
    m = m_all[p.head - 1] if p.scheme == "alibi" else 0.0
    measured = mass_beyond(weights_of_last_query(T, m), p.distance)
    at_twice = mass_beyond(weights_of_last_query(2 * T, m), p.distance)
    won = farthest_won(p.gap, m, T)
    reach = math.ceil(p.gap / m) - 1 if m else T - 1
    lengths = [n for n in (128, 256, 512, 1024, 2048, 4096, 8192) if n > p.distance]
    by_length = {
        s: [mass_beyond(weights_of_last_query(n, s), p.distance) for n in lengths] for s in (m_all[p.head - 1], 0.0)
    }
    return Result(
        takeaway=Text(
            en=f"Head {p.head} of {p.n_heads} ({p.scheme}, slope {m:.4g}) puts {measured:.1%} of its attention beyond "
            f"{p.distance} tokens in a text of {T:,}, and {at_twice:.1%} in a text of {2 * T:,}.",
            zh=f"第 {p.head} 个 head（共 {p.n_heads} 个，{p.scheme}，斜率 {m:.4g}）在 {T:,} 个 token 的文本里把 "
            f"{measured:.1%} 的注意力放在 {p.distance} 个 token 之外，文本长 {2 * T:,} 时为 {at_twice:.1%}。",
        ),
        facts=[
            Fact("slope", "logits per token", m),
            Fact("first_slope", "logits per token", m_all[0]),
            Fact("last_slope", "logits per token", m_all[-1]),
            Fact("mass_beyond", "", measured, formula_mass_beyond(m, p.distance, T), rtol=1e-6, atol=1e-12),
            Fact(
                "mass_beyond_at_twice", "", at_twice, formula_mass_beyond(m, p.distance, 2 * T), rtol=1e-6, atol=1e-12
            ),
            Fact("farthest_won", "tokens", won, predicted=min(reach, T - 1)),
        ],
        table=Table(
            ("head", "slope", "e-folding distance (tokens)", f"share beyond {p.distance} tokens"),
            [(i, s, 1 / s, mass_beyond(weights_of_last_query(T, s), p.distance)) for i, s in enumerate(m_all, start=1)],
        ),
        plot=Plot(
            f"Attention beyond {p.distance} tokens, equal content",
            "tokens in the text",
            "share",
            [
                Series(f"ALiBi, head {p.head}", lengths, by_length[m_all[p.head - 1]]),
                Series("no bias", lengths, by_length[0.0]),
            ],
            log_x=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
