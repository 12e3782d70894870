"""How far back does a stack of sliding-window layers see?

In each layer a token attends to itself and the W − 1 tokens before it. The oldest of them knows, from the layer below,
W − 1 tokens more, so L layers reach L·(W − 1) + 1 tokens, of which each layer computes W scores per token instead of
all. Here the reach is not counted but measured: autograd says which input tokens change the last output of a real
stack. One layer of full attention among them lifts the limit. (Definitions of the window differ by one: here, as in
Hugging Face's Mistral, W includes the token itself; counts_itself=false is the other one.)

Legend: T tokens, L layers, W window.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmprep import content
from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def formula_reach(n_layers: int, window: int) -> int:
    """L·(W − 1) + 1 tokens, the token itself included; "L × W" for short."""
    return n_layers * (window - 1) + 1


def formula_scores(T: int, window: int) -> int:
    """Visible pairs in a causal layer: W per token, fewer for the first W − 1."""
    W = min(window, T)
    return T * W - W * (W - 1) // 2


def sliding_mask(T: int, window: int) -> Tensor:
    """(T, T), true where query i may see key j: i − W < j ≤ i."""
    distance = torch.arange(T)[:, None] - torch.arange(T)
    return (distance >= 0) & (distance < window)


class WindowedLayer(nn.Module):
    """Single-head attention under a mask, with a residual connection."""

    def __init__(self, d_model: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.qkv, self.out = nn.Linear(d_model, 3 * d_model, bias=False), nn.Linear(d_model, d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(1, T, d_model) → the same."""
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        return x + self.out(F.scaled_dot_product_attention(q, k, v, attn_mask=sliding_mask(x.shape[1], self.window)))


def tokens_reached(layers: nn.Module, T: int, d_model: int) -> list[int]:
    """After each layer: how many of T input tokens have a gradient on the last token that is not exactly 0."""
    inputs = torch.randn(1, T, d_model, dtype=torch.float64, requires_grad=True)
    x, reached = inputs, []
    for layer in layers.children():
        x = layer(x)
        gradient = torch.autograd.grad(x[0, -1].sum(), inputs, retain_graph=True)[0]
        reached.append(int((gradient[0] != 0).any(dim=-1).sum()))
    return reached


def follow_back(n_layers: int, window: int) -> int:
    """Tokens from the oldest that can matter to the last, by walking down layer by layer to the oldest visible key."""
    last = oldest = n_layers * window  # a position with more past than the stack can reach
    for _ in range(n_layers):
        oldest = min(j for j in range(oldest - window, oldest + 1) if oldest - j < window)
    return last - oldest + 1


@dataclass(frozen=True)
class Params:
    n_layers: int = 4
    window: int = 8  # W, tokens, the token itself included
    counts_itself: bool = True  # false: W earlier tokens and the token itself, as window_size of FlashAttention
    seq_len: int = 64  # tokens
    full_layer: int = 0  # number of the layer that has full attention, from 1; 0: none
    model: str = "mistral-7b-v0.1"  # whose reach is followed back as well
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.n_layers <= 12 or not 1 <= self.window <= self.seq_len <= 256:
            raise ValueError("n_layers must be between 1 and 12, window at most seq_len, seq_len at most 256")
        if not 0 <= self.full_layer <= self.n_layers:
            raise ValueError("full_layer must be between 0 and n_layers")
        kv = content.model(self.model)["kv_bf16"]
        if not kv.get("sliding_layers") or kv["full_layers"]:
            raise ValueError("model must have sliding windows in every layer, as Mistral 7B v0.1 has")


def run(p: Params) -> Result:
    T, d_model = p.seq_len, 16
    extra = 0 if p.counts_itself else 1
    window = p.window + extra
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(p.seed)
        stack = nn.Sequential(
            *(WindowedLayer(d_model, T if i == p.full_layer else window) for i in range(1, p.n_layers + 1))
        ).double()
        reached = tokens_reached(stack, T, d_model)
    predicted = []
    for depth in range(1, p.n_layers + 1):
        full = 0 < p.full_layer <= depth
        predicted.append(T if full else min(T, formula_reach(depth, window)))

    kv = content.model(p.model)["kv_bf16"]
    model_layers, model_window = kv["sliding_layers"], kv["window"]
    model_reach = follow_back(model_layers, model_window + extra)
    pairs = int(sliding_mask(T, window).sum())
    return Result(
        takeaway=Text(
            en=f"{p.n_layers} layers with a window of {p.window} reach {reached[-1]} tokens; {p.model} reaches "
            f"{model_reach:,}.",
            zh=f"{p.n_layers} 层、窗口 {p.window}，能看到 {reached[-1]} 个 token；{p.model} 能看到 "
            f"{model_reach:,} 个。",
        ),
        facts=[
            Fact("reach", "tokens", reached[-1], predicted=predicted[-1]),
            Fact("reach_of_one_layer", "tokens", reached[0], predicted=predicted[0]),
            Fact("scores_per_layer", "scores", pairs, predicted=formula_scores(T, window)),
            Fact("scores_of_full_attention", "scores", int(sliding_mask(T, T).sum()), predicted=T * (T + 1) // 2),
            Fact("model_layers", "layers", model_layers),
            Fact("model_window", "tokens", model_window),
            Fact("model_reach", "tokens", model_reach, predicted=formula_reach(model_layers, model_window + extra)),
        ],
        table=Table(
            ("layer", "tokens reached", "predicted"),
            [(depth, reached[depth - 1], predicted[depth - 1]) for depth in range(1, p.n_layers + 1)],
        ),
        plot=Plot(
            f"Input tokens that change the last output, window {p.window}",
            "layer",
            "tokens",
            [
                Series("measured", list(range(1, p.n_layers + 1)), reached),
                Series("L × W", list(range(1, p.n_layers + 1)), [n * p.window for n in range(1, p.n_layers + 1)]),
            ],
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
