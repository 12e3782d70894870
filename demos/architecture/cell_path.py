"""How much gradient does an LSTM carry back through time, and which part of it do the forget gates decide?

c_t = f_t ∘ c_(t−1) + i_t ∘ g_t. Along the cell path (outputs h, and so all gates, held fixed) the derivative of c_T
with respect to c_0 is diagonal: the product of the forget gates, without a weight matrix or a tanh slope. That softens
the vanishing gradient, and only as far as f is near 1. The total derivative has a second road: a cell also moves its
output h, and h moves the next gates and candidate through the recurrent matrices. Below, the chain rule over both
roads is written out by hand and held against autograd.

Legend: D channels, T steps; a Jacobian is (D, D), row = output.
"""

import math
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from llmprep.demos.architecture.lstm_gru_cells import lstm_step
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

Cell = TypeVar("Cell", nn.LSTMCell, nn.RNNCell)


def formula_jacobians(w: nn.LSTMCell, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Chain rule by hand over x (T, X): product of the forget gates (D,), and the total dc_T/dc_0 (D, D)."""
    u_i, u_f, u_g, u_o = w.weight_hh.chunk(4)  # (D, D) each: how h reaches the gates
    product, dc, dh = torch.ones_like(c), torch.eye(len(c), dtype=c.dtype), torch.zeros_like(u_i)
    for x_t in x:
        i, f, g, o = (x_t @ w.weight_ih.T + w.bias_ih + h @ w.weight_hh.T + w.bias_hh).chunk(4)
        i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
        through_gates = torch.diag(c * f * (1 - f)) @ u_f + torch.diag(g * i * (1 - i)) @ u_i
        through_candidate = torch.diag(i * (1 - g**2)) @ u_g
        dc = torch.diag(f) @ dc + (through_gates + through_candidate) @ dh  # road 1, and road 2 through h
        c = f * c + i * g
        dh = torch.diag(o * (1 - c.tanh() ** 2)) @ dc + torch.diag(c.tanh() * o * (1 - o)) @ u_o @ dh
        h = o * c.tanh()
        product = f * product
    return product, dc


def autograd_jacobian(w: nn.LSTMCell, x: Tensor, h: Tensor, c: Tensor, *, detour: bool) -> Tensor:
    """dc_T/dc_0 by autograd, (D, D); without `detour`, h is cut out of the graph at every step."""

    def last_cell(c: Tensor) -> Tensor:
        out = h
        for x_t in x:
            out, c = lstm_step(w, x_t, out if detour else out.detach(), c)
        return c

    return torch.autograd.functional.jacobian(last_cell, c)


def rnn_jacobian(w: nn.RNNCell, x: Tensor, h: Tensor) -> Tensor:
    """dh_T/dh_0 of a plain tanh RNN by autograd, (D, D)."""

    def last_state(h: Tensor) -> Tensor:
        for x_t in x:
            h = w(x_t, h)
        return h

    return torch.autograd.functional.jacobian(last_state, h)


def gain(jacobian: Tensor) -> float:
    """How long a random unit gradient is after this Jacobian, in the root mean square: ‖J‖_F/√D."""
    return jacobian.norm().item() / math.sqrt(jacobian.shape[-1])


def fresh(make: type[Cell], width: int, forget_bias: float) -> Cell:
    """Torch's own initialisation, except that an LSTM's two forget biases become forget_bias and 0."""
    w = make(width, width).double()
    if isinstance(w, nn.LSTMCell):
        nn.init.constant_(w.bias_ih[width : 2 * width], forget_bias)
        nn.init.zeros_(w.bias_hh[width : 2 * width])
    return w


@dataclass(frozen=True)
class Params:
    forget_bias: float = 0.0
    steps: int = 20  # T
    hidden: int = 32  # D, and the width of the input
    input_std: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        if not -2 <= self.forget_bias <= 10:
            raise ValueError("forget_bias must be between -2 and 10")
        if not 1 <= self.steps <= 100 or not 2 <= self.hidden <= 64:
            raise ValueError("steps must be between 1 and 100, hidden between 2 and 64")
        if not 0 <= self.input_std <= 2:
            raise ValueError("input_std must be between 0 and 2")


def run(p: Params) -> Result:
    rows, D = [], p.hidden
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(p.seed)
        w, rnn = fresh(nn.LSTMCell, D, p.forget_bias), fresh(nn.RNNCell, D, 0)
        x = p.input_std * torch.randn(p.steps, D, dtype=torch.float64)
        h, c = (0.5 * torch.randn(D, dtype=torch.float64)).tanh(), 0.5 * torch.randn(D, dtype=torch.float64)
        for T in sorted({max(1, p.steps // 4), max(1, p.steps // 2), p.steps}):
            product, total_formula = formula_jacobians(w, x[:T], h, c)
            path = autograd_jacobian(w, x[:T], h, c, detour=False)
            total = autograd_jacobian(w, x[:T], h, c, detour=True)
            rows.append((T, gain(path), gain(total), gain(rnn_jacobian(rnn, x[:T], h))))

    _, path_gain, total_gain, rnn_gain = rows[-1]
    off_diagonal = int((path - torch.diag(path.diag())).count_nonzero())
    facts = [
        Fact("path_gain", "×", path_gain, gain(torch.diag(product)), rtol=1e-9),
        Fact("off_diagonal", "entries", off_diagonal, predicted=0),  # of the cell path's Jacobian, not zero
        Fact("mean_forget", "", path.diag().log().mean().div(p.steps).exp().item()),  # geometric mean of all gates
        Fact("total_gain", "×", total_gain, gain(total_formula), rtol=1e-9),
        Fact("total_over_path", "×", total_gain / path_gain),
        Fact("rnn_gain", "×", rnn_gain),
    ]
    labels = ("cell path", "total derivative", "plain tanh RNN")
    return Result(
        takeaway=Text(
            en=f"With a forget bias of {p.forget_bias:g}, {p.steps} steps leave {path_gain:.2g} of a gradient on the "
            f"cell path and {total_gain:.2g} in total; a plain tanh RNN leaves {rnn_gain:.2g} (seed {p.seed}).",
            zh=f"遗忘门偏置为 {p.forget_bias:g} 时，{p.steps} 步之后，细胞状态通路上梯度剩 {path_gain:.2g}，"
            f"算上全部路径剩 {total_gain:.2g}；普通 tanh RNN 剩 {rnn_gain:.2g}（seed = {p.seed}）。",
        ),
        facts=facts,
        table=Table(("steps", *labels), rows),
        plot=Plot(
            f"Gradient left after T steps, forget bias {p.forget_bias:g}",
            "steps",
            "gain (×)",
            [Series(name, [r[0] for r in rows], [r[i] for r in rows]) for i, name in enumerate(labels, start=1)],
            log_y=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
