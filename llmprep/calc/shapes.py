"""What a model is made of: layers, each a mixer and a feed-forward part, and what stands around them.

Every part lists its weights once, with the name and the widths that a paper gives them. Parameters, bytes, FLOPs and
cache sizes are sums over those lists, so a family is added by saying what it is built from (`calc/families`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Literal, NamedTuple

from llmprep.content import Text

Kind = Literal["matrix", "table", "vector"]  # multiplied with each token; looked up; a norm, a bias, a scale


class Weight(NamedTuple):
    """One tensor of a part, and how many such tensors there are."""

    part: str  # the line of the bill that it belongs to, a key of `PARTS`
    name: str  # W_q
    symbols: str  # d × H·D
    shape: tuple[int, ...]  # (4096, 4096)
    kind: Kind = "matrix"
    copies: int = 1  # of the same shape, as the experts of a layer
    used: int = 1  # of these, how many a token passes through

    @property
    def size(self) -> int:
        """Parameters in one copy."""
        return prod(self.shape)


NOTHING = Text()

PARTS = (  # in the order of a bill
    "token embedding",
    "position embedding",
    "attention",
    "cross-attention",
    "state space",
    "linear attention",
    "feed-forward",
    "experts",
    "shared expert",
    "router",
    "norms",
    "pooler",
    "output head",
)


def matrix(part: str, name: str, symbols: str, rows: int, cols: int, *, bias: bool = False) -> Iterator[Weight]:
    """A linear layer from `rows` to `cols`, with or without a bias."""
    yield Weight(part, name, symbols, (rows, cols))
    if bias:
        yield Weight(part, name.replace("W", "b", 1), symbols.rpartition(" × ")[2], (cols,), "vector")


class Cached(NamedTuple):
    """What one layer keeps of the tokens that it has seen."""

    per_token: int = 0  # elements
    window: int | None = None  # tokens kept; None: all
    state: int = 0  # elements, whatever the number of tokens


@dataclass(frozen=True)
class Attention:
    """Multi-head attention: MHA, GQA or MQA by its number of key/value heads."""

    n_heads: int
    n_kv_heads: int
    head_dim: int
    qkv_bias: bool = False
    out_bias: bool = False
    window: int | None = None  # tokens that a query sees at most, itself included; None: all before it
    qk_norm: Literal["", "head", "heads", "all"] = ""  # one for all heads; one for each; one over all heads together
    norm_bias: bool = False  # of the QK norms
    gate: bool = False  # an output gate as wide as the queries (Qwen3-Next)
    sinks: bool = False  # a learned logit per head (gpt-oss)
    part: str = "attention"

    @property
    def q_dim(self) -> int:
        """Width of all query heads together."""
        return self.n_heads * self.head_dim

    @property
    def kv_dim(self) -> int:
        """Width of all key heads together, and of all value heads."""
        return self.n_kv_heads * self.head_dim

    def weights(self, d: int) -> Iterator[Weight]:
        """W_q and W_o are d × H·D, W_k and W_v d × H_kv·D: with H·D = d that is 2d²(1 + H_kv/H)."""
        yield from matrix(self.part, "W_q", "d × H·D", d, self.q_dim * (1 + self.gate), bias=self.qkv_bias)
        yield from matrix(self.part, "W_k", "d × H_kv·D", d, self.kv_dim, bias=self.qkv_bias)
        yield from matrix(self.part, "W_v", "d × H_kv·D", d, self.kv_dim, bias=self.qkv_bias)
        yield from matrix(self.part, "W_o", "H·D × d", self.q_dim, d, bias=self.out_bias)
        if self.qk_norm:
            for name, symbols, heads in (("norm_q", "H·D", self.n_heads), ("norm_k", "H_kv·D", self.n_kv_heads)):
                n, width = (1, "D") if self.qk_norm == "head" else (heads, symbols)
                size = n * self.head_dim * (1 + self.norm_bias)
                yield Weight(self.part, name, f"2·{width}" if self.norm_bias else width, (size,), "vector")
        if self.sinks:
            yield Weight(self.part, "sinks", "H", (self.n_heads,), "vector")

    @property
    def cached(self) -> Cached:
        """K and V: 2·H_kv·D elements a token."""
        return Cached(2 * self.kv_dim, self.window)

    @property
    def flops_per_pair(self) -> int:
        """QKᵀ and the sum over V for one query and one key: 2·D FLOPs each, over all heads."""
        return 4 * self.q_dim


@dataclass(frozen=True)
class Latent:
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, section 2.1): keys and values from one latent."""

    n_heads: int
    q_rank: int | None  # None: queries are projected directly
    kv_rank: int  # width of the cached latent
    nope_dim: int  # of a head's query and key, without position
    rope_dim: int  # of a head's query and of the one shared key, with position
    v_dim: int
    bias: bool = False
    part: str = "attention"

    def weights(self, d: int) -> Iterator[Weight]:
        """Down to the latents, an RMSNorm on each, and up to the heads."""
        q_dim = self.n_heads * (self.nope_dim + self.rope_dim)
        if self.q_rank is None:
            yield from matrix(self.part, "W_q", "d × H·(D_nope + D_rope)", d, q_dim)
        else:
            yield from matrix(self.part, "W_dq", "d × r_q", d, self.q_rank, bias=self.bias)
            yield Weight(self.part, "norm_q", "r_q", (self.q_rank,), "vector")
            yield from matrix(self.part, "W_uq", "r_q × H·(D_nope + D_rope)", self.q_rank, q_dim)
        down = self.kv_rank + self.rope_dim
        yield from matrix(self.part, "W_dkv", "d × (r_kv + D_rope)", d, down, bias=self.bias)
        yield Weight(self.part, "norm_kv", "r_kv", (self.kv_rank,), "vector")
        up = self.n_heads * (self.nope_dim + self.v_dim)
        yield from matrix(self.part, "W_ukv", "r_kv × H·(D_nope + D_v)", self.kv_rank, up)
        yield from matrix(self.part, "W_o", "H·D_v × d", self.n_heads * self.v_dim, d, bias=self.bias)

    @property
    def cached(self) -> Cached:
        """The latent and the rotated key that all heads share: r_kv + D_rope elements a token."""
        return Cached(self.kv_rank + self.rope_dim)

    @property
    def flops_per_pair(self) -> int:
        """With keys and values spelt out per head, as in training and prefill."""
        return 2 * self.n_heads * (self.nope_dim + self.rope_dim + self.v_dim)


@dataclass(frozen=True)
class StateSpace:
    """A Mamba mixer (Gu and Dao, arXiv 2312.00752, section 3): a short convolution and a selective scan."""

    d_inner: int
    d_state: int
    d_conv: int
    dt_rank: int
    bias: bool = False
    conv_bias: bool = True
    norms: bool = False  # RMSNorms on dt, B and C (Jamba)
    part: str = "state space"

    def weights(self, d: int) -> Iterator[Weight]:
        """In, convolution, (dt, B, C), dt up, A, D, out."""
        e, n, r = self.d_inner, self.d_state, self.dt_rank
        yield from matrix(self.part, "W_in", "d × 2E", d, 2 * e, bias=self.bias)
        yield Weight(self.part, "conv", "E × k", (e, self.d_conv), "vector")
        if self.conv_bias:
            yield Weight(self.part, "b_conv", "E", (e,), "vector")
        yield from matrix(self.part, "W_x", "E × (R + 2N)", e, r + 2 * n)
        yield from matrix(self.part, "W_dt", "R × E", r, e, bias=True)
        yield Weight(self.part, "A", "E × N", (e, n), "vector")
        yield Weight(self.part, "D", "E", (e,), "vector")
        if self.norms:
            yield Weight(self.part, "norms", "R + 2N", (r + 2 * n,), "vector")
        yield from matrix(self.part, "W_out", "E × d", e, d, bias=self.bias)

    @property
    def cached(self) -> Cached:
        """A state of E·N and the last k inputs of the convolution, however long the text."""
        return Cached(state=self.d_inner * (self.d_state + self.d_conv))

    flops_per_pair = 0


@dataclass(frozen=True)
class Mamba2:
    """A Mamba-2 mixer (Dao and Gu, arXiv 2405.21060, section 7): heads with one decay each; groups share B and C."""

    n_heads: int
    head_dim: int
    n_groups: int
    d_state: int
    d_conv: int
    bias: bool = False
    conv_bias: bool = True
    part: str = "state space"

    @property
    def d_inner(self) -> int:
        """Width of all heads together, E."""
        return self.n_heads * self.head_dim

    @property
    def d_short(self) -> int:
        """Channels of the convolution: x, B and C."""
        return self.d_inner + 2 * self.n_groups * self.d_state

    def weights(self, d: int) -> Iterator[Weight]:
        """In (z, x, B, C, dt), convolution over x, B, C, a scalar dt bias, A and D per head, a gated norm, out."""
        e, c, h = self.d_inner, self.d_short, self.n_heads
        yield from matrix(self.part, "W_in", "d × (2E + 2GN + H)", d, e + c + h, bias=self.bias)
        yield Weight(self.part, "conv", "(E + 2GN) × k", (c, self.d_conv), "vector")
        if self.conv_bias:
            yield Weight(self.part, "b_conv", "E + 2GN", (c,), "vector")
        yield Weight(self.part, "dt_bias, A, D", "3H", (3 * h,), "vector")
        yield Weight(self.part, "norm", "E", (e,), "vector")
        yield from matrix(self.part, "W_out", "E × d", e, d, bias=self.bias)

    @property
    def cached(self) -> Cached:
        """A head_dim × N state per head, and the last k inputs of the convolution."""
        return Cached(state=self.d_inner * self.d_state + self.d_short * self.d_conv)

    flops_per_pair = 0


@dataclass(frozen=True)
class DeltaNet:
    """Gated DeltaNet as Qwen3-Next has it (Yang et al., arXiv 2412.06464): linear attention with a matrix state."""

    n_key_heads: int
    n_value_heads: int
    key_dim: int  # of a head
    value_dim: int  # of a head
    d_conv: int
    part: str = "linear attention"

    def weights(self, d: int) -> Iterator[Weight]:
        """q, k, v and the gate z; beta and alpha per value head; a convolution over q, k, v; a gated norm; out."""
        keys, values = self.n_key_heads * self.key_dim, self.n_value_heads * self.value_dim
        yield from matrix(self.part, "W_qkvz", "d × (2K + 2V)", d, 2 * keys + 2 * values)
        yield from matrix(self.part, "W_ba", "d × 2H_v", d, 2 * self.n_value_heads)
        yield Weight(self.part, "conv", "(2K + V) × k", (2 * keys + values, self.d_conv), "vector")
        yield Weight(self.part, "dt_bias, A", "2H_v", (2 * self.n_value_heads,), "vector")
        yield Weight(self.part, "norm", "D_v", (self.value_dim,), "vector")
        yield from matrix(self.part, "W_o", "V × d", values, d)

    @property
    def cached(self) -> Cached:
        """A D_k × D_v state per value head, and the last k inputs of the convolution."""
        keys, values = self.n_key_heads * self.key_dim, self.n_value_heads * self.value_dim
        state = self.n_value_heads * self.key_dim * self.value_dim
        return Cached(state=state + (2 * keys + values) * self.d_conv)

    flops_per_pair = 0


@dataclass(frozen=True)
class FeedForward:
    """A dense MLP."""

    d_ff: int
    gated: bool = True  # SwiGLU and its kin have three matrices, a plain MLP two
    bias: bool = False
    part: str = "feed-forward"

    def weights(self, d: int) -> Iterator[Weight]:
        """3·d·d_ff with a gate; 2·d·d_ff without, which is 8d² at d_ff = 4d."""
        if self.gated:
            yield from matrix(self.part, "W_gate", "d × d_ff", d, self.d_ff, bias=self.bias)
        yield from matrix(self.part, "W_up", "d × d_ff", d, self.d_ff, bias=self.bias)
        yield from matrix(self.part, "W_down", "d_ff × d", self.d_ff, d, bias=self.bias)


@dataclass(frozen=True)
class Experts:
    """A mixture of experts: a router picks `top_k` of `n`; a shared expert sees every token."""

    n: int
    top_k: int
    expert: FeedForward
    shared: FeedForward | None = None
    shared_gate: bool = False  # a scalar gate on the shared expert (Qwen)
    router_bias: bool = False

    def weights(self, d: int) -> Iterator[Weight]:
        """All experts count for memory, `top_k` of them for a token's FLOPs."""
        yield from matrix("router", "W_router", "d × n", d, self.n, bias=self.router_bias)
        for weight in self.expert.weights(d):
            yield weight._replace(part="experts", copies=self.n, used=self.top_k)
        if self.shared:
            for weight in self.shared.weights(d):
                yield weight._replace(part="shared expert")
            if self.shared_gate:
                yield from matrix("shared expert", "W_gate_shared", "d × 1", d, 1)


Mixer = Attention | Latent | StateSpace | Mamba2 | DeltaNet


@dataclass(frozen=True)
class Layer:
    """One layer: a mixer, perhaps attention to an encoder, perhaps an FFN, and its norms."""

    mixer: Mixer
    ffn: FeedForward | Experts | None
    norms: int = 2  # how many of width d
    cross: Attention | None = None

    def weights(self, d: int, norm_size: int) -> Iterator[Weight]:
        """Everything in the layer; `norm_size` is what one norm of width d weighs."""
        yield from self.mixer.weights(d)
        if self.cross:
            yield from self.cross.weights(d)
        if self.ffn:
            yield from self.ffn.weights(d)
        if self.norms and norm_size:
            symbols = "2d" if norm_size == 2 * d else "d"
            yield Weight("norms", "norm", symbols, (norm_size,), "vector", self.norms, self.norms)


@dataclass(frozen=True)
class Stack:
    """Equal layers, and how often they are run: ALBERT runs one layer's weights many times."""

    layer: Layer
    n: int
    shared: bool = False  # the n layers are one set of weights

    @property
    def stored(self) -> int:
        """How many sets of weights there are."""
        return 1 if self.shared else self.n


@dataclass(frozen=True)
class Shape:
    """A whole model."""

    family: str
    vocab_size: int
    d_model: int
    stacks: tuple[Stack, ...]  # kinds of layers with their number; the order among them does not matter here
    tied: bool  # the output head is the token embedding, stored once
    norm: Literal["rms", "layer", "layer without bias", "none"] = "rms"
    last_norms: int = 1  # of width d, outside the layers
    head: bool = True  # a language model's output head; encoders have none
    extra: tuple[Weight, ...] = ()  # position tables, poolers, head biases …
    embedding_dim: int = 0  # of the token embedding, where it is not d_model
    context: int | None = None  # tokens, as trained
    encoder: tuple[Stack, ...] = ()  # of an encoder-decoder; its layers cache nothing
    causal: bool = True  # False for encoders
    note: Text = NOTHING  # what of the checkpoint is not counted

    @property
    def n_layers(self) -> int:
        """Layers that a token passes through; of the decoder only, where there is an encoder as well."""
        return sum(stack.n for stack in self.stacks)

    @property
    def norm_size(self) -> int:
        """Parameters of one norm of width d."""
        return {"rms": 1, "layer": 2, "layer without bias": 1, "none": 0}[self.norm] * self.d_model

    @property
    def attention(self) -> Attention:
        """The attention of the first layers that have one; ValueError for a model without."""
        for stack in self.stacks:
            if isinstance(stack.layer.mixer, Attention):
                return stack.layer.mixer
        raise ValueError(f"a model of the family {self.family} has no plain multi-head attention")

    @property
    def feed_forward(self) -> FeedForward:
        """The dense FFN of the first layers that have one; ValueError for a model without."""
        for stack in self.stacks:
            if isinstance(stack.layer.ffn, FeedForward):
                return stack.layer.ffn
        raise ValueError(f"a model of the family {self.family} has no dense feed-forward layer")

    def weights(self) -> Iterator[tuple[int, int, Weight]]:
        """(sets stored, times a token passes, weight) for every kind of tensor; a tied head is not listed again."""
        d, width = self.d_model, self.embedding_dim or self.d_model
        e = "d" if width == d else "e"
        yield 1, 1, Weight("token embedding", "E", f"V × {e}", (self.vocab_size, width), "table")
        for stack in (*self.encoder, *self.stacks):
            for weight in stack.layer.weights(d, self.norm_size):
                yield stack.stored, stack.n, weight
        if self.last_norms and self.norm_size:
            symbols, n = "2d" if self.norm == "layer" else "d", self.last_norms
            yield 1, 1, Weight("norms", "last norm", symbols, (self.norm_size,), "vector", n, n)
        for weight in self.extra:
            yield 1, 1, weight
        if self.head and not self.tied:
            yield 1, 1, Weight("output head", "W_head", f"{e} × V", (width, self.vocab_size))
