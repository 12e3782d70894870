"""What do GQA, MLA, sliding windows and a quantised cache each save at long context, and what do they leave?

All are laid over one shape, that of a Llama. The cache of a layer is (KV heads · 2 · head_dim) numbers for each token
it keeps: GQA cuts the heads, MLA stores one latent and one small rotated key instead (DeepSeek-V2), a window caps the
tokens, quantisation cuts the bits of a number. They multiply, as they act on different factors. The work of attention
is another matter: only a window reduces it. GQA and quantisation leave every product as it is, and MLA, which scores in
the latent space, takes several times as many: it buys bytes with FLOPs, and decoding has those to spare.

Legend: T tokens, L layers, H query heads, G KV heads, D head_dim, c latent and r rotated channels of MLA.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from llmprep import content
from llmprep.demos.inference.kv_cache import attention_shape
from llmprep.lab import Fact, Plot, Result, Series, Table, Text


class Layer(NamedTuple):
    """What the cache and the work of an attention layer depend on."""

    n_heads: int
    n_kv_heads: int
    head_dim: int
    window: int = 0  # tokens; 0: all
    bits: int = 16  # of a cached number; below 16 with one FP16 scale for each head's key and value of a token
    latent: int = 0  # c; 0: keys and values are cached as they are
    rotated: int = 0  # r

    def kept(self, T: int) -> int:
        """Tokens in the cache of this layer."""
        return min(T, self.window) if self.window else T


def allocate(layer: Layer, T: int) -> list[Tensor]:
    """The cache of one request after T tokens, without storage."""
    tokens, pairs = layer.kept(T), (2, layer.n_kv_heads)
    if layer.latent:
        return [torch.empty(tokens, layer.latent + layer.rotated, dtype=torch.bfloat16, device="meta")]
    if layer.bits == 16:
        return [torch.empty(*pairs, tokens, layer.head_dim, dtype=torch.bfloat16, device="meta")]
    codes = torch.empty(*pairs, tokens, layer.head_dim * layer.bits // 8, dtype=torch.uint8, device="meta")  # packed
    return [codes, torch.empty(*pairs, tokens, 1, dtype=torch.float16, device="meta")]


def count_decode_flops(layer: Layer, T: int) -> int:
    """FLOPs of scores and weighted sums for one new token, counted by torch; projections cost the same for any T."""
    H, G, tokens = layer.n_heads, layer.n_kv_heads, layer.kept(T)
    with FlopCounterMode(display=False) as counter, torch.device("meta"):
        if layer.latent:  # the up-projections are absorbed into W_Q and W_O: all heads read the one latent
            scores = torch.empty(H, layer.latent + layer.rotated) @ torch.empty(layer.latent + layer.rotated, tokens)
            _ = scores @ torch.empty(tokens, layer.latent)
        else:
            scores = torch.empty(G, H // G, layer.head_dim) @ torch.empty(G, layer.head_dim, tokens)
            _ = scores @ torch.empty(G, tokens, layer.head_dim)
    return counter.get_total_flops()


def formula_bytes(layer: Layer, T: int) -> float:
    """2·G·D numbers of `bits` (and 2·G scales of 2 B) a token; MLA: (c + r) of 2 B. Llama-3: 2·8·128·2 = 4,096 B."""
    if layer.latent:
        return 2 * (layer.latent + layer.rotated) * layer.kept(T)
    scales = 0 if layer.bits == 16 else 2 * 2 * layer.n_kv_heads
    return (2 * layer.n_kv_heads * layer.head_dim * layer.bits / 8 + scales) * layer.kept(T)


def formula_decode_flops(layer: Layer, T: int) -> int:
    """4·H·D for each visible token; MLA with absorbed projections: 2·H·(2c + r)."""
    channels = 2 * layer.latent + layer.rotated if layer.latent else 2 * layer.head_dim
    return 2 * layer.n_heads * channels * layer.kept(T)


def formula_pairs(T: int, window: int) -> int:
    """Query–key pairs of a causal prefill: T(T + 1)/2; with a window, W per token but for the first ones."""
    W = min(window, T) if window else T
    return T * W - W * (W - 1) // 2


def stack(model: str, attention: str, full_every: int, window: int, kv_bits: int) -> list[Layer]:
    """The layers of a model with these techniques laid over its shape; every `full_every`-th has no window."""
    n_layers, H, G, D = attention_shape(model)
    kinds = {
        "mha": Layer(H, H, D, bits=kv_bits),
        "gqa": Layer(H, G, D, bits=kv_bits),
        "mla": Layer(H, 1, D, latent=4 * D, rotated=D // 2),  # c and r as in DeepSeek-V2: 4.5·D numbers a token
    }
    kind = kinds[attention]
    return [kind._replace(window=0 if i % full_every == 0 else window) for i in range(1, n_layers + 1)]


@dataclass(frozen=True)
class Params:
    model: str = "llama-3.1-8b"
    attention: Literal["mha", "gqa", "mla"] = "gqa"  # gqa: with the KV heads of the model
    full_every: int = 1  # each so-many-th layer sees everything; 1: all do
    window: int = 1024  # tokens, of the other layers
    kv_bits: Literal[16, 8, 4] = 16  # of a cached number
    seq_len: int = 131_072  # tokens
    gpu: str = "h100-sxm"

    def __post_init__(self) -> None:
        attention_shape(self.model)
        content.hardware(self.gpu)
        if self.attention == "mla" and self.kv_bits != 16:
            raise ValueError("kv_bits must be 16 with mla here")
        if not 1 <= self.full_every <= 64 or not 1 <= self.window <= 1_048_576 or not 1 <= self.seq_len <= 1_048_576:
            raise ValueError("full_every must be between 1 and 64, window and seq_len between 1 and 1,048,576")


def run(p: Params) -> Result:
    layers = stack(p.model, p.attention, p.full_every, p.window, p.kv_bits)
    mha = stack(p.model, "mha", 1, p.window, 16)

    def cache_bytes(layers: list[Layer], T: int) -> int:
        return sum(t.nbytes for layer in layers for t in allocate(layer, T))

    def decode_flops(layers: list[Layer], T: int) -> int:
        return sum(layers.count(layer) * count_decode_flops(layer, T) for layer in set(layers))

    T = p.seq_len
    held, flops, held_mha = cache_bytes(layers, T), decode_flops(layers, T), cache_bytes(mha, T)
    pairs = {w: sum(min(t, w) if w else t for t in range(1, T + 1)) for w in {0, p.window}}
    seen, seen_by_mha = (sum(pairs[layer.window] for layer in ls) for ls in (layers, mha))
    share_predicted = sum(formula_pairs(T, layer.window) for layer in layers) / (len(layers) * formula_pairs(T, 0))
    predicted = sum(formula_bytes(layer, T) for layer in layers)
    free = content.hardware(p.gpu)["memory"] - content.model(p.model)["params_total"] * torch.bfloat16.itemsize
    rows_of = {
        "MHA": mha,
        "GQA": stack(p.model, "gqa", 1, p.window, 16),
        "MLA": stack(p.model, "mla", 1, p.window, 16),
        f"GQA, window {p.window:,} in 3 of 4 layers": stack(p.model, "gqa", 4, p.window, 16),
        "GQA, INT4 cache": stack(p.model, "gqa", 1, p.window, 4),
        "GQA, window, INT4 cache": stack(p.model, "gqa", 4, p.window, 4),
    }
    lengths = [2**i for i in (12, 14, 15, 17, 20)]
    return Result(
        takeaway=Text(
            en=f"{p.model} at {T:,} tokens with {p.attention.upper()}, full attention in 1 of {p.full_every} layers "
            f"and a {p.kv_bits}-bit cache: {held / 2**30:.2f} GiB, {held_mha / held:.1f}× less than BF16 MHA. "
            f"Attention takes {flops / 1e9:.1f} GFLOP a decode step, {flops / held:.1f} for each byte read.",
            zh=f"{p.model} 在 {T:,} 个 token 时（{p.attention.upper()}，每 {p.full_every} 层有一层全注意力，"
            f"{p.kv_bits} bit 缓存）占 {held / 2**30:.2f} GiB，是 BF16 MHA 的 1/{held_mha / held:.1f}；"
            f"每步 decode 的注意力要 {flops / 1e9:.1f} GFLOP，每读一字节做 {flops / held:.1f} FLOP。",
        ),
        facts=[
            Fact("cache_gib", "GiB", held / 2**30, predicted / 2**30, rtol=1e-12),
            Fact("cache_saving", "×", held_mha / held, sum(formula_bytes(x, T) for x in mha) / predicted, rtol=1e-12),
            Fact("decode_gflop", "GFLOP", flops / 1e9, sum(formula_decode_flops(x, T) for x in layers) / 1e9),
            Fact("flop_per_byte", "FLOP/B", flops / held),
            Fact("prefill_share", "of all pairs", seen / seen_by_mha, predicted=share_predicted, rtol=1e-12),
            Fact("full_layers", "layers", sum(not x.window for x in layers), predicted=len(layers) // p.full_every),
            Fact("requests_on_gpu", "requests", max(0, int(free // held))),
        ],
        table=Table(
            ("technique", *(f"cache at {n:,} (GiB)" for n in lengths), f"decode attention at {T:,} (GFLOP)"),
            [
                (name, *(cache_bytes(ls, n) / 2**30 for n in lengths), decode_flops(ls, T) / 1e9)
                for name, ls in rows_of.items()
            ],
        ),
        plot=Plot(
            f"KV cache of one request, shape of {p.model}",
            "tokens",
            "GiB",
            [Series(name, lengths, [cache_bytes(ls, n) / 2**30 for n in lengths]) for name, ls in rows_of.items()],
            log_x=True,
            log_y=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
