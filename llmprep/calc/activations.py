"""What a forward pass leaves in memory for the backward pass: bytes per token of each layer, tensor by tensor.

The sums are those of an implementation with the usual fused kernels, which keep the inputs of what they fuse:
FlashAttention, a norm that keeps its input and a statistic, SwiGLU that keeps gate and up. Modules that run one
operation at a time keep more; `unfused` says how much more transformers keeps. Weights are no activations.
"""

from collections.abc import Iterator
from math import ceil
from typing import Literal, NamedTuple

from llmprep.calc.adapters import Adapters
from llmprep.calc.shapes import (
    Attention,
    DeltaNet,
    Experts,
    FeedForward,
    Latent,
    Layer,
    Mamba2,
    Mixer,
    Shape,
    StateSpace,
)

FP32 = 4
Part = Literal["norms", "attention", "scores", "feed-forward", "experts", "dropout", "statistics", "adapters", "logits"]


class Saved(NamedTuple):
    """One tensor that autograd keeps."""

    part: Part
    name: str  # what it is, "Q"
    symbols: str  # "H·D"
    width: float  # values per token
    itemsize: float  # bytes per value
    pieces: int | None = None  # that tensor parallelism makes of it at most; None: any number
    whole: bool = False  # not divided by tensor parallelism, only by sequence parallelism
    read_by: tuple[tuple[str, str], ...] = ()  # kept only for the gradients of these weights; (): for those of inputs

    @property
    def per_token(self) -> float:
        """Bytes a token, undivided."""
        return self.width * self.itemsize

    def on_a_gpu(self, tensor: int = 1, *, sequence: bool = False) -> float:
        """Bytes a token on each GPU of a tensor-parallel group."""
        ways = (tensor if sequence else 1) if self.whole else min(tensor, self.pieces or tensor)
        return self.per_token / ways


def of_layer(
    shape: Shape,
    layer: Layer,
    seq_len: int,
    *,
    itemsize: int = 2,
    scores: bool = False,
    dropout: bool = False,
    adapters: Adapters | None = None,
) -> list[Saved]:
    """Everything that one layer keeps of a token. A Llama layer: 8·d + 3·d_ff values (H·D = d, no GQA).

    `scores`: the s × s attention probabilities are kept ("none"); otherwise they are computed again, by FlashAttention
    or by selective recomputation, which keep the same. With `dropout`, a GPT layer comes to the 34 + 5as/h of
    Korthikanti et al. (arXiv 2205.05198, equation 1), and to its statistics. With `adapters`, the weights are frozen:
    what only their gradients would read is not kept.
    """
    kept = [*_norms(shape, layer, itemsize), *_mixer(layer.mixer, seq_len, itemsize, scores=scores, dropout=dropout)]
    if layer.cross:
        kept += _mixer(layer.cross, seq_len, itemsize, scores=scores, dropout=dropout)
    if layer.ffn:
        kept += _ffn(layer.ffn, shape.d_model, itemsize)
    if dropout:
        branches = 1 + bool(layer.cross) + bool(layer.ffn)
        kept.append(Saved("dropout", "masks", f"{branches}·d", branches * shape.d_model, 1, whole=True))
    if adapters:
        kept = [s for s in kept if not s.read_by or any(adapters.on(*weight) for weight in s.read_by)]
        weights = layer.weights(shape.d_model, shape.norm_size)
        down = sum(w.used for w in weights if w.kind == "matrix" and adapters.on(w.part, w.name))
        kept.append(Saved("adapters", "A·x", f"{down}·r", down * adapters.rank, itemsize, whole=True))
    return kept


def _norms(shape: Shape, layer: Layer, size: int) -> Iterator[Saved]:
    """Each norm's input, and what the first matrices of each branch read."""
    d, n = shape.d_model, layer.norms
    if n:
        yield Saved("norms", "norm inputs", f"{n}·d", n * d, size, whole=True)
        per_norm = 2 if shape.norm.startswith("layer") else 1  # mean and 1/σ; 1/rms
        yield Saved("statistics", "norms", "1/σ", n * per_norm, FP32, whole=True)
    mixing = tuple((layer.mixer.part, name) for name in ("W_q", "W_k", "W_v", "W_dq", "W_dkv", "W_in", "W_qkvz"))
    feeding = tuple(
        (part, name)
        for part in ("feed-forward", "shared expert", "router")
        for name in ("W_gate", "W_up", "W_router", "W_gate_shared")
    )
    crossing = (("cross-attention", "W_q"),)
    if layer.ffn and n == 1:  # attention and FFN side by side, behind one norm
        yield Saved("norms", "input of both branches", "d", d, size, whole=True, read_by=mixing + feeding)
        return
    for name, readers, there in (
        (layer.mixer.part, mixing, True),
        ("cross-attention", crossing, layer.cross),
        ("feed-forward", feeding, layer.ffn),
    ):
        if there:
            yield Saved("norms", f"input of {name}", "d", d, size, whole=True, read_by=readers)


def _mixer(mixer: Mixer, seq_len: int, size: int, *, scores: bool, dropout: bool) -> Iterator[Saved]:
    if isinstance(mixer, Attention):
        yield from _attention(mixer, size, scores=scores)
        heads = mixer.n_heads
    elif isinstance(mixer, Latent):
        yield from _latent(mixer, size, scores=scores)
        heads = mixer.n_heads
    else:
        yield from _recurrent(mixer, seq_len, size)
        return
    if not scores:
        yield Saved("statistics", "log-sum-exp", "H", heads, FP32)
        return
    yield Saved("scores", "softmax output", "H·s", heads * seq_len, size)
    if dropout:
        yield Saved("scores", "dropout mask", "H·s", heads * seq_len, 1)
        yield Saved("scores", "dropout output", "H·s", heads * seq_len, size)


def _attention(a: Attention, size: int, *, scores: bool) -> Iterator[Saved]:
    """Q, K, V after their rotation, and the output, which FlashAttention reads again and W_o too."""
    if a.qk_norm:
        yield Saved("attention", "Q before its norm", "H·D", a.q_dim, size)
        yield Saved("attention", "K before its norm", "H_kv·D", a.kv_dim, size, pieces=a.n_kv_heads)
        statistics = 2 if a.qk_norm == "all" else a.n_heads + a.n_kv_heads
        yield Saved("statistics", "QK norms", "1/σ", statistics, FP32)
    yield Saved("attention", "Q", "H·D", a.q_dim, size)
    yield Saved("attention", "K, V", "2·H_kv·D", 2 * a.kv_dim, size, pieces=a.n_kv_heads)
    yield Saved("attention", "output", "H·D", a.q_dim, size, read_by=((a.part, "W_o"),) if scores or a.gate else ())
    if a.gate:
        yield Saved("attention", "gate, output before it", "2·H·D", 2 * a.q_dim, size)


def _latent(a: Latent, size: int, *, scores: bool) -> Iterator[Saved]:
    """The latents before and after their norms, then queries, keys and values of every head."""
    q, k, v = a.n_heads * (a.nope_dim + a.rope_dim), a.n_heads * (a.nope_dim + a.rope_dim), a.n_heads * a.v_dim
    for name, rank, reader in (("query latent", a.q_rank or 0, "W_uq"), ("KV latent", a.kv_rank, "W_ukv")):
        if rank:
            yield Saved("attention", f"{name}, before its norm", "r", rank, size, whole=True)
            yield Saved("attention", name, "r", rank, size, whole=True, read_by=((a.part, reader),))
            yield Saved("statistics", f"norm of the {name}", "1/σ", 1, FP32, whole=True)
    yield Saved("attention", "Q, K", "2·H·(D_nope + D_rope)", q + k, size)
    yield Saved("attention", "V", "H·D_v", v, size)
    yield Saved("attention", "output", "H·D_v", v, size, read_by=((a.part, "W_o"),) if scores else ())


def _recurrent(mixer: Mixer, seq_len: int, size: int) -> Iterator[Saved]:
    """What the fused scans keep: projected inputs, output, and little between chunks; the states run again.

    Read from save_for_backward of mamba-ssm (selective_scan_interface.py, ssd_combined.py) and of
    flash-linear-attention (gated_delta_rule/chunk.py); not measured here.
    """
    if isinstance(mixer, DeltaNet):
        keys, values = mixer.n_key_heads * mixer.key_dim, mixer.n_value_heads * mixer.value_dim
        every = 2 * mixer.n_value_heads * mixer.key_dim + values
        yield Saved("attention", "q, k, v before the convolution", "2K + V", 2 * keys + values, size)
        yield Saved("attention", "q, k, v of every value head", "2·H_v·D_k + V", every, size)
        yield Saved("attention", "inverses in chunks of 64", "64·H_v", 64 * mixer.n_value_heads, size)
        yield Saved("attention", "decay, beta", "2·H_v", 2 * mixer.n_value_heads, FP32)
        yield Saved("attention", "z, output before and after its norm", "3V", 3 * values, size)
    elif isinstance(mixer, Mamba2):
        inside = mixer.d_inner + mixer.d_short + mixer.n_heads
        yield Saved("attention", "z, x, B, C, dt", "E + (E + 2GN) + H", inside, size)
        yield Saved("attention", "output before its norm", "E", mixer.d_inner, size)
    elif isinstance(mixer, StateSpace):
        chunks = 2 * mixer.d_inner * mixer.d_state * ceil(seq_len / 2048) / seq_len
        yield Saved("attention", "x, z and output", "3E", 3 * mixer.d_inner, size)
        yield Saved("attention", "dt, B, C", "R + 4N", mixer.dt_rank + 4 * mixer.d_state, size, whole=True)
        yield Saved("attention", "states between chunks of 2,048", "2·E·N/s", chunks, FP32)


def _ffn(ffn: FeedForward | Experts, d: int, size: int) -> Iterator[Saved]:
    if isinstance(ffn, FeedForward):
        yield from _dense(ffn, "feed-forward", "d_ff", 1, size)
        return
    yield Saved("experts", "router's probabilities", "n", ffn.n, FP32, whole=True)
    readers = (("experts", "W_gate"), ("experts", "W_up"))
    yield Saved("experts", "tokens as sent to the experts", "k·d", ffn.top_k * d, size, whole=True, read_by=readers)
    yield from _dense(ffn.expert, "experts", "k·d_ff", ffn.top_k, size)
    if ffn.shared:
        yield from _dense(ffn.shared, "shared expert", "d_shared", 1, size)


def _dense(ffn: FeedForward, part: str, symbols: str, times: int, size: int) -> Iterator[Saved]:
    """SwiGLU keeps gate, up and their product; a plain MLP the input and the output of its activation."""
    line: Part = "feed-forward" if part == "feed-forward" else "experts"
    wide, readers = times * ffn.d_ff, ((part, "W_down"),)
    if ffn.gated:
        yield Saved(line, f"{part}: gate and up", f"2·{symbols}", 2 * wide, size)
        yield Saved(line, f"{part}: input of W_down", symbols, wide, size, read_by=readers)
    else:
        yield Saved(line, f"{part}: input of the activation", symbols, wide, size)
        yield Saved(line, f"{part}: input of W_down", symbols, wide, size, read_by=readers)


def of_head(shape: Shape, itemsize: int = 2) -> list[Saved]:
    """After the last layer: its norm, and the logits in FP32, 4·s·b·V bytes (arXiv 2205.05198, section 4.3).

    The 16-bit logits that the FP32 copy is made from are alive at the same time. An encoder without a head keeps none.
    """
    if not shape.head:
        return []
    d, v = shape.embedding_dim or shape.d_model, shape.vocab_size
    kept = [
        Saved("norms", "input of the last norm", "d", shape.d_model, itemsize, whole=True),
        Saved("norms", "input of the head", "d", d, itemsize, whole=True, read_by=(("output head", "W_head"),)),
        Saved("logits", "logits in FP32", "V", v, FP32),
    ]
    return kept if itemsize == FP32 else [*kept, Saved("logits", "logits in 16 bits", "V", v, itemsize)]


AS_MEASURED = ("deepseek_v3", "granite", "llama", "mistral", "mixtral", "qwen2", "qwen3", "qwen3_moe")


def unfused(
    shape: Shape, layer: Layer, seq_len: int, *, itemsize: int = 2, scores: bool = False, frozen: bool = False
) -> float:
    """Bytes a token that a layer of transformers keeps beyond `of_layer`, in the families of `AS_MEASURED`.

    RMSNorm works in FP32 and, unless its weight is frozen, keeps its result before the weight too: 4 bytes a channel
    more. SiLU keeps its output, and experts theirs. Eager attention takes the softmax in FP32 and repeats K and V for
    every query head. Indices of the router, about 40 bytes an expert, are left out.
    """
    mixer, ffn = layer.mixer, layer.ffn
    normed, extra = layer.norms * shape.d_model, 0.0
    if isinstance(mixer, Attention):
        normed += (mixer.q_dim + mixer.kv_dim) * bool(mixer.qk_norm)
        extra += scores * 2 * itemsize * (mixer.q_dim - mixer.kv_dim)
    if isinstance(mixer, Latent):
        normed += (mixer.q_rank or 0) + mixer.kv_rank
    if isinstance(mixer, Attention | Latent) and itemsize != FP32:
        extra += scores * FP32 * mixer.n_heads * seq_len
    if isinstance(ffn, Experts):
        extra += itemsize * ffn.top_k * (ffn.expert.d_ff + shape.d_model)
        extra += itemsize * (ffn.shared.d_ff if ffn.shared else 0)
    elif ffn:
        extra += itemsize * ffn.d_ff
    return extra + (FP32 - itemsize * frozen) * normed
