"""Which weights does AWQ protect, and how, if every weight stays at 4 bits?

Some input channels always carry large activations, so an error in their weights counts for more. AWQ (arXiv
2306.00978) finds them by looking at activations, not at weights. It multiplies the weights of channel j by s_j and
divides the input by s_j: exact before rounding, and after rounding the error of these weights is s_j times smaller,
as long as the step of their group hardly grows. It does grow with s, so the exponent in s = mean|x|^α is searched.
GPTQ lives on correlation between channels, AWQ on their different sizes: a layer may have either, both or none.

Legend: d_in input channels, d_out output channels, n tokens.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from llmprep.demos.inference.gptq import correlated_inputs, gptq, output_error, rtn
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

ALPHAS = [i / 20 for i in range(21)]  # the grid of the paper, section 5.1


def scaled_rtn(w: Tensor, s: Tensor, bits: int, group_size: int) -> Tensor:
    """Q(W·diag(s))·diag(s)⁻¹, paper equation 4: w (d_out, d_in), s (d_in,). In use, x takes the 1/s instead."""
    return rtn(w * s, bits, group_size) / s


def search_alpha(w: Tensor, x: Tensor, size: Tensor, bits: int, group_size: int) -> tuple[float, list[float]]:
    """The α whose scales size^α (equation 5) give the least output error on x, and the errors of the whole grid."""
    errors = [output_error(w, scaled_rtn(w, size**alpha, bits, group_size), x) for alpha in ALPHAS]
    return ALPHAS[errors.index(min(errors))], errors


def keep_in_float(w: Tensor, size: Tensor, n_kept: int, bits: int, group_size: int) -> Tensor:
    """What AWQ replaces: round everything except the n_kept channels of the greatest size (paper, table 1)."""
    w_hat, kept = rtn(w, bits, group_size), size.topk(n_kept).indices
    w_hat[:, kept] = w[:, kept]
    return w_hat


@dataclass(frozen=True)
class Params:
    salient_gain: float = 30.0  # how much larger the inputs of the salient channels are; 1: none are salient
    correlation: float = 0.9  # between neighbouring input channels
    scale_by: Literal["activations", "weights"] = "activations"  # what finds the channels to protect
    n_salient: int = 2  # of d_in channels
    bits: int = 4  # per weight
    group_size: int = 128  # weights that share a step
    d_in: int = 256
    d_out: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.salient_gain <= 1000:
            raise ValueError("salient_gain must be between 1 and 1000")
        if not 0 <= self.correlation <= 0.95:
            raise ValueError("correlation must be between 0 and 0.95")
        if not 3 <= self.bits <= 8:
            raise ValueError("bits must be between 3 and 8")
        if not 32 <= self.d_in <= 512 or not 16 <= self.d_out <= 256 or not 1 <= self.n_salient <= self.d_in:
            raise ValueError("d_in must be between 32 and 512, d_out between 16 and 256, n_salient at most d_in")
        if self.group_size < 16 or self.d_in % self.group_size:
            raise ValueError("group_size must be at least 16 and divide d_in")


def layer(p: Params, correlation: float, salient_gain: float) -> tuple[Tensor, Tensor, Tensor]:
    """Gaussian weights (d_out, d_in), 2,048 calibration inputs (n, d_in) and as many fresh ones."""
    rng = torch.Generator().manual_seed(p.seed)
    w = torch.randn(p.d_out, p.d_in, generator=rng)
    gain = torch.ones(p.d_in)
    gain[torch.randperm(p.d_in, generator=rng)[: p.n_salient]] = salient_gain
    calib, fresh = (correlated_inputs(2048, p.d_in, correlation, rng) * gain for _ in range(2))
    return w, calib, fresh


def measure(p: Params, correlation: float, salient_gain: float) -> tuple[dict[str, float], list[float]]:
    """Output error of each method on fresh inputs, and AWQ's on the calibration inputs over the grid of α."""
    w, calib, fresh = layer(p, correlation, salient_gain)
    size = calib.abs().mean(dim=0) if p.scale_by == "activations" else w.abs().mean(dim=0)  # (d_in,)
    alpha, curve = search_alpha(w, calib[:512], size, p.bits, p.group_size)
    s = size**alpha
    candidates = {
        "rtn": rtn(w, p.bits, p.group_size),
        "awq": scaled_rtn(w, s, p.bits, p.group_size),
        "gptq": gptq(w, calib, p.bits, p.group_size),
        "both": gptq(w * s, calib / s, p.bits, p.group_size) / s,
        "mixed": keep_in_float(w, size, p.n_salient, p.bits, p.group_size),
    }
    found = {name: output_error(w, w_hat, fresh) for name, w_hat in candidates.items()}
    unrounded = output_error(w.double(), (w * s).double() / s, fresh.double())
    return found | {"alpha": alpha, "mismatch": float(unrounded > 1e-5)}, curve


def run(p: Params) -> Result:
    rows = []
    for correlation, gain in ((0.0, 1.0), (p.correlation, 1.0), (0.0, p.salient_gain), (p.correlation, p.salient_gain)):
        found, curve = measure(p, correlation, gain)  # the last one is the layer that was asked for
        rows.append((correlation, gain, *(round(found[name], 4) for name in ("rtn", "awq", "gptq", "both", "mixed"))))
    facts = [
        Fact("mismatches", "layers", int(found["mismatch"]), predicted=0),
        Fact("rtn_error", "", found["rtn"]),
        Fact("awq_error", "", found["awq"]),
        Fact("gptq_error", "", found["gptq"]),
        Fact("both_error", "", found["both"]),
        Fact("mixed_error", "", found["mixed"]),
        Fact("awq_over_rtn", "×", found["awq"] / found["rtn"]),
        Fact("gptq_over_rtn", "×", found["gptq"] / found["rtn"]),
        Fact("both_over_rtn", "×", found["both"] / found["rtn"]),
        Fact("best_alpha", "", found["alpha"]),
    ]
    return Result(
        takeaway=Text(
            en=f"Scales found from the {p.scale_by} (α = {found['alpha']:g}) take the output error of {p.bits}-bit "
            f"weights from {found['rtn']:.3f} to {found['awq']:.3f}; GPTQ reaches {found['gptq']:.3f}, and both "
            f"together {found['both']:.3f}.",
            zh=f"按{'激活值' if p.scale_by == 'activations' else '权重'}搜索缩放系数（α = {found['alpha']:g}），"
            f"{p.bits} bit 权重的输出误差从 {found['rtn']:.3f} 变为 {found['awq']:.3f}；GPTQ 为 {found['gptq']:.3f}，"
            f"两者叠加为 {found['both']:.3f}。",
        ),
        facts=facts,
        table=Table(("correlation", "salient gain", "RTN", "AWQ", "GPTQ", "AWQ + GPTQ", "salient in FP16"), rows),
        plot=Plot("AWQ's search on 512 tokens", "α", "output error", [Series("s = mean|x|^α", ALPHAS, curve)]),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
