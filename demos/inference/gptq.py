"""Why does GPTQ move the weights further from the originals and yet keep the outputs closer?

A layer computes y = W·x, so what counts is the error of y and not that of W. Round-to-nearest (RTN) rounds each weight
on its own. GPTQ goes column by column and pushes each rounding error into the columns still to come, as far as their
inputs can make up for it. What is left of an error in channel j is the part of its input that the later channels
cannot predict, so the gain comes from correlated inputs and from nothing else. If neighbouring channels correlate at
ρ (an AR(1) sequence) this is noise shaping: the outputs keep √(1 − ρ²) of RTN's error, the weights get √(1 + ρ²) of it.

Legend: d_in input channels, d_out output channels, n tokens, G groups of weights that share one step.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from llmprep.demos.inference.quantization import dequantize_absmax, quantize_absmax
from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def formula_error_ratios(correlation: float) -> tuple[float, float]:
    """GPTQ's error over RTN's, of the outputs and of the weights: at ρ = 0.6 it is (0.8, 1.17).

    The rounding error of channel j meets only ε_j in x_j = ρ·x_(j+1) + ε_j, of variance 1 − ρ² (QuIP, arXiv
    2307.13304, section 3: tr D against tr H); the weight also carries −ρ times the error of the channel before.
    """
    return math.sqrt(1 - correlation**2), math.sqrt(1 + correlation**2)


def correlated_inputs(n: int, d_in: int, correlation: float, rng: torch.Generator) -> Tensor:
    """(n, d_in) inputs of variance 1; channels i and j correlate at correlation^|i − j|, an AR(1) sequence."""
    x = torch.randn(d_in, n, generator=rng)
    for j in range(1, d_in):
        x[j] = correlation * x[j - 1] + math.sqrt(1 - correlation**2) * x[j]
    return x.T


def rtn(w: Tensor, bits: int, group_size: int) -> Tensor:
    """Round-to-nearest, (d_out, d_in) → the same: symmetric codes, a step for each group of a row, no data."""
    return dequantize_absmax(*quantize_absmax(w, bits, group_size))


def gptq(w: Tensor, x: Tensor, bits: int, group_size: int, damping: float = 0.01) -> Tensor:
    """GPTQ of w (d_out, d_in) on calibration inputs x (n, d_in): arXiv 2210.17323, algorithm 1, without its blocks.

    The Hessian of ‖(W − Ŵ)·X‖² is 2·XXᵀ, the same for every row of W; the factor 2 cancels. Row j of the Cholesky
    factor of its inverse says how the later columns answer for column j. The steps are those of RTN.
    """
    step = quantize_absmax(w, bits, group_size)[1].repeat_interleave(group_size, dim=1)  # (d_out, d_in)
    hessian = (x.T @ x).double()  # (d_in, d_in)
    hessian += damping * hessian.diagonal().mean() * torch.eye(len(hessian))
    answer = torch.linalg.cholesky(torch.linalg.inv(hessian), upper=True).float()
    top = 2 ** (bits - 1) - 1
    w, quantised = w.clone(), torch.empty_like(w)
    for j in range(w.shape[1]):
        quantised[:, j] = (w[:, j] / step[:, j]).round().clamp(-top, top) * step[:, j]
        error = (w[:, j] - quantised[:, j]) / answer[j, j]  # (d_out,)
        w[:, j:] -= torch.outer(error, answer[j, j:])
    return quantised


def output_error(w: Tensor, w_hat: Tensor, x: Tensor) -> float:
    """‖(W − Ŵ)·X‖ / ‖W·X‖ on inputs x (n, d_in), by running both layers."""
    y, y_hat = x @ w.T, x @ w_hat.T  # (n, d_out)
    return ((y - y_hat).norm() / y.norm()).item()


@dataclass(frozen=True)
class Params:
    bits: int = 4  # per weight
    group_size: int = 128  # weights that share a step
    d_in: int = 256  # input channels
    d_out: int = 64  # output channels
    correlation: float = 0.9  # between neighbouring input channels
    n_calib: int = 4096  # tokens that GPTQ is shown
    seed: int = 0

    def __post_init__(self) -> None:
        if not 3 <= self.bits <= 8:
            raise ValueError("bits must be between 3 and 8")
        if not 128 <= self.d_in <= 512 or not 64 <= self.d_out <= 512 or not 1 <= self.n_calib <= 16_384:
            raise ValueError("d_in must be between 128 and 512, d_out between 64 and 512, n_calib at most 16384")
        if self.group_size < 16 or self.d_in % self.group_size:
            raise ValueError("group_size must be at least 16 and divide d_in")
        if not 0 <= self.correlation <= 0.9:
            raise ValueError("correlation must be between 0 and 0.9")


def measure(p: Params, correlation: float) -> dict[str, float]:
    """Quantise one Gaussian layer both ways: its errors on the calibration tokens, on fresh ones and elsewhere."""
    rng = torch.Generator().manual_seed(p.seed)
    w = torch.randn(p.d_out, p.d_in, generator=rng)
    calib = correlated_inputs(p.n_calib, p.d_in, correlation, rng)
    inputs = {"calib": calib, "fresh": correlated_inputs(2048, p.d_in, correlation, rng)}
    inputs["elsewhere"] = correlated_inputs(2048, p.d_in, 0.0, rng)  # channels that no longer predict each other
    found = {"step": (quantize_absmax(w, p.bits, p.group_size)[1].square().mean() / w.square().mean()).sqrt().item()}
    for name, w_hat in (("rtn", rtn(w, p.bits, p.group_size)), ("gptq", gptq(w, calib, p.bits, p.group_size))):
        found[f"{name} weights"] = ((w - w_hat).norm() / w.norm()).item()
        found |= {f"{name} {kind}": output_error(w, w_hat, x) for kind, x in inputs.items()}
    return found


def run(p: Params) -> Result:
    found = measure(p, p.correlation)
    ratio = {kind: found[f"gptq {kind}"] / found[f"rtn {kind}"] for kind in ("weights", "calib", "fresh", "elsewhere")}
    outputs, weights = formula_error_ratios(p.correlation)
    if p.n_calib < 16 * p.d_in:  # the formulas know the true correlations; a small sample does not
        outputs = weights = None
    facts = [
        Fact("rtn_error", "", found["rtn fresh"], found["step"] / math.sqrt(12), rtol=0.1),
        Fact("gptq_error", "", found["gptq fresh"]),
        Fact("gptq_over_rtn", "×", ratio["fresh"], outputs, rtol=0.1),
        Fact("weight_ratio", "×", ratio["weights"], weights, rtol=0.1),
        Fact("elsewhere_over_rtn", "×", ratio["elsewhere"], weights, rtol=0.1),
        Fact("calib_over_rtn", "×", ratio["calib"]),
    ]
    rows = [
        (label, *(round(found[f"{name} {kind}"], 4) for kind in ("weights", "calib", "fresh", "elsewhere")))
        for label, name in (("RTN", "rtn"), ("GPTQ", "gptq"))
    ]
    xs = [0.0, 0.3, 0.6, 0.8, 0.9]
    curve = [measure(p, rho) for rho in xs]
    return Result(
        takeaway=Text(
            en=f"At a correlation of {p.correlation:g}, {p.bits}-bit GPTQ leaves {ratio['fresh']:.2f}× the output "
            f"error of round-to-nearest with weights {ratio['weights']:.2f}× as far off; on inputs without that "
            f"correlation its output error is {ratio['elsewhere']:.2f}×.",
            zh=f"相邻通道相关系数为 {p.correlation:g} 时，{p.bits} bit GPTQ 的输出误差是直接取整（RTN）的 "
            f"{ratio['fresh']:.2f} 倍，权重误差却是它的 {ratio['weights']:.2f} 倍；换成没有这种相关性的输入，"
            f"输出误差是 RTN 的 {ratio['elsewhere']:.2f} 倍。",
        ),
        facts=facts,
        table=Table(
            ("relative error", "weights", "outputs, calibration", "outputs, fresh", "outputs, uncorrelated"), rows
        ),
        plot=Plot(
            f"{p.bits}-bit GPTQ against round-to-nearest",
            "correlation of neighbouring channels",
            "error, RTN = 1",
            [
                Series("weights", xs, [f["gptq weights"] / f["rtn weights"] for f in curve]),
                Series("outputs", xs, [f["gptq fresh"] / f["rtn fresh"] for f in curve]),
                Series("√(1 − ρ²)", xs, [formula_error_ratios(rho)[0] for rho in xs]),
            ],
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
