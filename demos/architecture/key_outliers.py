"""Why are cached keys quantised per channel, and values per token?

One scale serves a group of numbers, and its largest number sets the step of all. The keys of trained models have a few
channels that are large in every token (KIVI, arXiv 2402.02750). If a scale serves a token, its group holds
such a channel, and the ordinary channels round to almost nothing; if it serves a channel over many tokens, the large
ones keep their wide step to themselves. Values have no such channels, and a scale per token can be written as soon as
the token comes. Both ways store the same number of bits. What counts is the error of the attention's output.

Legend: T cached tokens, N queries, D head_dim.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from llmprep.demos.architecture.attention import attention
from llmprep.demos.inference.quantization import dequantize_absmax, formula_rms_error, quantize_absmax
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

Axis = Literal["channel", "token"]


def keys_with_outliers(T: int, D: int, n_outliers: int, size: float) -> Tensor:
    """(T, D) of standard deviation 1, but for the first channels: those are `size` times as large in every token."""
    keys = torch.randn(T, D)
    keys[:, :n_outliers] *= size
    return keys


def through_cache(x: Tensor, bits: int, axis: Axis, group: int) -> tuple[Tensor, Tensor]:
    """(T, D) as it comes back from a quantised cache, and the steps; a scale serves `group` numbers along the axis."""
    x = x.T if axis == "channel" else x  # quantize_absmax groups the last axis
    codes, scales = quantize_absmax(x, bits, group)
    back = dequantize_absmax(codes, scales)
    return (back.T if axis == "channel" else back), scales


def relative_error(a: Tensor, exact: Tensor) -> float:
    """Root mean square of the difference, over that of what is exact."""
    return ((a - exact).square().mean() / exact.square().mean()).sqrt().item()


def output_error(q: Tensor, k: Tensor, v: Tensor, back_k: Tensor, back_v: Tensor) -> float:
    """Relative error of attention (N queries, T keys) when it reads the cache that came back."""
    exact, got = (attention(q, keys, values, causal=False) for keys, values in ((k, v), (back_k, back_v)))
    return relative_error(got, exact)


@dataclass(frozen=True)
class Params:
    keys_by: Axis = "channel"  # what one scale of the keys serves
    bits: Literal[8, 4, 3] = 4  # of a cached number
    n_outliers: int = 4  # large channels of 128
    outlier_size: float = 10.0  # times the others
    n_tokens: int = 1024
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.n_outliers <= 16 or not 1 <= self.outlier_size <= 50:
            raise ValueError("n_outliers must be between 0 and 16, outlier_size between 1 and 50")
        if not 256 <= self.n_tokens <= 4096 or self.n_tokens % 128:
            raise ValueError("n_tokens must be a multiple of 128 between 256 and 4,096")


def run(p: Params) -> Result:
    D = group = 128  # a scale for 128 numbers either way: the same bytes
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(p.seed)
        k, v = keys_with_outliers(p.n_tokens, D, p.n_outliers, p.outlier_size), torch.randn(p.n_tokens, D)
        q = torch.randn(64, D)
    back_v, value_steps = through_cache(v, p.bits, "token", group)

    def error(bits: int, axis: Axis) -> float:
        return output_error(q, k, v, through_cache(k, bits, axis, group)[0], v)

    back_k, _ = through_cache(k, p.bits, p.keys_by, group)
    ordinary = slice(p.n_outliers, None)
    by_token, by_channel = error(p.bits, "token"), error(p.bits, "channel")
    chosen = output_error(q, k, v, back_k, back_v)
    value_error = (back_v - v).square().mean().sqrt().item()
    bits = (8, 4, 3)
    return Result(
        takeaway=Text(
            en=f"With {p.bits}-bit keys, {p.n_outliers} of {D} channels {p.outlier_size:g}× larger, the output is off "
            f"by {by_token:.0%} if a scale serves a token and by {by_channel:.0%} if it serves a channel.",
            zh=f"key 用 {p.bits} bit、{D} 个通道中有 {p.n_outliers} 个大 {p.outlier_size:g} 倍时，"
            f"按 token 共用 scale，输出误差 {by_token:.0%}；按通道共用，误差 {by_channel:.0%}。",
        ),
        facts=[
            Fact("channels", "", D),
            Fact("output_error", "of its size", chosen),  # keys and values quantised
            Fact("ordinary_key_error", "of their size", relative_error(back_k[:, ordinary], k[:, ordinary])),
            Fact("error_keys_by_token", "of its size", by_token),
            Fact("error_keys_by_channel", "of its size", by_channel),
            Fact("value_error", "", value_error, predicted=formula_rms_error(value_steps, group), rtol=0.1),
        ],
        table=Table(
            ("bits of the keys", "output error, a scale per token", "output error, a scale per channel"),
            [(b, error(b, "token"), error(b, "channel")) for b in bits],
        ),
        plot=Plot(
            f"Keys with {p.n_outliers} channels {p.outlier_size:g}× larger",
            "bits of the keys",
            "relative error of the output",
            [
                Series("scale per token", [str(b) for b in bits], [error(b, "token") for b in bits]),
                Series("scale per channel", [str(b) for b in bits], [error(b, "channel") for b in bits]),
            ],
            kind="bar",
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
