"""How far is the last output from the first token, in an RNN and in attention?

Two lengths matter. How many matrix products must wait for each other: that is time, however many cores there are.
And how many lie between the first token and the last output on the shortest route: that is the road of the gradient.
In an RNN both grow with the text, in attention both are constant. Below they are not argued but counted, as the
longest and the shortest route through the graph that autograd recorded; then the gradient itself is measured.
(The price of attention is another count: a score for every pair of tokens, see architecture/attention.)

Legend: T tokens, D channels.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from llmprep.lab import Fact, Plot, Result, Series, Table, Text

PRODUCTS = ("MmBackward0", "MvBackward0", "BmmBackward0")  # names that autograd gives to matrix products
Tokens = list[Tensor]


def rnn(tokens: Tokens, weights: dict[str, Tensor]) -> Tensor:
    """h_t = tanh(W_x x_t + W_h h_(t−1)); the last state (D,)."""
    h = torch.zeros_like(tokens[0])
    for x in tokens:
        h = (weights["x"] @ x + weights["h"] @ h).tanh()
    return h


def attention_layer(tokens: Tokens, weights: dict[str, Tensor]) -> Tensor:
    """Self-attention with one head; the output of the last token (D,)."""
    x = torch.stack(tokens)  # (T, D)
    q, k, v = (x @ weights[name].T for name in "qkv")
    scores = q @ k.T / math.sqrt(x.shape[1])  # (T, T)
    scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(diagonal=1), -torch.inf)
    return (scores.softmax(dim=-1) @ v @ weights["o"].T)[-1]


def fresh_weights(D: int, radius: float) -> dict[str, Tensor]:
    """Orthogonal for the recurrence, times `radius`; independent Gaussians of variance 1/D for all others."""
    weights = {name: torch.randn(D, D, dtype=torch.float64) / math.sqrt(D) for name in "xqkvo"}
    weights["h"] = radius * torch.linalg.qr(torch.randn(D, D, dtype=torch.float64)).Q
    return weights


def routes(output: Tensor, first: Tensor) -> tuple[int, int]:
    """Matrix products on the longest route anywhere in the graph, and on the shortest one from `output` to `first`.

    Walks the graph of autograd from the inputs up, each node once.
    """
    longest: dict[object, int] = {}
    shortest: dict[object, float] = {}
    stack = [(output.grad_fn, False)]
    while stack:
        node, ready = stack.pop()
        if node in longest:
            continue
        parents = [parent for parent, _ in node.next_functions if parent is not None]
        if not ready:
            stack += [(node, True), *((parent, False) for parent in parents if parent not in longest)]
            continue
        own = int(node.name() in PRODUCTS)
        longest[node] = own + max((longest[parent] for parent in parents), default=0)
        at_first = getattr(node, "variable", None) is first
        shortest[node] = 0 if at_first else own + min((shortest[parent] for parent in parents), default=math.inf)
    return longest[output.grad_fn], int(shortest[output.grad_fn])


@dataclass(frozen=True)
class Params:
    layer: Literal["rnn", "attention"] = "attention"
    seq_len: int = 200  # T, tokens
    D: int = 32
    radius: float = 0.9  # spectral radius of the RNN's recurrent matrix
    input_std: float = 0.1  # of the tokens: small, so that tanh hardly saturates
    seed: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.seq_len <= 400 or not 2 <= self.D <= 64:
            raise ValueError("seq_len must be between 2 and 400, D between 2 and 64")
        if not 0.1 <= self.radius <= 1 or not 0 < self.input_std <= 2:
            raise ValueError("radius must be between 0.1 and 1, input_std above 0 and at most 2")


def run(p: Params) -> Result:
    layers = {"rnn": rnn, "attention": attention_layer}
    lengths = sorted({max(2, p.seq_len // 8), max(2, p.seq_len // 4), max(2, p.seq_len // 2), p.seq_len})
    measured = {}
    for name, layer in layers.items():
        for T in lengths:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(p.seed)
                weights = {k: w.requires_grad_() for k, w in fresh_weights(p.D, p.radius).items()}
                tokens = [t.requires_grad_() for t in p.input_std * torch.randn(T, p.D, dtype=torch.float64)]
                direction = torch.randn(p.D, dtype=torch.float64)
            output = layer(tokens, weights)
            first, last = torch.autograd.grad(output, [tokens[0], tokens[-1]], direction, retain_graph=True)
            measured[name, T] = (*routes(output, tokens[0]), first.norm().item(), last.norm().item())
    longest, shortest, first, last = measured[p.layer, p.seq_len]
    T = p.seq_len
    return Result(
        takeaway=Text(
            en=f"{p.layer}, {T} tokens: {longest} matrix products wait for each other, {shortest} lie between the last "
            f"output and the first token, and the gradient there has a norm of {first:.1e} (seed {p.seed}).",
            zh=f"{p.layer}，{T} 个 token：必须依次等待的矩阵乘法有 {longest} 个；从最后的输出到第一个 token 要经过 "
            f"{shortest} 个，传到那里的梯度范数是 {first:.1e}（seed = {p.seed}）。",
        ),
        facts=[
            Fact("sequential_products", "products", longest, predicted=T if p.layer == "rnn" else 4),
            Fact("path_products", "products", shortest, predicted=T if p.layer == "rnn" else 3),  # W_v, weights, W_o
            Fact("gradient_first", "", first),
            Fact("gradient_last", "", last),
        ],
        table=Table(
            ("layer", "tokens", "dependent products", "products on the path", "gradient of token 1"),
            [(name, n, *values[:3]) for (name, n), values in measured.items()],
        ),
        plot=Plot(
            "Gradient of the last output with respect to the first token",
            "tokens",
            "norm",
            [Series(name, lengths, [measured[name, n][2] for n in lengths]) for name in layers],
            log_y=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
