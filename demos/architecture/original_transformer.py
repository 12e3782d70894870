"""How many parameters does the original Transformer have, and in which blocks?

Encoder and decoder are stacks of L layers. Attention has four d × d matrices, the FFN two of d × ff; norms and biases
grow with d only. At ff = 4d an encoder layer is 12d² and a decoder layer, with its second attention, 16d². One token
table of V·d serves three times: as source embedding, target embedding and output head. Positions are sines and cost
nothing. So the whole is about 28·L·d² + V·d. The machine builds every module on the meta device and counts.

Legend: V vocabulary, L layers of each stack, d width, ff FFN width, H heads, T tokens.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from llmprep.demos.architecture.transformer_layer import DecoderLayer, EncoderLayer
from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def by_hand(V: int, L: int, d: int, ff: int, n_tables: int) -> int:
    """What one says at the whiteboard, with biases (FFN) and LayerNorms. Base, V = 37,000: 63,045,632."""
    attention, ffn, norm = 4 * d * d, 2 * d * ff + ff + d, 2 * d
    return n_tables * V * d + L * ((attention + ffn + 2 * norm) + (2 * attention + ffn + 3 * norm))


class Transformer(nn.Module):
    """arXiv 1706.03762, figure 1: two embeddings, two stacks, a head."""

    def __init__(self, V: int, L: int, d: int, n_heads: int, ff: int, *, shared: bool) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(V, d), nn.Embedding(V, d)
        self.encoder = nn.ModuleList(EncoderLayer(d, n_heads, ff) for _ in range(L))
        self.decoder = nn.ModuleList(DecoderLayer(d, n_heads, ff) for _ in range(L))
        self.head = nn.Linear(d, V, bias=False)
        if shared:  # section 3.4: one matrix in all three places
            self.target.weight = self.head.weight = self.source.weight

    def forward(self, source_ids: Tensor, target_ids: Tensor) -> Tensor:
        """(B, S) and (B, T) token ids → (B, T, V) logits. Sines for the positions would be added to both embeddings."""
        scale = self.source.embedding_dim**0.5  # section 3.4: the embeddings are multiplied by √d
        memory, x = self.source(source_ids) * scale, self.target(target_ids) * scale
        for layer in self.encoder:
            memory = layer(memory)
        for layer in self.decoder:
            x = layer(x, memory)
        return self.head(x)


def count_built(V: int, L: int, d: int, n_heads: int, ff: int, *, shared: bool) -> Counter[str]:
    """Build on the meta device (shapes, no memory), run 8 tokens through, count each tensor once by its block."""
    with torch.device("meta"), torch.no_grad():
        model = Transformer(V, L, d, n_heads, ff, shared=shared)
        ids = torch.zeros(1, 8, dtype=torch.long)
        assert model(ids, ids).shape == (1, 8, V)
    blocks: Counter[str] = Counter()
    for name, parameter in model.named_parameters():  # a shared tensor is listed once
        stack, *inner = name.split(".")
        block = inner[1] if stack in ("encoder", "decoder") else "tables"
        blocks["tables" if block == "tables" else f"{stack} {block}"] += parameter.numel()
    return blocks


@dataclass(frozen=True)
class Params:
    n_layers: int = 6  # of the encoder, and as many of the decoder
    d_model: int = 512
    n_heads: int = 8
    d_ff: int = 2048
    vocab_size: int = 37000  # "about 37000" shared BPE tokens, section 5.1
    tables: Literal["shared", "separate"] = "shared"  # embeddings and head: one matrix, or three

    def __post_init__(self) -> None:
        if min(self.n_layers, self.d_ff, self.vocab_size, self.n_heads) < 1 or self.n_layers > 48:
            raise ValueError("n_layers must be between 1 and 48, and d_ff, vocab_size and n_heads positive")
        if self.d_model < 1 or self.d_model % self.n_heads:
            raise ValueError("d_model must be a positive multiple of n_heads")


def run(p: Params) -> Result:
    V, L, d, ff = p.vocab_size, p.n_layers, p.d_model, p.d_ff
    n_tables = 1 if p.tables == "shared" else 3
    blocks = count_built(V, L, d, p.n_heads, ff, shared=p.tables == "shared")
    total = blocks.total()
    by_kind: Counter[str] = Counter()
    for name, n in blocks.items():
        by_kind[next((kind for kind in ("attention", "ffn", "norms") if kind in name), "tables")] += n
    encoder, decoder = (sum(n for name, n in blocks.items() if name.startswith(s)) for s in ("encoder", "decoder"))
    rule = (4 * (2 + 1) * d * d + 4 * d * ff) * L + n_tables * V * d  # matrices only: 28·L·d² + V·d at ff = 4d
    facts = [
        Fact("params_total", "parameters", total, predicted=by_hand(V, L, d, ff, n_tables)),
        Fact("params_million", "million", total / 1e6),
        Fact("encoder_layer", "parameters", encoder // L),
        Fact("decoder_layer", "parameters", decoder // L),
        Fact("decoder_over_encoder", "×", decoder / encoder),
        Fact("ffn_share", "", by_kind["ffn"] / total),
        Fact("attention_share", "", by_kind["attention"] / total),
        Fact("table_share", "", by_kind["tables"] / total),
        Fact("norm_share", "", by_kind["norms"] / total),
        Fact("rule_error", "", rule / total - 1),
    ]
    rows = [(name, n, 100 * n / total) for name, n in blocks.most_common()]
    shares = f"{by_kind['ffn'] / total:.0%}", f"{by_kind['attention'] / total:.0%}", f"{by_kind['tables'] / total:.0%}"
    return Result(
        takeaway=Text(
            en=f"{L} + {L} layers of width {d} and a vocabulary of {V:,}: {total:,} parameters, of which {shares[0]} "
            f"in the FFNs, {shares[1]} in attention, {shares[2]} in the token tables.",
            zh=f"{L} + {L} 层、宽度 {d}、词表 {V:,}：共 {total:,} 个参数，其中 FFN 占 {shares[0]}，"
            f"注意力占 {shares[1]}，词表矩阵占 {shares[2]}。",
        ),
        facts=facts,
        table=Table(("block", "parameters", "share (%)"), rows),
        plot=Plot(
            "Parameters of the original Transformer",
            "block",
            "share (%)",
            [Series("share", [row[0] for row in rows], [row[2] for row in rows])],
            kind="bar",
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
