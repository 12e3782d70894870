"""What do GQA and MQA share, what does that save, and what is lost?

Grouped-query attention gives each of G key/value heads to a group of H/G query heads (G = H is MHA, G = 1 is MQA).
It is MHA with the KV projections tied within a group, so it can express less: all heads read keys through only G·D
directions. It saves cache bytes by H/G and parameters a little, but no attention FLOPs: a decode step does the same
products on fewer bytes, which is why it is faster. Below one KV head per GPU, tensor parallelism gives the saving back.

Legend: B batch, T tokens, H query heads, G key/value heads, S = H/G queries per group, D head_dim, d = H·D.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def grouped_attention(q: Tensor, k: Tensor, v: Tensor, *, causal: bool = True) -> Tensor:
    """Queries (B, H, T_new, D), k and v (B, G, T, D) → (B, H, T_new, D); a KV head is read once for its group."""
    B, H, T_new, D = q.shape
    G, T = k.shape[1], k.shape[2]
    q = q.view(B, G, H // G, T_new, D)  # neighbours share: query head i uses KV head i // S
    scores = torch.einsum("bgsid,bgjd->bgsij", q, k) / D**0.5  # (B, G, S, T_new, T)
    if causal:
        scores = scores.masked_fill(torch.ones(T_new, T, dtype=torch.bool).triu(T - T_new + 1), -torch.inf)
    return torch.einsum("bgsij,bgjd->bgsid", scores.softmax(dim=-1), v).reshape(B, H, T_new, D)


def tied_mha(wq: Tensor, wk: Tensor, wv: Tensor, n_heads: int, layout: str) -> torch.nn.MultiheadAttention:
    """MHA by torch itself, with each KV head's weights copied to the query heads that use it; wk is (G·D, d).

    "interleave" copies head 0 to the first S query heads; "tile" is the bug of `repeat`, 0, 1, …, G−1, 0, 1, ….
    """
    d = wq.shape[1]
    copies = wq.shape[0] // wk.shape[0]
    heads = [w.view(-1, d // n_heads, d) for w in (wk, wv)]  # (G, D, d)
    expanded = [h.repeat_interleave(copies, 0) if layout == "interleave" else h.repeat(copies, 1, 1) for h in heads]
    weights = {"in_proj_weight": torch.cat([wq, *(h.flatten(0, 1) for h in expanded)]), "out_proj.weight": torch.eye(d)}
    mha = torch.nn.MultiheadAttention(d, n_heads, bias=False, batch_first=True, dtype=wq.dtype)
    mha.load_state_dict(weights)
    return mha


def pool(heads: Tensor, n_kv_heads: int, how: str) -> Tensor:
    """(H, D, d) → (G, D, d): turn an MHA checkpoint into GQA (arXiv 2305.13245, section 2.1)."""
    groups = heads.unflatten(0, (n_kv_heads, -1))  # (G, S, D, d)
    if how == "mean":
        return groups.mean(dim=1)
    return groups[:, 0] if how == "first" else torch.randn_like(groups[:, 0])


def kv_heads_held(n_heads: int, n_kv_heads: int, gpus: int) -> list[set[int]]:
    """Which KV heads each GPU must hold when the query heads are dealt out in order: those its queries read."""
    per_gpu = n_heads // gpus
    group = n_heads // n_kv_heads
    return [{i // group for i in range(rank * per_gpu, (rank + 1) * per_gpu)} for rank in range(gpus)]


@dataclass(frozen=True)
class Params:
    n_heads: int = 32
    n_kv_heads: int = 8
    head_dim: int = 8  # kept small: no ratio below depends on it
    seq_len: int = 64  # tokens
    layout: Literal["interleave", "tile"] = "interleave"  # how KV heads are copied to their query heads
    pooling: Literal["mean", "first", "random"] = "mean"  # how an MHA checkpoint is converted
    tensor_parallel: int = 8  # GPUs that share the heads
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.n_heads * self.head_dim <= 512 or not 2 <= self.seq_len <= 512 or self.head_dim < 4:
            raise ValueError("n_heads · head_dim must be at most 512, seq_len between 2 and 512, head_dim at least 4")
        if self.n_kv_heads < 1 or self.n_heads % self.n_kv_heads:
            raise ValueError("n_kv_heads must divide n_heads")
        if self.tensor_parallel < 1 or self.n_heads % self.tensor_parallel:
            raise ValueError("tensor_parallel must divide n_heads")
        if self.tensor_parallel % self.n_kv_heads and self.n_kv_heads % self.tensor_parallel:
            raise ValueError("tensor_parallel must be a multiple or a divisor of n_kv_heads")


def run(p: Params) -> Result:
    H, G, D, T = p.n_heads, p.n_kv_heads, p.head_dim, p.seq_len
    d, S = H * D, H // G
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(p.seed)
        wq, wo = (torch.randn(d, d, dtype=torch.float64) / d**0.5 for _ in range(2))
        wk, wv = (torch.randn(G * D, d, dtype=torch.float64) / d**0.5 for _ in range(2))
        x = torch.randn(1, T, d, dtype=torch.float64)
        q, k, v = ((x @ w.T).unflatten(-1, (-1, D)).transpose(1, 2) for w in (wq, wk, wv))  # (1, H or G, T, D)
        no_peeking = torch.ones(T, T, dtype=torch.bool).triu(1)
        tied, _ = tied_mha(wq, wk, wv, H, p.layout)(x, x, x, attn_mask=no_peeking, need_weights=False)
        difference = grouped_attention(q, k, v) - tied.unflatten(-1, (H, D)).transpose(1, 2)  # (1, H, T, D)

        k_cache, v_cache = k.bfloat16(), v.bfloat16()
        with FlopCounterMode(display=False) as flops:
            grouped_attention(q[:, :, -1:].bfloat16(), k_cache, v_cache)  # one decode step
        cache_bytes = k_cache.nbytes + v_cache.nbytes
        mha_cache_bytes = 2 * q.bfloat16().nbytes  # in MHA, keys and values are as large as the queries
        read_along = torch.cat([wk[i // S * D : (i // S + 1) * D] for i in range(H)])  # (H·D, d): all heads' key rows

        heads = torch.randn(H, D, 512)  # independent heads; those of a trained model are related
        error = (heads - pool(heads, G, p.pooling).repeat_interleave(S, 0)).square().mean() / heads.square().mean()
    parameters = sum(w.numel() for w in (wq, wk, wv, wo))
    held = kv_heads_held(H, G, p.tensor_parallel)
    wrong_heads = sum(i // S != i % G for i in range(H)) if p.layout == "tile" else 0
    error_predicted = {"mean": 1 - 1 / S, "first": 2 * (1 - 1 / S), "random": 2.0}[p.pooling]
    facts = [
        Fact("mismatched_heads", "heads", int((difference.abs().amax(dim=(0, 2, 3)) > 1e-9).sum()), wrong_heads),
        Fact("cache_saving", "×", mha_cache_bytes / cache_bytes, H / G),
        Fact("flop_per_cache_byte", "FLOP/B", flops.get_total_flops() / cache_bytes, S),
        Fact("decode_flops", "FLOP", flops.get_total_flops(), 4 * H * D * T),  # no G in it
        Fact("parameters", "weights", parameters, 2 * d * d * (H + G) // H),
        Fact("parameter_share", "of MHA", parameters / (4 * d * d), (1 + G / H) / 2),
        Fact("key_directions", "dimensions", int(torch.linalg.matrix_rank(read_along)), G * D),
        Fact("pooling_error", "of the variance", error.item(), error_predicted, rtol=0.15),
        Fact("kv_copies", "copies", sum(map(len, held)) / G, max(1, p.tensor_parallel / G)),
        Fact("kv_heads_per_gpu", "heads", max(map(len, held)), max(1, G // p.tensor_parallel)),
    ]
    share, directions = parameters / (4 * d * d), facts[6].measured
    divisors = [g for g in range(1, H + 1) if H % g == 0]
    rows = []
    for g in divisors:
        name = "MHA" if g == H else "MQA" if g == 1 else f"GQA-{g}"
        rows.append((name, H // g, H // g, (1 + g / H) / 2, max(map(len, kv_heads_held(H, g, p.tensor_parallel)))))
    columns = ("attention", "cache saving (×)", "decode FLOP per cache byte (BF16)", "parameters (share of MHA)")
    return Result(
        takeaway=Text(
            en=f"{H} query heads on {G} KV heads: a cache {H // G}× smaller, {share:.1%} of the attention parameters, "
            f"as many attention FLOPs, and {directions} of {d} key directions.",
            zh=f"{H} 个 query head 共用 {G} 个 KV head：缓存降到 1/{H // G}，注意力参数为原来的 {share:.1%}，"
            f"注意力 FLOPs 不变，key 能用的方向从 {d} 个降到 {directions} 个。",
        ),
        facts=facts,
        table=Table((*columns, f"KV heads per GPU, {p.tensor_parallel} GPUs"), rows),
        plot=Plot(
            "What fewer KV heads save",
            "KV heads",
            "share of MHA",
            [
                Series("cache", divisors, [g / H for g in divisors]),
                Series("parameters", divisors, [r[3] for r in rows]),
            ],
            log_x=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
