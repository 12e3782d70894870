"""From which length on does the quadratic part of a Transformer layer cost more than the rest?

Per token, a weight matrix costs 2 FLOPs per weight, however long the text. The scores and the weighted mean cost
4·T·n_heads·head_dim. In the classic layer (multi-head attention, an FFN of two matrices, 4·d_model wide) these are
24·d_model² and 4·T·d_model: equal at T = 6·d_model. What one counts matters: against the attention projections
alone (8·d_model²) it is 2·d_model, and a kernel that skips what the causal mask hides halves the quadratic part.

Legend: B batch, H query heads, T tokens, D head_dim.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from llmprep import content
from llmprep.demos.architecture.attention import attention
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

GATED = ("llama", "qwen2", "qwen3")  # families with full attention and three FFN matrices (SwiGLU)


class Shape(NamedTuple):
    """What the cost of a layer depends on."""

    d_model: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    d_ff: int
    ffn_matrices: int


def classic(d_model: int) -> Shape:
    """Multi-head attention and an FFN of 4·d_model, as in arXiv 1706.03762 and GPT-2; heads of 64 channels."""
    return Shape(d_model, d_model // 64, d_model // 64, 64, 4 * d_model, 2)


def shape_of(model: str) -> Shape:
    """The layer of a dense model in data/models.json."""
    entry = content.model(model)
    c, family = entry["config"], entry["model_type"]
    if family == "gpt2":
        return Shape(c["n_embd"], c["n_head"], c["n_head"], c["n_embd"] // c["n_head"], 4 * c["n_embd"], 2)
    if family not in GATED:
        raise ValueError(f"model must be of a family in {('gpt2', *GATED)}: {model} is {family}")
    n_heads, n_kv_heads = c["num_attention_heads"], c["num_key_value_heads"]
    head_dim = c.get("head_dim") or c["hidden_size"] // n_heads
    return Shape(c["hidden_size"], n_heads, n_kv_heads, head_dim, c["intermediate_size"], 3)


def formula_linear_weights(s: Shape, *, with_ffn: bool) -> int:
    """Q, K, V and O projections, then the FFN. Classic: 4·d_model² + 8·d_model²."""
    projections = 2 * s.d_model * s.head_dim * (s.n_heads + s.n_kv_heads)
    return projections + with_ffn * s.ffn_matrices * s.d_model * s.d_ff


def count_linear_flops(s: Shape, T: int, *, with_ffn: bool) -> int:
    """Send T tokens through every linear map of the layer, on the meta device, and let torch count."""
    q_width, kv_width = s.n_heads * s.head_dim, s.n_kv_heads * s.head_dim
    sizes = [(s.d_model, q_width), (s.d_model, kv_width), (s.d_model, kv_width), (q_width, s.d_model)]
    if with_ffn:
        sizes += [(s.d_model, s.d_ff)] * (s.ffn_matrices - 1) + [(s.d_ff, s.d_model)]
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        for n_in, n_out in sizes:
            torch.nn.Linear(n_in, n_out, bias=False)(torch.empty(T, n_in))
    return counter.get_total_flops()


def attention_by_blocks(q: Tensor, k: Tensor, v: Tensor, block: int) -> Tensor:
    """Causal attention (B, H, T, D) that gives each block of queries only the keys up to its own end."""
    T, out = q.shape[-2], []
    for start in range(0, T, block):
        end = min(start + block, T)
        scores = q[..., start:end, :] @ k[..., :end, :].mT / math.sqrt(q.shape[-1])  # (B, H, block, end)
        hidden = torch.ones(end - start, end, dtype=torch.bool, device=q.device).triu(diagonal=start + 1)
        out.append(scores.masked_fill(hidden, -torch.inf).softmax(dim=-1) @ v[..., :end, :])
    return torch.cat(out, dim=-2)


def count_quadratic_flops(s: Shape, T: int, block: int | None = None) -> int:
    """Scores and weighted means of T tokens in all heads; with `block`, in a kernel that skips masked blocks."""
    q = torch.empty(1, s.n_heads, T, s.head_dim, device="meta")
    with FlopCounterMode(display=False) as counter:
        attention(q, q, q) if block is None else attention_by_blocks(q, q, q, block)
    return counter.get_total_flops()


def crossover(s: Shape, *, with_ffn: bool) -> int:
    """The shortest text whose quadratic part costs at least as much as its linear part, found by counting both."""
    linear = count_linear_flops(s, 1, with_ffn=with_ffn)
    return bisect_left(range(2**20), linear, lo=1, key=lambda T: count_quadratic_flops(s, T) / T)


@dataclass(frozen=True)
class Params:
    model: str = "classic"  # MHA and an FFN of 4·d_model; or the name of a dense model in data/models.json
    d_model: int = 4096  # width of the classic layer
    seq_len: int = 8192  # tokens at which the share is taken
    compared_with: Literal["layer", "projections"] = "layer"  # all linear maps, or only Q, K, V and O
    block: int = 128  # tokens: the tile of a kernel that skips what the causal mask hides

    def __post_init__(self) -> None:
        if not 128 <= self.d_model <= 16384 or self.d_model % 64:
            raise ValueError("d_model must be a multiple of 64 between 128 and 16384")
        if not 1 <= self.seq_len <= 2**17:
            raise ValueError("seq_len must be between 1 and 131,072")
        if not self.seq_len / 256 <= self.block <= 2**17:
            raise ValueError("block must be between seq_len/256 and 131,072: each block is really counted")
        if self.model != "classic":
            shape_of(self.model)


def run(p: Params) -> Result:
    s = classic(p.d_model) if p.model == "classic" else shape_of(p.model)
    with_ffn = p.compared_with == "layer"
    tokens = crossover(s, with_ffn=with_ffn)
    linear = count_linear_flops(s, 1, with_ffn=with_ffn)
    quadratic = count_quadratic_flops(s, p.seq_len)
    skipping = count_quadratic_flops(s, p.seq_len, p.block)
    share = quadratic / (quadratic + linear * p.seq_len)

    linear_formula = 2 * formula_linear_weights(s, with_ffn=with_ffn)
    row_formula = 4 * s.n_heads * s.head_dim  # FLOPs per query and key
    whole_blocks = p.seq_len % p.block == 0
    facts = [
        Fact("crossover_tokens", "tokens", tokens, math.ceil(linear_formula / row_formula)),
        Fact("crossover_over_d_model", "×", tokens / s.d_model),
        Fact("linear_flops_per_token", "FLOP", linear, linear_formula),
        Fact("quadratic_flops_per_token", "FLOP", quadratic // p.seq_len, row_formula * p.seq_len),
        Fact("quadratic_share", "", share),
        Fact(
            "share_left_by_skipping",
            "",
            skipping / quadratic,
            predicted=(p.seq_len + p.block) / (2 * p.seq_len) if whole_blocks else None,
            rtol=1e-9,
        ),
    ]
    rows = []
    for name in dict.fromkeys((p.model, "gpt2", "gpt2-xl", "llama-3-8b", "llama-3.1-405b", "qwen3-8b")):
        shape = s if name == "classic" else shape_of(name)
        at = crossover(shape, with_ffn=with_ffn)
        rows.append((name, shape.d_model, at, at / shape.d_model))
    lengths = [2**i for i in range(8, 18)]
    quadratics = [count_quadratic_flops(s, n) // n for n in lengths]
    what_en, what_zh = ("whole layer", "整层的线性部分") if with_ffn else ("projections", " Q/K/V/O 投影")
    return Result(
        takeaway=Text(
            en=f"{p.model}, d_model {s.d_model:,}: the quadratic part overtakes the {what_en} at {tokens:,} tokens "
            f"({tokens / s.d_model:.2f}·d_model); at {p.seq_len:,} tokens its share is {share:.1%}.",
            zh=f"{p.model}（d_model = {s.d_model:,}）：到 {tokens:,} 个 token（{tokens / s.d_model:.2f}·d_model）时，"
            f"平方项的计算量超过{what_zh}；{p.seq_len:,} 个 token 时它占 {share:.1%}。",
        ),
        facts=facts,
        table=Table(("layer", "d_model", "crossover (tokens)", "crossover / d_model"), rows),
        plot=Plot(
            f"Cost of one {p.model} layer",
            "tokens",
            "FLOPs per token",
            [Series(p.compared_with, lengths, [linear] * len(lengths)), Series("quadratic part", lengths, quadratics)],
            log_x=True,
            log_y=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
