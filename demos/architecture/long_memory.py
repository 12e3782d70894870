"""Does an LSTM learn to remember over many steps because of its gates, or because a gate starts open?

The first token is one of four symbols, noise follows, and at the end the network must name the first token. To learn
that, the gradient of the last step has to reach the first. At initialisation a gate with bias 0 stands at one half
and halves the cell at every step, so the signal is gone after a few dozen of them: the gates alone are no cure. With
a positive bias on the gate that keeps (forget gate of an LSTM, update gate of a GRU) the same network learns.

Legend: B batch, T steps of noise (the gap), D hidden width.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from llmprep.lab import Fact, Plot, Result, Series, Table, Text

N_SYMBOLS, N_NOISE, BATCH, N_TEST = 4, 4, 64, 512


def first_token_task(batch: int, gap: int) -> tuple[Tensor, Tensor]:
    """One-hot inputs (B, 1 + T, symbols + noise), and the class of the first token (B,)."""
    first = torch.randint(N_SYMBOLS, (batch,))
    noise = N_SYMBOLS + torch.randint(N_NOISE, (batch, gap))
    tokens = torch.cat([first[:, None], noise], dim=1)
    return nn.functional.one_hot(tokens, N_SYMBOLS + N_NOISE).float(), first


class Reader(nn.Module):
    """A recurrent layer, and a linear map from its last output to the symbols."""

    def __init__(self, cell: str, hidden: int, keep_bias: float) -> None:
        super().__init__()
        self.layer = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[cell](N_SYMBOLS + N_NOISE, hidden)
        self.head = nn.Linear(hidden, N_SYMBOLS)
        if cell != "rnn":  # rows of torch's biases: i, f, g, o in an LSTM and r, z, n in a GRU: the second one keeps
            nn.init.constant_(self.layer.bias_ih_l0[hidden : 2 * hidden], keep_bias)
            nn.init.zeros_(self.layer.bias_hh_l0[hidden : 2 * hidden])

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1 + T, symbols + noise) → logits (B, symbols)."""
        outputs, _ = self.layer(x.transpose(0, 1))  # (1 + T, B, D)
        return self.head(outputs[-1])


def train(model: Reader, gap: int, steps: int) -> float:
    """Train on fresh sequences, and return the accuracy on new ones."""
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(steps):
        x, first = first_token_task(BATCH, gap)
        loss = nn.functional.cross_entropy(model(x), first)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    with torch.no_grad():
        x, first = first_token_task(N_TEST, gap)
        return (model(x).argmax(dim=-1) == first).float().mean().item()


def first_over_last(model: Reader, gap: int) -> float:
    """How strongly the answer depends on the first token, compared with the last: ratio of the gradient norms."""
    x, _ = first_token_task(BATCH, gap)
    (gradient,) = torch.autograd.grad(model(x.requires_grad_()).sum(), x)  # (B, 1 + T, symbols + noise)
    return (gradient[:, 0].norm() / gradient[:, -1].norm()).item()


def formula_parameters(n_gates: int, hidden: int) -> int:
    """n_gates maps from [x, h] with torch's two biases each, and the head; the bias of a gate is among them anyway."""
    return n_gates * hidden * (N_SYMBOLS + N_NOISE + hidden + 2) + N_SYMBOLS * (hidden + 1)


@dataclass(frozen=True)
class Params:
    cell: Literal["rnn", "gru", "lstm"] = "lstm"
    keep_bias: float = 5.0  # of the forget gate (LSTM) or update gate (GRU) at the start; a plain RNN has none
    gap: int = 30  # steps of noise between the first token and the answer
    hidden: int = 32
    train_steps: int = 200  # of Adam, on 64 fresh sequences each
    seeds: int = 2  # runs, with seeds 0, 1, …

    def __post_init__(self) -> None:
        if not -2 <= self.keep_bias <= 10 or not 4 <= self.hidden <= 64:
            raise ValueError("keep_bias must be between -2 and 10, hidden between 4 and 64")
        if not 1 <= self.gap <= 100 or not 1 <= self.train_steps <= 300 or not 1 <= self.seeds <= 5:
            raise ValueError("gap must be 1 to 100, train_steps 1 to 300, seeds 1 to 5: it is really trained")


def run(p: Params) -> Result:
    rows = []
    for seed in range(p.seeds):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = Reader(p.cell, p.hidden, p.keep_bias)
            before = first_over_last(model, p.gap)
            accuracy = train(model, p.gap, p.train_steps)
            rows.append((seed, before, first_over_last(model, p.gap), accuracy))
    accuracies = [row[-1] for row in rows]
    lowest, highest, chance = min(accuracies), max(accuracies), 1 / N_SYMBOLS
    return Result(
        takeaway=Text(
            en=f"{p.cell}, bias {p.keep_bias:g} on the gate that keeps: after {p.train_steps} training steps the first "
            f"token is recalled over {p.gap} steps of noise with an accuracy of {lowest:.0%} to {highest:.0%} "
            f"({p.seeds} seeds; chance is {chance:.0%}).",
            zh=f"{p.cell}，负责保留的门初始偏置为 {p.keep_bias:g}：训练 {p.train_steps} 步后，"
            f"隔 {p.gap} 步噪声回忆首个 token，准确率 {lowest:.0%} 到 {highest:.0%}"
            f"（{p.seeds} 个 seed，瞎猜是 {chance:.0%}）。",
        ),
        facts=[
            Fact("lowest_accuracy", "", lowest),
            Fact("highest_accuracy", "", highest),
            Fact("chance", "", chance),
            Fact("first_over_last", "×", max(row[1] for row in rows)),  # before training, the best of the seeds
            Fact(
                "parameters",
                "parameters",
                sum(w.numel() for w in model.parameters()),
                predicted=formula_parameters({"rnn": 1, "gru": 3, "lstm": 4}[p.cell], p.hidden),
            ),
        ],
        table=Table(("seed", "gradient first/last, untrained", "gradient first/last, trained", "accuracy"), rows),
        plot=Plot(
            f"Recall of the first of {p.gap + 1} tokens ({p.cell}, bias {p.keep_bias:g})",
            "seed",
            "accuracy",
            [Series("trained", [str(s) for s in range(p.seeds)], accuracies)],
            kind="bar",
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
