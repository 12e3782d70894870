"""What does Mamba's selective scan compute, and can it be trained in parallel?

Mamba lets the step size Δ and the maps B and C depend on the token: h_t = exp(Δ_t A) ∘ h_(t−1) + Δ_t B_t x_t, y_t =
C_t·h_t (the skip D·x is left out). A large Δ_t forgets the past and writes the token, a small one skips it: Δ is a
gate. With one state channel, A = −1, B = 1 and exact discretisation it IS the gate of a GRU, h_t = (1 − g)·h_(t−1) +
g·x_t. No convolution can follow a Δ that changes, but the state still enters linearly, so pairs of steps can be
combined.

Legend: T tokens, D channels, N state numbers per channel.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from llmprep.demos.architecture.associative_scan import scan
from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def discretise(delta: Tensor, A: Tensor, B: Tensor, x: Tensor, rule: str) -> tuple[Tensor, Tensor]:
    """What multiplies the state, and what is added to it, both (T, D, N).

    delta, x: (T, D); A: (D, N), negative; B: (T, N). The paper derives zero-order hold for both (arXiv 2312.00752,
    equation 4); the released code keeps it for A and takes the first-order term Δ·B for B ("euler").
    """
    steps = delta[..., None] * A  # (T, D, N)
    decay = steps.exp()
    gain = delta[..., None].expand_as(steps) if rule == "euler" else (decay - 1) / A
    return decay, gain * B[:, None] * x[..., None]


def selective_scan(decay: Tensor, added: Tensor, C: Tensor) -> Tensor:
    """Token by token: (T, D, N), (T, D, N), C (T, N) → y (T, D). The state has D·N numbers at any T."""
    h, y = torch.zeros_like(added[0]), []
    for t in range(len(added)):
        h = decay[t] * h + added[t]
        y.append(h @ C[t])
    return torch.stack(y)


def parallel_selective_scan(decay: Tensor, added: Tensor, C: Tensor) -> tuple[Tensor, int]:
    """The same outputs by an associative scan, and the rounds that it took."""
    states, rounds, _ = scan(decay, added)  # (T, D, N)
    return (states @ C[..., None])[..., 0], rounds


def chunks_without_carry(decay: Tensor, added: Tensor, C: Tensor) -> tuple[Tensor, int]:
    """A bug: real kernels work chunk by chunk, and this one forgets to hand the state on."""
    half = len(added) // 2
    parts = [parallel_selective_scan(decay[s], added[s], C[s]) for s in (slice(half), slice(half, None))]
    return torch.cat([y for y, _ in parts]), max(rounds for _, rounds in parts)


def gated_average(x: Tensor, z: Tensor) -> Tensor:
    """h_t = (1 − g_t)·h_(t−1) + g_t·x_t with g = σ(z), all (T, D): the special case of theorem 1 in the paper."""
    h, states = torch.zeros_like(x[0]), []
    for x_t, g in zip(x, z.sigmoid(), strict=True):
        h = (1 - g) * h + g * x_t
        states.append(h)
    return torch.stack(states)


@dataclass(frozen=True)
class Params:
    rule: Literal["euler", "zoh"] = "euler"  # how B is discretised
    method: Literal["scan", "chunks_without_carry"] = "scan"  # compared with the loop over tokens
    seq_len: int = 256  # T
    channels: int = 8  # D
    state_size: int = 16  # N
    seed: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.seq_len <= 2048:
            raise ValueError("seq_len must be between 2 and 2,048")
        if not 1 <= self.channels <= 32 or not 1 <= self.state_size <= 32:
            raise ValueError("channels and state_size must be between 1 and 32")


def run(p: Params) -> Result:
    T, D, N = p.seq_len, p.channels, p.state_size
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(p.seed)
        x, z = torch.randn(2, T, D, dtype=torch.float64)
        B, C = torch.randn(2, T, N, dtype=torch.float64)
    delta = F.softplus(z)  # in Mamba a projection of the token
    A = -torch.arange(1, N + 1, dtype=torch.float64).expand(D, N)  # S4D-Real, Mamba's initialisation
    decay, added = discretise(delta, A, B, x, p.rule)
    y = selective_scan(decay, added, C)
    method = {"scan": parallel_selective_scan, "chunks_without_carry": chunks_without_carry}[p.method]
    fast, rounds = method(decay, added, C)
    mismatches = int(((fast - y).abs() > 1e-9).sum())

    one = torch.ones(T, 1, dtype=torch.float64)
    gated = selective_scan(*discretise(delta, -torch.ones(D, 1, dtype=torch.float64), one, x, p.rule), one)
    gate_mismatches = int(((gated - gated_average(x, z)).abs() > 1e-9).sum())
    kept = decay.prod(dim=2).pow(1 / N)  # (T, D), geometric mean over the state
    shown = range(0, T, max(1, T // 8))
    return Result(
        takeaway=Text(
            en=f"{T} tokens of a selective scan in {rounds} rounds: {mismatches:,} of {y.numel():,} outputs differ "
            f"from the loop. As a one-number gate ({p.rule}), {gate_mismatches:,} of {gated.numel():,} differ from a "
            "GRU's.",
            zh=f"{T} 个 token 的选择性扫描用了 {rounds} 轮：{y.numel():,} 个输出中有 {mismatches:,} 个与逐步循环不同；"
            f"状态只有一个数时（{p.rule}），{gated.numel():,} 个状态中有 {gate_mismatches:,} 个与 GRU 式的门不同。",
        ),
        facts=[
            Fact("outputs", "outputs", y.numel()),
            Fact("mismatches", "outputs", mismatches, predicted=0 if p.method == "scan" else None),
            Fact("rounds", "rounds", rounds, predicted=(T - 1).bit_length() if p.method == "scan" else None),
            Fact("gate_states", "states", gated.numel()),
            Fact("gate_mismatches", "states", gate_mismatches, predicted=0 if p.rule == "zoh" else None),
        ],
        table=Table(
            ("token", "Δ of channel 0", "kept of the state", "y of channel 0"),
            [(t, delta[t, 0].item(), kept[t, 0].item(), y[t, 0].item()) for t in shown],
        ),
        plot=Plot(
            "What a token leaves of the old state, channel 0",
            "token",
            "share",
            [Series("kept", list(range(T)), kept[:, 0].tolist())],
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
