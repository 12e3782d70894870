"""What does RWKV's time mixing compute, and why is it both a Transformer and an RNN?

For every channel, WKV is a weighted mean of past values: token i counts e^(k_i), less by e^(−w) for every step it lies
back, and the current token gets a bonus u. Written over all pairs of tokens, that is a softmax with a linear distance
bias (as in ALiBi) and without queries. Numerator and denominator are sums that can be carried along, so the same
outputs come from a loop with two numbers per channel, and a third, the running maximum, that keeps exp from
overflowing.

Legend: T tokens, D channels (each has its own decay w and bonus u).
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def parallel_wkv(w: Tensor, u: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """All pairs at once: w, u (D,), k, v (T, D) → (T, D), as in section 3 of arXiv 2305.13048."""
    T = len(k)
    t = torch.arange(T)
    steps_back = (t[:, None] - t - 1)[..., None]  # (T, T, 1): 0 for the token just before
    logits = k[None] - w * steps_back  # (T, T, D), a softmax over the second axis
    logits = torch.where(steps_back < 0, -torch.inf, logits)
    logits[t, t] = u + k  # the current token: no decay, a bonus
    return (logits.softmax(dim=1) * v[None]).sum(dim=1)


def recurrent_wkv(w: Tensor, u: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Token by token, with three numbers per channel, in the stable form of the paper's appendix."""
    num, den, top = torch.zeros_like(k[0]), torch.zeros_like(k[0]), torch.full_like(k[0], -torch.inf)
    outputs = []
    for k_t, v_t in zip(k, v, strict=True):
        here = torch.maximum(top, u + k_t)
        old, new = (top - here).exp(), (u + k_t - here).exp()
        outputs.append((old * num + new * v_t) / (old * den + new))
        here = torch.maximum(top - w, k_t)
        old, new = (top - w - here).exp(), (k_t - here).exp()
        num, den, top = old * num + new * v_t, old * den + new, here
    return torch.stack(outputs)


def naive_wkv(w: Tensor, u: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The same sums typed in literally: right while no e^k overflows."""
    num, den = torch.zeros_like(k[0]), torch.zeros_like(k[0])
    outputs = []
    for k_t, v_t in zip(k, v, strict=True):
        bonus = (u + k_t).exp()
        outputs.append((num + bonus * v_t) / (den + bonus))
        num, den = (-w).exp() * num + k_t.exp() * v_t, (-w).exp() * den + k_t.exp()
    return torch.stack(outputs)


@dataclass(frozen=True)
class Params:
    form: Literal["stable", "naive"] = "stable"
    seq_len: int = 128  # T
    channels: int = 16  # D
    key_std: float = 30.0  # of k: large keys overflow exp in float32
    seed: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.seq_len <= 512 or not 1 <= self.channels <= 64:
            raise ValueError("seq_len must be between 2 and 512, channels between 1 and 64")
        if not 0 < self.key_std <= 100:
            raise ValueError("key_std must be above 0 and at most 100")


def run(p: Params) -> Result:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(p.seed)
        k, v = p.key_std * torch.randn(p.seq_len, p.channels), torch.randn(p.seq_len, p.channels)
        w, u = torch.rand(p.channels) + 0.01, torch.randn(p.channels)
    loop = {"stable": recurrent_wkv, "naive": naive_wkv}[p.form]
    ours = loop(w, u, k, v)
    wanted = parallel_wkv(*(t.double() for t in (w, u, k, v)))
    wrong = ~((ours - wanted).abs() < 1e-3)  # nan counts as wrong
    mismatches = int(wrong.sum())
    state = 3 if p.form == "stable" else 2
    tokens = list(range(p.seq_len))
    return Result(
        takeaway=Text(
            en=f"{p.form} loop with {state} numbers per channel, float32, keys of standard deviation {p.key_std:g}: "
            f"{mismatches:,} of {ours.numel():,} outputs differ from the softmax over all pairs.",
            zh=f"{p.form} 循环，每通道 {state} 个数，float32，k 的标准差 {p.key_std:g}："
            f"{ours.numel():,} 个输出中有 {mismatches:,} 个与所有 token 两两计算的 softmax 不同。",
        ),
        facts=[
            Fact("outputs", "outputs", ours.numel()),
            Fact("mismatches", "outputs", mismatches, predicted=0 if p.form == "stable" else None),
            Fact("nan_outputs", "outputs", int(ours.isnan().sum()), predicted=0 if p.form == "stable" else None),
            Fact("largest_key", "", k.max().item()),
            Fact("overflow_key", "", math.log(torch.finfo(torch.float32).max)),  # beyond it, e^k is inf
        ],
        table=Table(
            ("token", "loop", "all pairs"),
            [
                (t, None if ours[t, 0].isnan() else ours[t, 0].item(), wanted[t, 0].item())
                for t in tokens[:: max(1, p.seq_len // 8)]
            ],
        ),
        plot=Plot(
            "WKV of channel 0, all pairs at once",
            "token",
            "weighted mean of v",
            [Series("softmax over the past", tokens, wanted[:, 0].tolist())],
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
