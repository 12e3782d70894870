"""How many facts fit into the matrix state of a linear RNN, and what does that cost in recall?

Linear attention, RetNet and RWKV store pairs in one matrix: S = Σ k vᵀ, read by q·S. Asked for the key kⱼ, it answers
vⱼ + Σ (kᵢ·kⱼ)·vᵢ: the value, and every other value weighted by how similar its key is. For random unit keys that is
a noise of variance (N − 1)/D: with N = D it is as strong as the signal. Softmax over all stored keys suppresses the
others exponentially, as long as the keys differ, but then all of them must be kept. The delta rule (DeltaNet, RWKV-7)
writes only what the key does not return yet: newer pairs overwrite older ones, and the error stays bounded.

Legend: N stored pairs, D head_dim.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from llmprep.lab import Fact, Plot, Result, Series, Table, Text

MEMORIES = ("add", "delta", "softmax")
SHARPNESS = 32.0  # of the softmax: scores are cosines times this


def random_pairs(n_pairs: int, head_dim: int) -> tuple[Tensor, Tensor]:
    """Random unit keys, and values of ±1: (N, D) each."""
    shape = (n_pairs, head_dim)
    return F.normalize(torch.randn(shape, dtype=torch.float64), dim=1), torch.randn(shape, dtype=torch.float64).sign()


def write(keys: Tensor, values: Tensor, rule: str) -> Tensor:
    """Store all pairs, one after the other, in a matrix (D, D). "delta": only what the key does not return yet."""
    S = torch.zeros(keys.shape[1], values.shape[1], dtype=keys.dtype)
    for k, v in zip(keys, values, strict=True):
        S = S + torch.outer(k, v - k @ S if rule == "delta" else v)
    return S


def recall(keys: Tensor, values: Tensor, memory: str) -> Tensor:
    """Ask for every stored key: (N, D)."""
    if memory == "softmax":
        return (SHARPNESS * keys @ keys.T).softmax(dim=1) @ values
    return keys @ write(keys, values, memory)


def formula_noise(n_pairs: int, head_dim: int) -> float:
    """E[(kᵢ·kⱼ)²] = 1/D for random unit keys in D dimensions, and there are N − 1 others."""
    return (n_pairs - 1) / head_dim


@dataclass(frozen=True)
class Params:
    memory: Literal["add", "delta", "softmax"] = "add"
    n_pairs: int = 64  # N
    head_dim: int = 64  # D
    seed: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.n_pairs <= 512 or not 32 <= self.head_dim <= 128:
            raise ValueError("n_pairs must be between 2 and 512, head_dim between 32 and 128")


def run(p: Params) -> Result:
    noise: dict[tuple[str, int], float] = {}
    right: dict[tuple[str, int], float] = {}
    counts = sorted({8, 16, 64, 256, p.n_pairs})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(p.seed)
        for n in counts:
            texts = [random_pairs(n, p.head_dim) for _ in range(max(8, 2048 // n))]
            wanted = torch.cat([values for _, values in texts])
            for memory in MEMORIES:
                got = torch.cat([recall(*pairs, memory) for pairs in texts])
                noise[memory, n] = (got - wanted).square().mean().item()
                right[memory, n] = (got.sign() == wanted).double().mean().item()
    measured, share = noise[p.memory, p.n_pairs], right[p.memory, p.n_pairs]
    return Result(
        takeaway=Text(
            en=f"{p.memory}: with {p.n_pairs} random pairs in {p.head_dim} dimensions, a value of variance 1 comes "
            f"back with an error of variance {measured:.2f}, and {share:.0%} of its signs are right.",
            zh=f"{p.memory}：{p.head_dim} 维里存 {p.n_pairs} 个随机键值对，方差为 1 的值取出来时误差方差是 "
            f"{measured:.2f}，符号对了 {share:.0%}。",
        ),
        facts=[
            Fact("error_variance", "", measured),
            Fact("signs_right", "", share),
            Fact(
                "additive_error",  # of the plain sum, whatever memory is chosen
                "",
                noise["add", p.n_pairs],
                predicted=formula_noise(p.n_pairs, p.head_dim),
                rtol=0.3,
            ),
        ],
        table=Table(
            ("pairs", "error, add", "error, delta", "error, softmax", "predicted, add"),
            [(n, *(noise[m, n] for m in MEMORIES), formula_noise(n, p.head_dim)) for n in counts],
        ),
        plot=Plot(
            f"Signs recalled, {p.head_dim} dimensions",
            "stored pairs",
            "share right",
            [Series(m, counts, [right[m, n] for n in counts]) for m in MEMORIES],
            log_x=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
