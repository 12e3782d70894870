"""How does a mixture of experts decouple capacity from compute?

Replace the FFN of a layer by N experts and a router. The router scores all N, the token goes through the best k, and
their outputs are added with softmax weights: y = Σ g_i · E_i(x). Parameters grow with N, FLOPs per token with k.
Below, tokens are gathered by expert, as real kernels do it, FLOPs are those that torch counts, and the result is held
against the slow and obvious way: every expert on every token, times a gate that is mostly zero.

Legend: B tokens, d d_model, ff width of an expert, N experts, k experts per token.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from llmprep.demos.architecture.swiglu import swiglu_ffn
from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def formula_params(d: int, ff: int, n_experts: int) -> int:
    """Three matrices an expert (SwiGLU), and one score vector each in the router."""
    return n_experts * 3 * d * ff + n_experts * d


def formula_flops_per_token(d: int, ff: int, n_experts: int, experts_run: int) -> int:
    """Two FLOPs per weight that the token meets; only the router sees all N."""
    return experts_run * 6 * d * ff + 2 * d * n_experts


def route(logits: Tensor, top_k: int, *, renormalise: bool = True) -> tuple[Tensor, Tensor]:
    """Router logits (B, N) → weights and indices of the chosen experts, both (B, k): arXiv 2401.04088, section 2.1.

    Softmax over all N, take the best k, scale them to sum 1. Some models skip the scaling (norm_topk_prob = false).
    """
    weights, chosen = logits.softmax(dim=-1).topk(top_k, dim=-1)
    return (weights / weights.sum(dim=-1, keepdim=True) if renormalise else weights), chosen


class MoELayer(nn.Module):
    """N SwiGLU experts and a router: what stands in place of an FFN."""

    def __init__(self, d: int, ff: int, n_experts: int) -> None:
        super().__init__()
        self.router = nn.Parameter(torch.randn(d, n_experts) / d**0.5)
        self.gate, self.up = (nn.Parameter(torch.randn(n_experts, d, ff) / d**0.5) for _ in range(2))
        self.down = nn.Parameter(torch.randn(n_experts, ff, d) / ff**0.5)

    def expert(self, i: int, x: Tensor) -> Tensor:
        """(B, d) → the same, by expert i alone."""
        return swiglu_ffn(x, self.gate[i], self.up[i], self.down[i])

    def forward(self, x: Tensor, top_k: int, *, renormalise: bool = True) -> Tensor:
        """(B, d) → the same: each expert runs once, on the tokens that chose it."""
        weights, chosen = route(x @ self.router, top_k, renormalise=renormalise)  # (B, k)
        y = torch.zeros_like(x)
        for i in range(self.router.shape[1]):
            token, slot = (chosen == i).nonzero(as_tuple=True)
            if len(token):
                y.index_add_(0, token, weights[token, slot, None] * self.expert(i, x[token]))
        return y


def every_expert(layer: MoELayer, x: Tensor, top_k: int) -> Tensor:
    """The same output the slow way: a softmax over the k best logits, all others −∞, and all experts run."""
    logits = x @ layer.router
    worst_chosen = logits.sort(dim=-1, descending=True).values[:, top_k - 1, None]
    gates = logits.masked_fill(logits < worst_chosen, -torch.inf).softmax(dim=-1)  # (B, N)
    outputs = torch.stack([layer.expert(i, x) for i in range(logits.shape[1])], dim=1)  # (B, N, d)
    return (gates[..., None] * outputs).sum(dim=1)


def count_flops(compute: Callable[[], Tensor]) -> tuple[Tensor, int]:
    """What `compute` returns, and the FLOPs of its matmuls as torch counts them."""
    with FlopCounterMode(display=False) as counter:
        out = compute()
    return out, counter.get_total_flops()


@dataclass(frozen=True)
class Params:
    n_experts: int = 8  # N
    top_k: int = 2  # experts per token
    dispatch: Literal["chosen", "every"] = "chosen"  # experts that run on a token
    renormalise: bool = True  # scale the weights of the chosen to sum 1
    d_model: int = 32
    d_ff: int = 64  # of one expert
    n_tokens: int = 256  # B
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.top_k <= self.n_experts <= 128:
            raise ValueError("top_k must be at least 1 and at most n_experts, n_experts at most 128")
        if not 1 <= self.n_tokens <= 1024 or not (4 <= self.d_model <= 128 and 4 <= self.d_ff <= 256):
            raise ValueError("n_tokens must be 1 to 1,024, d_model 4 to 128, d_ff 4 to 256")
        if self.dispatch == "every" and not self.renormalise:
            raise ValueError("renormalise must stay on where every expert runs: that is the reference")


def measure(p: Params, n_experts: int) -> tuple[int, int, int]:
    """(parameters, FLOPs per token, tokens whose output differs from the reference) of a layer with N experts."""
    top_k = min(p.top_k, n_experts)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(p.seed)
        layer = MoELayer(p.d_model, p.d_ff, n_experts).double()
        x = torch.randn(p.n_tokens, p.d_model, dtype=torch.float64)
        expected = every_expert(layer, x, top_k)
        if p.dispatch == "chosen":
            y, flops = count_flops(lambda: layer(x, top_k, renormalise=p.renormalise))
        else:
            y, flops = count_flops(lambda: every_expert(layer, x, top_k))
    mismatches = int(((y - expected).abs().amax(dim=-1) > 1e-9).sum())
    return sum(w.numel() for w in layer.parameters()), flops // p.n_tokens, mismatches


def run(p: Params) -> Result:
    sizes = sorted({1, 2, 4, 8, 16, 32, 64} | {p.n_experts})
    measured = {n: measure(p, n) for n in sizes}
    params, flops, mismatches = measured[p.n_experts]
    one_params, one_flops = 3 * p.d_model * p.d_ff, 6 * p.d_model * p.d_ff  # an FFN of an expert's size, no router
    experts_run = p.top_k if p.dispatch == "chosen" else p.n_experts
    same = p.renormalise or p.top_k == p.n_experts
    return Result(
        takeaway=Text(
            en=f"{p.n_experts} experts, top-{p.top_k}: {params / one_params:.1f} times the parameters of one expert "
            f"for {flops / one_flops:.2f} times its FLOPs; {mismatches} of {p.n_tokens} tokens differ from the "
            "reference.",
            zh=f"{p.n_experts} 个专家、top-{p.top_k}：参数量是单个专家的 {params / one_params:.1f} 倍，"
            f"每个 token 的 FLOPs 是 {flops / one_flops:.2f} 倍；"
            f"{p.n_tokens} 个 token 中有 {mismatches} 个与参考实现不同。",
        ),
        facts=[
            Fact("params", "parameters", params, formula_params(p.d_model, p.d_ff, p.n_experts)),
            Fact(
                "flops_per_token", "FLOP", flops, formula_flops_per_token(p.d_model, p.d_ff, p.n_experts, experts_run)
            ),
            Fact("capacity_ratio", "×", params / one_params),
            Fact("compute_ratio", "×", flops / one_flops),
            Fact("mismatches", "tokens", mismatches, predicted=0 if same else p.n_tokens),
        ],
        table=Table(("experts", "parameters", "FLOP per token"), [(n, *measured[n][:2]) for n in sizes]),
        plot=Plot(
            f"One layer, top-{p.top_k}, relative to one expert",
            "experts",
            "×",
            [
                Series("parameters", sizes, [measured[n][0] / one_params for n in sizes]),
                Series("FLOPs per token", sizes, [measured[n][1] / one_flops for n in sizes]),
            ],
            log_x=True,
            log_y=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
