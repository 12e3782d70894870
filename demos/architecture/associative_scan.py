"""Can a recurrence be computed in parallel?

A linear one can. h_t = a_t·h_(t−1) + b_t is a map "scale, then add", and two such maps in a row are again one:
(a₁, b₁) then (a₂, b₂) = (a₁·a₂, a₂·b₁ + b₂). This combination is associative, so prefixes of any length can be built
from halves: about log₂ T rounds instead of T steps, as Mamba, RWKV and other linear RNNs are trained. Put a tanh
around it, as in a classic RNN, and two steps are no longer one step of the same kind: the trick is lost.

Legend: T steps, D channels (each its own recurrence).
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def combine(a1: Tensor, b1: Tensor, a2: Tensor, b2: Tensor) -> tuple[Tensor, Tensor]:
    """First h → a1·h + b1, then h → a2·h + b2, as one map."""
    return a1 * a2, a2 * b1 + b2


def loop(a: Tensor, b: Tensor, *, tanh: bool = False) -> Tensor:
    """Step by step from h = 0: (T, D) → all states (T, D). T dependent steps."""
    h, states = torch.zeros_like(b[0]), []
    for a_t, b_t in zip(a, b, strict=True):
        h = a_t * h + b_t
        if tanh:
            h = h.tanh()
        states.append(h)
    return torch.stack(states)


def scan(a: Tensor, b: Tensor) -> tuple[Tensor, int, int]:
    """The same states by doubling (Hillis and Steele 1986), with the rounds and the combinations that it took.

    After round r, entry t is the combination of the last 2^r maps up to t; the first state is 0, so h_t is its b.
    """
    rounds = combinations = 0
    distance = 1
    while distance < len(b):
        new_a, new_b = combine(a[:-distance], b[:-distance], a[distance:], b[distance:])
        a, b = torch.cat([a[:distance], new_a]), torch.cat([b[:distance], new_b])  # all of a round at once
        rounds, combinations = rounds + 1, combinations + len(new_b)
        distance *= 2
    return b, rounds, combinations


def formula_rounds(T: int) -> int:
    """⌈log₂ T⌉: 4,096 steps in 12 rounds."""
    return math.ceil(math.log2(T))


@dataclass(frozen=True)
class Params:
    recurrence: Literal["linear", "tanh"] = "linear"
    seq_len: int = 1024  # T
    D: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.seq_len <= 8192 or not 1 <= self.D <= 64:
            raise ValueError("seq_len must be between 2 and 8,192, D between 1 and 64")


def run(p: Params) -> Result:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(p.seed)
        a = 0.5 + 0.5 * torch.rand(p.seq_len, p.D, dtype=torch.float64)  # decays that depend on the step
        b = torch.randn(p.seq_len, p.D, dtype=torch.float64)
    wanted = loop(a, b, tanh=p.recurrence == "tanh")
    got, rounds, combinations = scan(a, b)
    mismatches = int(((got - wanted).abs() > 1e-9).sum())
    lengths = sorted({2**i for i in range(1, 12) if 2**i < p.seq_len} | {p.seq_len})
    counted = [scan(a[:n], b[:n])[1:] for n in lengths]
    return Result(
        takeaway=Text(
            en=f"{p.seq_len:,} steps of a {p.recurrence} recurrence in {rounds} rounds of combining: {mismatches:,} of "
            f"{wanted.numel():,} states differ from the step-by-step loop.",
            zh=f"{p.recurrence} 递推的 {p.seq_len:,} 步，用 {rounds} 轮两两合并：{wanted.numel():,} 个状态中有 "
            f"{mismatches:,} 个与逐步循环不同。",
        ),
        facts=[
            Fact("mismatches", "states", mismatches, predicted=0 if p.recurrence == "linear" else None),
            Fact("states", "states", wanted.numel()),
            Fact("rounds", "rounds", rounds, formula_rounds(p.seq_len)),
            Fact("combinations_per_step", "×", combinations / p.seq_len),  # the price of doubling; Blelloch's tree: < 2
        ],
        table=Table(
            ("steps", "rounds", "combinations"), [(n, r, c) for n, (r, c) in zip(lengths, counted, strict=True)]
        ),
        plot=Plot(
            "What has to wait for what",
            "steps",
            "dependent rounds",
            [Series("loop", lengths, lengths), Series("scan", lengths, [r for r, _ in counted])],
            log_x=True,
            log_y=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
