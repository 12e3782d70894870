"""With what spread does an embedding table start, and what does the first loss say about it?

GPT-2 draws the token table from N(0, 0.02²). A normalised hidden state h has d entries of variance 1, so a logit h·e
has the variance d·σ². If the table is the output head as well (tied), softmax starts out nearly uniform only while
that is small: the first loss is ln V + d·σ²/2, the mean of a log-normal. With PyTorch's default for nn.Embedding,
σ = 1, the logits of a wide model spread over tens and the first loss is that of confident nonsense.

Legend: V entries, d width, σ standard deviation of the table, N positions; the hidden states are random and
normalised, as those of an untrained model that does not depend on the table.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from llmprep import content
from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def formula_first_loss(V: int, d: int, std: float) -> float:
    """Nats; holds while d·σ² is well below 2·ln V, beyond which one logit decides: 10.82 + 0.15 for GPT-2."""
    return math.log(V) + d * std**2 / 2


def embedding_table(V: int, d: int, std: float) -> Tensor:
    """(V, d) as GPT-2 initialises `wte`; a lookup takes a row, the same as one-hot times the table."""
    return torch.empty(V, d).normal_(std=std)


def tied_logits(table: Tensor, h: Tensor) -> Tensor:
    """States (N, d), normalised and multiplied with the table as the head, (N, V)."""
    return F.layer_norm(h, h.shape[-1:]) @ table.T


def mean_cosine_of_pairs(table: Tensor, a: Tensor, b: Tensor) -> tuple[float, float]:
    """Mean and standard deviation of the cosine between rows a and rows b."""
    cosines = F.cosine_similarity(table[a], table[b])
    return cosines.mean().item(), cosines.std().item()


@dataclass(frozen=True)
class Params:
    model: str = "gpt2"  # a name in data/models.json, for V and d
    std: float = 0.02  # σ of the table
    n_positions: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1e-4 <= self.std <= 2:
            raise ValueError("std must be between 0.0001 and 2")
        if not 32 <= self.n_positions <= 1024:
            raise ValueError("n_positions must be between 32 and 1,024")
        config = content.model(self.model)["config"]
        width = config.get("n_embd") or config.get("hidden_size") or 0
        if not 0 < config["vocab_size"] * width <= 5e7:
            raise ValueError("model must have a table of at most 50 million numbers: it is really filled")


def run(p: Params) -> Result:
    config = content.model(p.model)["config"]
    V, d = config["vocab_size"], config.get("n_embd") or config["hidden_size"]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(p.seed)
        table = embedding_table(V, d, p.std)
        h, targets = torch.randn(p.n_positions, d), torch.randint(V, (p.n_positions,))
        logits = tied_logits(table, h)
        loss, logit_std = F.cross_entropy(logits, targets).item(), logits.std().item()
        stds = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0]
        losses = [F.cross_entropy(logits * (std / p.std), targets).item() for std in stds]
        mean, spread = mean_cosine_of_pairs(table, *torch.randint(V, (2, 4000)))

    uniform = math.log(V)
    calm = d * p.std**2 < uniform / 2
    noise = 4 * p.std * math.sqrt(d / p.n_positions)  # of the mean logit of the targets
    facts = [
        Fact("table_std", "", table.std().item(), predicted=p.std, rtol=0.01),
        Fact("row_norm", "", table.norm(dim=1).mean().item(), predicted=p.std * math.sqrt(d), rtol=0.01),
        Fact("uniform_loss", "nats", uniform),
        Fact("logit_std", "", logit_std, predicted=p.std * math.sqrt(d), rtol=0.05),
        Fact("first_loss", "nats", loss, formula_first_loss(V, d, p.std) if calm else None, atol=0.3 + noise),
        Fact("excess_loss", "nats", loss - uniform),
        Fact("cosine_mean", "", mean, predicted=0, atol=0.01),
        Fact("cosine_std", "", spread, predicted=1 / math.sqrt(d), rtol=0.05),
    ]
    rows = [
        (std, std * math.sqrt(d), formula_first_loss(V, d, std), got) for std, got in zip(stds, losses, strict=True)
    ]
    return Result(
        takeaway=Text(
            en=f"A table of {V:,} × {d} with σ = {p.std:g} gives logits of standard deviation {logit_std:.2f} and a "
            f"first loss of {loss:.2f} nats; guessing uniformly costs ln V = {uniform:.2f}.",
            zh=f"{V:,} × {d} 的 embedding 表取 σ = {p.std:g}，logits 的标准差为 "
            f"{logit_std:.2f}，初始损失 {loss:.2f} nat；均匀猜测是 ln V = {uniform:.2f}。",
        ),
        facts=facts,
        table=Table(("σ", "standard deviation of the logits", "ln V + d·σ²/2 (nats)", "first loss (nats)"), rows),
        plot=Plot("First loss with a tied head", "σ of the table", "nats", [Series(p.model, stds, losses)], log_x=True),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
