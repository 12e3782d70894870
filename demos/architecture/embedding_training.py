"""How do random embeddings come to mean something?

Nothing tells a model which tokens are alike. But two tokens that are followed by the same things need the same
predictions, so gradient descent pushes their rows in the same directions, and they end up close. Here a language of
classes is made up: the class of a token decides the class of the next one, the token within it is drawn at random.
The model, a table and a linear head, never sees the classes. With contexts=own every token has followers of its own,
the classes mean nothing, and no likeness appears.

Legend: V tokens in classes of equal size, d width, B·steps tokens seen.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def make_language(n_classes: int, per_class: int, *, shared: bool) -> Tensor:
    """Next-token probabilities (V, V): a token is followed by three classes; tokens of a class share them or not."""
    V = n_classes * per_class
    rows = n_classes if shared else V
    chosen = torch.rand(rows, n_classes).topk(3).indices  # (rows, 3)
    classes = torch.zeros(rows, n_classes).scatter(1, chosen, 1 / 3)
    if shared:
        classes = classes.repeat_interleave(per_class, dim=0)  # (V, n_classes)
    return classes.repeat_interleave(per_class, dim=1) / per_class  # (V, V)


def cosine_gap(table: Tensor, per_class: int) -> tuple[float, float]:
    """Mean cosine within a class, and between classes; a token with itself is left out."""
    V = table.shape[0]
    rows = F.normalize(table - table.mean(0), dim=1)
    cosines = rows @ rows.T  # (V, V)
    label = torch.arange(V) // per_class
    same = label[:, None] == label[None, :]
    itself = torch.eye(V, dtype=torch.bool)
    return cosines[same & ~itself].mean().item(), cosines[~same].mean().item()


def train(language: Tensor, d: int, steps: int, batch: int, per_class: int) -> list[tuple[int, float, float, float]]:
    """(step, loss, cosine within, cosine between), from N(0, 0.02²) on, with Adam."""
    V = language.shape[0]
    table = torch.randn(V, d).mul_(0.02).requires_grad_()
    head = torch.randn(V, d).mul_(0.02).requires_grad_()
    optimizer = torch.optim.Adam([table, head], lr=0.01)
    history = []
    for step in range(steps + 1):
        ids = torch.randint(V, (batch,))
        following = torch.multinomial(language[ids], 1).squeeze(1)
        loss = F.cross_entropy(table[ids] @ head.T, following)
        if step % max(1, steps // 10) == 0:
            history.append((step, loss.item(), *cosine_gap(table.detach(), per_class)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return history


@dataclass(frozen=True)
class Params:
    contexts: Literal["shared", "own"] = "shared"  # own: every token has its own followers
    n_classes: int = 12
    per_class: int = 10  # tokens in a class
    d: int = 16  # width of the table
    steps: int = 300
    batch: int = 256  # tokens a step
    seed: int = 0

    def __post_init__(self) -> None:
        if not 4 <= self.n_classes <= 50 or not 2 <= self.per_class <= 50:
            raise ValueError("n_classes must be 4 to 50, per_class 2 to 50")
        if not 2 <= self.d <= 128 or not 50 <= self.steps <= 1000 or not 16 <= self.batch <= 1024:
            raise ValueError("d must be 2 to 128, steps 50 to 1,000, batch 16 to 1,024")


def run(p: Params) -> Result:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(p.seed)
        language = make_language(p.n_classes, p.per_class, shared=p.contexts == "shared")
        history = train(language, p.d, p.steps, p.batch, p.per_class)
    steps, losses, within, between = zip(*history, strict=True)
    V = p.n_classes * p.per_class
    entropy = torch.special.entr(language).sum(1).mean().item()
    facts = [
        Fact("vocab_size", "tokens", V),
        Fact("first_loss", "nats", losses[0], predicted=torch.tensor(float(V)).log().item(), atol=0.02),
        Fact("last_loss", "nats", losses[-1]),
        Fact("entropy", "nats", entropy),  # of the language: no model can be better
        Fact("within_before", "", within[0]),
        Fact("gap_before", "", within[0] - between[0]),
        Fact("within_after", "", within[-1]),
        Fact("between_after", "", between[-1]),
        Fact("gap_after", "", within[-1] - between[-1]),
    ]
    return Result(
        takeaway=Text(
            en=f"After {steps[-1]} steps, tokens of one class have a cosine of {within[-1]:.2f}, tokens of different "
            f"classes {between[-1]:.2f}; at the start it was {within[0]:.2f} and {between[0]:.2f}.",
            zh=f"训练 {steps[-1]} 步后，同类 token 的余弦为 {within[-1]:.2f}，异类为 {between[-1]:.2f}；"
            f"初始时分别是 {within[0]:.2f} 和 {between[0]:.2f}。",
        ),
        facts=facts,
        table=Table(("step", "loss (nats)", "cosine within a class", "cosine between classes"), history),
        plot=Plot(
            "Cosine of embeddings while training",
            "step",
            "mean cosine",
            [Series("within a class", steps, within), Series("between classes", steps, between)],
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
