"""Bytes of a model's weights in the formats that tools really store: codes, scales, and what stays in 16 bits.

Which tensors are quantised follows the tools. bitsandbytes, GPTQ, AWQ and FP8 checkpoints quantise the linear layers
inside the blocks and leave embedding, output head, norms, biases and routers in 16 bits; MXFP4 as gpt-oss uses it takes
only the experts; GGUF (`calc/gguf`) takes the token table and the output too, and keeps norms in FP32.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from math import ceil
from typing import Literal, NamedTuple

from llmprep.calc import gguf, options
from llmprep.calc.shapes import Attention, Shape, Weight
from llmprep.content import Text

IN_BLOCKS = (
    "attention",
    "cross-attention",
    "state space",
    "linear attention",
    "feed-forward",
    "experts",
    "shared expert",
)
NOTHING = Text()
NOT_SPLIT = ("W_router", "W_gate_shared", "W_dq", "W_dkv")  # on every device under tensor parallelism


@dataclass(frozen=True)
class Format:
    """How the quantised matrices are stored; everything else takes `plain_bytes` a number."""

    name: str
    bits: int  # of a code
    tile: tuple[int, int] | None = None  # inputs × outputs that share a scale; 0: all of them; None: no scales
    scale_bits: int = 0  # of a tile, zero point included
    flat: bool = False  # tiles run over the flattened matrix
    second: int = 0  # scales are 8-bit codes, and so many of them share an FP32 scale (double quantisation)
    tensor_bytes: int = 0  # a matrix, beside its codes and scales
    scope: Literal["everything", "blocks", "experts"] = "blocks"
    plain_bytes: int = 2
    arithmetic: tuple[str, ...] = ("bf16",)  # peaks that the matmuls may run at, the best first
    source: Text = NOTHING

    def codes(self, weight: Weight) -> int:
        """Bytes of the codes of one matrix."""
        return ceil(weight.size * self.bits / 8)

    def scales(self, weight: Weight) -> int:
        """Bytes of its scales."""
        if self.tile is None or len(weight.shape) < 2:
            return 0
        (rows, cols), (along, across) = weight.shape, self.tile
        n = ceil(weight.size / along) if self.flat else ceil(rows / (along or rows)) * ceil(cols / (across or cols))
        if self.second:
            return n + 4 * ceil(n / self.second) + self.tensor_bytes
        return ceil(n * self.scale_bits / 8) + self.tensor_bytes

    def quantises(self, weight: Weight, *, sparse: bool) -> bool:
        """Whether this tensor is stored in codes."""
        if self.scope == "everything":
            return True
        inside = weight.kind == "matrix" and weight.part in IN_BLOCKS and weight.name not in NOT_SPLIT[:2]
        return inside and (weight.part == "experts" or not (sparse and self.scope == "experts"))


_NF4 = Text(
    "bitsandbytes' NF4 (QLoRA, arXiv 2305.14314, section 3): blocks of 64 weights with an FP32 scale",
    "bitsandbytes 的 NF4（QLoRA，arXiv 2305.14314 第 3 节）：每 64 个权重一个 FP32 scale",
)
FORMATS = {
    f.name: f
    for f in (
        Format("bf16", 16, scope="everything"),
        Format("fp16", 16, scope="everything", arithmetic=("fp16",)),
        Format("fp32", 32, scope="everything", plain_bytes=4, arithmetic=("fp32",)),
        Format(
            "fp8", 8, (0, 0), 32, arithmetic=("fp8",), source=Text("one FP32 scale a matrix", "每个矩阵一个 FP32 scale")
        ),
        Format(
            "fp8-block",
            8,
            (128, 128),
            32,
            arithmetic=("fp8",),
            source=Text(
                "one FP32 scale for 128×128 weights (DeepSeek-V3, arXiv 2412.19437, section 3.3)",
                "每 128×128 个权重一个 FP32 scale（DeepSeek-V3，arXiv 2412.19437 第 3.3 节）",
            ),
        ),
        Format(
            "int8",
            8,
            (0, 1),
            32,
            arithmetic=("int8",),
            source=Text(
                "one FP32 scale an output row (LLM.int8(), W8A8)", "每个输出通道一个 FP32 scale（LLM.int8()、W8A8）"
            ),
        ),
        Format("nf4", 4, (64, 1), 32, flat=True, source=_NF4),
        Format(
            "nf4-dq",
            4,
            (64, 1),
            flat=True,
            second=256,
            tensor_bytes=4,
            source=Text(
                f"{_NF4.en}; double quantisation makes it 8 bits, with an FP32 scale for 256 of them",
                f"{_NF4.zh}；双重量化把 scale 压成 8 bit，每 256 个再共用一个 FP32 scale",
            ),
        ),
        Format(
            "mxfp4",
            4,
            (32, 1),
            8,
            scope="experts",
            source=Text(
                "blocks of 32 with an 8-bit exponent (OCP MX 1.0); of a sparse model only the experts, as gpt-oss",
                "每 32 个权重共用一个 8 bit 指数（OCP MX 1.0）；MoE 模型只量化专家，与 gpt-oss 一致",
            ),
        ),
        Format(
            "nvfp4",
            4,
            (16, 1),
            8,
            tensor_bytes=4,
            arithmetic=("fp4", "bf16"),
            source=Text(
                "blocks of 16 with an FP8 scale, one FP32 scale a matrix",
                "每 16 个权重一个 FP8 scale，每个矩阵再加一个 FP32 scale",
            ),
        ),
    )
}
GROUPED = "int4-g128"  # any group size: int4-g32, int4-g64 …
NAMES = (*FORMATS, GROUPED, *gguf.FILES)
_ALIASES = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16", "int4": GROUPED, **gguf.ALIASES}


class Piece(NamedTuple):
    """Tensors of one part that are stored alike."""

    part: str  # a key of shapes.PARTS
    stored_as: str
    n: int  # numbers
    codes: float  # bytes; in GGUF the scales lie in the same blocks, and count here
    scales: float  # bytes

    @property
    def n_bytes(self) -> float:
        """Codes and scales."""
        return self.codes + self.scales


@dataclass(frozen=True)
class Weighed:
    """The bill of a model in a format, on one of `tensor_parallel` devices."""

    format: str
    arithmetic: tuple[str, ...]
    pieces: tuple[Piece, ...]
    source: Text

    @property
    def n_bytes(self) -> float:
        """All pieces."""
        return sum(piece.n_bytes for piece in self.pieces)

    @property
    def bits_per_weight(self) -> float:
        """Effective, over everything: what stays in 16 bits and the scales included."""
        return 8 * self.n_bytes / sum(piece.n for piece in self.pieces)

    def by_part(self) -> dict[str, float]:
        """Bytes of each part."""
        found: dict[str, float] = {}
        for piece in self.pieces:
            found[piece.part] = found.get(piece.part, 0) + piece.n_bytes
        return found


@cache
def grouped(group: int) -> Format:
    """GPTQ and AWQ: 4-bit codes, an FP16 scale and a 4-bit zero point for each group along the inputs.

    Bits of a quantised weight: 4 + (16 + 4)/g, 4.15625 for groups of 128 (GPTQ, arXiv 2210.17323; AWQ, 2306.00978).
    GPTQ's g_idx (4 bytes an input) is left out.
    """
    source = Text(
        f"GPTQ/AWQ: groups of {group} inputs with an FP16 scale and a 4-bit zero point",
        f"GPTQ/AWQ：沿输入每 {group} 个权重一组，每组一个 FP16 scale 和一个 4 bit zero point",
    )
    return Format(f"int4-g{group}", 4, (group, 1), 20, source=source)


def find(name: str, option: str = "--dtype") -> str:
    """The name of a format as it is listed; UserError that names the option for any other."""
    word = name.strip().lower()
    word = _ALIASES.get(word, word)
    match = re.fullmatch(r"(?:int4|gptq|awq)(?:-?g?(\d+))?", word)
    if match:
        group = int(match[1] or 128)
        return f"int4-g{options.at_least(f'{option} {name}: the group', group, 8)}"
    for choice in (word, word.replace("_", "-"), word.replace("-", "_")):
        if choice in FORMATS or choice in gguf.FILES:
            return choice
    return options.known(option, name, "format of weights", NAMES)


def layout(name: str) -> Format | None:
    """The format of that name; None for a GGUF file type."""
    if name.startswith("int4-g"):
        return grouped(int(name.removeprefix("int4-g")))
    return FORMATS.get(name)


def weigh(
    shape: Shape,
    name: str,
    *,
    tensor_parallel: int = 1,
    embedding: str | None = None,
    output: str | None = None,
) -> Weighed:
    """The weights in a format, on each of `tensor_parallel` devices.

    Matrices are divided, with W_k and W_v repeated once a device has less than one key/value head; norms, biases,
    routers and MLA's down-projections lie on every device. `embedding` and `output` are GGUF types.
    """
    name = find(name)
    fmt = layout(name)
    raw: Iterator[tuple[Weight, int, str, float, float]]
    if fmt is None:
        tensors = gguf.tensors(shape, name, embedding, output)
        raw = ((t.weight, t.n, t.type, t.n_bytes / t.n, 0.0) for t in tensors)
        source = Text("llama.cpp's recipe for this file type", "llama.cpp 对该文件类型的配方")
    else:
        raw, source = _stored(shape, fmt), fmt.source
    kv_heads = min((m.n_kv_heads for m in _attentions(shape)), default=1)
    found: dict[tuple[str, str], list[float]] = {}
    for weight, count, kind, codes, scales in raw:
        divided = count / _split(weight, tensor_parallel, kv_heads) if tensor_parallel > 1 else count
        sums = found.setdefault((weight.part, kind), [0, 0, 0])
        for i, each in enumerate((weight.size, codes, scales)):
            sums[i] += divided * each
    pieces = tuple(Piece(*key, int(n), codes, scales) for key, (n, codes, scales) in found.items())
    return Weighed(name, fmt.arithmetic if fmt else ("bf16",), pieces, source)


def _stored(shape: Shape, fmt: Format) -> Iterator[tuple[Weight, int, str, float, float]]:
    """(weight, how many, what it is stored as, bytes of codes, bytes of scales) of every kind of tensor."""
    weights = list(shape.weights())
    sparse = any(weight.part == "experts" for _, _, weight in weights)
    plain = "fp32" if fmt.plain_bytes == 4 else "fp16" if fmt.name == "fp16" else "bf16"
    for stored, _, weight in weights:
        if fmt.quantises(weight, sparse=sparse):
            yield weight, stored * weight.copies, fmt.name, fmt.codes(weight), fmt.scales(weight)
        else:
            yield weight, stored * weight.copies, plain, weight.size * fmt.plain_bytes, 0


def _attentions(shape: Shape) -> Iterator[Attention]:
    return (s.layer.mixer for s in (*shape.encoder, *shape.stacks) if isinstance(s.layer.mixer, Attention))


def _split(weight: Weight, devices: int, kv_heads: int) -> int:
    """Over how many devices a tensor is divided: 1 if each holds a copy."""
    if weight.kind == "vector" or weight.name in NOT_SPLIT or weight.part == "position embedding":
        return 1
    return min(devices, kv_heads) if weight.name in ("W_k", "W_v") else devices


def quantised_bits(fmt: Format, weight: Weight) -> float:
    """Bits per weight of a quantised matrix alone, with its scales: 4.126953 for NF4 with double quantisation."""
    return 8 * (fmt.codes(weight) + fmt.scales(weight)) / weight.size
