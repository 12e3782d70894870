"""How does QLoRA train through weights that are stored in 4 bits?

The frozen weights are kept as NF4 codes in blocks of 64 with one scale each; double quantisation stores the scales in
8 bits. Four bits are storage only: to multiply, a layer is dequantised to BF16, once forward and once more backward;
keeping the BF16 matrix in between would bring back the 16 bits per weight that were to be saved. The gradient passes
through the dequantised weights to the layers below; only the adapter's A and B are trained.

Legend: N samples, W (d, k) one layer, x (N, k), blocks of 64 weights along k, super-blocks of 256 scales.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from llmprep.demos.inference.quantization import (
    dequantize_code,
    nf4_code,
    pack_nibbles,
    quantize_code,
    rms_error,
    unpack_nibbles,
)
from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def formula_bits(block_size: int, *, double_quant: bool) -> float:
    """Block 64: 4 + 32/64 = 4.5 bits per weight; 4 + 8/64 + 32/(64·256) = 4.127 with DQ (arXiv 2305.14314, sec. 3)."""
    return 4 + (8 / block_size + 32 / (block_size * 256) if double_quant else 32 / block_size)


def dynamic_code() -> Tensor:
    """256 sorted levels in [−1, 1], fine near 0: the decade below 10^(i−6) gets 2^i of them on each side, i = 0 … 6.

    The 8-bit type that bitsandbytes keeps scales and optimiser states in (dynamic tree, arXiv 2110.02861).
    """
    levels = [0.0, 1.0]
    for i in range(7):
        edges = torch.linspace(0.1, 1, 2**i + 1)
        middles = 10.0 ** (i - 6) * (edges[:-1] + edges[1:]) / 2
        levels += [*middles.tolist(), *(-middles).tolist()]
    return torch.tensor(sorted(levels))


def double_quantize(absmax: Tensor) -> list[Tensor]:
    """[8-bit codes (n,), one FP32 per 256 of them, the mean]: scales are all positive, so centre them first."""
    mean = absmax.mean()
    return [*quantize_code((absmax - mean).flatten(), dynamic_code(), 256), mean]


def double_dequantize(codes: Tensor, scales: Tensor, mean: Tensor) -> Tensor:
    """The scales of all blocks again, (n,) float32."""
    return dequantize_code(codes, scales, dynamic_code()) + mean


class NF4Weight:
    """A frozen matrix (d, k) in NF4; `stored` is all that stays in memory."""

    def __init__(self, weight: Tensor, block_size: int = 64, *, double_quant: bool = True) -> None:
        codes, absmax = quantize_code(weight, nf4_code(), block_size)
        self.shape, self.double_quant, self.times_dequantized = absmax.shape, double_quant, 0
        self.stored = [pack_nibbles(codes), *(double_quantize(absmax) if double_quant else [absmax])]

    def dequantize(self) -> Tensor:
        """(d, k) in BF16, for as long as a multiplication takes."""
        self.times_dequantized += 1
        absmax = double_dequantize(*self.stored[1:]) if self.double_quant else self.stored[1]
        return dequantize_code(unpack_nibbles(self.stored[0]), absmax.view(self.shape), nf4_code()).bfloat16()


class MatmulNF4(torch.autograd.Function):
    """x Wᵀ, (N, k) → (N, d), that remembers the 4-bit codes for the backward pass and not the BF16 matrix."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: NF4Weight) -> Tensor:
        """(N, k) → (N, d) in the precision of x."""
        ctx.weight = weight
        return F.linear(x, weight.dequantize())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """(N, d) → (N, k), the gradient of x; the weight itself gets none."""
        return grad @ ctx.weight.dequantize(), None


def training_pass(x: Tensor, weight: NF4Weight, A: Tensor, B: Tensor, *, dequantize_again: bool) -> tuple[Tensor, int]:
    """Forward and backward: (gradient of x, bytes of the base weights that autograd kept in between)."""
    kept = 0

    def keep(t: Tensor) -> Tensor:
        nonlocal kept
        kept += t.nbytes if t.shape in (shape, shape[::-1]) and t.data_ptr() != x.data_ptr() else 0
        return t

    x, shape = x.clone().requires_grad_(), torch.Size((B.shape[0], A.shape[1]))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        base = MatmulNF4.apply(x, weight) if dequantize_again else F.linear(x, weight.dequantize())
        h = base + F.linear(F.linear(x, A), B)
    h.sum().backward()
    return x.grad, kept


@dataclass(frozen=True)
class Params:
    d_out: int = 256
    d_in: int = 1024
    block_size: int = 64
    double_quant: bool = True
    backward: Literal["dequantise-again", "keep-bf16"] = "dequantise-again"
    rank: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        if not (2 <= self.d_out <= 4096 and 64 <= self.d_in <= 4096):
            raise ValueError("d_out must be between 2 and 4096, and d_in between 64 and 4096: the layer is real")
        if not 1 <= self.rank < min(self.d_out, self.d_in):
            raise ValueError("rank must be at least 1 and below both sides of the matrix")
        if self.block_size % 2 or not 16 <= self.block_size <= 4096 or self.d_in % self.block_size:
            raise ValueError("block_size must be even, from 16 to 4096, and divide d_in")
        if self.double_quant and self.d_out * self.d_in // self.block_size % 256:
            raise ValueError("double_quant must have whole super-blocks: d_out · d_in / block_size a multiple of 256")


def run(p: Params) -> Result:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(p.seed)
        W, x = torch.randn(p.d_out, p.d_in), torch.randn(8, p.d_in, dtype=torch.bfloat16)
        A = torch.nn.Parameter((torch.randn(p.rank, p.d_in) / p.d_in**0.5).bfloat16())
    B = torch.nn.Parameter(torch.zeros(p.d_out, p.rank, dtype=torch.bfloat16))
    weight = NF4Weight(W, p.block_size, double_quant=p.double_quant)
    x_grad, kept = training_pass(x, weight, A, B, dequantize_again=p.backward == "dequantise-again")
    times = weight.times_dequantized

    restored = weight.dequantize().float()
    by_hand = torch.ones(8, p.d_out) @ restored  # dh/dx of h.sum() at B = 0
    mismatches = int(((x_grad.float() - by_hand).abs() > 0.05 * by_hand.std()).sum())
    plain = NF4Weight(W, p.block_size, double_quant=False)
    n = W.numel()
    bits = 8 * sum(t.nbytes for t in weight.stored) / n
    formula = formula_bits(p.block_size, double_quant=p.double_quant) + (32 / n if p.double_quant else 0)  # the mean
    again = p.backward == "dequantise-again"
    facts = [
        Fact("bits_per_weight", "bits", bits, formula, rtol=1e-9),
        Fact("scale_bits", "bits", bits - 4, formula - 4, rtol=1e-9),
        Fact("bits_alive_in_training", "bits", bits + 8 * kept / n, formula + (0 if again else 16), rtol=1e-9),
        Fact("dequantisations_per_step", "", times, predicted=2 if again else 1),
        Fact("gradient_mismatches", "", mismatches, predicted=0),
        Fact("adapter_gradients", "tensors", sum(t.grad is not None for t in (A, B)), predicted=2),
        Fact("start_error", "of the weights", rms_error(W, restored)),
        Fact("error_from_double_quant", "×", rms_error(W, restored) / rms_error(W, plain.dequantize().float())),
    ]
    sizes = [s for s in (16, 32, 64, 128, 256, 512, 1024) if p.d_in % s == 0]
    rows = [(s, *(round(formula_bits(s, double_quant=dq), 3) for dq in (False, True))) for s in sizes]
    return Result(
        takeaway=Text(
            en=f"In blocks of {p.block_size} a weight takes {bits:.3f} bits, {bits - 4:.3f} of them for scales; a "
            f"training step dequantises each layer {times}×, and computes no gradient for the 4-bit weights.",
            zh=f"块大小 {p.block_size} 时每个权重实占 {bits:.3f} bit，其中 {bits - 4:.3f} bit 是 scale；"
            f"一步训练把每一层反量化 {times} 次，4 bit 权重本身不求梯度。",
        ),
        facts=facts,
        table=Table(("block size", "bits per weight, FP32 scales", "with double quantisation"), rows),
        plot=Plot(
            "What the scales add to 4 bits",
            "weights in a block",
            "bits per weight",
            [Series("FP32 scales", sizes, [r[1] for r in rows]), Series("double", sizes, [r[2] for r in rows])],
            log_x=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
