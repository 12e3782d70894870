"""What happens to a model on texts longer than those it was trained on, for each way to encode position?

Tiny decoders, alike but for the position scheme, are really trained on texts of T tokens and tested on 4·T. What is to
be learned is local and the same at every place: the next token follows from the last two by a random rule (9 times of
10), while the last token alone says nothing about it. The entropy of that source is the floor that no model can beat.
A position vector that was never trained (learned) or never seen (sinusoidal) spoils the later tokens, and so do
distances that RoPE never turned through. ALiBi subtracts its penalty there as everywhere. Without positions a model has
only the causal mask to count with.

Legend: B batch, T tokens, H heads, D head_dim, V vocabulary.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmprep.demos.architecture import alibi
from llmprep.demos.architecture.one_head_limit import one_thread
from llmprep.demos.architecture.rope import frequencies, rotate
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

V, D_MODEL, N_HEADS, BATCH, LONGER = 4, 32, 4, 32, 4
RULE = 0.9  # how often the next token follows the rule; otherwise it is any token
Scheme = Literal["none", "learned", "sinusoidal", "rope", "alibi"]


def sinusoids(T: int, d_model: int) -> Tensor:
    """sin(m·θ_i) and cos(m·θ_i) side by side, (T, d_model): arXiv 1706.03762, section 3.5."""
    angle = torch.arange(T, dtype=torch.float64)[:, None] * frequencies(d_model)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1).float()


class Decoder(nn.Module):
    """One pre-norm block; the schemes differ in what they touch: the input, q and k, or the scores."""

    def __init__(self, scheme: Scheme, context: int, n_heads: int = N_HEADS) -> None:
        super().__init__()
        self.scheme, self.n_heads = scheme, n_heads
        self.theta = frequencies(D_MODEL // n_heads)  # of RoPE
        self.token = nn.Embedding(V, D_MODEL)
        self.position = nn.Embedding(context, D_MODEL)  # used by the learned scheme only
        self.qkv, self.out = nn.Linear(D_MODEL, 3 * D_MODEL, bias=False), nn.Linear(D_MODEL, D_MODEL, bias=False)
        self.mlp = nn.Sequential(nn.Linear(D_MODEL, 4 * D_MODEL), nn.GELU(), nn.Linear(4 * D_MODEL, D_MODEL))
        self.norms = nn.ModuleList(nn.LayerNorm(D_MODEL) for _ in range(3))
        self.head = nn.Linear(D_MODEL, V, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Token ids (B, T) → logits (B, T, V)."""
        T = tokens.shape[1]
        x = self.token(tokens)  # (B, T, d_model)
        if self.scheme == "learned":
            x = x + self.position.weight[:T]
        if self.scheme == "sinusoidal":
            x = x + sinusoids(T, D_MODEL)
        x = x + self.attend(self.norms[0](x))
        x = x + self.mlp(self.norms[1](x))
        return self.head(self.norms[2](x))

    def attend(self, x: Tensor) -> Tensor:
        """(B, T, d_model) → the same."""
        T = x.shape[1]
        q, k, v = self.qkv(x).unflatten(-1, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)  # (B, H, T, D) each
        bias = torch.zeros(self.n_heads, T, T)
        if self.scheme == "rope":
            q, k = (rotate(t, torch.arange(T), self.theta) for t in (q, k))
        if self.scheme == "alibi":
            bias = alibi.bias(self.n_heads, T).float()
        bias = bias.masked_fill(torch.ones(T, T, dtype=torch.bool).triu(1), -torch.inf)
        weights = (q @ k.mT / q.shape[-1] ** 0.5 + bias).softmax(dim=-1)  # (B, H, T, T)
        return self.out((weights @ v).transpose(1, 2).flatten(2))


def random_source() -> Tensor:
    """P(next | last two), (V, V, V): for each last token, a permutation of the one before it, with some noise."""
    rule = torch.stack([torch.randperm(V) for _ in range(V)], dim=1)  # rule[a, b] is what follows a, b
    return (1 - RULE) / V + RULE * F.one_hot(rule, V).float()


def formula_entropy() -> float:
    """−Σ p·ln p in nats per token: one token has probability 0.9 + 0.1/V, each other one 0.1/V."""
    other = (1 - RULE) / V
    return -(RULE + other) * math.log(RULE + other) - (V - 1) * other * math.log(other)


def sample(source: Tensor, n: int, T: int) -> Tensor:
    """Texts of T tokens from the source, (n, T)."""
    text = torch.randint(V, (n, 2))
    while text.shape[1] < T:
        text = torch.cat([text, torch.multinomial(source[text[:, -2], text[:, -1]], 1)], dim=1)
    return text


def surprise(source: Tensor, text: Tensor) -> Tensor:
    """−log p of each token from the third on, under the source itself, (n, T − 2) nats."""
    return -source[text[:, :-2], text[:, 1:-1], text[:, 2:]].log()


def next_token_losses(model: nn.Module, text: Tensor) -> Tensor:
    """Cross-entropy at each place, (n, T − 2) nats: the tokens from the third on, as in `surprise`."""
    return F.cross_entropy(model(text[:, :-1]).mT, text[:, 1:], reduction="none")[:, 1:]


def train(model: nn.Module, texts: Tensor, steps: int, lr: float = 0.01, batch: int = BATCH) -> None:
    """Adam on random batches, the learning rate falling to a tenth."""
    optimiser = torch.optim.Adam(model.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.1, total_iters=steps)
    for _ in range(steps):
        loss = next_token_losses(model, texts[torch.randint(len(texts), (batch,))]).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()


@dataclass(frozen=True)
class Params:
    position: Scheme = "alibi"
    trained_len: int = 16  # tokens in a training text; tested on four times as many
    steps: int = 150
    n_seeds: int = 3  # models, each trained on a source of its own
    seed: int = 0  # of the first

    def __post_init__(self) -> None:
        if not 16 <= self.trained_len <= 32:
            raise ValueError("trained_len must be between 16 and 32")
        if not 150 <= self.steps <= 400 or not 1 <= self.n_seeds <= 5:
            raise ValueError("steps must be between 150 and 400, n_seeds between 1 and 5")


def run(p: Params) -> Result:
    T, losses, floors = p.trained_len, [], []
    for seed in range(p.seed, p.seed + p.n_seeds):
        with torch.random.fork_rng(devices=[]), one_thread():
            torch.manual_seed(seed)
            source = random_source()
            training, test = sample(source, 2048, T), sample(source, 512, LONGER * T)
            torch.manual_seed(seed)
            model = Decoder(p.position, LONGER * T)
            train(model, training, p.steps)
            with torch.no_grad():
                excess = (next_token_losses(model, test) - surprise(source, test)).mean(dim=0)
        losses.append(excess)
        floors.append(surprise(source, test).mean().item())
    inside = [x[: T - 2].mean().item() for x in losses]  # places that training has seen
    beyond = [x[T - 2 :].mean().item() for x in losses]

    def mean(values: list[float]) -> float:
        return sum(values) / len(values)

    def row(name: str, start: int, end: int) -> tuple[str, float, float, float]:
        each = [x[start - 2 : end - 2].mean().item() for x in losses]
        return name, mean(each), min(each), max(each)

    average = torch.stack(losses).mean(dim=0)
    return Result(
        takeaway=Text(
            en=f"Position scheme {p.position}, trained on {T} tokens: {mean(inside):.2f} nats above the entropy within "
            f"that length, {mean(beyond):.2f} beyond it "
            f"({min(beyond):.2f} to {max(beyond):.2f} over {p.n_seeds} seeds).",
            zh=f"位置方案 {p.position}，用长 {T} 的文本训练：训练长度以内比熵高 {mean(inside):.2f} nats，"
            f"超出之后高 {mean(beyond):.2f} nats（{p.n_seeds} 个 seed，{min(beyond):.2f} 到 {max(beyond):.2f}）。",
        ),
        facts=[
            Fact(
                "entropy", "nats", mean(floors), predicted=formula_entropy(), atol=0.05
            ),  # the floor, on the test texts
            Fact("excess_of_guessing", "nats", math.log(V) - formula_entropy()),
            Fact("excess_inside", "nats", mean(inside)),
            Fact("excess_beyond", "nats", mean(beyond)),
            Fact("excess_beyond_lowest", "nats", min(beyond)),
            Fact("excess_beyond_highest", "nats", max(beyond)),
            Fact("test_len", "tokens", LONGER * T),
        ],
        table=Table(
            ("place in the text", "loss above the entropy (nats)", "lowest seed", "highest seed"),
            [
                row(f"3 to {T} (trained)", 2, T),
                row(f"{T + 1} to {2 * T}", T, 2 * T),
                row(f"{2 * T + 1} to {LONGER * T}", 2 * T, LONGER * T),
            ],
        ),
        plot=Plot(
            f"{p.position}, trained on {T} tokens",
            "place in the text",
            "loss above the entropy (nats)",
            [Series(f"mean of {p.n_seeds} seeds", list(range(3, LONGER * T + 1)), average.tolist())],
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
