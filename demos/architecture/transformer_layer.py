"""What exactly does a layer of the original Transformer compute?

Three sub-layers exist: attention over the own tokens, attention over the encoder's output, and an FFN that works on
each token alone. Each is wrapped in the same way: add its output to its input, then normalise (post-norm). An encoder
layer has the first and the last, a decoder layer all three, with a mask on the first. Below, both are written from
scratch, given the same weights as torch's own layers, and compared output by output.

Legend: B batch, T tokens, S source tokens, H heads, D head_dim, d = H·D width, ff FFN width.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from llmprep.demos.architecture.attention import attention
from llmprep.lab import Fact, Plot, Result, Series, Table, Text


class Attention(nn.Module):
    """Queries from x, keys and values from `memory`: arXiv 1706.03762, section 3.2.2, whose formula has no bias."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.wq, self.wk, self.wv, self.wo = (nn.Linear(d_model, d_model, bias=False) for _ in range(4))

    def forward(self, x: Tensor, memory: Tensor, *, causal: bool = False) -> Tensor:
        """(B, T, d) and (B, S, d) → (B, T, d)."""
        heads = ((self.wq, x), (self.wk, memory), (self.wv, memory))
        q, k, v = (w(y).unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for w, y in heads)  # (B, H, T or S, D)
        return self.wo(attention(q, k, v, causal=causal).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """max(0, x·W1 + b1)·W2 + b2 for each token alone: section 3.3."""

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(d_model, d_ff), nn.Linear(d_ff, d_model)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, d) → the same."""
        return self.down(self.up(x).relu())


def residual(x: Tensor, sublayer: Callable[[Tensor], Tensor], norm: nn.Module, *, norm_first: bool) -> Tensor:
    """Post-norm as in section 3.1, LayerNorm(x + sublayer(x)); or pre-norm as in GPT-2, x + sublayer(LayerNorm(x))."""
    return x + sublayer(norm(x)) if norm_first else norm(x + sublayer(x))


class EncoderLayer(nn.Module):
    """Self-attention, then FFN."""

    def __init__(self, d_model: int, n_heads: int, d_ff: int, *, norm_first: bool = False) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.self_attention, self.ffn = Attention(d_model, n_heads), FeedForward(d_model, d_ff)
        self.norms = nn.ModuleList(nn.LayerNorm(d_model) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, d) → the same."""
        x = residual(x, lambda y: self.self_attention(y, y), self.norms[0], norm_first=self.norm_first)
        return residual(x, self.ffn, self.norms[1], norm_first=self.norm_first)


class DecoderLayer(nn.Module):
    """Masked self-attention, cross-attention to the encoder's output, then FFN."""

    def __init__(self, d_model: int, n_heads: int, d_ff: int, *, norm_first: bool = False, causal: bool = True) -> None:
        super().__init__()
        self.norm_first, self.causal = norm_first, causal
        self.self_attention, self.cross_attention = Attention(d_model, n_heads), Attention(d_model, n_heads)
        self.ffn = FeedForward(d_model, d_ff)
        self.norms = nn.ModuleList(nn.LayerNorm(d_model) for _ in range(3))

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """(B, T, d) and the encoder's (B, S, d) → (B, T, d)."""
        first = self.norm_first
        x = residual(x, lambda y: self.self_attention(y, y, causal=self.causal), self.norms[0], norm_first=first)
        x = residual(x, lambda y: self.cross_attention(y, memory), self.norms[1], norm_first=first)
        return residual(x, self.ffn, self.norms[2], norm_first=first)


def copy_weights(ours: EncoderLayer | DecoderLayer, theirs: nn.Module) -> None:
    """Give a torch.nn.TransformerEncoderLayer or DecoderLayer our weights; its attention biases become 0."""
    pairs = [(ours.self_attention, theirs.self_attn)]
    if isinstance(ours, DecoderLayer):
        pairs.append((ours.cross_attention, theirs.multihead_attn))
    with torch.no_grad():
        for a, b in pairs:
            b.in_proj_weight.copy_(torch.cat([a.wq.weight, a.wk.weight, a.wv.weight]))
            b.out_proj.weight.copy_(a.wo.weight)
            b.in_proj_bias.zero_()
            b.out_proj.bias.zero_()
        norms = [getattr(theirs, f"norm{i + 1}") for i in range(len(ours.norms))]
        rest = zip((ours.ffn.up, ours.ffn.down, *ours.norms), (theirs.linear1, theirs.linear2, *norms), strict=True)
        for a, b in rest:
            b.weight.copy_(a.weight)
            b.bias.copy_(a.bias)


@dataclass(frozen=True)
class Params:
    version: Literal["paper", "pre-norm", "decoder without mask"] = "paper"  # what is held against torch's layers
    d_model: int = 64
    n_heads: int = 4
    d_ff: int = 256
    seq_len: int = 10  # target tokens; the source has two more
    seed: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.d_model <= 512 or self.n_heads < 1 or self.d_model % self.n_heads:
            raise ValueError("d_model must be between 2 and 512, and a multiple of n_heads")
        if not 1 <= self.d_ff <= 4096 or not 2 <= self.seq_len <= 128:
            raise ValueError("d_ff must be between 1 and 4,096, seq_len between 2 and 128")


def run(p: Params) -> Result:
    shape = (p.d_model, p.n_heads, p.d_ff)
    norm_first, causal = p.version == "pre-norm", p.version != "decoder without mask"
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(p.seed)
        encoder = EncoderLayer(*shape, norm_first=norm_first).double()
        decoder = DecoderLayer(*shape, norm_first=norm_first, causal=causal).double()
        for weight in (w for layer in (encoder, decoder) for w in layer.parameters() if w.dim() == 1):
            weight.add_(torch.randn_like(weight) / 4)  # gains and biases that are not just 1 and 0
        settings = {"dropout": 0.0, "batch_first": True, "dtype": torch.float64}
        torch_encoder = nn.TransformerEncoderLayer(*shape, **settings)
        torch_decoder = nn.TransformerDecoderLayer(*shape, **settings)
        copy_weights(encoder, torch_encoder)
        copy_weights(decoder, torch_decoder)

        source = torch.randn(2, p.seq_len + 2, p.d_model, dtype=torch.float64)
        target = torch.randn(2, p.seq_len, p.d_model, dtype=torch.float64)
        mask = nn.Transformer.generate_square_subsequent_mask(p.seq_len, dtype=torch.float64)
        memory = torch_encoder(source)
        by_layer = {
            "encoder": (encoder(source) - memory).abs(),
            "decoder": (decoder(target, memory) - torch_decoder(target, memory, tgt_mask=mask)).abs(),
        }
    wrong = {name: int((difference > 1e-9).sum()) for name, difference in by_layer.items()}
    outputs = {name: difference.numel() for name, difference in by_layer.items()}
    total, wrong_total = sum(outputs.values()), sum(wrong.values())
    return Result(
        takeaway=Text(
            en=f"Version {p.version!r}: {wrong_total:,} of {total:,} outputs of an encoder and a decoder layer differ "
            f"from torch's own layers with the same weights.",
            zh=f"版本 {p.version}：在权重相同的情况下，encoder 层与 decoder 层的 {total:,} 个输出中，"
            f"有 {wrong_total:,} 个与 torch 自带的层不一致。",
        ),
        facts=[
            Fact("mismatches", "outputs", wrong_total, predicted=0 if p.version == "paper" else None),
            Fact("encoder_mismatches", "outputs", wrong["encoder"], predicted=None if norm_first else 0),
            Fact("decoder_mismatches", "outputs", wrong["decoder"], predicted=0 if p.version == "paper" else None),
            Fact("outputs", "outputs", total),
        ],
        table=Table(("layer", "outputs", "differ from torch"), [(n, outputs[n], wrong[n]) for n in outputs]),
        plot=Plot(
            f"Held against torch's layers: {p.version}",
            "layer",
            "outputs that agree",
            [Series(p.version, list(wrong), [outputs[name] - n for name, n in wrong.items()])],
            kind="bar",
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
