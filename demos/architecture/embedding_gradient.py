"""Which rows of the embedding table does a batch change?

The lookup copies rows out, so its backward pass adds the gradients that arrive at the positions back into the rows
they came from: a scatter-add by token id. Rows that do not occur get exactly zero; a row that occurs twice gets the sum
of two. If the table is the output head as well (tied), softmax sends a gradient to every row, occurring or not. And
a zero gradient does not mean that a row stands still: Adam's momentum goes on, and weight decay pulls at all rows.

Legend: V rows, d width, ids the tokens of one step; the second step sees other tokens than the first.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def scatter_add(upstream: Tensor, ids: Tensor, V: int) -> Tensor:
    """The gradient of a lookup by hand: (T, d) gradients at the positions → (V, d), added up by token id."""
    gradient = torch.zeros(V, upstream.shape[1])
    for t, token in enumerate(ids.tolist()):
        gradient[token] += upstream[t]
    return gradient


def table_gradient(table: Tensor, ids: Tensor, upstream: Tensor, *, tied: bool) -> Tensor:
    """(V, d) from autograd; the loss is linear in the looked-up rows, and if tied, plus that of predicting the ids."""
    table = table.clone().requires_grad_()
    rows = F.embedding(ids, table)
    loss = (rows * upstream).sum()
    if tied:
        loss = loss + F.cross_entropy(rows.detach() @ table.T, ids)
    (gradient,) = torch.autograd.grad(loss, table)
    return gradient


def rows_moved(table: Tensor, first: Tensor, second: Tensor, optimizer: str) -> int:
    """Two steps on different ids: how many rows the second step changes."""
    table = torch.nn.Parameter(table.clone())
    makers = {
        "sgd": lambda: torch.optim.SGD([table], lr=0.1),
        "adam": lambda: torch.optim.Adam([table], lr=0.1),
        "adamw": lambda: torch.optim.AdamW([table], lr=0.1, weight_decay=0.1),
        "sparse_adam": lambda: torch.optim.SparseAdam([table], lr=0.1),
    }
    step = makers[optimizer]()
    for ids in (first, second):
        before = table.detach().clone()
        step.zero_grad()
        F.embedding(ids, table, sparse=optimizer == "sparse_adam").sum().backward()
        step.step()
    return int((table.detach() != before).any(dim=1).sum())


@dataclass(frozen=True)
class Params:
    vocab_size: int = 1000  # rows
    d: int = 16
    first_id: int = 3  # the batch is [first_id, 7, 7, 9]
    upstream: Literal["equal", "random"] = "equal"  # gradient at each position; equal as from loss = sum
    tied: bool = False  # the table is the output head too
    optimizer: Literal["sgd", "adam", "adamw", "sparse_adam"] = "adam"
    seed: int = 0

    def __post_init__(self) -> None:
        if not 20 <= self.vocab_size <= 20_000 or not 1 <= self.d <= 256:
            raise ValueError("vocab_size must be 20 to 20,000 rows, d 1 to 256")
        if self.first_id not in (2, 3, 4, 5, 6):
            raise ValueError("first_id must be 2 to 6: another token than 0, 1, 7 and 9")


def run(p: Params) -> Result:
    ids, others = torch.tensor([p.first_id, 7, 7, 9]), torch.tensor([0, 1])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(p.seed)
        table = torch.randn(p.vocab_size, p.d) * 0.02
        upstream = torch.ones(len(ids), p.d) if p.upstream == "equal" else torch.randn(len(ids), p.d)
        gradient = table_gradient(table, ids, upstream, tied=p.tied)
        by_hand = scatter_add(upstream, ids, p.vocab_size)
        optimizers = ("sgd", "adam", "adamw", "sparse_adam")
        moved = {name: rows_moved(table, ids, others, name) for name in optimizers}

    touched = gradient.ne(0).any(dim=1)
    distinct = len(set(ids.tolist()))
    expected = {"sgd": 2, "sparse_adam": 2, "adam": distinct + 2, "adamw": p.vocab_size}
    ratio = (gradient[7].norm() / gradient[p.first_id].norm()).item()
    facts = [
        Fact("rows_touched", "rows", int(touched.sum()), predicted=p.vocab_size if p.tied else distinct),
        Fact("touched_share", "", touched.float().mean().item()),
        Fact(
            "scatter_add_mismatches",
            "numbers",
            int((gradient - by_hand).abs().gt(1e-5).sum()),
            predicted=None if p.tied else 0,
        ),
        Fact("ratio_of_repeated_row", "×", ratio, 2 if p.upstream == "equal" and not p.tied else None, rtol=1e-5),
        Fact("rows_moved_next", "rows", moved[p.optimizer], predicted=expected[p.optimizer]),
        Fact("gradient_bytes", "B", gradient.nbytes, predicted=p.vocab_size * p.d * 4),  # dense, mostly zeros
        Fact("sparse_bytes", "B", distinct * p.d * 4),  # of the rows that occur
    ]
    norms = gradient.norm(dim=1)
    shown = range(12)
    return Result(
        takeaway=Text(
            en=f"A batch of ids {ids.tolist()} gives {int(touched.sum()):,} of {p.vocab_size:,} rows a gradient; a "
            f"next step on other ids moves {moved[p.optimizer]:,} rows under {p.optimizer}.",
            zh=f"ids 为 {ids.tolist()} 的一批数据使 {p.vocab_size:,} 行中的 {int(touched.sum()):,} 行得到梯度；"
            f"下一步换别的 id，{p.optimizer} 会改动 {moved[p.optimizer]:,} 行。",
        ),
        facts=facts,
        table=Table(
            ("optimiser", "rows with a gradient in step 2", "rows that step 2 moves"),
            [(name, len(others), moved[name]) for name in optimizers],
        ),
        plot=Plot(
            f"Gradient of the first rows, ids {ids.tolist()}",
            "row",
            "norm of the gradient",
            [Series("tied" if p.tied else "untied", [str(i) for i in shown], [norms[i].item() for i in shown])],
            kind="bar",
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
