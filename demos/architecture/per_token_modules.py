"""Are MoE and quantisation easier in a decoder-only model?

A mask decides which *other* tokens a token reads. A mixture of experts and an INT8 linear layer read no other token:
each maps one vector to one vector, so an encoder, a decoder and both halves of an encoder-decoder can use them alike,
and the first large MoE Transformers were encoder-decoders. The machine runs each module on a whole text and on each of
its tokens alone: where the results agree, no mask can matter. Two details bring in other tokens, in any architecture:
an expert that is full turns tokens away, and one scale per tensor is set by the largest token.

Legend: T tokens, d width, N experts, k experts per token.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from llmprep.demos.architecture.attention import attention
from llmprep.demos.special.moe_routing import MoELayer, route
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

Module = Callable[[Tensor], Tensor]


def int8_linear(x: Tensor, weight: Tensor, *, per_token: bool) -> Tensor:
    """W8A8: x (T, d) and weight (d, d) as INT8 with absmax scales, arXiv 2208.07339, section 2; (T, d)."""
    x_scale = x.abs().amax(dim=1, keepdim=True) / 127 if per_token else x.abs().amax() / 127
    w_scale = weight.abs().amax(dim=0, keepdim=True) / 127
    product = (x / x_scale).round() @ (weight / w_scale).round()  # whole numbers: exact in float64, as in INT32
    return product * x_scale * w_scale


def moe_with_capacity(layer: MoELayer, x: Tensor, top_k: int, capacity_factor: float) -> Tensor:
    """Each expert takes its first capacity_factor · T·k/N tokens; the rest get nothing from it (arXiv 2006.16668)."""
    n_experts = layer.router.shape[1]
    capacity = max(1, int(capacity_factor * len(x) * top_k / n_experts))
    weights, chosen = route(x @ layer.router, top_k)
    y = torch.zeros_like(x)
    for i in range(n_experts):
        token, slot = (chosen == i).nonzero(as_tuple=True)
        token, slot = token[:capacity], slot[:capacity]
        y.index_add_(0, token, weights[token, slot, None] * layer.expert(i, x[token]))
    return y


def self_attention(x: Tensor, *, causal: bool) -> Tensor:
    """One head whose queries, keys and values are the tokens themselves: (T, d) → the same."""
    heads = x[None, None]  # (1, 1, T, d)
    return attention(heads, heads, heads, causal=causal)[0, 0]


def tokens_that_read_others(module: Module, x: Tensor) -> int:
    """Tokens whose output is another one when they are run alone."""
    alone = torch.cat([module(token[None]) for token in x])
    return int(((module(x) - alone).abs().amax(dim=1) > 1e-9).sum())


@dataclass(frozen=True)
class Params:
    module: Literal[
        "MoE", "MoE with capacity", "INT8 per token", "INT8 per tensor", "causal attention", "full attention"
    ] = "MoE"
    seq_len: int = 64  # tokens
    d_model: int = 32
    n_experts: int = 8
    top_k: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        if not 8 <= self.seq_len <= 512 or not 8 <= self.d_model <= 256:
            raise ValueError("seq_len must be between 8 and 512, d_model between 8 and 256")
        if not 1 <= self.top_k <= self.n_experts <= 64:
            raise ValueError("top_k must be between 1 and n_experts, which must be at most 64")


def run(p: Params) -> Result:
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(p.seed)
        moe = MoELayer(p.d_model, 2 * p.d_model, p.n_experts).double()
        weight = torch.randn(p.d_model, p.d_model).double()
        x = torch.randn(p.seq_len, p.d_model).double()
        modules: dict[str, Module] = {
            "MoE": lambda x: moe(x, p.top_k),
            "MoE with capacity": lambda x: moe_with_capacity(moe, x, p.top_k, capacity_factor=1.0),
            "INT8 per token": lambda x: int8_linear(x, weight, per_token=True),
            "INT8 per tensor": lambda x: int8_linear(x, weight, per_token=False),
            "causal attention": lambda x: self_attention(x, causal=True),
            "full attention": lambda x: self_attention(x, causal=False),
        }
        found = {name: tokens_that_read_others(module, x) for name, module in modules.items()}
    n = found[p.module]
    expected = {"MoE": 0, "INT8 per token": 0, "causal attention": p.seq_len - 1, "full attention": p.seq_len}
    return Result(
        takeaway=Text(
            en=f"{p.module}: {n} of {p.seq_len} tokens get another output when they are run alone.",
            zh=f"{p.module}：单独计算时，{p.seq_len} 个 token 中有 {n} 个的输出发生改变。",
        ),
        facts=[
            Fact("read_others", "tokens", n, predicted=expected.get(p.module)),
            Fact("read_others_in_attention", "tokens", found["causal attention"], predicted=p.seq_len - 1),
        ],
        table=Table(("module", "tokens that read others"), list(found.items())),
        plot=Plot(
            f"Tokens out of {p.seq_len} that read others",
            "module",
            "tokens",
            [Series("tokens", list(found), list(found.values()))],
            kind="bar",
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
