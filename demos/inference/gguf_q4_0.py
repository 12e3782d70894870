"""How do 4-bit weights become 4.5 bits per weight in a GGUF file?

GGUF is a file format; its legacy quantised types cut each row into blocks of 32 weights and put the scale of a block
next to its codes, as an fp16 number. Q4_0 stores 2 + 16 bytes a block, Q4_1 adds an fp16 minimum, Q8_0 stores 2 + 32.
No calibration is needed: Q4_0 is round-to-nearest, with the scale chosen so that the weight of largest magnitude lies
exactly on the code −8. The bytes below are those of llama.cpp (block_q4_0 and its like in ggml-common.h).

Legend: a block is a list of 32 floats, d its scale ("delta"), m its minimum.
"""

import math
import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from llmprep.lab import Fact, Plot, Result, Series, Table, Text

BLOCK = 32  # weights in a block


def formula_bits(code_bits: int, n_fp16: int) -> float:
    """Bits per weight: the code and its share of the fp16 numbers. Q4_0: 4 + 16/32 = 4.5."""
    return code_bits + 16 * n_fp16 / BLOCK


def float32(x: float) -> float:
    """Rounded to single precision, in which ggml computes its scales."""
    return struct.unpack("<f", struct.pack("<f", x))[0]


def nibbles(codes: Sequence[int]) -> bytes:
    """32 codes of 4 bits in 16 bytes: weight j in the low half of byte j, weight j + 16 in the high half."""
    return bytes(low | high << 4 for low, high in zip(codes[:16], codes[16:], strict=True))


def from_nibbles(packed: bytes) -> list[int]:
    """The 32 codes of 16 bytes, in the order of the weights."""
    return [byte & 15 for byte in packed] + [byte >> 4 for byte in packed]


def pack_q4_0(block: Sequence[float]) -> bytes:
    """fp16 d, then 16 bytes of codes; a weight is d·(code − 8)."""
    d = max(block, key=abs) / -8  # the signed extreme: it is the one that code 0, which is −8, must hit
    codes = [min(15, int(x / d + 8.5)) if d else 8 for x in block]
    return struct.pack("<e", d) + nibbles(codes)


def unpack_q4_0(data: bytes) -> list[float]:
    """18 bytes → 32 weights."""
    (d,) = struct.unpack_from("<e", data)
    return [d * (code - 8) for code in from_nibbles(data[2:])]


def pack_q4_1(block: Sequence[float]) -> bytes:
    """fp16 d, fp16 m, then 16 bytes of codes; a weight is m + d·code, so the grid need not be symmetric."""
    m = min(block)
    d = float32((max(block) - m) / 15)
    codes = [min(15, int((x - m) / d + 0.5)) if d else 0 for x in block]
    return struct.pack("<ee", d, m) + nibbles(codes)


def unpack_q4_1(data: bytes) -> list[float]:
    """20 bytes → 32 weights."""
    d, m = struct.unpack_from("<ee", data)
    return [m + d * code for code in from_nibbles(data[4:])]


def pack_q8_0(block: Sequence[float]) -> bytes:
    """fp16 d, then 32 signed bytes; a weight is d·code."""
    d = float32(max(map(abs, block)) / 127)
    codes = [round(x / d) if d else 0 for x in block]
    return struct.pack("<e32b", d, *codes)


def unpack_q8_0(data: bytes) -> list[float]:
    """34 bytes → 32 weights."""
    d, *codes = struct.unpack("<e32b", data)
    return [d * code for code in codes]


FORMATS = {
    "Q4_0": (pack_q4_0, unpack_q4_0, formula_bits(4, 1)),
    "Q4_1": (pack_q4_1, unpack_q4_1, formula_bits(4, 2)),
    "Q8_0": (pack_q8_0, unpack_q8_0, formula_bits(8, 1)),
}


@dataclass(frozen=True)
class Params:
    format: Literal["Q4_0", "Q4_1", "Q8_0"] = "Q4_0"
    n_blocks: int = 512  # of 32 Gaussian weights, really packed
    shift: float = 0.0  # mean of the weights, in standard deviations; away from 0 a minimum pays
    n_params_billion: float = 8.03  # weights of a model, all of them in this format
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.n_blocks <= 10_000:
            raise ValueError("n_blocks must be between 1 and 10000: they are packed in pure Python")
        if not 0 <= self.shift <= 1000:
            raise ValueError("shift must be between 0 and 1000 standard deviations")
        if not 0.001 <= self.n_params_billion <= 10_000:
            raise ValueError("n_params_billion must be between 0.001 and 10000")


def measure(name: str, blocks: Sequence[Sequence[float]]) -> tuple[int, float, int]:
    """Bytes of all blocks, RMS error of the weights, and blocks that change when their weights are packed again."""
    pack, unpack, _ = FORMATS[name]
    packed = [pack(block) for block in blocks]
    restored = [unpack(data) for data in packed]
    squares = sum((x - y) ** 2 for a, b in zip(blocks, restored, strict=True) for x, y in zip(a, b, strict=True))
    changed = sum(pack(block) != data for block, data in zip(restored, packed, strict=True))
    return sum(map(len, packed)), math.sqrt(squares / (len(blocks) * BLOCK)), changed


def run(p: Params) -> Result:
    rng = random.Random(p.seed)
    blocks = [[float32(rng.gauss(p.shift, 1)) for _ in range(BLOCK)] for _ in range(p.n_blocks)]
    found = {name: measure(name, blocks) for name in FORMATS}
    n_bytes, error, changed = found[p.format]
    bits = 8 * n_bytes / (p.n_blocks * BLOCK)
    facts = [
        Fact("mismatches", "blocks", changed, predicted=0),
        Fact("block_weights", "weights", BLOCK),
        Fact("block_bytes", "B", n_bytes // p.n_blocks),
        Fact("bits_per_weight", "bits", bits, predicted=FORMATS[p.format][2]),
        Fact("model_gb", "GB", p.n_params_billion / BLOCK * (n_bytes // p.n_blocks)),
        Fact("rms_error", "σ", error),
        Fact("error_vs_q8_0", "×", error / found["Q8_0"][1]),
    ]
    rows = [(n, b // p.n_blocks, 8 * b / (p.n_blocks * BLOCK), round(e, 5)) for n, (b, e, _) in found.items()]
    errors = [error for _, error, _ in found.values()]
    return Result(
        takeaway=Text(
            en=f"A {p.format} block holds {BLOCK} weights in {n_bytes // p.n_blocks} bytes, {bits:g} bits per weight, "
            f"with an RMS error of {error:.2%} of their standard deviation.",
            zh=f"一个 {p.format} 块用 {n_bytes // p.n_blocks} 字节存 {BLOCK} 个权重，每个权重 {bits:g} bit，"
            f"均方根误差为权重标准差的 {error:.2%}。",
        ),
        facts=facts,
        table=Table(("format", "block (B)", "bits per weight", "RMS error (σ)"), rows),
        plot=Plot(
            "Error of Gaussian weights", "format", "RMS error (σ)", [Series("error", list(FORMATS), errors)], kind="bar"
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
