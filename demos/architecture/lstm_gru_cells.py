"""What do the gates of an LSTM and a GRU do in one step, and how many weights do they take?

A gate is a sigmoid of the input and the last output: a number between 0 and 1 for every channel, multiplied onto
something. An LSTM keeps a cell c beside its output h: forget (f) scales the old cell, input (i) scales what is
written, output (o) scales what is shown. A GRU has one state and two gates: update (z) mixes old state and candidate,
reset (r) hides the old state from the candidate. Below, both are written out and held against torch, gradients too,
beside a slip that is often made at the whiteboard and the GRU of the printed paper, which is not the one in torch.

Legend: B batch, T steps, X input width, D hidden width.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from llmprep.lab import Fact, Plot, Result, Series, Table, Text

Step = Callable[[nn.Module, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def lstm_step(w: nn.LSTMCell, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """One step of an LSTM with forget gate (Gers et al. 2000): x (B, X), h and c (B, D) → new h, new c."""
    gates = x @ w.weight_ih.T + w.bias_ih + h @ w.weight_hh.T + w.bias_hh  # (B, 4D): all four in one product
    i, f, g, o = gates.chunk(4, dim=-1)  # torch's order
    i, f, o = i.sigmoid(), f.sigmoid(), o.sigmoid()
    c = f * c + i * g.tanh()  # a sum: what is kept plus what is written
    return o * c.tanh(), c


def gru_step(w: nn.GRUCell, x: Tensor, h: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
    """One step of a GRU (arXiv 1406.1078) as torch and cuDNN have it: z keeps, r acts after the product with h."""
    from_x = x @ w.weight_ih.T + w.bias_ih  # (B, 3D)
    from_h = h @ w.weight_hh.T + w.bias_hh
    (rx, zx, nx), (rh, zh, nh) = from_x.chunk(3, dim=-1), from_h.chunk(3, dim=-1)
    r, z = (rx + rh).sigmoid(), (zx + zh).sigmoid()
    n = (nx + r * nh).tanh()  # the candidate
    h = z * h + (1 - z) * n  # a mixture: one gate forgets and writes
    return h, h


def lstm_without_output_tanh(w: nn.LSTMCell, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """A slip: h = o·c instead of o·tanh(c)."""
    _, c_new = lstm_step(w, x, h, c)
    o = (x @ w.weight_ih.T + w.bias_ih + h @ w.weight_hh.T + w.bias_hh).chunk(4, dim=-1)[3].sigmoid()
    return o * c_new, c_new


def gru_reset_before(w: nn.GRUCell, x: Tensor, h: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
    """Not wrong, but another cell: r acts on h *before* the product (arXiv 1406.1078, version 3, equation 8)."""
    from_x = (x @ w.weight_ih.T + w.bias_ih).chunk(3, dim=-1)
    u_r, u_z, u_n = w.weight_hh.chunk(3)
    b_r, b_z, b_n = w.bias_hh.chunk(3)
    r, z = (from_x[0] + h @ u_r.T + b_r).sigmoid(), (from_x[1] + h @ u_z.T + b_z).sigmoid()
    n = (from_x[2] + (r * h) @ u_n.T + b_n).tanh()
    h = z * h + (1 - z) * n
    return h, h


def unroll(step: Step, w: nn.Module, x: Tensor) -> Tensor:
    """Run (B, T, X) from a zero state and return every output, (B, T, D)."""
    h = c = x.new_zeros(x.shape[0], w.hidden_size)
    outputs = []
    for t in range(x.shape[1]):
        h, c = step(w, x[:, t], h, c)
        outputs.append(h)
    return torch.stack(outputs, dim=1)


def torch_step(w: nn.Module, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """The same step by torch's own cell."""
    if isinstance(w, nn.LSTMCell):
        return w(x, (h, c))
    h = w(x, h)
    return h, h


def output_and_gradient(step: Step, w: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """All outputs, and the gradient of a fixed mixture of them with respect to every weight, flattened."""
    out = unroll(step, w, x)
    mixture = (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)).sum()
    gradients = torch.autograd.grad(mixture, list(w.parameters()))
    return out.detach(), torch.cat([g.flatten() for g in gradients])


def formula_weights(n_gates: int, input_width: int, hidden: int) -> int:
    """n_gates maps from [x, h], biases aside: 4 for an LSTM (three gates and a candidate), 3 for a GRU, 1 plain."""
    return n_gates * hidden * (input_width + hidden)


@dataclass(frozen=True)
class Params:
    version: Literal["lstm", "lstm_without_output_tanh", "gru", "gru_reset_before"] = "lstm"
    input_width: int = 16
    hidden: int = 32
    steps: int = 20  # of the sequence
    batch: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.input_width <= 1024 or not 1 <= self.hidden <= 1024:
            raise ValueError("input_width and hidden must be between 1 and 1,024")
        if not 2 <= self.steps <= 100 or not 1 <= self.batch <= 16:
            raise ValueError("steps must be between 2 and 100, batch between 1 and 16")


def run(p: Params) -> Result:
    is_lstm = p.version.startswith("lstm")
    versions = (lstm_without_output_tanh, gru_reset_before)
    step: Step = {"lstm": lstm_step, "gru": gru_step, **{f.__name__: f for f in versions}}[p.version]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(p.seed)
        w = (nn.LSTMCell if is_lstm else nn.GRUCell)(p.input_width, p.hidden).double()
        x = torch.randn(p.batch, p.steps, p.input_width, dtype=torch.float64)
        ours, our_gradient = output_and_gradient(step, w, x)
        theirs, their_gradient = output_and_gradient(torch_step, w, x)
    wrong = int(((ours - theirs).abs() > 1e-9).sum())
    wrong_gradients = int(((our_gradient - their_gradient).abs() > 1e-9).sum())

    rows = []
    for name, layer, n in (("RNN (tanh)", nn.RNNCell, 1), ("GRU", nn.GRUCell, 3), ("LSTM", nn.LSTMCell, 4)):
        cell = layer(p.input_width, p.hidden, bias=False, device="meta")
        counted = sum(t.numel() for t in cell.parameters())
        rows.append((name, counted, formula_weights(n, p.input_width, p.hidden), 2 if name == "LSTM" else 1))
    correct = p.version in ("lstm", "gru")
    weights, predicted = rows[2 if is_lstm else 1][1:3]
    return Result(
        takeaway=Text(
            en=f"{p.version}: {wrong:,} of {ours.numel():,} outputs and {wrong_gradients:,} of "
            f"{our_gradient.numel():,} weight gradients differ from torch's cell; "
            f"it has {weights // rows[0][1]} times the weights of a plain RNN.",
            zh=f"{p.version}：{ours.numel():,} 个输出中有 {wrong:,} 个、{our_gradient.numel():,} 个权重梯度中有 "
            f"{wrong_gradients:,} 个与 torch 的 cell 不一致；权重数是普通 RNN 的 {weights // rows[0][1]} 倍。",
        ),
        facts=[
            Fact("outputs", "outputs", ours.numel()),
            Fact("mismatches", "outputs", wrong, predicted=0 if correct else None),
            Fact("gradients", "gradients", our_gradient.numel()),
            Fact("gradient_mismatches", "gradients", wrong_gradients, predicted=0 if correct else None),
            Fact("weights", "weights", weights, predicted),  # without biases
            Fact("times_plain_rnn", "×", weights / rows[0][1], predicted=4 if is_lstm else 3),
        ],
        table=Table(("cell", "weights", "predicted", "states"), rows),
        plot=Plot(
            f"Weights at input {p.input_width}, hidden {p.hidden}",
            "cell",
            "weights",
            [Series("without biases", [row[0] for row in rows], [row[1] for row in rows])],
            kind="bar",
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
