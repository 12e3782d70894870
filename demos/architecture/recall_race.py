"""Can a small GRU look up what it has read, as one attention layer can?

A text lists pairs of a key and a value, in random order, and then asks for the value of one of the keys. A recurrent
network must squeeze all pairs into a state of fixed size before it knows which one will be asked; attention keeps
every pair and compares the question with all of them. Both are trained in the same way, from the same embeddings;
the GRU even has more weights. A reader that knows which values occurred, but not which key each belonged to, does
best by naming the commonest: that bar stands beside the results. What is compared is what each learns in this budget,
not what it could hold in theory.

Legend: B texts, N pairs, D channels.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from llmprep.lab import Fact, Plot, Result, Series, Table, Text

N_KEYS, N_VALUES, BATCH, N_TEST = 64, 8, 64, 1000


def lookup_task(batch: int, n_pairs: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Distinct keys (B, N), their values (B, N), the key that is asked for (B,), and the answer (B,)."""
    keys = torch.rand(batch, N_KEYS).argsort(dim=1)[:, :n_pairs]
    values = torch.randint(N_VALUES, (batch, n_pairs))
    asked = torch.randint(n_pairs, (batch, 1))
    return keys, values, keys.gather(1, asked)[:, 0], values.gather(1, asked)[:, 0]


def best_without_keys(n_pairs: int) -> float:
    """Accuracy of always naming the commonest value of the text, on fresh texts. Two pairs: (1 + 1/8)/2 = 56%."""
    _, values, _, answer = lookup_task(20 * N_TEST, n_pairs)
    counts = nn.functional.one_hot(values, N_VALUES).sum(dim=1)  # (B, N_VALUES)
    return (counts.argmax(dim=1) == answer).float().mean().item()


class Reader(nn.Module):
    """Embeds each pair as one token and the question as the last; `read` turns them into one vector."""

    def __init__(self, D: int) -> None:
        super().__init__()
        self.key, self.value = nn.Embedding(N_KEYS, D), nn.Embedding(N_VALUES, D)
        self.head = nn.Linear(D, N_VALUES)

    def forward(self, keys: Tensor, values: Tensor, asked: Tensor) -> Tensor:
        """→ logits (B, N_VALUES)."""
        pairs = self.key(keys) + self.value(values)  # (B, N, D)
        return self.head(self.read(torch.cat([pairs, self.key(asked)[:, None]], dim=1)))


class GruReader(Reader):
    """Reads from left to right; its memory is the last state."""

    def __init__(self, D: int) -> None:
        super().__init__(D)
        self.mixer = nn.GRU(D, D)

    def read(self, x: Tensor) -> Tensor:
        """(B, N + 1, D) → (B, D)."""
        outputs, _ = self.mixer(x.transpose(0, 1))
        return outputs[-1]


class AttentionReader(Reader):
    """One head, the question attends to everything; no positions: the order of the pairs means nothing."""

    def __init__(self, D: int) -> None:
        super().__init__(D)
        self.mixer = nn.ModuleList(nn.Linear(D, D, bias=False) for _ in range(3))

    def read(self, x: Tensor) -> Tensor:
        """(B, N + 1, D) → (B, D)."""
        wq, wk, wv = self.mixer
        scores = wq(x[:, -1:]) @ wk(x).mT / math.sqrt(x.shape[-1])  # (B, 1, N + 1)
        return (scores.softmax(dim=-1) @ wv(x))[:, 0]


def train(model: Reader, n_pairs: int, steps: int) -> float:
    """Train on fresh texts, and return the accuracy on new ones."""
    optimiser = torch.optim.Adam(model.parameters(), lr=0.005)
    for _ in range(steps):
        *text, answer = lookup_task(BATCH, n_pairs)
        loss = nn.functional.cross_entropy(model(*text), answer)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    with torch.no_grad():
        *text, answer = lookup_task(N_TEST, n_pairs)
        return (model(*text).argmax(dim=-1) == answer).float().mean().item()


@dataclass(frozen=True)
class Params:
    reader: Literal["gru", "attention"] = "gru"
    n_pairs: int = 8  # N, of 64 keys and 8 values
    D: int = 32
    train_steps: int = 250  # of Adam, on 64 fresh texts each
    seeds: int = 2  # runs, with seeds 0, 1, …

    def __post_init__(self) -> None:
        if not 1 <= self.n_pairs <= 32 or not 8 <= self.D <= 64:
            raise ValueError("n_pairs must be between 1 and 32, D between 8 and 64")
        if not 1 <= self.train_steps <= 500 or not 1 <= self.seeds <= 4:
            raise ValueError("train_steps must be between 1 and 500, seeds between 1 and 4: it is really trained")


def run(p: Params) -> Result:
    make = {"gru": GruReader, "attention": AttentionReader}[p.reader]
    accuracies = []
    for seed in range(p.seeds):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = make(p.D)
            accuracies.append(train(model, p.n_pairs, p.train_steps))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(p.seeds)
        bar = best_without_keys(p.n_pairs)
    lowest, highest = min(accuracies), max(accuracies)
    weights = sum(w.numel() for w in model.mixer.parameters())
    return Result(
        takeaway=Text(
            en=f"{p.reader}, {p.D} channels: after {p.train_steps} training steps it looks up one of {p.n_pairs} pairs "
            f"with an accuracy of {lowest:.1%} to {highest:.1%} ({p.seeds} seeds; "
            f"{bar:.1%} without knowing which value belongs to which key).",
            zh=f"{p.reader}，{p.D} 个通道：训练 {p.train_steps} 步后，从 {p.n_pairs} 个键值对里查一个，准确率 "
            f"{lowest:.1%} 到 {highest:.1%}（{p.seeds} 个 seed；"
            f"只记得有哪些值、不知道谁配谁，可得 {bar:.1%}）。",
        ),
        facts=[
            Fact("lowest_accuracy", "", lowest),
            Fact("highest_accuracy", "", highest),
            Fact("best_without_keys", "", bar),
            Fact(
                "mixer_weights",  # without embeddings and head
                "weights",
                weights,
                predicted=6 * p.D**2 + 6 * p.D if p.reader == "gru" else 3 * p.D**2,
            ),
        ],
        table=Table(("seed", "accuracy"), list(enumerate(accuracies))),
        plot=Plot(
            f"Looking up one of {p.n_pairs} pairs ({p.reader})",
            "seed",
            "accuracy",
            [Series("trained", [str(s) for s in range(p.seeds)], accuracies)],
            kind="bar",
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
