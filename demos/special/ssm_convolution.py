"""When is a state space model a convolution, and why does Mamba give that up?

A linear state space model keeps h_t = Ā h_(t−1) + B̄ x_t and shows y_t = C h_t. Unroll it: y_t = Σ C Āᵏ B̄ x_(t−k), a
causal convolution whose kernel K_k = C Āᵏ B̄ is the same at every position. So it trains as one long convolution (by
FFT) and generates as a recurrence with a small state. That holds because the three matrices are time-invariant. Let
them depend on the token, as Mamba does in order to choose what to keep, and no single kernel fits: a scan is needed.

Legend: T tokens, N state channels; A is diagonal, as in S4D and Mamba, so Ā is a vector.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def discretise(delta: Tensor, A: Tensor, B: Tensor) -> tuple[Tensor, Tensor]:
    """Zero-order hold: h' = A·h + B·x with x held for `delta` seconds (arXiv 2312.00752, equation 4).

    (T, 1), (N,), (N,) → twice (T, N).
    """
    A_bar = (delta * A).exp()
    return A_bar, (A_bar - 1) / A * B


def recurrence(A_bar: Tensor, B_bar: Tensor, C: Tensor, x: Tensor) -> Tensor:
    """Token by token: A_bar, B_bar, C (T, N) and x (T,) → y (T,). The state has N numbers, whatever T is."""
    h, y = torch.zeros_like(A_bar[0]), []
    for t in range(len(x)):
        h = A_bar[t] * h + B_bar[t] * x[t]
        y.append(C[t] @ h)
    return torch.stack(y)


def kernel(A_bar: Tensor, B_bar: Tensor, C: Tensor, T: int) -> Tensor:
    """K_k = Σ_n C_n Ā_nᵏ B̄_n for k = 0 … T − 1, from ONE set of matrices (N,): (T,)."""
    powers = A_bar ** torch.arange(T, dtype=A_bar.dtype)[:, None]  # (T, N)
    return powers @ (C * B_bar)


def causal_convolution(K: Tensor, x: Tensor) -> Tensor:
    """y_t = Σ_k K_k x_(t−k) by FFT, padded so that the end does not wrap around to the beginning: (T,)."""
    T = len(x)
    return torch.fft.irfft(torch.fft.rfft(K, n=2 * T) * torch.fft.rfft(x, n=2 * T), n=2 * T)[:T]


@dataclass(frozen=True)
class Params:
    system: Literal["time_invariant", "selective"] = "time_invariant"
    seq_len: int = 512  # T, tokens
    state_size: int = 16  # N, numbers per channel
    seed: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.seq_len <= 4096 or not 1 <= self.state_size <= 128:
            raise ValueError("seq_len must be between 2 and 4,096, state_size between 1 and 128")


def run(p: Params) -> Result:
    T, N = p.seq_len, p.state_size
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(p.seed)
        A = -torch.arange(1, N + 1, dtype=torch.float64)  # S4D-Real
        delta, B, C = 0.01 + 0.1 * torch.rand(T, 1).double(), torch.randn(T, N).double(), torch.randn(T, N).double()
        x = torch.randn(T, dtype=torch.float64)
    if p.system == "time_invariant":
        delta, B, C = (m[:1].expand(T, -1) for m in (delta, B, C))
    A_bar, B_bar = discretise(delta, A, B)
    y = recurrence(A_bar, B_bar, C, x)
    K = kernel(A_bar[0], B_bar[0], C[0], T)
    by_convolution = causal_convolution(K, x)
    mismatches = int(((y - by_convolution).abs() > 1e-9).sum())
    shown = list(range(0, T, max(1, T // 8)))
    return Result(
        takeaway=Text(
            en=f"{p.system}: one kernel of {T:,} numbers gives {T - mismatches:,} of {T:,} outputs of the recurrence, "
            f"whose state is {N} numbers.",
            zh=f"{p.system}：用一个长度 {T:,} 的卷积核，{T:,} 个输出中有 {T - mismatches:,} 个与递推一致；"
            f"递推的状态只有 {N} 个数。",
        ),
        facts=[
            Fact("outputs", "outputs", T),
            Fact("mismatches", "outputs", mismatches, predicted=0 if p.system == "time_invariant" else None),
            Fact("kernel_numbers", "numbers", K.numel(), predicted=T),
            Fact("state_numbers", "numbers", A_bar[0].numel(), predicted=N),
        ],
        table=Table(
            ("token", "by recurrence", "by convolution"), [(t, y[t].item(), by_convolution[t].item()) for t in shown]
        ),
        plot=Plot(
            f"Outputs of a {p.system} state space model",
            "token",
            "y",
            [
                Series("recurrence", list(range(T)), y.tolist()),
                Series("convolution", list(range(T)), by_convolution.tolist()),
            ],
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
