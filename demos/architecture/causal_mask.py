"""How does one triangular mask turn a Transformer into a left-to-right generator?

With later tokens masked, the logits at position t depend on tokens up to t only. Three things follow. Later tokens
change nothing that was computed before, so it can be cached. One forward pass over T tokens gives T training losses,
each the same as a separate pass over its prefix gives. And the product of the next-token probabilities is a proper
distribution over texts: it sums to 1. Take the mask away, with the same weights, and all three are lost.

Legend: B batch, T tokens, V vocabulary.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from llmprep.demos.architecture.multi_head import MultiHeadAttention
from llmprep.demos.architecture.one_head_limit import one_thread
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

START = 0  # the token that stands before every text


class Block(nn.Module):
    """Pre-norm: x + attention(norm(x)), then x + MLP(norm(x)), as in GPT-2 but without biases."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(d_model, n_heads)
        self.up, self.down = nn.Linear(d_model, 4 * d_model, bias=False), nn.Linear(4 * d_model, d_model, bias=False)
        self.norm_attention, self.norm_mlp = nn.LayerNorm(d_model), nn.LayerNorm(d_model)

    def forward(self, x: Tensor, *, causal: bool) -> Tensor:
        """(B, T, d_model) → the same."""
        x = x + self.attention(self.norm_attention(x), causal=causal)
        return x + self.down(nn.functional.gelu(self.up(self.norm_mlp(x))))


class TinyGPT(nn.Module):
    """GPT-2 in small, with the mask as a switch: off, the attention is that of BERT."""

    def __init__(self, vocab: int, context: int, d_model: int = 32, n_heads: int = 4, n_layers: int = 2) -> None:
        super().__init__()
        self.token, self.position = nn.Embedding(vocab, d_model), nn.Embedding(context, d_model)
        self.blocks = nn.ModuleList(Block(d_model, n_heads) for _ in range(n_layers))
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, vocab, bias=False)

    def forward(self, tokens: Tensor, *, causal: bool = True) -> Tensor:
        """Token ids (B, T) → logits (B, T, V)."""
        x = self.token(tokens) + self.position.weight[: tokens.shape[1]]  # (B, T, d_model)
        for block in self.blocks:
            x = block(x, causal=causal)
        return self.head(self.norm(x))


def token_log_probs(model: TinyGPT, text: Tensor, *, causal: bool) -> Tensor:
    """Teacher forcing: log p of each token of `text` (B, T), from one pass over START, x_1 … x_(T−1). (B, T)."""
    shifted = torch.cat([torch.full_like(text[:, :1], START), text[:, :-1]], dim=1)
    log_probs = model(shifted, causal=causal).log_softmax(dim=-1)  # (B, T, V)
    return log_probs.gather(-1, text[..., None])[..., 0]


def token_log_probs_by_prefix(model: TinyGPT, text: Tensor, *, causal: bool) -> Tensor:
    """The same as one would generate: T passes, each over the text so far and nothing else. (B, T)."""
    prefixes = (text[:, : t + 1] for t in range(text.shape[1]))
    return torch.stack([token_log_probs(model, prefix, causal=causal)[:, -1] for prefix in prefixes], dim=1)


def changed_earlier_logits(model: TinyGPT, text: Tensor, t: int, *, causal: bool) -> int:
    """Replace every token from t on by another; count the logits before t that change in any bit."""
    other = text.clone()
    other[:, t:] = (text[:, t:] + 1) % model.head.out_features
    before, after = (model(x, causal=causal)[:, :t] for x in (text, other))
    return int((before != after).sum())


def total_probability(model: TinyGPT, vocab: int, length: int, *, causal: bool) -> float:
    """Σ over all vocab^length texts of Π p(x_t | …), by enumeration."""
    texts = torch.cartesian_prod(*[torch.arange(vocab)] * length).view(-1, length)
    return token_log_probs(model, texts, causal=causal).sum(dim=1).exp().sum().item()


@dataclass(frozen=True)
class Params:
    causal: bool = True
    seq_len: int = 64  # tokens of the text whose losses are compared
    vocab: int = 3  # tokens in the vocabulary
    enumerated_len: int = 4  # tokens of the texts that are all enumerated
    seed: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.seq_len <= 256:
            raise ValueError("seq_len must be between 2 and 256")
        if self.vocab < 2 or self.enumerated_len < 2 or self.vocab**self.enumerated_len > 4096:
            raise ValueError("vocab and enumerated_len must be at least 2, and vocab**enumerated_len at most 4,096")


def run(p: Params) -> Result:
    rows = []
    with torch.random.fork_rng(devices=[]), torch.no_grad(), one_thread():
        torch.manual_seed(p.seed)
        model = TinyGPT(p.vocab, max(p.seq_len, p.enumerated_len)).double()
        text = torch.randint(p.vocab, (1, p.seq_len))
        for causal in (True, False):
            apart = token_log_probs(model, text, causal=causal) - token_log_probs_by_prefix(model, text, causal=causal)
            usable = int((apart.abs() < 1e-9).sum())
            changed = changed_earlier_logits(model, text, p.seq_len // 2, causal=causal)
            total = total_probability(model, p.vocab, p.enumerated_len, causal=causal)
            rows.append(("causal" if causal else "none", usable, changed, total))
    _, usable, changed, total = rows[0 if p.causal else 1]

    T, texts = p.seq_len, p.vocab**p.enumerated_len
    facts = [
        Fact(
            "losses_per_forward", "losses", usable, predicted=T if p.causal else 1
        ),  # unmasked, only the last is honest
        Fact("changed_earlier_logits", "logits", changed, predicted=0 if p.causal else None),
        Fact("total_probability", "", total, predicted=1 if p.causal else None, atol=1e-9),
        Fact("texts", "texts", texts),
    ]
    mask_en, mask_zh = ("With the causal mask", "有因果掩码") if p.causal else ("Without a mask", "没有掩码")
    return Result(
        takeaway=Text(
            en=f"{mask_en}, one pass over {T} tokens gives {usable} losses that agree with generating; other later "
            f"tokens change {changed:,} earlier logits; the probabilities of all {texts:,} texts sum to {total:.3f}.",
            zh=f"{mask_zh}时，一次前向（{T} 个 token）得到 {usable} 个与逐步生成一致的 loss；换掉后面的 token，"
            f"前面的 logit 有 {changed:,} 个改变；全部 {texts:,} 种文本的概率之和为 {total:.3f}。",
        ),
        facts=facts,
        table=Table(("mask", "losses per pass", "changed earlier logits", "total probability"), rows),
        plot=Plot(
            f"Honest losses from one pass over {T} tokens",
            "mask",
            "losses",
            [Series("losses", [row[0] for row in rows], [row[1] for row in rows])],
            kind="bar",
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
