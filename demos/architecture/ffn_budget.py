"""How large a share of a layer's weights is the FFN, and how wide may SwiGLU be for the same price?

Attention has four d × d matrices, 4d²; the classic FFN two of d × 4d, 8d²: two thirds of the layer. SwiGLU has three
matrices (gate, up, down), so at the price of 8d² its width is 8d/3 instead of 4d, in practice rounded up to a multiple
that suits the hardware. GQA shrinks W_k and W_v only, which makes the FFN's share larger still. The machine builds the
matrices on the meta device, counts them, and lets torch count the FLOPs of one token.

Legend: d width, ff FFN width, H query heads, H_kv key/value heads.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from llmprep.calc import families
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

MODELS = ("gpt2", "llama-2-7b", "llama-3-8b", "llama-2-70b", "qwen3-8b", "qwen2.5-7b")


def equal_price_width(d_model: int, ffn: str, multiple_of: int) -> int:
    """4d for two matrices, 8d/3 for three (arXiv 2002.05202, section 3), rounded up. Llama-2-7B: 10,922.7 → 11,008."""
    return math.ceil((4 * d_model if ffn == "plain" else 8 * d_model / 3) / multiple_of) * multiple_of


def formula_share(d: int, ff: int, n_matrices: int, kv_share: float) -> float:
    """n·d·ff / (n·d·ff + 2d²(1 + H_kv/H)): 8/12 for the classic layer."""
    return n_matrices * d * ff / (n_matrices * d * ff + 2 * d * d * (1 + kv_share))


class FFN(nn.Module):
    """down(relu(up(x))), or down(silu(gate(x)) ∘ up(x)); no biases."""

    def __init__(self, d_model: int, d_ff: int, *, gated: bool) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(d_model, d_ff, bias=False), nn.Linear(d_ff, d_model, bias=False)
        self.gate = nn.Linear(d_model, d_ff, bias=False) if gated else None

    def forward(self, x: Tensor) -> Tensor:
        """(…, d) → the same."""
        return self.down(F.relu(self.up(x)) if self.gate is None else F.silu(self.gate(x)) * self.up(x))


def weights(*modules: nn.Module) -> int:
    """Counted, not computed."""
    return sum(w.numel() for module in modules for w in module.parameters())


@dataclass(frozen=True)
class Params:
    ffn: Literal["plain", "swiglu"] = "swiglu"
    d_model: int = 4096
    d_ff: int = 0  # 0: the width of equal price, 4d or 8d/3
    multiple_of: int = 1  # what that width is rounded up to
    n_heads: int = 32
    n_kv_heads: int = 32

    def __post_init__(self) -> None:
        if self.n_heads < 1 or self.n_kv_heads < 1 or self.n_heads % self.n_kv_heads or self.d_model % self.n_heads:
            raise ValueError("n_heads must divide d_model, and n_kv_heads must divide n_heads")
        if not 1 <= self.d_model <= 65536 or self.d_ff < 0 or self.multiple_of < 1:
            raise ValueError("d_model must be between 1 and 65,536, d_ff at least 0, multiple_of at least 1")


def run(p: Params) -> Result:
    d, gated = p.d_model, p.ffn == "swiglu"
    d_ff = p.d_ff or equal_price_width(d, p.ffn, p.multiple_of)
    with torch.device("meta"), torch.no_grad():
        d_kv = d // p.n_heads * p.n_kv_heads
        attention = [nn.Linear(d, n, bias=False) for n in (d, d_kv, d_kv, d)]
        ffn, classic = FFN(d, d_ff, gated=gated), FFN(d, 4 * d, gated=False)
        with FlopCounterMode(display=False) as flops:
            ffn(torch.empty(1, d))
    ffn_weights, attention_weights = weights(ffn), weights(*attention)
    share = ffn_weights / (ffn_weights + attention_weights)
    over_classic = ffn_weights / weights(classic)
    facts = [
        Fact("d_ff", "channels", d_ff),
        Fact("ffn_weights", "weights", ffn_weights, predicted=(3 if gated else 2) * d * d_ff),
        Fact("attention_weights", "weights", attention_weights),
        Fact("ffn_share", "", share, formula_share(d, d_ff, 3 if gated else 2, p.n_kv_heads / p.n_heads), rtol=1e-12),
        Fact("over_classic", "×", over_classic),  # the FFN of two matrices and width 4d
        Fact("ffn_flops", "FLOP per token", flops.get_total_flops(), predicted=2 * ffn_weights),
    ]
    rows = []
    for name in MODELS:
        shape = families.of(name)
        ffn, heads, kv_heads = shape.feed_forward, shape.attention.n_heads, shape.attention.n_kv_heads
        in_layer = formula_share(shape.d_model, ffn.d_ff, 3 if ffn.gated else 2, kv_heads / heads)
        kind = "swiglu" if ffn.gated else "plain"
        rows.append((name, kind, ffn.d_ff / shape.d_model, heads // kv_heads, 100 * in_layer))
    return Result(
        takeaway=Text(
            en=f"{p.ffn} FFN of width {d_ff:,} at d = {d:,}: {ffn_weights:,} weights, {over_classic:.3f}× those of the "
            f"classic 4d FFN, and {share:.1%} of the layer's matrices.",
            zh=f"d = {d:,}、宽度 {d_ff:,} 的 {p.ffn} FFN：{ffn_weights:,} 个权重，是经典 4d FFN 的 "
            f"{over_classic:.3f} 倍，占该层矩阵参数的 {share:.1%}。",
        ),
        facts=facts,
        table=Table(("model", "FFN", "d_ff / d", "query heads per KV head", "FFN share of the layer (%)"), rows),
        plot=Plot(
            "Share of the FFN in a layer's matrices",
            "model",
            "share (%)",
            [Series("FFN", [row[0] for row in rows], [row[4] for row in rows])],
            kind="bar",
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
