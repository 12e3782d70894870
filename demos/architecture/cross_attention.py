"""How does cross-attention differ from self-attention?

Only in where keys and values come from. Queries are made from the T tokens being written, keys and values from the S
tokens of another sequence (the encoder's output, an image, audio), so the score table is T × S, no mask is needed, and
a target token sees the whole source but no other target token. Keys and values depend on the source alone: they are
computed once and serve every step. Nothing in the layer knows the order of the source; that has to be in its vectors.
Below, the three ways to connect the two sequences are held against torch's layer and probed by changing tokens.

Legend: B batch, T target tokens, S source tokens, H heads, D head_dim, d = H·D width.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from llmprep.demos.architecture.permutation_equivariance import no_fixed_point, rows_that_agree
from llmprep.demos.architecture.transformer_layer import Attention
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

VERSIONS = {  # (queries from, keys and values from, causal mask)
    "cross-attention": ("target", "source", False),
    "self-attention": ("target", "target", False),
    "swapped": ("source", "target", False),  # a popular wrong answer
    "masked": ("target", "source", True),  # a popular bug: the decoder's causal mask left on
}
Sequences = dict[str, Tensor]


def split_heads(x: Tensor, n_heads: int) -> Tensor:
    """(B, T, d) → (B, H, T, D)."""
    return x.unflatten(-1, (n_heads, -1)).transpose(1, 2)


def attend(layer: Attention, x: Tensor, memory: Tensor, *, causal: bool = False) -> tuple[Tensor, Tensor]:
    """Queries from x (B, T, d), keys and values from memory (B, S, d): outputs (B, T, d) and weights (B, H, T, S).

    arXiv 1706.03762, section 3.2.3, first bullet.
    """
    inputs = ((layer.wq, x), (layer.wk, memory), (layer.wv, memory))
    q, k, v = (split_heads(w(y), layer.n_heads) for w, y in inputs)
    scores = q @ k.mT / math.sqrt(q.shape[-1])  # (B, H, T, S)
    if causal:
        scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(diagonal=1), -torch.inf)
    weights = scores.softmax(dim=-1)
    return layer.wo((weights @ v).transpose(1, 2).flatten(2)), weights


def torch_layer(layer: Attention) -> nn.MultiheadAttention:
    """torch.nn.MultiheadAttention with the same weights."""
    d = layer.wq.in_features
    theirs = nn.MultiheadAttention(d, layer.n_heads, bias=False, batch_first=True, dtype=layer.wq.weight.dtype)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([layer.wq.weight, layer.wk.weight, layer.wv.weight]))
        theirs.out_proj.weight.copy_(layer.wo.weight)
    return theirs


def rows_changed(run_layer: Callable[[Sequences], Tensor], before: Sequences, name: str, rows: int | Tensor) -> int:
    """Renew one token of a sequence, or put all of them in another order; count the output rows that change."""
    if isinstance(rows, Tensor):
        changed = before[name][:, rows]
    else:
        changed = before[name].clone()
        changed[:, rows] = torch.randn_like(changed[:, rows])
    out = run_layer(before)
    return out.shape[1] - rows_that_agree(run_layer({**before, name: changed}), out)


def decode(layer: Attention, target: Tensor, memory: Tensor, *, cache: bool) -> tuple[Tensor, int]:
    """Cross-attention one target token at a time: outputs (B, T, d), and how many tokens went through W_K."""
    projected = 0

    def count(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        nonlocal projected
        projected += args[0].shape[1]

    outputs, keys_values = [], None
    with layer.wk.register_forward_pre_hook(count):
        for t in range(target.shape[1]):
            if keys_values is None or not cache:
                keys_values = [split_heads(w(memory), layer.n_heads) for w in (layer.wk, layer.wv)]  # (B, H, S, D)
            k, v = keys_values
            q = split_heads(layer.wq(target[:, t : t + 1]), layer.n_heads)  # (B, H, 1, D)
            read = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(dim=-1) @ v
            outputs.append(layer.wo(read.transpose(1, 2).flatten(2)))
    return torch.cat(outputs, dim=1), projected


@dataclass(frozen=True)
class Params:
    version: Literal["cross-attention", "self-attention", "swapped", "masked"] = "cross-attention"
    source_tokens: int = 100
    target_tokens: int = 20
    d_model: int = 64
    n_heads: int = 4
    cache: bool = True  # keep the source's keys and values while decoding
    seed: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.source_tokens <= 512 or not 2 <= self.target_tokens <= 512:
            raise ValueError("source_tokens and target_tokens must be between 2 and 512")
        if not 2 <= self.d_model <= 512 or self.n_heads < 1 or self.d_model % self.n_heads:
            raise ValueError("d_model must be between 2 and 512, and a multiple of n_heads")


def run(p: Params) -> Result:
    S, T = p.source_tokens, p.target_tokens
    rows = []
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(p.seed)
        layer = Attention(p.d_model, p.n_heads).double()
        tokens = {n: torch.randn(1, length, p.d_model).double() for n, length in (("source", S), ("target", T))}
        order, theirs = no_fixed_point(S), torch_layer(layer)
        for version, (x, memory, causal) in VERSIONS.items():

            def run_layer(s: Sequences, x: str = x, memory: str = memory, causal: bool = causal) -> Tensor:
                return attend(layer, s[x], s[memory], causal=causal)[0]

            ours, table = attend(layer, tokens[x], tokens[memory], causal=causal)
            out, their_table = theirs(tokens[x], tokens[memory], tokens[memory], average_attn_weights=False)
            wrong = sum(int(((a - b).abs() > 1e-9).sum()) for a, b in ((ours, out), (table, their_table)))
            by_target = rows_changed(run_layer, tokens, "target", T // 2)
            by_source = rows_changed(run_layer, tokens, "source", S // 2)
            by_order = rows_changed(run_layer, tokens, "source", order)
            numbers = out.numel() + table.numel()
            rows.append((version, *table.shape[-2:], numbers, wrong, by_target, by_source, by_order))
        stepwise, keys_projected = decode(layer, tokens["target"], tokens["source"], cache=p.cache)
        whole, _ = attend(layer, tokens["target"], tokens["source"])
        step_mismatches = int(((stepwise - whole).abs() > 1e-9).sum())
    _, n_queries, n_keys, numbers, wrong, by_target, by_source, by_order = next(r for r in rows if r[0] == p.version)

    length = {"target": T, "source": S}
    x, memory, causal = VERSIONS[p.version]
    expected = {  # rows changed by one target token, by one source token, by the order of the source
        "cross-attention": (1, T, 0),
        "self-attention": (T, 0, 0),
        "swapped": (S, 1, S),
        "masked": (1, max(0, T - S // 2), min(T, S - 1)),
    }[p.version]
    facts = [
        Fact("score_rows", "queries", n_queries, predicted=length[x]),
        Fact("score_columns", "keys", n_keys, predicted=length[memory]),
        Fact("numbers", "numbers", numbers),  # outputs and weights
        Fact("mismatches", "numbers", wrong, predicted=None if causal else 0),
        Fact("rows_changed_by_one_target", "rows", by_target, predicted=expected[0]),
        Fact("rows_changed_by_one_source", "rows", by_source, predicted=expected[1]),
        Fact("rows_changed_by_source_order", "rows", by_order, predicted=expected[2]),
        Fact("keys_projected", "tokens", keys_projected, predicted=S if p.cache else S * T),
        Fact("step_mismatches", "outputs", step_mismatches, predicted=0),
    ]
    cache_en, cache_zh = ("with a cache", "有缓存") if p.cache else ("without a cache", "无缓存")
    return Result(
        takeaway=Text(
            en=f"{p.version}: a score table of {n_queries} × {n_keys} per head; one other target token changes "
            f"{by_target} output rows, one other source token {by_source}. Writing {T} tokens by cross-attention "
            f"{cache_en} projects {keys_projected:,} tokens to keys.",
            zh=f"{p.version}：每个 head 的分数表 {n_queries} × {n_keys}；换一个 target token 改变 {by_target} 行输出，"
            f"换一个 source token 改变 {by_source} 行。用交叉注意力写出 {T} 个 token，{cache_zh}时共有 "
            f"{keys_projected:,} 个 token 经过 key 投影。",
        ),
        facts=facts,
        table=Table(
            ("version", "queries", "keys", "rows changed by a target token", "by a source token", "by source order"),
            [(r[0], r[1], r[2], *r[5:]) for r in rows],
        ),
        plot=Plot(
            "Output rows that change",
            "version",
            "rows",
            [
                Series("one other target token", [r[0] for r in rows], [r[5] for r in rows]),
                Series("one other source token", [r[0] for r in rows], [r[6] for r in rows]),
            ],
            kind="bar",
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
