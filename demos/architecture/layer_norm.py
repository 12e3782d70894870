"""What do LayerNorm and RMSNorm compute, and what do they ignore?

Both divide each token's vector by its size; LayerNorm subtracts the mean of its channels first. So a positive factor on
the input changes nothing, and for LayerNorm neither does a constant added to all channels. What the output ignores the
gradient cannot contain: it is orthogonal to the output, and for LayerNorm to the vector of ones as well. That leaves
d − 1 or d − 2 directions. ε in the root breaks the rule only for tokens smaller than √ε, which come out too small.

Legend: T tokens, d channels; gain and bias are left out (they act after the normalisation).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def layer_norm(x: Tensor, eps: float) -> Tensor:
    """Of each token (x − mean) / √(variance + ε), (T, d) → the same: arXiv 1607.06450, section 3."""
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred / (centred.square().mean(dim=-1, keepdim=True) + eps).sqrt()


def rms_norm(x: Tensor, eps: float) -> Tensor:
    """Of each token x / √(mean of x² + ε), (T, d) → the same: arXiv 1910.07467, equation 4, plus the usual ε."""
    return x / (x.square().mean(dim=-1, keepdim=True) + eps).sqrt()


def formula_gradient(x: Tensor, upstream: Tensor, *, centre: bool) -> Tensor:
    """dLoss/dx by hand at ε = 0: (u − mean(u) − x̂·mean(u·x̂)) / σ; RMSNorm has no mean(u) and divides by the RMS."""
    x_hat = (layer_norm if centre else rms_norm)(x, 0.0)
    size = (x - x.mean(dim=-1, keepdim=True) if centre else x).square().mean(dim=-1, keepdim=True).sqrt()
    gradient = upstream - x_hat * (upstream * x_hat).mean(dim=-1, keepdim=True)
    return (gradient - upstream.mean(dim=-1, keepdim=True) if centre else gradient) / size


def formula_output_rms(input_rms: float, eps: float) -> float:
    """σ / √(σ² + ε): 1 for σ ≫ √ε. At σ = 0.001 and ε = 1e-5 it is 0.30."""
    return input_rms / (input_rms**2 + eps) ** 0.5


def differing(a: Tensor, b: Tensor) -> Tensor:
    """Which elements differ by more than 1e-9, far above the noise of float64."""
    return (a - b).abs() > 1e-9


@dataclass(frozen=True)
class Params:
    norm: Literal["layer", "rms"] = "layer"
    d_model: int = 64
    shift: float = 3.0  # added to every channel
    scale: float = 100.0  # multiplies every channel
    input_rms: float = 0.001  # size of the small tokens that ε is tried on
    eps: float = 1e-5  # PyTorch's default for LayerNorm; invariances and gradients are taken at 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 4 <= self.d_model <= 256:
            raise ValueError("d_model must be between 4 and 256: the Jacobian is really built")
        if self.scale == 0 or not 1e-3 <= abs(self.scale) <= 1e3 or not 0.1 <= abs(self.shift) <= 1e3:
            raise ValueError("scale must be between 0.001 and 1,000 and shift between 0.1 and 1,000, of either sign")
        if not 1e-8 <= self.input_rms <= 1e8 or not 0 <= self.eps <= 1:
            raise ValueError("input_rms must be between 1e-8 and 1e8, eps between 0 and 1")


def run(p: Params) -> Result:
    T, d, centre = 16, p.d_model, p.norm == "layer"
    normalise: Callable[[Tensor, float], Tensor] = layer_norm if centre else rms_norm
    torchs = F.layer_norm if centre else F.rms_norm
    generator = torch.Generator().manual_seed(p.seed)
    x, upstream = torch.randn(2, T, d, generator=generator, dtype=torch.float64) + 0.5  # a mean that is not 0

    out = normalise(x, 0.0)
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(normalise(leaf, 0.0), leaf, upstream)
    jacobian = torch.autograd.functional.jacobian(lambda token: normalise(token, 0.0), x[0])  # (d, d)
    nothing = torch.zeros(T, dtype=torch.float64)
    changed_by_shift = int(differing(normalise(x + p.shift, 0.0), out).sum())
    changed_by_scale = int(differing(normalise(p.scale * x, 0.0), out).sum())
    small = p.input_rms * layer_norm(x, 0.0)  # mean 0, RMS exactly input_rms
    output_rms = normalise(small, p.eps).square().mean().sqrt().item()
    module = torch.nn.LayerNorm(d) if centre else torch.nn.RMSNorm(d)
    name = "LayerNorm" if centre else "RMSNorm"

    facts = [
        Fact("changed_by_shift", "outputs", changed_by_shift, predicted=0 if centre else T * d),
        Fact("changed_by_scale", "outputs", changed_by_scale, predicted=0 if p.scale > 0 else T * d),
        Fact("outputs", "outputs", out.numel()),
        Fact("tokens_off_centre", "tokens", int(differing(out.mean(dim=-1), nothing).sum()), 0 if centre else T),
        Fact("tokens_off_scale", "tokens", int(differing(out.square().mean(dim=-1), nothing + 1).sum()), predicted=0),
        Fact(
            "gradient_mismatches",
            "gradients",
            int(differing(gradient, formula_gradient(x, upstream, centre=centre)).sum()),
            predicted=0,
        ),
        Fact("gradients_along_output", "tokens", int(differing((gradient * out).sum(-1), nothing).sum()), predicted=0),
        Fact("gradients_along_ones", "tokens", int(differing(gradient.sum(-1), nothing).sum()), 0 if centre else T),
        Fact("jacobian_rank", "directions", int(torch.linalg.matrix_rank(jacobian)), d - 2 if centre else d - 1),
        Fact("output_rms", "", output_rms, formula_output_rms(p.input_rms, p.eps), rtol=1e-9),
        Fact("torch_mismatches", "outputs", int(differing(torchs(x, (d,), eps=p.eps), normalise(x, p.eps)).sum()), 0),
        Fact("parameters", "per norm", sum(w.numel() for w in module.parameters()), 2 * d if centre else d),
    ]
    sizes = [10**e for e in range(-6, 3)]
    curves = []
    for eps in sorted({1e-6, 1e-5, p.eps}):
        measured = [normalise(size * layer_norm(x, 0.0), eps).square().mean().sqrt().item() for size in sizes]
        curves.append(Series(f"ε = {eps:g}", sizes, measured))
    return Result(
        takeaway=Text(
            en=f"{name} over {d} channels: adding {p.shift:g} to all channels changes {changed_by_shift:,} of "
            f"{out.numel():,} outputs, multiplying by {p.scale:g} changes {changed_by_scale:,}; a token of size "
            f"{p.input_rms:g} comes out with size {output_rms:.2f} (ε = {p.eps:g}).",
            zh=f"{d} 个通道上的 {name}：每个通道加 {p.shift:g}，{out.numel():,} 个输出中有 {changed_by_shift:,} 个"
            f"改变；乘以 {p.scale:g}，有 {changed_by_scale:,} 个改变；大小为 {p.input_rms:g} 的 token 输出大小为 "
            f"{output_rms:.2f}（ε = {p.eps:g}）。",
        ),
        facts=facts,
        table=Table(
            ("norm", "subtracts the mean", "parameters", "outputs changed by the shift"),
            [
                ("LayerNorm", "yes", 2 * d, int(differing(layer_norm(x + p.shift, 0.0), layer_norm(x, 0.0)).sum())),
                ("RMSNorm", "no", d, int(differing(rms_norm(x + p.shift, 0.0), rms_norm(x, 0.0)).sum())),
            ],
        ),
        plot=Plot("What ε does to small tokens", "RMS of the input", "RMS of the output", curves, log_x=True),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
