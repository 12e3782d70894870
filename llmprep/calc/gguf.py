"""GGUF files: blocks of quantised weights, and which type llama.cpp gives to which tensor.

A file type such as Q4_K_M is a recipe, not a block: the output matrix, W_v and W_down of some layers get more bits. The
rules are those of `llama-quantize` without an importance matrix, with one for IQ3_XXS and below (llama.cpp,
src/llama-quant.cpp); they reproduce the bits per weight that its tools/quantize/README.md prints for Llama-3.1-8B.
"""

from collections.abc import Iterator
from typing import NamedTuple

from llmprep.calc.shapes import Attention, Experts, Shape, Weight

BLOCKS = {  # weights in a block, bytes of a block (GGML_QUANT_SIZES of the gguf package)
    "q4_0": (32, 18),
    "q4_1": (32, 20),
    "q5_0": (32, 22),
    "q5_1": (32, 24),
    "q8_0": (32, 34),
    "q2_k": (256, 84),
    "q3_k": (256, 110),
    "q4_k": (256, 144),
    "q5_k": (256, 176),
    "q6_k": (256, 210),
    "iq1_s": (256, 50),
    "iq1_m": (256, 56),
    "iq2_xxs": (256, 66),
    "iq2_xs": (256, 74),
    "iq2_s": (256, 82),
    "iq3_xxs": (256, 98),
    "iq3_s": (256, 110),
    "iq4_nl": (32, 18),
    "iq4_xs": (256, 136),
    "tq1_0": (256, 54),
    "tq2_0": (256, 66),
    "mxfp4": (32, 17),
    "nvfp4": (64, 36),
    "q1_0": (128, 18),
    "q8_1": (32, 40),  # of activations, as Q8_K: not found in files
    "q8_k": (256, 292),
    "f16": (1, 2),
    "bf16": (1, 2),
    "f32": (1, 4),
    "f64": (1, 8),
    "i8": (1, 1),
    "i16": (1, 2),
    "i32": (1, 4),
    "i64": (1, 8),
}
FILES = {  # file type: the block of most matrices
    **dict.fromkeys(("q4_k_m", "q4_k_s"), "q4_k"),
    **dict.fromkeys(("q5_k_m", "q5_k_s"), "q5_k"),
    "q6_k": "q6_k",
    "q8_0": "q8_0",
    "q4_0": "q4_0",
    "q4_1": "q4_1",
    "q5_0": "q5_0",
    "q5_1": "q5_1",
    **dict.fromkeys(("q3_k_m", "q3_k_l", "q3_k_s"), "q3_k"),
    **dict.fromkeys(("q2_k", "q2_k_s"), "q2_k"),
    "iq4_xs": "iq4_xs",
    "iq4_nl": "iq4_nl",
    **dict.fromkeys(("iq3_m", "iq3_s", "iq3_xs"), "iq3_s"),
    "iq3_xxs": "iq3_xxs",
    "iq2_m": "iq2_s",
    **dict.fromkeys(("iq2_s", "iq2_xs"), "iq2_xs"),
    "iq2_xxs": "iq2_xxs",
    "iq1_m": "iq1_m",
    "iq1_s": "iq1_s",
    "tq1_0": "tq1_0",
    "tq2_0": "tq2_0",
    "mxfp4_moe": "q8_0",
    "f16": "f16",
}
ALIASES = {"q3_k": "q3_k_m", "q4_k": "q4_k_m", "q5_k": "q5_k_m"}  # as llama-quantize reads them
_SMALL = ("iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq2_m")
_FALLBACK = {  # where the columns are not a multiple of the block
    **dict.fromkeys(("iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq3_xxs", "iq3_s", "iq4_xs"), "iq4_nl"),
    **dict.fromkeys(("q2_k", "q3_k", "tq1_0", "tq2_0"), "q4_0"),
    "q4_k": "q5_0",
    "q5_k": "q5_1",
    "q6_k": "q8_0",
}
_FUSED = ("bloom", "dbrx", "falcon", "gpt2", "gpt_bigcode", "gpt_neox", "mpt", "phi3")  # one attn_qkv tensor
_WHOLE = ("W_router", "W_gate_shared", "P", "types", "relative bias")  # matrices and tables kept in F32
_QUANTISED_TABLE = "token embedding"


class Facts(NamedTuple):
    """What the rules ask of a model."""

    file: str
    family: str
    gqa: int  # query heads of a key/value head
    n_experts: int
    is_70b: bool


class Tensor(NamedTuple):
    """Equal tensors of a file."""

    weight: Weight
    n: int
    type: str

    @property
    def n_bytes(self) -> int:
        """All of them."""
        return self.n * tensor_bytes(self.weight, self.type)


def bits(kind: str) -> float:
    """Bits per weight of a block with its scales: Q4_0 is 8·18/32 = 4.5."""
    block, size = BLOCKS[kind]
    return 8 * size / block


def columns(weight: Weight) -> int:
    """The axis along which blocks run: the inputs of a matrix, the width of a table's row."""
    return weight.shape[-1] if weight.kind == "table" else weight.shape[0]


def tensor_bytes(weight: Weight, kind: str) -> int:
    """Whole blocks only; a row never shares a block with the next. ValueError where the block does not divide it."""
    block, size = BLOCKS[kind]
    if columns(weight) % block:
        raise ValueError(f"{kind}: {columns(weight)} columns are not divisible by {block}")
    return weight.size // block * size


def tensors(shape: Shape, file: str, embedding: str | None = None, output: str | None = None) -> Iterator[Tensor]:
    """Every tensor with its type; `embedding` and `output` overrule the rules, as llama-quantize's options do."""
    facts, inside = _facts(shape, file), 0
    for part in (shape.encoder, shape.stacks):
        first, n_layers = 0, sum(stack.n for stack in part)
        for stack in part:
            for weight in stack.layer.weights(shape.d_model, shape.norm_size):
                inside += 1
                found: dict[str, int] = {}
                for i in range(first, first + stack.stored):
                    kind = _fitting(weight, _layer_type(facts, weight, i, n_layers))
                    found[kind] = found.get(kind, 0) + weight.copies
                yield from (Tensor(weight, count, kind) for kind, count in found.items())
            first += stack.n
    first_weight, *others = shape.weights()  # the embedding, the layers, the rest
    for _, _, weight in (first_weight, *others[inside:]):
        yield Tensor(weight, weight.copies, _outer_type(facts, shape, weight, embedding, output))


def _facts(shape: Shape, file: str) -> Facts:
    """A 70B model is to llama.cpp a Llama of 80 layers with grouped heads."""
    mixers = [s.layer.mixer for s in shape.stacks if isinstance(s.layer.mixer, Attention)]
    gqa = mixers[0].n_heads // mixers[0].n_kv_heads if mixers else 1
    experts = max((s.layer.ffn.n for s in shape.stacks if isinstance(s.layer.ffn, Experts)), default=0)
    return Facts(file, shape.family, gqa, experts, shape.family == "llama" and shape.n_layers == 80 and gqa > 1)


def _fitting(weight: Weight, kind: str) -> str:
    """The type itself, its fallback in blocks of 32, or F16."""
    for choice in (kind, _FALLBACK.get(kind, "f16")):
        if columns(weight) % BLOCKS[choice][0] == 0:
            return choice
    return "f16"


def _outer_type(facts: Facts, shape: Shape, weight: Weight, embedding: str | None, output: str | None) -> str:
    """The type of a tensor outside the layers."""
    is_output = weight.part == "output head" and weight.kind == "matrix"
    is_table = weight.part == _QUANTISED_TABLE and weight.name == "E"
    if is_output or (is_table and shape.tied):
        kind = (embedding if is_table else None) or output or _output_type(facts, weight)
        return _fitting(weight, kind)
    if is_table:
        return _fitting(weight, embedding or _table_type(facts))
    return _fitting(weight, FILES[facts.file]) if weight.kind == "matrix" else "f32"


def _output_type(facts: Facts, weight: Weight) -> str:
    """Q6_K, or Q8_0 where 256 does not divide the row; the embedding too, where it is the output."""
    base = FILES[facts.file]
    if base == "f16":
        return base
    if facts.file == "mxfp4_moe" or facts.family == "falcon" or columns(weight) % BLOCKS[base][0]:
        return "q8_0"
    if facts.file in _SMALL or facts.file == "iq3_xxs":
        return "q5_k"
    return base if base == "q8_0" else "q6_k"


def _table_type(facts: Facts) -> str:
    """A token embedding of its own."""
    if facts.file in ("iq2_s", "iq2_m", "iq3_xxs"):
        return "iq3_s"
    if facts.file in _SMALL:
        return "q2_k"
    return "q4_k" if facts.file in ("tq1_0", "tq2_0") else FILES[facts.file]


def _more_bits(i: int, n: int) -> bool:
    """The first and last eighth of the layers, and every third between."""
    return i < n // 8 or i >= 7 * n // 8 or (i - n // 8) % 3 == 2


def _layer_type(facts: Facts, weight: Weight, i: int, n: int) -> str:
    """The type of a tensor of layer i of n, before the columns are looked at."""
    file, base = facts.file, FILES[facts.file]
    if weight.kind != "matrix" or weight.name in _WHOLE:
        return "f32"
    if base == "f16":
        return base
    if file == "mxfp4_moe":
        return "mxfp4" if weight.part == "experts" else base
    fused = facts.family in _FUSED and weight.name in ("W_q", "W_k", "W_v")
    if weight.name in ("W_v", "W_ukv") or fused:
        return _value_type(facts, i, n)
    if weight.name == "W_down":
        return _down_type(facts, i, n)
    if weight.name == "W_o" and facts.family != "falcon":
        return _out_type(facts)
    if weight.name in ("W_q", "W_k"):
        return _query_key_type(facts, weight.name)
    middle = n // 8 <= i < 7 * n // 8
    return "iq3_xxs" if file == "iq3_xs" and middle and weight.name in ("W_gate", "W_up") else base


def _value_type(facts: Facts, i: int, n: int) -> str:
    """W_v (and qkv in one): small under GQA and sensitive, so it gets more bits almost everywhere."""
    file, base, grouped = facts.file, FILES[facts.file], facts.gqa >= 4
    if file in _SMALL:
        if grouped or facts.n_experts >= 4:
            return "q4_k"
        return "iq3_s" if file in ("iq2_s", "iq2_m") else "q2_k"
    kind = base
    if file == "q2_k":
        kind = "q4_k" if grouped else "q3_k"
    elif file in ("q2_k_s", "iq3_xxs", "iq3_xs", "iq3_s"):
        kind = "q4_k" if grouped else base
    elif file == "iq3_m":
        kind = "q4_k"
    elif file == "q3_k_m":
        kind = "q5_k" if i < 2 else "q4_k"
    elif file == "q3_k_l":
        kind = "q5_k"
    elif file in ("iq4_nl", "iq4_xs"):
        kind = "q5_k" if grouped else base
    elif file in ("q4_k_m", "q5_k_m"):
        kind = "q6_k" if _more_bits(i, n) else base
    elif file == "q4_k_s":
        kind = "q5_k" if i < 4 else base
    if facts.is_70b and kind in ("q3_k", "q4_k"):
        kind = "q5_k"
    return "q8_0" if facts.n_experts == 8 else kind


def _query_key_type(facts: Facts, name: str) -> str:
    if name == "W_k" and facts.n_experts == 8:
        return "q4_k" if facts.file in _SMALL else "q8_0"
    return {"iq3_xs": "iq3_xxs", "iq3_xxs": "iq2_s"}.get(facts.file, FILES[facts.file])


def _out_type(facts: Facts) -> str:
    file, base = facts.file, FILES[facts.file]
    if facts.n_experts == 8:
        plain = file in ("q3_k_l", "q4_0", "q4_1", "q5_0", "q5_1", "q5_k_s", "q5_k_m", "q6_k", "q8_0", "q2_k_s")
        return base if plain or base.startswith("tq") else "q5_k"
    rules = {"q2_k": "q3_k", "iq3_xxs": "iq3_s", "q3_k_m": "q4_k", "q3_k_l": "q5_k", "iq3_m": "q4_k"}
    rules |= {"iq1_s": "iq2_xxs", "iq1_m": "iq2_xxs", "iq2_s": "iq3_s", "iq2_m": "iq3_s"}
    return rules.get(file, base)


def _down_type(facts: Facts, i: int, n: int) -> str:
    """W_down: its inputs are the widest activations."""
    file, base, falcon = facts.file, FILES[facts.file], facts.family == "falcon"
    early, more = i < n // 8, _more_bits(i, n)
    if file == "q2_k":
        return "q3_k"
    if file == "q3_k_l":
        return "q4_k" if falcon else "q5_k"
    if file == "q3_k_m":
        return "q5_k" if i < n // 16 else "q4_k" if not falcon or more else base
    if file == "q4_k_m" and falcon:
        return "q6_k" if i < n // 16 else "q5_k" if more else base
    if file in ("q4_k_m", "q5_k_m"):
        return "q6_k" if more else base
    if file == "iq3_m":
        return "q4_k" if early or (facts.n_experts == 8 and more) else base
    first = {"q2_k_s": "q4_k", "q4_k_s": "q5_k", "iq4_nl": "q5_k", "iq4_xs": "q5_k", "iq2_s": "iq3_s", "iq2_m": "iq3_s"}
    first |= dict.fromkeys(("iq1_s", "iq1_m", "iq2_xxs", "iq2_xs"), "q2_k")
    return first.get(file, base) if early and not (falcon and file == "q4_k_s") else base
