"""How many parameters does a model of this shape have, and where do they sit?

A decoder is a token table, L equal layers, one last norm and an output head, which may be the table once more. Only
the matrices weigh: four for attention and two or three for the FFN in each layer. So multiply widths and add up.
With d_ff = 4d and no grouped heads a layer is 12d² and the model 12·L·d² + V·d. The machine builds the modules of a
config.json on the meta device, where a weight has a shape but no memory, sends tokens through to see that the
shapes fit, and counts.

Legend: V vocabulary, L layers, d width, H query heads, H_kv key/value heads, D head_dim, ff FFN width, T tokens.
"""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from llmprep import content
from llmprep.calc import families
from llmprep.calc.shapes import Shape
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

BUILT = ("gpt2", "llama", "mistral", "qwen2", "qwen3")  # the families whose modules stand below


def gpt2_by_hand(V: int, L: int, d: int, n_positions: int, n_tables: int) -> int:
    """A layer has 12d² in matrices, 9d in their biases and 4d in two LayerNorms. GPT-2: 124,439,808."""
    return n_tables * V * d + n_positions * d + L * (12 * d * d + 13 * d) + 2 * d


def llama_by_hand(V: int, L: int, d: int, *, H: int, H_kv: int, D: int, ff: int, n_tables: int) -> int:
    """W_q and W_out are d × H·D, W_k and W_v d × H_kv·D, three FFN matrices d × ff; two RMSNorms of d; no bias.

    Llama-3-8B: 2·128256·4096 + 32·(2·4096²·(1 + 8/32) + 3·4096·14336 + 2·4096) + 4096 = 8,030,261,248.
    """
    return n_tables * V * d + L * (2 * d * D * (H + H_kv) + 3 * d * ff + 2 * d) + d


def by_hand(s: Shape) -> int:
    """The right formula for a shape; Qwen2 adds a bias to q, k, v, Qwen3 an RMSNorm of head_dim for q and for k."""
    V, L, d, n_tables = s.vocab_size, s.n_layers, s.d_model, 1 if s.tied else 2
    if s.family == "gpt2":
        return gpt2_by_hand(V, L, d, s.context or 0, n_tables)
    a, ff = s.attention, s.feed_forward.d_ff
    extra = a.qkv_bias * (a.q_dim + 2 * a.kv_dim) + bool(a.qk_norm) * 2 * a.head_dim
    return llama_by_hand(V, L, d, H=a.n_heads, H_kv=a.n_kv_heads, D=a.head_dim, ff=ff, n_tables=n_tables) + L * extra


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention, (B, H, T, D) and (B, H_kv, T, D) → (B, T, H·D), in matmuls that a FLOP counter sees."""
    T, group = q.shape[-2], q.shape[1] // k.shape[1]
    future = torch.full((T, T), -math.inf, dtype=q.dtype, device=q.device).triu(1)
    k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)  # (B, H, T, D)
    weights = (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]) + future).softmax(-1)  # (B, H, T, T)
    return (weights @ v).transpose(1, 2).flatten(2)


class GPT2Layer(nn.Module):
    """LayerNorm, biases, one projection for q, k and v, an FFN of width 4d."""

    def __init__(self, c: dict[str, Any]) -> None:
        super().__init__()
        d, self.n_heads = c["n_embd"], c["n_head"]
        self.attention = nn.ModuleDict({"qkv": nn.Linear(d, 3 * d), "out": nn.Linear(d, d)})
        self.ffn = nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d))
        self.norms = nn.ModuleList(nn.LayerNorm(d) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, d) → the same shape."""
        qkv = self.attention["qkv"](self.norms[0](x)).chunk(3, dim=-1)
        q, k, v = (t.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for t in qkv)  # (B, H, T, D)
        x = x + self.attention["out"](attend(q, k, v))
        return x + self.ffn(self.norms[1](x))


class LlamaLayer(nn.Module):
    """RMSNorm, grouped heads, SwiGLU, no bias but Qwen2's. RoPE has no parameters, so it is left out here."""

    def __init__(self, c: dict[str, Any], family: str) -> None:
        super().__init__()
        d, ff, D = c["hidden_size"], c["intermediate_size"], c.get("head_dim")
        self.head_dim = D = D or d // c["num_attention_heads"]
        heads = {"q": c["num_attention_heads"], "k": c["num_key_value_heads"], "v": c["num_key_value_heads"]}
        self.attention = nn.ModuleDict({n: nn.Linear(d, h * D, bias=family == "qwen2") for n, h in heads.items()})
        self.attention["out"] = nn.Linear(heads["q"] * D, d, bias=False)
        self.ffn = nn.ModuleDict({name: nn.Linear(d, ff, bias=False) for name in ("gate", "up")})
        self.ffn["down"] = nn.Linear(ff, d, bias=False)
        self.norms = nn.ModuleList(nn.RMSNorm(d) for _ in range(2))
        self.norms.extend(nn.RMSNorm(D) if family == "qwen3" else nn.Identity() for _ in "qk")

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, d) → the same shape."""
        h = self.norms[0](x)
        q, k, v = (self.attention[n](h).unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for n in "qkv")
        x = x + self.attention["out"](attend(self.norms[2](q), self.norms[3](k), v))
        h = self.norms[1](x)
        return x + self.ffn["down"](nn.functional.silu(self.ffn["gate"](h)) * self.ffn["up"](h))


class Decoder(nn.Module):
    """The whole model of a config.json."""

    def __init__(self, c: dict[str, Any], family: str) -> None:
        super().__init__()
        gpt2 = family == "gpt2"
        d, n_layers = (c["n_embd"], c["n_layer"]) if gpt2 else (c["hidden_size"], c["num_hidden_layers"])
        self.tokens = nn.Embedding(c["vocab_size"], d)
        self.positions = nn.Embedding(c["n_positions"], d) if gpt2 else None
        self.layers = nn.ModuleList(GPT2Layer(c) if gpt2 else LlamaLayer(c, family) for _ in range(n_layers))
        self.norms = nn.LayerNorm(d) if gpt2 else nn.RMSNorm(d)
        self.head = nn.Linear(d, c["vocab_size"], bias=False)
        if c["tie_word_embeddings"]:
            self.head.weight = self.tokens.weight

    def forward(self, ids: Tensor) -> Tensor:
        """(B, T) token ids → (B, T, V) logits."""
        x = self.tokens(ids)
        if self.positions is not None:
            x = x + self.positions(torch.arange(ids.shape[1], device=ids.device))
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norms(x))


def count_built(c: dict[str, Any], family: str) -> Counter[str]:
    """Build on the meta device, run 8 tokens through, count each parameter once, under the part it belongs to."""
    with torch.device("meta"), torch.no_grad():
        model = Decoder(c, family)
        assert model(torch.zeros(1, 8, dtype=torch.long)).shape == (1, 8, c["vocab_size"])
    parts: Counter[str] = Counter()
    for name, parameter in model.named_parameters():  # a tied weight is listed once
        part = next(p for p in ("tokens", "positions", "attention", "ffn", "norms", "head") if p in name.split("."))
        parts[part] += parameter.numel()
    return parts


@dataclass(frozen=True)
class Params:
    model: str = "llama-3-8b"  # a name in data/models.json
    vocab_size: int = 0  # 0: as released
    n_kv_heads: int = 0  # 0: as released
    head: Literal["as released", "tied", "separate"] = "as released"

    def __post_init__(self) -> None:
        if self.vocab_size < 0 or self.n_kv_heads < 0:
            raise ValueError("vocab_size and n_kv_heads must be positive, or 0 for the released value")
        shape = families.of(self.model)
        divides = shape.attention.n_heads % (self.n_kv_heads or 1) == 0
        if shape.family not in BUILT or not divides or (shape.family == "gpt2" and self.n_kv_heads):
            raise ValueError(f"model must be one of {BUILT}, n_kv_heads must divide its heads and be 0 for GPT-2")

    @property
    def config(self) -> dict[str, Any]:
        """The config.json with these changes."""
        changes = {"vocab_size": self.vocab_size, "num_key_value_heads": self.n_kv_heads}
        config = content.model(self.model)["config"] | {k: v for k, v in changes.items() if v}
        return config if self.head == "as released" else config | {"tie_word_embeddings": self.head == "tied"}


def run(p: Params) -> Result:
    entry = content.model(p.model)
    shape = families.shape(p.config, entry["model_type"])
    parts = count_built(p.config, entry["model_type"])
    total, tables = parts.total(), parts["tokens"] + parts["head"]
    V, L, d, n_tables = shape.vocab_size, shape.n_layers, shape.d_model, 1 if shape.tied else 2
    facts = [
        Fact("params_total", "parameters", total, predicted=by_hand(shape)),
        Fact("off_transformers", "parameters", total - entry["params_total"], 0 if p == Params(p.model) else None),
        Fact("vocabulary_share", "", tables / total, n_tables * V * d / by_hand(shape)),
        Fact("ffn_share", "", parts["ffn"] / (parts["ffn"] + parts["attention"])),
        Fact("rule_error", "", (12 * L * d * d + V * d) / total - 1),
    ]
    share, error = f"{tables / total:.1%}", f"{facts[-1].measured:+.2%}"
    sizes = [2**i for i in range(13, 19)]
    shares = [100 * n_tables * v * d / (total - tables + n_tables * v * d) for v in sizes]
    return Result(
        takeaway=Text(
            en=f"{p.model} has {total:,} parameters, counted on the built modules and by hand alike; {share} of them "
            f"sit in the vocabulary tables, and 12·L·d² + V·d is off by {error}.",
            zh=f"{p.model} 共有 {total:,} 个参数，逐个模块数与手算一致；其中 {share} 在词表矩阵里，"
            f"用 12·L·d² + V·d 估算的误差为 {error}。",
        ),
        facts=facts,
        table=Table(("part", "parameters", "share (%)"), [(n, c, 100 * c / total) for n, c in parts.most_common()]),
        plot=Plot(
            f"Vocabulary tables of {p.model}, other widths unchanged",
            "vocabulary (tokens)",
            "share of parameters (%)",
            [Series("tied table" if shape.tied else "table and separate head", sizes, shares)],
            log_x=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
