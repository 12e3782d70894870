"""What lies in a GGUF file, and why does a "4-bit" file take more than its 4.5 bits per weight?

GGUF is a container: a header, key–value metadata (architecture, hyperparameters, tokenizer), a table of tensors with a
type for each, then their bytes, aligned so that the file can be mapped into memory. It says nothing about how the codes
were found. The type is chosen per tensor: by default the matrices of a llama.cpp "Q4_0" file are Q4_0, but norms stay
in F32 and the output matrix (the embedding, if tied) in Q6_K, or in Q8_0 where 256 does not divide its columns.

Legend: a tensor is (name, rows, columns, type); blocks run along the columns.
"""

import random
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from llmprep import content
from llmprep.demos.inference.gguf_q4_0 import FORMATS
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

ALIGNMENT = 32  # bytes, the default of the format
TYPES = {  # ggml type: (number in the file, weights in a block, bytes of a block), ggml.h and ggml-common.h
    "F32": (0, 1, 4),
    "Q4_0": (2, 32, 18),
    "Q4_1": (3, 32, 20),
    "Q8_0": (8, 32, 34),
    "Q6_K": (14, 256, 210),
}


class Tensor(NamedTuple):
    name: str
    rows: int
    columns: int
    type: str

    @property
    def n_bytes(self) -> int:
        """Whole blocks only; a row never shares a block with the next."""
        _, block, size = TYPES[self.type]
        return self.rows * (self.columns // block) * size


def llama_tensors(config: Mapping[str, int], file_type: str, *, pure: bool = False) -> list[Tensor]:
    """All tensors of a Llama-like model, typed as llama.cpp does for a Q4_0, Q4_1 or Q8_0 file (llama-quant.cpp)."""
    d, ff, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    head_dim = config.get("head_dim") or d // config["num_attention_heads"]
    q, kv = config["num_attention_heads"] * head_dim, config["num_key_value_heads"] * head_dim
    output_type = file_type if pure or file_type == "Q8_0" else "Q8_0" if d % 256 else "Q6_K"
    tied = config["tie_word_embeddings"]
    tensors = [Tensor("token_embd.weight", vocab, d, output_type if tied else file_type)]
    tensors += [] if tied else [Tensor("output.weight", vocab, d, output_type)]
    tensors.append(Tensor("output_norm.weight", 1, d, "F32"))
    matrices = {"attn_q": (q, d), "attn_k": (kv, d), "attn_v": (kv, d), "attn_output": (d, q)}
    matrices |= {"ffn_gate": (ff, d), "ffn_up": (ff, d), "ffn_down": (d, ff)}
    for layer in range(config["num_hidden_layers"]):
        tensors += [Tensor(f"blk.{layer}.{name}.weight", *shape, file_type) for name, shape in matrices.items()]
        tensors += [Tensor(f"blk.{layer}.{name}.weight", 1, d, "F32") for name in ("attn_norm", "ffn_norm")]
    return tensors


def string(text: str) -> bytes:
    """Length as uint64, then UTF-8."""
    return struct.pack("<Q", len(text.encode())) + text.encode()


def padded(data: bytes) -> bytes:
    """Zeros up to the next multiple of the alignment."""
    return data + bytes(-len(data) % ALIGNMENT)


def write_gguf(metadata: Mapping[str, str], tensors: Sequence[tuple[Tensor, bytes]]) -> bytes:
    """A GGUF file, version 3, little-endian, with string metadata only (ggml, docs/gguf.md)."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    for key, value in metadata.items():
        head += string(key) + struct.pack("<I", 8) + string(value)  # 8: a string
    body = b""
    for tensor, data in tensors:
        head += string(tensor.name)
        head += struct.pack("<IQQIQ", 2, tensor.columns, tensor.rows, TYPES[tensor.type][0], len(body))
        body += padded(data)
    return padded(head) + body


def tiny_model(file_type: str, rng: random.Random) -> list[tuple[Tensor, bytes]]:
    """One real layer of width 64: Gaussian weights, packed block by block."""
    config = {"hidden_size": 64, "intermediate_size": 128, "vocab_size": 96, "num_hidden_layers": 1}
    config |= {"num_attention_heads": 2, "num_key_value_heads": 1, "tie_word_embeddings": True}

    def data(tensor: Tensor) -> bytes:
        weights = [rng.gauss(0, 1) for _ in range(tensor.rows * tensor.columns)]
        if tensor.type == "F32":
            return struct.pack(f"<{len(weights)}f", *weights)
        pack = FORMATS[tensor.type][0]
        return b"".join(pack(weights[i : i + 32]) for i in range(0, len(weights), 32))

    return [(tensor, data(tensor)) for tensor in llama_tensors(config, file_type)]


@dataclass(frozen=True)
class Params:
    model: str = "smollm2-135m"  # a Llama-like model of data/models.json
    format: Literal["Q4_0", "Q4_1", "Q8_0"] = "Q4_1"  # what the file is called
    pure: bool = False  # True: every matrix in that type (llama-quantize --pure)
    seed: int = 0

    def __post_init__(self) -> None:
        if content.model(self.model)["model_type"] != "llama":
            raise ValueError("model must have the tensors of Llama (model_type llama)")


def run(p: Params) -> Result:
    tiny = tiny_model(p.format, random.Random(p.seed))
    file = write_gguf({"general.architecture": "llama", "general.name": "tiny"}, tiny)
    entry = content.model(p.model)
    tensors = llama_tensors(entry["config"], p.format, pure=p.pure)
    n_weights, n_bytes = sum(t.rows * t.columns for t in tensors), sum(t.n_bytes for t in tensors)
    bits, nominal = 8 * n_bytes / n_weights, FORMATS[p.format][2]
    facts = [
        Fact("mismatches", "tensors", sum(len(data) != tensor.n_bytes for tensor, data in tiny), predicted=0),
        Fact("container_bytes", "B", len(file) - sum(len(data) for _, data in tiny)),
        Fact("n_params", "weights", n_weights, predicted=entry["params_total"]),
        Fact("tensor_bytes", "B", n_bytes),
        Fact("bits_per_weight", "bits", bits),
        Fact("nominal_bits", "bits", nominal),
        Fact("n_tensors", "tensors", len(tensors)),
    ]
    by_type = {kind: [t for t in tensors if t.type == kind] for kind in TYPES}
    rows = [
        (kind, len(ts), sum(t.rows * t.columns for t in ts), sum(t.n_bytes for t in ts))
        for kind, ts in by_type.items()
        if ts
    ]
    sizes = Series(p.model, [row[0] for row in rows], [row[3] / 1e6 for row in rows])
    return Result(
        takeaway=Text(
            en=f"A {p.format} file of {p.model} has {n_bytes:,} bytes of tensors, {bits:.3f} bits per weight, where "
            f"the format alone has {nominal:g}: the type is chosen tensor by tensor.",
            zh=f"{p.model} 的 {p.format} 文件中张量共 {n_bytes:,} 字节，平均每个权重 {bits:.3f} bit，而格式本身是 "
            f"{nominal:g} bit，因为类型是逐张量选的。",
        ),
        facts=facts,
        table=Table(("type", "tensors", "weights", "size (B)"), rows),
        plot=Plot(f"Where the bytes of a {p.format} file go", "type", "MB", [sizes], kind="bar"),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
