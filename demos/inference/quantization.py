"""How many bits does a quantised weight really take, and how much does it lose?

Each format here is three steps: divide a group of weights by its largest absolute value, round to the nearest
level, keep the index of the level and the scale of the group. Formats differ in where the levels lie (evenly in INT8
and INT4, at normal quantiles in NF4) and in how many weights share a scale. A small group pays more bits for scales
and keeps an outlier from stretching the steps of the whole row.

Legend: x (…, n) weights, G groups of g weights along the last axis, codes (…, n), scales (…, G).
"""

from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import torch
from torch import Tensor

from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def formula_bits(bits: int, group_size: int, scale_bits: int) -> float:
    """Bits per weight with its share of the scale: NF4 in blocks of 64 with FP32 scales is 4 + 32/64 = 4.5."""
    return bits + scale_bits / group_size


def formula_rms_error(steps: Tensor, group_size: int) -> float:
    """Rounding to even steps: the error is uniform within half a step, step/√12; the largest of a group has none.

    One bit more halves the step, so it halves the error (6 dB). Holds while a step is small against the weights.
    """
    return (steps.double().square().mean() / 12 * (1 - 1 / group_size)).sqrt().item()


def quantize_absmax(x: Tensor, bits: int = 8, group_size: int = 0) -> tuple[Tensor, Tensor]:
    """Symmetric integers of 2 to 8 bits: (…, n) → codes int8 (…, n), scales (…, G); group_size 0: the whole row.

    INT8: [0.5, −1.0] → codes [64, −127], scale 1/127 (absmax quantisation, LLM.int8(), arXiv 2208.07339, section 2).
    """
    grouped = x.float().unflatten(-1, (-1, group_size or x.shape[-1]))  # (…, G, g)
    top = 2 ** (bits - 1) - 1
    absmax = grouped.abs().amax(dim=-1)  # (…, G)
    codes = (grouped * (top / absmax.clamp(min=1e-38)).unsqueeze(-1)).round()
    return codes.to(torch.int8).flatten(-2), absmax / top


def dequantize_absmax(codes: Tensor, scales: Tensor) -> Tensor:
    """Codes (…, n) times the scale of their group (…, G) → (…, n) float32."""
    return (codes.float().unflatten(-1, (scales.shape[-1], -1)) * scales.float().unsqueeze(-1)).flatten(-2)


def nf4_code() -> Tensor:
    """The 16 levels of 4-bit NormalFloat, sorted, in [−1, 1] (QLoRA, arXiv 2305.14314, section 3 and appendix E).

    Equally spaced probabilities, sent through the inverse normal CDF and divided by the largest. Eight steps upwards
    and seven downwards share an exact zero, which padding needs. The outermost probability stops half a bin short of
    1, for bins of 1/16 and 1/15 on average.
    """
    inv_cdf, outermost = NormalDist().inv_cdf, 1 - (1 / 32 + 1 / 30) / 2
    upper = [inv_cdf(0.5 + (outermost - 0.5) * i / 8) for i in range(9)]
    lower = [inv_cdf(0.5 - (outermost - 0.5) * i / 7) for i in range(7, 0, -1)]
    return torch.tensor([level / upper[-1] for level in lower + upper])


def quantize_code(x: Tensor, code: Tensor, group_size: int = 0) -> tuple[Tensor, Tensor]:
    """Nearest level of a sorted code book in [−1, 1]: (…, n) → indices uint8 (…, n), absmax (…, G)."""
    grouped = x.float().unflatten(-1, (-1, group_size or x.shape[-1]))  # (…, G, g)
    absmax = grouped.abs().amax(dim=-1)  # (…, G)
    unit = (grouped * (1 / absmax.clamp(min=1e-38)).unsqueeze(-1)).flatten(-2)
    return torch.bucketize(unit, (code[:-1] + code[1:]) / 2).to(torch.uint8), absmax


def dequantize_code(codes: Tensor, absmax: Tensor, code: Tensor) -> Tensor:
    """Levels of the indices (…, n) times the absmax of their group (…, G) → (…, n) float32."""
    return (code[codes.long()].unflatten(-1, (absmax.shape[-1], -1)) * absmax.float().unsqueeze(-1)).flatten(-2)


def pack_nibbles(codes: Tensor) -> Tensor:
    """Two 4-bit codes a byte, the first in the high half, signed ones in two's complement: (…, n) → uint8 (…, n/2)."""
    nibbles = codes.to(torch.uint8) & 0xF
    return nibbles[..., ::2] << 4 | nibbles[..., 1::2]


def unpack_nibbles(packed: Tensor, *, signed: bool = False) -> Tensor:
    """(…, n/2) bytes → (…, n) codes: uint8 in 0…15, or int8 in −8…7."""
    codes = torch.stack([packed >> 4, packed & 0xF], dim=-1).flatten(-2)
    return (codes.to(torch.int8) ^ 8) - 8 if signed else codes


def store(x: Tensor, scheme: str, group_size: int, scale_bits: int) -> tuple[list[Tensor], Tensor]:
    """Quantise, then read back from what lies in memory: ([codes, scales], weights (…, n) float32)."""
    scale_dtype = torch.float16 if scale_bits == 16 else torch.float32
    if scheme == "nf4":
        codes, scales = quantize_code(x, nf4_code(), group_size)
        kept = [pack_nibbles(codes), scales.to(scale_dtype)]
        return kept, dequantize_code(unpack_nibbles(kept[0]), kept[1], nf4_code())
    codes, scales = quantize_absmax(x, 4 if scheme == "int4" else 8, group_size)
    kept = [pack_nibbles(codes) if scheme == "int4" else codes, scales.to(scale_dtype)]
    return kept, dequantize_absmax(unpack_nibbles(kept[0], signed=True) if scheme == "int4" else kept[0], kept[1])


def sample_weights(kind: str, n_rows: int, n_cols: int, outlier_size: float, seed: int) -> Tensor:
    """(n_rows, n_cols) of standard deviation 1; "outliers": normal, but one weight in a thousand is ±outlier_size."""
    generator = torch.Generator().manual_seed(seed)
    if kind == "uniform":
        return (torch.rand(n_rows, n_cols, generator=generator) * 2 - 1) * 3**0.5
    x = torch.randn(n_rows, n_cols, generator=generator)
    hit = torch.rand(n_rows, n_cols, generator=generator) < 1e-3
    return torch.where(hit, outlier_size * x.sign(), x) if kind == "outliers" else x


def rms_error(x: Tensor, restored: Tensor) -> float:
    """Root mean square of the error; with weights of standard deviation 1 this is the share of the signal lost."""
    return (x - restored).double().square().mean().sqrt().item()


@dataclass(frozen=True)
class Params:
    scheme: Literal["int8", "int4", "nf4"] = "nf4"
    group_size: int = 64  # weights that share a scale; 0: a whole row
    scale_bits: Literal[32, 16] = 32  # FP32 or FP16 scales
    weights: Literal["normal", "uniform", "outliers"] = "normal"
    outlier_size: float = 20.0  # in standard deviations of the other weights
    n_rows: int = 64
    n_cols: int = 4096
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_rows < 1 or self.n_cols < 2 or not 2**14 <= self.n_rows * self.n_cols <= 2**22:
            raise ValueError("n_rows · n_cols must be between 2^14 and 2^22: the layer is really quantised")
        if (
            self.n_cols % 2
            or self.n_cols % (self.group_size or 1)
            or not (self.group_size == 0 or self.group_size >= 8)
        ):
            raise ValueError(
                "group_size must be at least 8 and divide n_cols, or 0 for a whole row; n_cols must be even"
            )
        if not 1 <= self.outlier_size <= 100:
            raise ValueError("outlier_size must be between 1 and 100 standard deviations")


def run(p: Params) -> Result:
    x = sample_weights(p.weights, p.n_rows, p.n_cols, p.outlier_size, p.seed)
    clean = sample_weights("uniform" if p.weights == "uniform" else "normal", p.n_rows, p.n_cols, 1.0, p.seed)
    group_size = p.group_size or p.n_cols
    bits = 8 if p.scheme == "int8" else 4

    kept, restored = store(x, p.scheme, p.group_size, p.scale_bits)
    error = rms_error(x, restored)
    clean_error = rms_error(clean, store(clean, p.scheme, p.group_size, p.scale_bits)[1])
    measured_bits = 8 * sum(t.nbytes for t in kept) / x.numel()
    fine = p.scheme != "nf4" and p.weights != "outliers" and kept[1].max() < 1
    facts = [
        Fact("bits_per_weight", "bits", measured_bits, formula_bits(bits, group_size, p.scale_bits), rtol=1e-9),
        Fact("rms_error", "σ", error, formula_rms_error(kept[1], group_size) if fine else None, rtol=0.05),
        Fact("outlier_penalty", "×", error / clean_error),
        Fact("error_vs_int4", "×", error / rms_error(x, store(x, "int4", p.group_size, p.scale_bits)[1])),
        Fact("error_vs_int8", "×", error / rms_error(x, store(x, "int8", p.group_size, p.scale_bits)[1])),
    ]
    kinds = ("normal", "uniform", "outliers")
    samples = [sample_weights(kind, p.n_rows, p.n_cols, p.outlier_size, p.seed) for kind in kinds]
    rows = []
    for scheme, size in (("int8", p.n_cols), ("int4", p.n_cols), ("int4", group_size), ("nf4", group_size)):
        width = formula_bits(8 if scheme == "int8" else 4, size, p.scale_bits)
        errors = [rms_error(w, store(w, scheme, size, p.scale_bits)[1]) for w in samples]
        rows.append((f"{scheme.upper()}, groups of {size:,}", round(width, 4), *(round(e, 4) for e in errors)))
    sizes = [g for g in (16, 64, 256, 1024, 4096) if p.n_cols % g == 0]
    curves = [
        Series(s.upper(), sizes, [rms_error(x, store(x, s, g, p.scale_bits)[1]) for g in sizes])
        for s in ("int8", "int4", "nf4")
    ]
    return Result(
        takeaway=Text(
            en=f"{p.scheme.upper()} in groups of {group_size:,} takes {measured_bits:.4g} bits per weight; the RMS "
            f"error is {error:.1%} of the weights' standard deviation ({p.weights}).",
            zh=f"{p.scheme.upper()}、每组 {group_size:,} 个权重：每个权重实占 {measured_bits:.4g} bit，"
            f"均方根误差为权重标准差的 {error:.1%}（权重分布：{p.weights}）。",
        ),
        facts=facts,
        table=Table(("format", "bits per weight", *(f"RMS error, {kind} (σ)" for kind in kinds)), rows),
        plot=Plot(
            f"Error on {p.weights} weights", "weights per scale", "RMS error (σ)", curves, log_x=True, log_y=True
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
