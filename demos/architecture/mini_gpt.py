"""Can a GPT be written on one page, and what must hold before it is trained?

Embed tokens and positions; L blocks, each adding attention and then an MLP to the residual stream; one last norm; and
the token table again as output layer (weight tying). The layer names are those of GPT-2, so that its weights fit in.
Three checks need no training. The parameters must add up to (V + T)·d + L·(12d² + 13d) + 2d, which for the shape of
GPT-2 is GPT-2's own number. Other tokens at the end must not move a single earlier logit. And the first loss must be
ln V, as of a model that guesses: with tables as large as torch makes them it starts far above.

Legend: B batch, T tokens (at most the context), d width, H heads, V vocabulary, L layers.
"""

import math
from collections import Counter
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmprep import content
from llmprep.demos.architecture.attention import attention
from llmprep.lab import Fact, Plot, Result, Series, Table, Text


class CausalSelfAttention(nn.Module):
    """Multi-head attention; softmax(QKᵀ/√D)·V itself, with its mask, is in architecture/attention."""

    def __init__(self, d: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.c_attn = nn.Linear(d, 3 * d)  # W_Q, W_K and W_V of all heads in one matrix
        self.c_proj = nn.Linear(d, d)  # W_O

    def forward(self, x: Tensor, *, causal: bool = True) -> Tensor:
        """(B, T, d) → the same."""
        q, k, v = self.c_attn(x).unflatten(-1, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)  # (B, H, T, d/H) each
        return self.c_proj(attention(q, k, v, causal=causal).transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Four times as wide inside, GELU, for each token alone."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.c_fc, self.c_proj = nn.Linear(d, 4 * d), nn.Linear(4 * d, d)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, d) → the same."""
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class Block(nn.Module):
    """Pre-norm: what runs from block to block is a plain sum."""

    def __init__(self, d: int, n_heads: int) -> None:
        super().__init__()
        self.ln_1, self.attn = nn.LayerNorm(d), CausalSelfAttention(d, n_heads)
        self.ln_2, self.mlp = nn.LayerNorm(d), MLP(d)

    def forward(self, x: Tensor, *, causal: bool = True) -> Tensor:
        """(B, T, d) → the same."""
        x = x + self.attn(self.ln_1(x), causal=causal)
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    """GPT-2 in small: section 2.3 of its paper, without dropout."""

    def __init__(
        self,
        vocab_size: int,
        context: int,
        d: int,
        n_heads: int,
        n_layers: int,
        *,
        tied: bool = True,
        embedding_std: float = 0.02,
    ) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocab_size, d), nn.Embedding(context, d)
        self.h = nn.ModuleList(Block(d, n_heads) for _ in range(n_layers))
        self.ln_f = nn.LayerNorm(d)
        self.lm_head = nn.Linear(d, vocab_size, bias=False)
        for table in (self.wte, self.wpe, self.lm_head):  # small: the first guess is nearly even
            nn.init.normal_(table.weight, std=embedding_std)
        for name, w in self.h.named_parameters():
            if w.ndim == 2:  # keeps the variance of what comes in; each block adds twice, so that adds less
                shrink = math.sqrt(2 * n_layers) if "c_proj" in name else 1
                nn.init.normal_(w, std=1 / (shrink * math.sqrt(w.shape[1])))
            elif name.endswith("bias"):
                nn.init.zeros_(w)
        if tied:
            self.lm_head.weight = self.wte.weight  # one table reads tokens in and scores them at the end

    def forward(self, tokens: Tensor, *, causal: bool = True) -> Tensor:
        """Token ids (B, T) → logits (B, T, V) of the token after each."""
        x = self.wte(tokens) + self.wpe.weight[: tokens.shape[1]]  # (B, T, d)
        for block in self.h:
            x = block(x, causal=causal)
        return self.lm_head(self.ln_f(x))

    @torch.no_grad()
    def generate(self, tokens: Tensor, n: int, *, causal: bool = True) -> Tensor:
        """Append n sampled tokens to (B, T), looking back as far as there are positions."""
        for _ in range(n):
            logits = self(tokens[:, -self.wpe.num_embeddings :], causal=causal)[:, -1]  # (B, V)
            tokens = torch.cat([tokens, torch.multinomial(logits.softmax(-1), 1)], dim=1)
        return tokens


def formula_parameters(vocab_size: int, context: int, d: int, n_layers: int, *, tied: bool = True) -> int:
    """(V + T)·d + L·(12d² + 13d) + 2d, and V·d more untied. GPT-2: V 50,257, T 1,024, d 768, L 12: 124,439,808."""
    return (vocab_size * (1 if tied else 2) + context) * d + n_layers * (12 * d * d + 13 * d) + 2 * d


def next_token_loss(model: GPT, windows: Tensor, *, causal: bool = True) -> Tensor:
    """Mean cross-entropy in nats of tokens 1 … T given those before, for windows (B, T + 1)."""
    return F.cross_entropy(model(windows[:, :-1], causal=causal).flatten(0, 1), windows[:, 1:].flatten())


def changed_earlier_logits(model: GPT, tokens: Tensor, *, causal: bool = True) -> int:
    """Exchange the second half of (B, T), and count the logits in the first half that move."""
    half = tokens.shape[1] // 2
    other = torch.cat([tokens[:, :half], tokens[:, half:].flip(1)], dim=1)
    with torch.no_grad():
        moved = model(tokens, causal=causal)[:, :half] - model(other, causal=causal)[:, :half]
    return int((moved.abs() > 1e-4).sum())


def count_parameters(model: GPT) -> Counter[str]:
    """The weights of each part, by its name in GPT-2; a shared table counts once."""
    counts: Counter[str] = Counter()
    for name, w in model.named_parameters():
        counts[next(part for part in ("wte", "wpe", "attn", "mlp", "ln_", "lm_head") if part in name)] += w.numel()
    return counts


@dataclass(frozen=True)
class Params:
    model: str = "gpt2"  # whose shape is built without storage; a name of the GPT-2 family in data/models.json
    tied: bool = True  # false: the output layer has a table of its own
    causal: bool = True  # false: someone forgot the mask; of the small model that really runs
    embedding_std: float = 0.02  # of its tables; 1 is torch's default for nn.Embedding
    vocab_size: int = 256  # of the small model: bytes
    seed: int = 0

    def __post_init__(self) -> None:
        if content.model(self.model)["model_type"] != "gpt2":
            raise ValueError(f"model must be of the GPT-2 family, not {self.model}")
        if not 16 <= self.vocab_size <= 4096 or not 0.001 <= self.embedding_std <= 1:
            raise ValueError("vocab_size must be between 16 and 4,096, embedding_std between 0.001 and 1")


def run(p: Params) -> Result:
    c, published = content.model(p.model)["config"], content.model(p.model)["params_total"]
    V, context, d, n_layers = c["vocab_size"], c["n_positions"], c["n_embd"], c["n_layer"]
    with torch.device("meta"):  # without storage
        parts = count_parameters(GPT(V, context, d, c["n_head"], n_layers, tied=p.tied))
    built = parts.total()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(p.seed)
        model = GPT(p.vocab_size, 32, 64, 4, 2, tied=p.tied, embedding_std=p.embedding_std)
        tokens = torch.randint(p.vocab_size, (32, 33))
        start = next_token_loss(model, tokens, causal=p.causal).item()
        changed = changed_earlier_logits(model, tokens[:, :-1], causal=p.causal)

    guessing = math.log(p.vocab_size)
    return Result(
        takeaway=Text(
            en=f"Built in the shape of {p.model}: {built:,} parameters (published: {published:,}). A small one starts "
            f"at {start:.2f} nats, guessing among {p.vocab_size:,} costs {guessing:.2f}; other later tokens change "
            f"{changed:,} earlier logits.",
            zh=f"按 {p.model} 的形状搭出来：{built:,} 个参数（公布值 {published:,}）。小模型的起始损失为 "
            f"{start:.2f} nats，在 {p.vocab_size:,} 个 token 中均匀乱猜是 {guessing:.2f}；"
            f"换掉后面的 token，前面的 logits 有 {changed:,} 个改变。",
        ),
        facts=[
            Fact("parameters", "", built, predicted=formula_parameters(V, context, d, n_layers, tied=p.tied)),
            Fact("published_parameters", "", published),
            Fact("parameters_too_many", "", built - published, predicted=0 if p.tied else V * d),
            Fact("guessing_loss", "nats", guessing),
            Fact("start_loss", "nats", start, guessing if p.embedding_std <= 0.02 else None, atol=0.15),
            Fact("changed_earlier_logits", "logits", changed, predicted=0 if p.causal else None),
        ],
        table=Table(("part", "parameters", "share"), [(name, n, n / built) for name, n in parts.items()]),
        plot=Plot(
            f"Parameters of a GPT in the shape of {p.model}",
            "part",
            "parameters",
            [Series(p.model, list(parts), list(parts.values()))],
            kind="bar",
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
