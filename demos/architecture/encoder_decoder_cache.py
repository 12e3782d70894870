"""Does an encoder-decoder need less KV cache than a decoder-only model?

Not by itself. While it writes, an encoder-decoder keeps two caches: one of self-attention, which grows with each target
token, and one of cross-attention, the source's keys and values, which never changes. A decoder-only model keeps one,
over source and target. Layer for layer that is the same number of bytes, 2·H_kv·D per token in view. What changes it is
the number of *decoder* layers: split a stack of L layers into halves and only the half that decodes has a cache. The
machine lets decoders of both kinds store keys and values step by step, and weighs what they keep.

Legend: S source tokens, T target tokens written, L decoder layers, H_kv key/value heads, D head_dim.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from llmprep.lab import Fact, Plot, Result, Series, Table, Text

ITEMSIZE = torch.bfloat16.itemsize


def formula_bytes(n_layers: int, n_kv_heads: int, head_dim: int, tokens: int) -> int:
    """2 (K and V) · L · H_kv · D · 2 B for each token in view, wherever it stands."""
    return 2 * n_layers * n_kv_heads * head_dim * tokens * ITEMSIZE


class KeysValues(nn.Module):
    """What a layer stores of each token: its key and its value, all heads side by side, from one channel."""

    def __init__(self, n_kv_heads: int, head_dim: int) -> None:
        super().__init__()
        self.wk, self.wv = (nn.Linear(1, n_kv_heads * head_dim, bias=False) for _ in range(2))

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, T, 1) → K and V, each (B, T, H_kv·D)."""
        return [self.wk(x), self.wv(x)]


def weigh(caches: list[list[Tensor]]) -> int:
    """Bytes of all keys and values that are kept, held as BF16."""
    return sum(t.numel() * ITEMSIZE for cache in caches for t in cache)


def decoder_only_caches(layers: list[KeysValues], source: int, target: int) -> list[int]:
    """Prefill the source, then write; bytes kept after the source and after each target token."""
    caches: list[list[Tensor]] = [[] for _ in layers]
    kept = []
    for tokens in (source, *[1] * target):
        for layer, cache in zip(layers, caches, strict=True):
            cache.extend(layer(torch.randn(1, tokens, 1)))
        kept.append(weigh(caches))
    return kept


def encoder_decoder_caches(layers: list[KeysValues], source: int, target: int) -> tuple[list[int], list[int]]:
    """Self-attention and cross-attention caches, in bytes, after the source and after each target token."""
    own: list[list[Tensor]] = [[] for _ in layers]
    memory = torch.randn(1, source, 1)  # what the encoder leaves
    crossed = [layer(memory) for layer in layers]  # once
    growing, fixed = [0], [weigh(crossed)]
    for _ in range(target):
        for layer, cache in zip(layers, own, strict=True):
            cache.extend(layer(torch.randn(1, 1, 1)))
        growing.append(weigh(own))
        fixed.append(weigh(crossed))
    return growing, fixed


@dataclass(frozen=True)
class Params:
    kind: Literal["encoder-decoder", "decoder-only"] = "encoder-decoder"
    decoder_layers: int = 12  # of the encoder-decoder
    decoder_only_layers: int = 12
    n_kv_heads: int = 12
    head_dim: int = 64
    source_tokens: int = 512
    target_tokens: int = 128  # really written

    def __post_init__(self) -> None:
        if min(self.decoder_layers, self.decoder_only_layers) < 1:
            raise ValueError("decoder_layers and decoder_only_layers must be at least 1")
        if max(self.decoder_layers, self.decoder_only_layers) > 48 or not 1 <= self.n_kv_heads * self.head_dim <= 2048:
            raise ValueError("layers must be at most 48, n_kv_heads · head_dim between 1 and 2,048")
        if not 1 <= self.source_tokens <= 1024 or not 1 <= self.target_tokens <= 256:
            raise ValueError("source_tokens must be between 1 and 1,024, target_tokens between 1 and 256")


def run(p: Params) -> Result:
    S, T = p.source_tokens, p.target_tokens
    shape = (p.n_kv_heads, p.head_dim)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        depth = max(p.decoder_layers, p.decoder_only_layers)
        stack = [KeysValues(*shape) for _ in range(depth)]
        one = decoder_only_caches(stack[: p.decoder_only_layers], S, T)
        growing, fixed = encoder_decoder_caches(stack[: p.decoder_layers], S, T)
    both = [a + b for a, b in zip(growing, fixed, strict=True)]

    split = p.kind == "encoder-decoder"
    layers, kept = (p.decoder_layers, both) if split else (p.decoder_only_layers, one)
    facts = [
        Fact("cache_bytes", "B", kept[-1], predicted=formula_bytes(layers, *shape, S + T)),
        Fact("cache_mib", "MiB", kept[-1] / 2**20),
        Fact("fixed_bytes", "B", fixed[-1] if split else 0, formula_bytes(layers, *shape, S) if split else 0),
        Fact("fixed_growth", "B", fixed[-1] - fixed[0], predicted=0),
        Fact("growth_per_token", "B", (kept[-1] - kept[0]) // T, predicted=formula_bytes(layers, *shape, 1)),
        Fact("over_decoder_only", "×", kept[-1] / one[-1], predicted=layers / p.decoder_only_layers, rtol=1e-12),
    ]
    steps = sorted({0, T // 4, T // 2, T})
    return Result(
        takeaway=Text(
            en=f"{p.kind}, {layers} decoder layers, {S} source and {T} target tokens: {kept[-1] / 2**20:.2f} MiB of "
            f"cache, {kept[-1] / one[-1]:.2f}× that of {p.decoder_only_layers} decoder-only layers.",
            zh=f"{p.kind}，{layers} 个 decoder 层，{S} 个源 token、{T} 个目标 token：缓存 {kept[-1] / 2**20:.2f} MiB，"
            f"是 {p.decoder_only_layers} 层 decoder-only 的 {kept[-1] / one[-1]:.2f} 倍。",
        ),
        facts=facts,
        table=Table(
            ("target tokens", "self-attention (B)", "cross-attention (B)", "decoder-only (B)"),
            [(t, growing[t], fixed[t], one[t]) for t in steps],
        ),
        plot=Plot(
            f"KV cache over a source of {S} tokens",
            "target tokens written",
            "MiB",
            [
                Series(name, steps, [values[t] / 2**20 for t in steps])
                for name, values in (("self-attention", growing), ("cross-attention", fixed), ("decoder-only", one))
            ],
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
