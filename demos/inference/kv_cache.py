"""What does a KV cache save while decoding, and what does it cost in memory?

Under a causal mask no later token reaches an earlier one, so in every layer the keys and values of a token are
final once they are computed. Keep them, and a step runs one token through the network instead of the whole prefix,
with the same outputs. The price is a buffer of 2 (K and V) · n_layers · n_kv_heads · head_dim numbers for each token.
Take the mask away (mask=bidirectional) and the cache is wrong: the second layer's keys change with every new token.

Legend: B batch, T tokens in view, T_new tokens in this call, H query heads, H_kv key/value heads, D head_dim.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from llmprep import content
from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def formula_bytes_per_token(n_layers: int, n_kv_heads: int, head_dim: int, itemsize: int) -> int:
    """What one says at the whiteboard. Llama-3-8B in BF16: 2 · 32 · 8 · 128 · 2 = 131,072 B."""
    return 2 * n_layers * n_kv_heads * head_dim * itemsize


def formula_forwards_saved(prompt_tokens: int, new_tokens: int) -> float:
    """Tokens run through the network without a cache over those with one; (T + 1) / 2 after a prompt of one token."""
    recomputed = new_tokens * prompt_tokens + new_tokens * (new_tokens - 1) // 2  # P + (P+1) + … + (P+T−1)
    return recomputed / (prompt_tokens + new_tokens - 1)


class CachedAttention(torch.nn.Module):
    """One attention layer with grouped KV heads (GQA, arXiv 2305.13245) and an optional cache."""

    def __init__(self, d_model: int, n_heads: int, n_kv_heads: int, head_dim: int, *, causal: bool = True) -> None:
        super().__init__()
        self.n_heads, self.n_kv_heads, self.head_dim, self.causal = n_heads, n_kv_heads, head_dim, causal
        self.wq = torch.nn.Linear(d_model, n_heads * head_dim, bias=False)
        self.wk = torch.nn.Linear(d_model, n_kv_heads * head_dim, bias=False)
        self.wv = torch.nn.Linear(d_model, n_kv_heads * head_dim, bias=False)
        self.wo = torch.nn.Linear(n_heads * head_dim, d_model, bias=False)

    def forward(self, x: Tensor, cache: list[Tensor] | None = None) -> Tensor:
        """(B, T_new, d_model) → the same shape; `cache` is [K, V], empty at the start, and grows in place."""
        q = self.wq(x).unflatten(-1, (self.n_heads, self.head_dim)).transpose(1, 2)  # (B, H, T_new, D)
        k = self.wk(x).unflatten(-1, (self.n_kv_heads, self.head_dim)).transpose(1, 2)  # (B, H_kv, T_new, D)
        v = self.wv(x).unflatten(-1, (self.n_kv_heads, self.head_dim)).transpose(1, 2)
        if cache is not None:
            if cache:
                k, v = torch.cat([cache[0], k], dim=2), torch.cat([cache[1], v], dim=2)  # (B, H_kv, T, D)
            cache[:] = [k, v]
        T_new, T = q.shape[2], k.shape[2]
        visible = torch.ones(T_new, T, dtype=torch.bool)
        if self.causal:
            visible = visible.tril(diagonal=T - T_new)  # the new tokens are the LAST rows: bottom-right alignment
        group = self.n_heads // self.n_kv_heads
        k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)  # (B, H, T, D)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=visible)
        return self.wo(out.transpose(1, 2).flatten(2))  # (B, T_new, d_model)


def decoder(layers: Sequence[CachedAttention], x: Tensor, caches: Sequence[list[Tensor]] | None = None) -> Tensor:
    """Layers with residuals, (B, T_new, d_model) → the same shape: from the second on, keys depend on the mask."""
    for i, layer in enumerate(layers):
        x = x + layer(x, caches[i] if caches else None)
    return x


def decode_with_cache(layers: Sequence[CachedAttention], x: Tensor, prompt_tokens: int) -> Tensor:
    """Prefill the prompt in one call, then one token a call: the output that predicts each new token."""
    caches: list[list[Tensor]] = [[] for _ in layers]
    outputs = [decoder(layers, x[:, :prompt_tokens], caches)[:, -1:]]
    outputs += [decoder(layers, x[:, t : t + 1], caches) for t in range(prompt_tokens, x.shape[1])]
    return torch.cat(outputs, dim=1)  # (B, new_tokens, d_model)


def decode_by_recomputing(layers: Sequence[CachedAttention], x: Tensor, prompt_tokens: int) -> Tensor:
    """The same outputs the slow and obvious way: each step runs the whole prefix again."""
    return torch.cat([decoder(layers, x[:, :t])[:, -1:] for t in range(prompt_tokens, x.shape[1] + 1)], dim=1)


def count_tokens(layers: Sequence[CachedAttention], decode: Callable[[], Tensor]) -> tuple[Tensor, int]:
    """What `decode` returns, and how many tokens went through the layers meanwhile, counted by a hook."""
    tokens = 0

    def count(_: torch.nn.Module, args: tuple[Tensor, ...]) -> None:
        nonlocal tokens
        tokens += args[0].shape[1]

    with layers[0].register_forward_pre_hook(count):
        return decode(), tokens


def allocated_bytes_per_token(n_layers: int, n_heads: int, n_kv_heads: int, head_dim: int, dtype: torch.dtype) -> int:
    """Let a decoder of this shape (but one channel wide) see two tokens, and weigh the cache that it fills."""
    caches: list[list[Tensor]] = [[] for _ in range(n_layers)]
    decoder([CachedAttention(1, n_heads, n_kv_heads, head_dim) for _ in caches], torch.randn(1, 2, 1), caches)
    return sum(t.to(dtype).nbytes for cache in caches for t in cache) // 2


def attention_shape(model: str) -> tuple[int, int, int, int]:
    """(n_layers, n_heads, n_kv_heads, head_dim) of a model that caches every token in every layer."""
    config, kv = content.model(model)["config"], content.model(model)["kv_bf16"]
    shape = [config.get(k) for k in ("num_hidden_layers", "num_attention_heads", "num_key_value_heads")]
    if None in shape or kv["kind"] not in ("MHA", "GQA", "MQA") or kv["full_layers"] != shape[0]:
        raise ValueError(f"model must have full MHA, GQA or MQA in every layer (Llama's config names), not {model}")
    return *shape, config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]


@dataclass(frozen=True)
class Params:
    model: str = "llama-3-8b"  # a name in data/models.json
    n_kv_heads: int = 0  # 0: as the model has it; n_heads: MHA; 1: MQA
    dtype: Literal["float32", "bfloat16", "float16", "float8_e4m3fn", "int8"] = "bfloat16"  # of the cache
    seq_len: int = 8192  # tokens in the cache of one request
    prompt_tokens: int = 1  # really run, through a small decoder
    new_tokens: int = 128  # really decoded, by a small decoder
    mask: Literal["causal", "bidirectional"] = "causal"  # of the small decoder
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.prompt_tokens, self.new_tokens) < 1 or self.prompt_tokens + self.new_tokens > 513:
            raise ValueError("prompt_tokens and new_tokens must be at least 1, and 513 together: they are really run")
        if self.seq_len < 1:
            raise ValueError("seq_len must be at least 1")
        if self.n_kv_heads < 0 or attention_shape(self.model)[1] % max(self.n_kv_heads, 1):
            raise ValueError("n_kv_heads must divide the number of query heads")


def run(p: Params) -> Result:
    n_layers, n_heads, own_kv_heads, head_dim = attention_shape(p.model)
    n_kv_heads = p.n_kv_heads or own_kv_heads
    dtype = getattr(torch, p.dtype)

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(p.seed)
        small = [CachedAttention(32, 2, 1, head_dim=8, causal=p.mask == "causal").double() for _ in range(2)]
        x = torch.randn(1, p.prompt_tokens + p.new_tokens - 1, 32, dtype=torch.float64)
        with_cache, tokens_cached = count_tokens(small, lambda: decode_with_cache(small, x, p.prompt_tokens))
        without, tokens_recomputed = count_tokens(small, lambda: decode_by_recomputing(small, x, p.prompt_tokens))
        mismatches = int(((with_cache - without).abs().amax(dim=-1) > 1e-9).sum())
        kv_bytes = allocated_bytes_per_token(n_layers, n_heads, n_kv_heads, head_dim, dtype)
        mha_bytes = allocated_bytes_per_token(n_layers, n_heads, n_heads, head_dim, dtype)

    weight_bytes = content.model(p.model)["params_total"] * torch.bfloat16.itemsize
    bytes_predicted = formula_bytes_per_token(n_layers, n_kv_heads, head_dim, dtype.itemsize)
    forwards_predicted = formula_forwards_saved(p.prompt_tokens, p.new_tokens)
    facts = [
        Fact("bytes_per_token", "B", kv_bytes, bytes_predicted),
        Fact("gqa_saving", "×", mha_bytes / kv_bytes, n_heads / n_kv_heads),
        Fact("cache_gib", "GiB", kv_bytes * p.seq_len / 2**30),
        Fact("tokens_equal_to_weights", "tokens", weight_bytes // kv_bytes),  # weights in BF16
        Fact("tokens_recomputed", "tokens", tokens_recomputed),
        Fact("tokens_cached", "tokens", tokens_cached),
        Fact("token_forwards_saved", "×", tokens_recomputed / tokens_cached, forwards_predicted, rtol=1e-12),
        Fact("mismatches", "outputs", mismatches, predicted=0 if p.mask == "causal" else p.new_tokens - 1),
    ]
    rows = []
    for h in sorted({h for h in (1, 4, 8, n_kv_heads, n_heads) if n_heads % h == 0}):
        per_token = formula_bytes_per_token(n_layers, h, head_dim, dtype.itemsize)
        name = "MHA" if h == n_heads else "MQA" if h == 1 else "GQA"
        rows.append((f"{name}, {h} KV heads", per_token, per_token * p.seq_len / 2**30))
    lengths = [2**i for i in range(8, 18)]
    curves = [Series(str(row[0]), lengths, [row[1] * n / 2**30 for n in lengths]) for row in rows]
    return Result(
        takeaway=Text(
            en=f"{p.model} stores {kv_bytes:,} B per token; {p.new_tokens} new tokens take {tokens_recomputed:,} "
            f"token-forwards without a cache and {tokens_cached:,} with one ({mismatches} outputs differ).",
            zh=f"{p.model} 每个 token 缓存 {kv_bytes:,} B；生成 {p.new_tokens} 个 token，"
            f"无缓存需要 {tokens_recomputed:,} 次 token 前向，有缓存 {tokens_cached:,} 次"
            f"（{mismatches} 个输出不一致）。",
        ),
        facts=facts,
        table=Table(("attention", "cache per token (B)", f"cache at {p.seq_len:,} tokens (GiB)"), rows),
        plot=Plot("KV cache of one request", "tokens", "GiB", curves, log_x=True, log_y=True),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
