"""In what sense is an FFN a key-value memory, and does one unit hold one fact?

W2·relu(W1·x + b) is a sum over hidden units: unit i compares x with its key (row i of W1) and adds its value (column i
of W2) as strongly as they match (arXiv 2012.14913). So a memory can be *built*: one unit a fact, a threshold that keeps
the others silent, and many more facts than the width are recalled, where a linear map of the same input fails.
But an FFN that is *trained* on the same facts packs several of them into each unit and spreads each over many: take
away any one unit and nothing is forgotten. The reading as a memory is exact, "this neuron stores that fact" is not.

Legend: N facts, d width of a key, ff hidden units, C answers.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from llmprep.lab import Fact, Plot, Result, Series, Table, Text

D_MODEL, N_ANSWERS = 64, 64
THRESHOLD = 0.5  # a unit fires if the cosine between input and key is above
Memory = tuple[Tensor, Tensor, Tensor]
"""Keys (ff, d), biases (ff), values (ff, C)."""


def random_facts(n_facts: int) -> tuple[Tensor, Tensor]:
    """Unit vectors (N, d) and their answers (N), from 1 on: answer 0 is what an empty memory gives."""
    return F.normalize(torch.randn(n_facts, D_MODEL), dim=-1), torch.randint(1, N_ANSWERS, (n_facts,))


def strengths(memory: Memory, x: Tensor) -> Tensor:
    """How strongly each unit matches: (N, d) → (N, ff)."""
    keys, biases, _ = memory
    return F.relu(x @ keys.T + biases)


def as_sum_of_values(memory: Memory, x: Tensor) -> Tensor:
    """Σ_i strength_i · value_i, unit by unit: what the FFN computes, read as a memory. (N, C)."""
    total = torch.zeros(len(x), N_ANSWERS)
    for strength, value in zip(strengths(memory, x).T, memory[2], strict=True):
        total += torch.outer(strength, value)
    return total


def build(x: Tensor, answers: Tensor) -> Memory:
    """One unit a fact: its key is the fact's input, its value votes for the answer."""
    return x.clone(), torch.full((len(x),), -THRESHOLD), F.one_hot(answers, N_ANSWERS).float()


def train(x: Tensor, answers: Tensor, n_units: int, steps: int = 300) -> Memory:
    """An FFN of the usual kind, trained with Adam to give the answers."""
    memory = (torch.randn(n_units, D_MODEL) * (2 / D_MODEL) ** 0.5, torch.zeros(n_units))
    memory = tuple(w.requires_grad_() for w in (*memory, torch.randn(n_units, N_ANSWERS) / n_units**0.5))
    optimiser = torch.optim.Adam(memory, lr=0.01)
    for _ in range(steps):
        loss = F.cross_entropy(strengths(memory, x) @ memory[2], answers)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return tuple(w.detach() for w in memory)


def facts_lost(memory: Memory, x: Tensor, answers: Tensor) -> list[int]:
    """For each unit, how many facts that were known are wrong once it is taken away."""
    h, values = strengths(memory, x), memory[2]
    logits = h @ values
    known = logits.argmax(dim=-1) == answers
    without = (logits - torch.outer(h[:, i], values[i]) for i in range(len(values)))
    return [int((known & ((out * (out.abs() > 1e-6)).argmax(dim=-1) != answers)).sum()) for out in without]


def linear_recall(x: Tensor, answers: Tensor) -> float:
    """Share of the facts that the best linear map (least squares) from the same input answers correctly."""
    targets = F.one_hot(answers, N_ANSWERS).float()
    return ((x @ torch.linalg.lstsq(x, targets).solution).argmax(dim=-1) == answers).double().mean().item()


@dataclass(frozen=True)
class Params:
    memory: Literal["built", "trained"] = "trained"
    n_facts: int = 512
    n_units: int = 128  # of the trained FFN; the built one has a unit for each fact
    seed: int = 0

    def __post_init__(self) -> None:
        if not 64 <= self.n_facts <= 1024:
            raise ValueError("n_facts must be between 64 and 1,024")
        if not 64 <= self.n_units <= 512:
            raise ValueError("n_units must be between 64 and 512: a smaller FFN does not learn them all")


def run(p: Params) -> Result:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(p.seed)
        x, answers = random_facts(p.n_facts)
        memory = build(x, answers) if p.memory == "built" else train(x, answers, p.n_units)
    h = strengths(memory, x)
    out = h @ memory[2]
    recall = (out.argmax(dim=-1) == answers).double().mean().item()
    lost = facts_lost(memory, x, answers)
    units, active = len(lost), (h > 0).sum(dim=1).double().mean().item()
    linear = linear_recall(x, answers)
    apart = int(((as_sum_of_values(memory, x) - out).abs() > 1e-3 * out.abs().max()).sum())
    per_unit, how_zh = sum(lost) / units, {"built": "手工构造", "trained": "训练得到"}[p.memory]
    sizes = [n for n in (64, 128, 256, 512, 1024) if n <= p.n_facts]
    return Result(
        takeaway=Text(
            en=f"A {p.memory} FFN of {units} units recalls {recall:.0%} of {p.n_facts} facts (a linear map "
            f"{linear:.0%}), with {active:.0f} units at work for each; one unit less loses {per_unit:.2f} facts.",
            zh=f"{how_zh}的 FFN 有 {units} 个单元，能答对 {p.n_facts} 个事实中的 {recall:.0%}"
            f"（线性映射 {linear:.0%}），每个事实平均用到 {active:.0f} 个单元；"
            f"去掉一个单元平均丢失 {per_unit:.2f} 个事实。",
        ),
        facts=[
            Fact("sum_mismatches", "outputs", apart, predicted=0),
            Fact("recall", "", recall, predicted=1, atol=0.02),
            Fact("linear_recall", "", linear),
            Fact("units", "units", units),
            Fact("facts_per_unit", "facts", p.n_facts / units),
            Fact("active_units", "units per fact", active, predicted=1 if p.memory == "built" else None, atol=0.2),
            Fact("facts_lost", "facts", sum(lost), predicted=p.n_facts if p.memory == "built" else None, rtol=0.02),
        ],
        table=Table(
            ("quantity", "value"),
            [
                ("facts", p.n_facts),
                ("units", units),
                ("most facts lost with one unit", max(lost)),
                ("active units", active),
            ],
        ),
        plot=Plot(
            f"Facts of {D_MODEL} numbers that a linear map recalls",
            "facts",
            "share recalled",
            [Series("best linear map", sizes, [linear_recall(x[:n], answers[:n]) for n in sizes])],
            log_x=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
