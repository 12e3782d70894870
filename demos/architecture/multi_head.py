"""What do several attention heads cost, and how are their outputs combined?

Every head has its own learned projections of the *whole* input down to head_dim channels; with head_dim =
d_model/n_heads the four matrices hold 4·d_model² weights, however many heads there are. Concatenating the heads and
multiplying by W_O is the same as giving each head its own rows W_O^i and adding up: the heads write side by side into
one residual stream, each through a map of rank head_dim. With fewer KV heads (GQA), K and V shrink:
2·d_model²·(1 + n_kv_heads/n_heads).

Legend: B batch, H query heads, H_kv key/value heads, T tokens, D head_dim.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from llmprep.demos.architecture.attention import attention
from llmprep.lab import Fact, Plot, Result, Series, Table, Text


class MultiHeadAttention(nn.Module):
    """Self-attention with n_heads query heads over n_kv_heads KV heads, without biases.

    arXiv 1706.03762 section 3.2.2; grouped heads: arXiv 2305.13245.
    """

    def __init__(self, d_model: int, n_heads: int, n_kv_heads: int = 0, head_dim: int = 0) -> None:
        super().__init__()
        self.n_heads, self.n_kv_heads = n_heads, n_kv_heads or n_heads
        self.head_dim = head_dim or d_model // n_heads
        self.wq = nn.Linear(d_model, self.n_heads * self.head_dim, bias=False)
        self.wk = nn.Linear(d_model, self.n_kv_heads * self.head_dim, bias=False)
        self.wv = nn.Linear(d_model, self.n_kv_heads * self.head_dim, bias=False)
        self.wo = nn.Linear(self.n_heads * self.head_dim, d_model, bias=False)

    def heads(self, x: Tensor, *, causal: bool = True) -> Tensor:
        """What each head read: (B, T, d_model) → (B, H, T, D)."""
        q = self.wq(x).unflatten(-1, (self.n_heads, self.head_dim)).transpose(1, 2)  # (B, H, T, D)
        k = self.wk(x).unflatten(-1, (self.n_kv_heads, self.head_dim)).transpose(1, 2)  # (B, H_kv, T, D)
        v = self.wv(x).unflatten(-1, (self.n_kv_heads, self.head_dim)).transpose(1, 2)
        group = self.n_heads // self.n_kv_heads
        k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)  # (B, H, T, D)
        return attention(q, k, v, causal=causal)

    def forward(self, x: Tensor, *, causal: bool = True) -> Tensor:
        """Concatenate the heads, mix them with W_O: (B, T, d_model) → the same."""
        concatenated = self.heads(x, causal=causal).transpose(1, 2).flatten(2)  # (B, T, H·D)
        return self.wo(concatenated)


def sum_of_heads(layer: MultiHeadAttention, x: Tensor) -> Tensor:
    """The same output without concatenation: Σ_i head_i·W_O^i, with the columns of W_O that belong to head i."""
    parts = layer.wo.weight.split(layer.head_dim, dim=1)  # H of (d_model, D)
    return torch.stack([layer.heads(x)[:, i] @ w.T for i, w in enumerate(parts)]).sum(dim=0)


def slice_the_input(layer: MultiHeadAttention) -> None:
    """What "each head gets a slice of the embedding" would mean: a projection that sees d_model/n_heads channels."""
    with torch.no_grad():
        for projection in (layer.wq, layer.wk, layer.wv):
            n_out, n_in = projection.weight.shape
            n_parts = n_out // layer.head_dim
            own = torch.block_diag(*[torch.ones(layer.head_dim, n_in // n_parts)] * n_parts)
            projection.weight.mul_(own)


def channels_read(layer: MultiHeadAttention, x: Tensor, head: int) -> int:
    """How many input channels can change the output of one head, by autograd."""
    x = x.detach().clone().requires_grad_()
    layer.heads(x)[:, head].square().sum().backward()
    return int((x.grad != 0).any(dim=(0, 1)).sum())


def formula_parameters(d_model: int, n_heads: int, n_kv_heads: int, head_dim: int) -> int:
    """Q and O of n_heads·head_dim, K and V of n_kv_heads·head_dim. MHA with head_dim = d/h: 4·d². 512: 1,048,576."""
    return 2 * d_model * head_dim * (n_heads + n_kv_heads)


def count_parameters(d_model: int, n_heads: int, n_kv_heads: int, head_dim: int) -> int:
    """Build the module on the meta device and count its weights."""
    with torch.device("meta"):
        layer = MultiHeadAttention(d_model, n_heads, n_kv_heads, head_dim)
    return sum(w.numel() for w in layer.parameters())


@dataclass(frozen=True)
class Params:
    d_model: int = 4096
    n_heads: int = 32
    n_kv_heads: int = 32  # n_heads: MHA; fewer: GQA; 1: MQA
    head_dim: int = 0  # 0: d_model / n_heads
    reads: Literal["all", "slice"] = "all"  # the input channels that a head projects
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_heads < 1 or not 1 <= self.n_kv_heads <= self.n_heads or self.n_heads % self.n_kv_heads:
            raise ValueError("n_kv_heads must divide n_heads")
        if self.head_dim < 0 or (self.head_dim == 0 and self.d_model % self.n_heads):
            raise ValueError("n_heads must divide d_model, or head_dim must be given")
        if not 1 <= self.d_model <= 16384 or self.n_heads > 128 or self.n_heads * self.head_dim > 16 * self.d_model:
            raise ValueError("d_model must be at most 16,384, n_heads 128, n_heads·head_dim 16·d_model")


def run(p: Params) -> Result:
    head_dim = p.head_dim or p.d_model // p.n_heads
    parameters = count_parameters(p.d_model, p.n_heads, p.n_kv_heads, head_dim)
    one_head = count_parameters(p.d_model, 1, 1, p.d_model)

    # The algebra does not depend on the width, so it is checked on a layer with the same heads, 4·n_heads wide.
    width, tokens = 4 * p.n_heads, 6
    small_head_dim = max(1, width * head_dim // p.d_model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(p.seed)
        layer = MultiHeadAttention(width, p.n_heads, p.n_kv_heads, small_head_dim).double()
        x = torch.randn(2, tokens, width, dtype=torch.float64)
    if p.reads == "slice":
        slice_the_input(layer)
    with torch.no_grad():
        difference = (layer(x) - sum_of_heads(layer, x)).abs()
        w_v, w_o = layer.wv.weight[:small_head_dim], layer.wo.weight[:, :small_head_dim]
        rank = int(torch.linalg.matrix_rank(w_o @ w_v))  # what head 0 can carry from a token to a token
    read = channels_read(layer, x, head=0)

    facts = [
        Fact("parameters", "", parameters, formula_parameters(p.d_model, p.n_heads, p.n_kv_heads, head_dim)),
        Fact("one_head_parameters", "", one_head, 4 * p.d_model**2),  # of d_model channels: the same as MHA
        Fact("parameters_over_mha", "×", parameters / one_head),
        Fact("sum_mismatches", "outputs", int((difference > 1e-10).sum()), predicted=0),
        Fact("channels_read_share", "", read / width, 1 if p.reads == "all" else 1 / p.n_kv_heads),
        Fact("rank_share_of_one_head", "", rank / width, min(1, small_head_dim / width)),
    ]
    rows = []
    for n_heads, n_kv_heads in dict.fromkeys(((1, 1), (8, 8), (32, 32), (p.n_heads, p.n_kv_heads), (32, 8), (32, 1))):
        if p.d_model % n_heads == 0:
            kind = "MHA" if n_kv_heads == n_heads else "MQA" if n_kv_heads == 1 else "GQA"
            D = p.d_model // n_heads
            rows.append((f"{kind} {n_heads}/{n_kv_heads}", D, count_parameters(p.d_model, n_heads, n_kv_heads, D)))
    return Result(
        takeaway=Text(
            en=f"{p.n_heads} query heads and {p.n_kv_heads} KV heads of {head_dim} at d_model {p.d_model:,} hold "
            f"{parameters:,} weights. A head reads {read / width:.0%} of the input channels and writes through a map "
            f"whose rank is {rank / width:.1%} of d_model; concatenation equals the sum of the heads.",
            zh=f"d_model = {p.d_model:,}、{p.n_heads} 个 query head、{p.n_kv_heads} 个 KV head、head_dim = {head_dim}："
            f"共 {parameters:,} 个权重；每个 head 读取输入通道的 {read / width:.0%}，写出映射的秩是 d_model 的 "
            f"{rank / width:.1%}；拼接再投影等于各 head 之和。",
        ),
        facts=facts,
        table=Table(("attention, query/KV heads", "head_dim", "parameters"), rows),
        plot=Plot(
            f"Attention parameters of one layer, d_model {p.d_model:,}",
            "query/KV heads",
            "parameters",
            [Series("parameters", [str(row[0]) for row in rows], [row[2] for row in rows])],
            kind="bar",
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
