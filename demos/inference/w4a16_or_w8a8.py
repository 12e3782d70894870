"""How many tokens per step does it take before W8A8 is faster than W4A16?

A linear layer takes the longer of two times: reading its weights or doing its multiplications. W4A16 reads a quarter
of the bytes, but turns the codes back into 16-bit floats, so it multiplies at the 16-bit rate. W8A8 reads half of the
bytes and multiplies in INT8 at twice the rate. A few tokens per step (decoding, small batches) are bound by reading,
and W4A16 wins; many tokens (prefill, large batches) are bound by arithmetic, and W8A8 wins. This is the roofline:
real kernels reach less of either peak, and attention and the KV cache come on top.

Legend: n tokens in one step (batch size while decoding), d_in and d_out of the gate projection of a model.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from llmprep import content
from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def formula_crossover(peak_flops: float, bandwidth: float, d_in: int, d_out: int) -> float:
    """Tokens n at which 16-bit arithmetic takes as long as reading the 8-bit layer.

    2·n·P/peak = P/bandwidth over P = d_in·d_out weights gives n = peak/(2·bandwidth): 312/(2·2.04) ≈ 76 on an A100.
    The activations, n·(d_in + 2·d_out) bytes, shift it a little.
    """
    n_weights = d_in * d_out
    return n_weights / (2 * n_weights * bandwidth / peak_flops - (d_in + 2 * d_out))


def moved_bytes(scheme: str, n: int, d_in: int, d_out: int, group_size: int = 128) -> int:
    """Bytes of all tensors that the layer reads and writes; `meta` tensors know their size and allocate nothing."""

    def size(*shape: int, dtype: torch.dtype) -> int:
        return torch.empty(shape, dtype=dtype, device="meta").nbytes

    activations = size(n, d_out, dtype=torch.bfloat16)
    if scheme == "W8A8":
        scales = size(n, dtype=torch.float32) + size(d_out, dtype=torch.float32)
        return activations + scales + size(n, d_in, dtype=torch.int8) + size(d_out, d_in, dtype=torch.int8)
    activations += size(n, d_in, dtype=torch.bfloat16)
    if scheme == "W16A16":
        return activations + size(d_out, d_in, dtype=torch.bfloat16)
    packed = size(d_out, d_in // 2, dtype=torch.uint8)  # two codes a byte
    return activations + packed + size(d_out, d_in // group_size, dtype=torch.float16)


def counted_flops(n: int, d_in: int, d_out: int) -> int:
    """What PyTorch counts for x·Wᵀ; the same for every scheme, only the rate differs."""
    with FlopCounterMode(display=False) as counter:
        F.linear(torch.empty(n, d_in, device="meta"), torch.empty(d_out, d_in, device="meta"))
    return counter.get_total_flops()


@dataclass(frozen=True)
class Params:
    hardware: str = "a100-80gb"  # a name in data/hardware.yaml
    peak_tflops: float = 0.0  # dense 16-bit TFLOP/s, the 8-bit rate being twice that; 0: as the hardware has it
    bandwidth_tbs: float = 0.0  # TB/s of device memory; 0: as the hardware has it
    model: str = "llama-3-8b"  # a name in data/models.json
    n_tokens: int = 1  # in one step

    def __post_init__(self) -> None:
        peak, peak_8bit, bandwidth = machine(self)
        if not peak_8bit:
            raise ValueError(f"hardware must have an 8-bit rate, and {self.hardware} lists none")
        if min(self.peak_tflops, self.bandwidth_tbs) < 0 or not 20 <= peak / bandwidth <= 1000:
            raise ValueError("peak_tflops and bandwidth_tbs must give between 20 and 1000 FLOP per byte")
        if not 1 <= self.n_tokens <= 2**16:
            raise ValueError("n_tokens must be between 1 and 65536")
        if min(shape(self)) < 2048 or shape(self)[0] % 128:
            raise ValueError("model must have an MLP of at least 2048 channels, a multiple of 128")


def machine(p: Params) -> tuple[float, float, float]:
    """Peak rates with 16-bit and with 8-bit operands (1/s), and the bandwidth of memory (B/s)."""
    known = content.hardware(p.hardware)
    flops = known["flops"]
    peak = p.peak_tflops * 1e12 or flops.get("bf16") or flops["fp16"]
    peak_8bit = p.peak_tflops * 2e12 or flops.get("int8") or flops.get("fp8", 0.0)
    return peak, peak_8bit, p.bandwidth_tbs * 1e12 or known["bandwidth"]


def shape(p: Params) -> tuple[int, int]:
    """(d_in, d_out) of the gate projection; zero where the model has none."""
    config = content.model(p.model)["config"]
    return config.get("hidden_size", 0), config.get("intermediate_size", 0)


def layer_seconds(p: Params, scheme: str, n: int) -> float:
    """The longer of reading the layer and computing it."""
    peak, peak_8bit, bandwidth = machine(p)
    rate = peak_8bit if scheme == "W8A8" else peak
    return max(moved_bytes(scheme, n, *shape(p)) / bandwidth, counted_flops(n, *shape(p)) / rate)


def crossover(p: Params) -> int:
    """The first number of tokens per step at which W8A8 is faster than W4A16, by bisection."""
    low, high = 1, 2**16
    while high - low > 1:
        n = (low + high) // 2
        low, high = (low, n) if layer_seconds(p, "W8A8", n) < layer_seconds(p, "W4A16", n) else (n, high)
    return high


def run(p: Params) -> Result:
    peak, _, bandwidth = machine(p)
    first = crossover(p)
    schemes = ("W16A16", "W4A16", "W8A8")
    seconds = {scheme: layer_seconds(p, scheme, p.n_tokens) for scheme in schemes}
    speedup = {scheme: seconds["W16A16"] / seconds[scheme] for scheme in schemes}
    facts = [
        Fact("crossover_tokens", "tokens", first, formula_crossover(peak, bandwidth, *shape(p)), rtol=0.02, atol=1),
        Fact("w4a16_speedup", "×", speedup["W4A16"]),
        Fact("w8a8_speedup", "×", speedup["W8A8"]),
    ]
    ns = [2**i for i in range(13)]
    rows = [(n, *(round(1e6 * layer_seconds(p, scheme, n), 1) for scheme in schemes)) for n in ns]
    gains = [
        Series(scheme, ns, [layer_seconds(p, "W16A16", n) / layer_seconds(p, scheme, n) for n in ns])
        for scheme in schemes[1:]
    ]
    where = f"{peak / 1e12:,.0f} TFLOP/s · {bandwidth / 1e12:.2f} TB/s"
    return Result(
        takeaway=Text(
            en=f"At {where}, W8A8 overtakes W4A16 from {first} tokens per step on; at {p.n_tokens:,} the layer runs "
            f"{speedup['W4A16']:.2g}× (W4A16) and {speedup['W8A8']:.2g}× (W8A8) as fast as in 16 bits.",
            zh=f"峰值与带宽为 {where} 时，每步达到 {first} 个 token，W8A8 就比 W4A16 快；每步 {p.n_tokens:,} 个 token "
            f"时，相对 16 bit 的加速比为 {speedup['W4A16']:.2g}（W4A16）和 {speedup['W8A8']:.2g}（W8A8）。",
        ),
        facts=facts,
        table=Table(("tokens per step", *(f"{scheme} (µs)" for scheme in schemes)), rows),
        plot=Plot(f"Gate projection of {p.model}", "tokens per step", "speed, W16A16 = 1", gains, log_x=True),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
