"""Is NF4 the best 4-bit code for normally distributed weights?

NF4 puts its 16 levels at quantiles of the normal distribution, so that each would be used equally often. But what is
rounded is no normal number: it is a normal number divided by the largest of its block, and that distribution depends
on the block size. The outer levels are used too little and the codes carry less than 4 bits. Equal use would not be
the right aim either: a code that reaches it rounds much worse. The least squared error belongs to the Lloyd–Max code
(each level is the mean of what rounds to it), which pays with NF4's exact 0 and ±1.

Legend: B weights in a block, m the largest absolute value of a block, K levels c in [−1, 1].
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from llmprep.demos.inference.quantization import dequantize_code, nf4_code, quantize_code
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

CODES = ("nf4", "int4", "equal-mass", "lloyd-max", "lloyd-max-exact-zero")


def block_maximum(block_size: int) -> tuple[Tensor, Tensor]:
    """The largest of B absolute normals: a grid of m (M, 1) and its probabilities (M, 1), density ∝ F(m)^(B−1)·f(m)."""
    m = torch.linspace(0.03, 9, 300, dtype=torch.float64).unsqueeze(1)
    density = torch.exp((block_size - 1) * torch.erf(m / 2**0.5).log() - m**2 / 2)
    return m, density / density.sum()


def bin_moments(edges: Tensor, block_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """P(bin), E[m·x; bin], E[m²; bin], each (K,), for normal weights x whose x/m falls between inner edges (K−1,).

    Exact up to the grid over m: given m, one weight of the block is ±m, the others are normals cut off at ±m.
    """
    m, p = block_maximum(block_size)
    inside = torch.erf(m / 2**0.5)
    x = m * torch.cat([edges.new_tensor([-1.0]), edges, edges.new_tensor([1.0])])  # (M, K + 1)
    mass = torch.special.ndtr(x).diff(dim=1) / inside  # (M, K)
    first = -(torch.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)).diff(dim=1) / inside  # ∫ x φ(x) dx = −φ(x)
    side = torch.zeros(len(edges) + 1, dtype=torch.float64)
    side[0], side[-1] = -0.5, 0.5  # the maximum itself is −m or +m
    others, maximum, m2 = (block_size - 1) / block_size, 1 / block_size, (p * m**2).sum()
    return (
        others * (p * mass).sum(0) + maximum * side.abs(),
        others * (p * m * first).sum(0) + maximum * side * m2,
        others * (p * m**2 * mass).sum(0) + maximum * side.abs() * m2,
    )


def formula_entropy_and_mse(code: Tensor, block_size: int) -> tuple[float, float]:
    """Entropy of the index in bits, and E(x − m·c)² = 1 − 2·Σ c·E[m·x] + Σ c²·E[m²] for unit-variance weights."""
    code = code.double()
    mass, mx, mm = bin_moments((code[1:] + code[:-1]) / 2, block_size)
    return -torch.special.xlogy(mass, mass).sum().item() / math.log(2), (1 - 2 * code @ mx + code**2 @ mm).item()


def equal_mass(block_size: int) -> Tensor:
    """Levels at the quantiles (i + ½)/16 of x/m: what "each level equally often" really asks for."""
    u = torch.linspace(-1, 1, 2001, dtype=torch.float64)
    below = bin_moments(u[1:-1], block_size)[0].cumsum(0)  # P(x/m < u[1:])
    return u[1:][torch.searchsorted(below, (torch.arange(16) + 0.5) / 16).clamp(max=1999)].float()


def lloyd_max(block_size: int, *, exact_zero: bool, iterations: int = 150) -> Tensor:
    """Alternate nearest level and mean of the bin, weighted by m² because errors scale with the block (Lloyd 1982)."""
    code = nf4_code().double()
    for _ in range(iterations):
        _, mx, mm = bin_moments((code[1:] + code[:-1]) / 2, block_size)
        code = mx / mm
        if exact_zero:
            code[[0, 7, 15]] = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
    return code.float()


def make_code(name: str, block_size: int) -> Tensor:
    """The sorted levels of one of CODES; INT4 is symmetric, 15 levels."""
    if name == "nf4":
        return nf4_code()
    if name == "int4":
        return torch.arange(-7, 8) / 7
    if name == "equal-mass":
        return equal_mass(block_size)
    return lloyd_max(block_size, exact_zero=name == "lloyd-max-exact-zero")


def quantize_and_count(weights: Tensor, code: Tensor, block_size: int) -> tuple[Tensor, float]:
    """What happens to real blocks: (share of each level (K,), mean squared error)."""
    codes, absmax = quantize_code(weights, code, block_size)
    error = (weights - dequantize_code(codes, absmax, code)).double().square().mean().item()
    return torch.bincount(codes.flatten().long(), minlength=len(code)) / codes.numel(), error


@dataclass(frozen=True)
class Params:
    code: Literal["nf4", "int4", "equal-mass", "lloyd-max", "lloyd-max-exact-zero"] = "nf4"
    block_size: int = 64  # weights that share an absmax
    n_weights: int = 524_288  # normal, of variance 1
    seed: int = 0

    def __post_init__(self) -> None:
        if not 8 <= self.block_size <= 4096:
            raise ValueError("block_size must be between 8 and 4096")
        if self.n_weights % self.block_size or not 2**17 <= self.n_weights <= 2**23:
            raise ValueError("n_weights must be a multiple of block_size between 2^17 and 2^23")


def run(p: Params) -> Result:
    weights = torch.randn(p.n_weights, generator=torch.Generator().manual_seed(p.seed))
    levels = {name: make_code(name, p.block_size) for name in CODES}
    measured = {name: quantize_and_count(weights, code, p.block_size) for name, code in levels.items()}
    shares, mse = measured[p.code]
    entropy = -torch.special.xlogy(shares, shares).sum().item() / math.log(2)
    formula_entropy, formula_mse = formula_entropy_and_mse(levels[p.code], p.block_size)
    ratio = mse / measured["nf4"][1]
    facts = [
        Fact("entropy_bits", "bits", entropy, formula_entropy, atol=0.03),
        Fact("mse", "of the variance", mse, formula_mse, rtol=0.05),
        Fact("mse_vs_nf4", "×", ratio),
        Fact("mse_below_nf4", "", 1 - ratio),
        Fact("rarest_level", "of the weights", shares.min().item()),
        Fact("commonest_level", "of the weights", shares.max().item()),
        Fact("has_exact_zero", "", int((levels[p.code] == 0).any())),
    ]
    rows = []
    for name in CODES:
        bits, error = formula_entropy_and_mse(levels[name], p.block_size)
        rows.append((name, round(bits, 3), round(error, 5), round(measured[name][1], 5), int(0 in levels[name])))
    sizes = [16, 64, 256, 1024]
    curves = [
        Series(name, sizes, [formula_entropy_and_mse(make_code(name, size), size)[1] for size in sizes])
        for name in ("nf4", "int4", "lloyd-max")
    ]
    return Result(
        takeaway=Text(
            en=f"In blocks of {p.block_size}, {p.code} codes carry {entropy:.2f} bits and lose {mse:.3%} of the "
            f"variance, {ratio:.2f} times what NF4 loses.",
            zh=f"块大小 {p.block_size} 时，{p.code} 的编码熵为 {entropy:.2f} bit，量化损失占方差的 {mse:.3%}，"
            f"是 NF4 的 {ratio:.2f} 倍。",
        ),
        facts=facts,
        table=Table(("code", "entropy (bits)", "MSE, integrated", "MSE, measured", "exact zero"), rows),
        plot=Plot("Error grows with the block", "weights in a block", "mean squared error", curves, log_x=True),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
