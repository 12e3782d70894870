"""What do position interpolation, NTK-aware scaling and YaRN do to RoPE's angles?

Text of s·L tokens on a model trained with L shows angles that it has never seen, in every pair that did not complete a
turn. Position interpolation (PI) divides all angles by s: none is new, but neighbours, which the fastest pair tells
apart, move together s times as well. NTK-aware scaling raises the base instead: the fastest pair stays, only the
slowest is divided by s, and those between still overshoot. YaRN decides pair by pair: many turns in training: keep;
less than one: divide by s; a ramp between. It also multiplies q and k by 0.1·ln(s) + 1, to sharpen softmax.

Legend: T tokens, D head_dim, L trained length, s factor.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from llmprep.demos.architecture.rope import frequencies
from llmprep.demos.architecture.rope_wavelengths import angles_travelled
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

Method = Literal["none", "linear", "ntk", "yarn"]
METHODS: tuple[Method, ...] = ("none", "linear", "ntk", "yarn")


def linear(head_dim: int, base: float, factor: float) -> Tensor:
    """Position interpolation, θ_i/s (the same as positions m/s): arXiv 2306.15595, section 2.3."""
    return frequencies(head_dim, base) / factor


def ntk(head_dim: int, base: float, factor: float) -> Tensor:
    """A larger base, base·s^(D/(D−2)): it makes the slowest pair just s times slower. arXiv 2309.00071, section 3.1."""
    return frequencies(head_dim, base * factor ** (head_dim / (head_dim - 2)))


def yarn(
    head_dim: int, base: float, factor: float, trained_len: int, fast_turns: float = 32, slow_turns: float = 1
) -> Tensor:
    """Keep the pairs that turn more than `fast_turns` times in L, divide by s those below `slow_turns`, ramp between.

    arXiv 2309.00071, section 3.2. There the ramp runs over the number of turns; in the authors' code, and here, it runs
    over the index of the pair, between whole indices.
    """

    def pair_with(turns: float) -> float:
        return head_dim / 2 * math.log(trained_len / (turns * 2 * math.pi)) / math.log(base)

    first, last = max(math.floor(pair_with(fast_turns)), 0), min(math.ceil(pair_with(slow_turns)), head_dim - 1)
    ramp = ((torch.arange(head_dim // 2) - first) / max(last - first, 0.001)).clamp(0, 1).double()
    theta = frequencies(head_dim, base)
    return (1 - ramp) * theta + ramp * theta / factor


def yarn_attention_factor(factor: float) -> float:
    """What q and k are multiplied by; the scores by its square: the same paper, section 3.4."""
    return 0.1 * math.log(factor) + 1


def scaled(method: Method, head_dim: int, base: float, factor: float, trained_len: int) -> Tensor:
    """θ_i in radians per token, (D/2,), after one of the methods."""
    if method == "linear":
        return linear(head_dim, base, factor)
    if method == "ntk":
        return ntk(head_dim, base, factor)
    if method == "yarn":
        return yarn(head_dim, base, factor, trained_len)
    return frequencies(head_dim, base)


def overshooting_pairs(theta: Tensor, trained: Tensor, trained_len: int, long_len: int) -> Tensor:
    """True for pairs whose arrow, turned through the long text, leaves the arc that training covered, (D/2,)."""
    arc = trained_len * trained  # radians; the angles of positions 0 … L
    return (arc < 2 * math.pi) & (angles_travelled(theta, long_len) > arc)


@dataclass(frozen=True)
class Params:
    method: Method = "none"
    factor: float = 4.0  # s: how many times longer than in training
    head_dim: int = 128
    base: float = 10_000.0
    trained_len: int = 4096  # tokens, L

    def __post_init__(self) -> None:
        if self.head_dim % 2 or not 8 <= self.head_dim <= 256:
            raise ValueError("head_dim must be even and between 8 and 256")
        if not 256 <= self.trained_len <= 8192 or not 1.5 <= self.factor <= 8:
            raise ValueError("trained_len must be between 256 and 8,192, factor between 1.5 and 8")
        if self.factor * self.trained_len > 32_768:
            raise ValueError("factor * trained_len must be at most 32,768: every position is really turned through")
        if not 1000 <= self.base <= 1e7:
            raise ValueError("base must be between 1,000 and 1e7")


def run(p: Params) -> Result:
    long_len = int(p.factor * p.trained_len)
    trained = frequencies(p.head_dim, p.base)
    unfinished = p.trained_len * trained < 2 * math.pi
    rows, unseen, neighbours = [], {}, {}
    for method in METHODS:
        theta = scaled(method, p.head_dim, p.base, p.factor, p.trained_len)
        unseen[method] = int(overshooting_pairs(theta, trained, p.trained_len, long_len).sum())
        neighbours[method] = angles_travelled(theta, 2)[0].item()
        slowest = (trained[-1] / theta[-1]).item()
        rows.append((method, unseen[method], neighbours[method], slowest))

    # NTK slows pair i by s^(2i/(D−2)): less than s for every pair but the last
    predicted = {"none": int(unfinished.sum()), "linear": 0, "ntk": max(int(unfinished.sum()) - 1, 0), "yarn": 0}
    return Result(
        takeaway=Text(
            en=f"{p.method}, {p.factor:g} × {p.trained_len:,} tokens: {unseen[p.method]} of {p.head_dim // 2} pairs "
            f"show angles never seen in training; neighbours are {neighbours[p.method]:.2f} rad apart in the fastest.",
            zh=f"{p.method}，长度为训练时 {p.trained_len:,} 的 {p.factor:g} 倍：{p.head_dim // 2} 对中有 "
            f"{unseen[p.method]} 对出现训练时没见过的角度；最快一对上相邻 token 相差 {neighbours[p.method]:.2f} rad。",
        ),
        facts=[
            Fact("pairs", "pairs", p.head_dim // 2),
            Fact("long_len", "tokens", long_len),
            Fact("unseen_pairs", "pairs", unseen[p.method], predicted=predicted[p.method]),
            Fact(
                "neighbour_angle", "rad", neighbours[p.method], 1 / p.factor if p.method == "linear" else 1, rtol=1e-9
            ),
            Fact("attention_factor", "×", yarn_attention_factor(p.factor) if p.method == "yarn" else 1.0),
        ],
        table=Table(
            ("method", "pairs with unseen angles", "angle between neighbours (rad)", "slowest pair slowed (×)"), rows
        ),
        plot=Plot(
            f"How much each pair is slowed, factor {p.factor:g}",
            "pair",
            "×",
            [
                Series(
                    m,
                    list(range(p.head_dim // 2)),
                    (trained / scaled(m, p.head_dim, p.base, p.factor, p.trained_len)).tolist(),
                )
                for m in METHODS
            ],
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
