"""How many parameters does a mixture of experts hold, and how many does one token use?

Only the FFN is copied: a layer has one attention block, N experts and a router, and a token passes k experts (and
those that are shared by all). So total = everything once with N experts, active = everything once with k. "8x7B" is not
eight models: attention, norms and vocabulary exist once. The machine builds each kind of layer of a config.json on the
meta device, sends a token through, and counts the modules that were called; transformers counted the totals in
data/models.json from its own classes.

Legend: V vocabulary, d width, H query heads, H_kv key/value heads, D head_dim, ff expert width, N experts, k per token.
"""

import functools
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from llmprep import content
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

FAMILIES = ("mixtral", "qwen3_moe", "deepseek_v3")
SHOWN = ("mixtral-8x7b", "mixtral-8x22b", "qwen3-30b-a3b", "qwen3-235b-a22b", "deepseek-v3", "kimi-k2")


def n_experts(c: dict[str, Any]) -> int:
    """The routed experts of a layer; each family has its own name for them."""
    return next(c[name] for name in ("num_local_experts", "num_experts", "n_routed_experts") if name in c)


def formula_active(total: int, c: dict[str, Any], top_k: int) -> int:
    """Take the sleeping experts away: total − (L − L_dense)·(N − k)·3·d·ff.

    Mixtral 8x7B: 46,702,792,704 − 32·(8 − 2)·3·4096·14336 = 12,879,925,248.
    """
    sparse_layers = c["num_hidden_layers"] - c.get("first_k_dense_replace", 0)
    ff = c.get("moe_intermediate_size") or c["intermediate_size"]
    return total - sparse_layers * (n_experts(c) - top_k) * 3 * c["hidden_size"] * ff


class GroupedAttention(nn.Module):
    """Weights of grouped attention; Qwen3 adds an RMSNorm of head_dim for q and k. Scores have no parameters."""

    def __init__(self, c: dict[str, Any], *, qk_norm: bool) -> None:
        super().__init__()
        d, H, self.H_kv = c["hidden_size"], c["num_attention_heads"], c["num_key_value_heads"]
        self.D = c.get("head_dim") or d // H
        self.q, self.k, self.v = (nn.Linear(d, h * self.D, bias=False) for h in (H, self.H_kv, self.H_kv))
        self.out = nn.Linear(H * self.D, d, bias=False)
        self.norms = nn.ModuleList(nn.RMSNorm(self.D) if qk_norm else nn.Identity() for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """(1, d) → the same; every weight is used, which is all that counts here."""
        q = self.norms[0](self.q(x).unflatten(-1, (-1, self.D)))  # (1, H, D)
        kv = self.norms[1](self.k(x).unflatten(-1, (-1, self.D))) + self.v(x).unflatten(-1, (-1, self.D))
        return self.out((q + kv.repeat_interleave(q.shape[1] // self.H_kv, dim=1)).flatten(1))


class LatentAttention(nn.Module):
    """Weights of MLA: queries and keys/values each through a low rank (arXiv 2412.19437, section 2.1.1)."""

    def __init__(self, c: dict[str, Any]) -> None:
        super().__init__()
        d, H, rope, value = c["hidden_size"], c["num_attention_heads"], c["qk_rope_head_dim"], c["v_head_dim"]
        nope, self.rank = c["qk_nope_head_dim"], c["kv_lora_rank"]
        self.q_down, self.q_norm = nn.Linear(d, c["q_lora_rank"], bias=False), nn.RMSNorm(c["q_lora_rank"])
        self.q_up = nn.Linear(c["q_lora_rank"], H * (nope + rope), bias=False)
        self.kv_down, self.kv_norm = nn.Linear(d, self.rank + rope, bias=False), nn.RMSNorm(self.rank)
        self.kv_up = nn.Linear(self.rank, H * (nope + value), bias=False)
        self.out = nn.Linear(H * value, d, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(1, d) → the same."""
        self.q_up(self.q_norm(self.q_down(x)))
        return self.out(self.kv_up(self.kv_norm(self.kv_down(x)[:, : self.rank]))[:, : self.out.in_features])


class SwiGLU(nn.Module):
    """An expert, or a dense FFN."""

    def __init__(self, d: int, ff: int) -> None:
        super().__init__()
        self.gate, self.up, self.down = (nn.Parameter(torch.empty(shape)) for shape in ((d, ff), (d, ff), (ff, d)))

    def forward(self, x: Tensor) -> Tensor:
        """(1, d) → the same."""
        return (nn.functional.silu(x @ self.gate) * (x @ self.up)) @ self.down


class Layer(nn.Module):
    """Attention, then N experts of which k run; N = 0 is one of DeepSeek's dense layers at the bottom."""

    def __init__(self, c: dict[str, Any], family: str, N: int, top_k: int) -> None:
        super().__init__()
        d, self.top_k = c["hidden_size"], top_k
        self.norms = nn.ModuleList(nn.RMSNorm(d) for _ in range(2))
        mla = family == "deepseek_v3"
        self.attention = LatentAttention(c) if mla else GroupedAttention(c, qk_norm=family == "qwen3_moe")
        ff = c.get("moe_intermediate_size") or c["intermediate_size"]
        self.router = nn.Linear(d, N, bias=False) if N else nn.Identity()
        self.experts = nn.ModuleList(SwiGLU(d, ff) for _ in range(N))
        always = c.get("n_shared_experts", 0) * ff if N else c["intermediate_size"]
        self.always = SwiGLU(d, always) if always else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(1, d) → the same. Which k experts run does not matter for the count, so it is the first k."""
        x = x + self.attention(self.norms[0](x))
        h = self.norms[1](x)
        self.router(h)
        return x + sum((e(h) for e in self.experts[: self.top_k]), self.always(h))


def count(module: nn.Module, x: Tensor) -> tuple[int, int]:
    """(all parameters, parameters of the modules that `x` really went through)."""
    used: dict[int, int] = {}

    def note(m: nn.Module, *_: object) -> None:
        used.update({id(w): w.numel() for w in m.parameters(recurse=False)})

    for m in module.modules():
        m.register_forward_hook(note)
    module(x)
    return sum(w.numel() for w in module.parameters()), sum(used.values())


@functools.cache
def count_model(model: str, top_k: int = 0) -> tuple[int, int]:
    """(total, active) of a model in data/models.json: each kind of layer built once, counted as often as it occurs."""
    entry = content.model(model)
    c, family = entry["config"], entry["model_type"]
    dense = c.get("first_k_dense_replace", 0)
    with torch.device("meta"), torch.no_grad():
        x, top_k = torch.empty(1, c["hidden_size"]), top_k or c["num_experts_per_tok"]
        parts = [
            (c["num_hidden_layers"] - dense, Layer(c, family, n_experts(c), top_k)),
            (dense, Layer(c, family, 0, 0)),
        ]
        parts += [(1, nn.RMSNorm(c["hidden_size"])), (2, nn.Linear(c["hidden_size"], c["vocab_size"], bias=False))]
        counts = [(times, *count(part, x)) for times, part in parts if times]  # the last is table and output head
    return sum(n * total for n, total, _ in counts), sum(n * active for n, _, active in counts)


@dataclass(frozen=True)
class Params:
    model: str = "mixtral-8x7b"  # a Mixtral, Qwen3 MoE or DeepSeek-V3 in data/models.json
    top_k: int = 0  # experts per token; 0: as released
    copied: Literal["ffn", "model"] = "ffn"  # what exists once per expert

    def __post_init__(self) -> None:
        entry = content.model(self.model)
        if entry["model_type"] not in FAMILIES:
            raise ValueError(f"model must be one of the families {', '.join(FAMILIES)}, not {self.model}")
        if not 0 <= self.top_k <= n_experts(entry["config"]):
            raise ValueError("top_k must be 0 (as released) or at most the number of experts")


def run(p: Params) -> Result:
    entry = content.model(p.model)
    total, active = count_model(p.model, p.top_k)
    if p.copied == "model":  # as if N models, each with one expert, stood side by side
        total = n_experts(entry["config"]) * count_model(p.model, 1)[1]
    top_k = p.top_k or entry["config"]["num_experts_per_tok"]
    rows = [(m, *(n / 1e9 for n in count_model(m))) for m in SHOWN]
    return Result(
        takeaway=Text(
            en=f"{p.model}: {total:,} parameters in memory, {active:,} used per token ({active / total:.1%}).",
            zh=f"{p.model}：显存里有 {total:,} 个参数，每个 token 用到 {active:,} 个（{active / total:.1%}）。",
        ),
        facts=[
            Fact("params_total", "parameters", total, entry["params_total"] if p.copied == "ffn" else None),
            Fact("params_active", "parameters", active, formula_active(entry["params_total"], entry["config"], top_k)),
            Fact("active_share", "", active / total),
            Fact("total_b", "10⁹ parameters", total / 1e9),
            Fact("active_b", "10⁹ parameters", active / 1e9),
            Fact("resident_gb", "GB", total * torch.bfloat16.itemsize / 1e9),
        ],
        table=Table(
            ("model", "total (10⁹)", "active (10⁹)", "active (%)"), [(m, t, a, 100 * a / t) for m, t, a in rows]
        ),
        plot=Plot(
            "Parameters of open mixtures of experts",
            "model",
            "10⁹",
            [Series("total", SHOWN, [r[1] for r in rows]), Series("active per token", SHOWN, [r[2] for r in rows])],
            kind="bar",
            log_y=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
