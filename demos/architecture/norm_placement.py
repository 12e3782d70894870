"""What does pre-norm buy over post-norm at initialisation, and what does it cost?

Post-norm, LayerNorm(x + f(x)), brings the stream back to size 1 after each sub-layer: the last layer is as loud as the
first and its gradient stays as large however deep the stack is. Pre-norm, x + f(LayerNorm(x)), never touches the
stream, which grows like √L as L updates of equal size are added; the last norm divides by that size, so the gradient of
the last layers falls like 1/√L (arXiv 2002.04745, theorem 1) and a large first step does no harm. The price is the same
fact seen from the front: late layers change an ever larger stream ever less.

Legend: L layers, B batch, T tokens, d width, V classes. Xavier initialisation, random inputs and labels.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmprep.demos.architecture.transformer_layer import EncoderLayer
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

B, T, D_MODEL, V = 2, 8, 64, 64
SHALLOW = 6  # layers that the depth asked for is compared with


def xavier_stack(n_layers: int, d_model: int, *, norm_first: bool) -> nn.ModuleList:
    """Encoder layers with 4 heads and d_ff = 4d whose matrices are all Xavier-initialised."""
    layers = nn.ModuleList(EncoderLayer(d_model, 4, 4 * d_model, norm_first=norm_first) for _ in range(n_layers))
    for weight in layers.parameters():
        if weight.dim() == 2:
            nn.init.xavier_uniform_(weight)
    return layers


def measure(n_layers: int, *, norm_first: bool) -> tuple[Tensor, float, float]:
    """Gradient norm of each layer's last FFN matrix (L), RMS of the last stream, relative size of the last update."""
    layers, head = xavier_stack(n_layers, D_MODEL, norm_first=norm_first), torch.empty(V, D_MODEL)
    nn.init.xavier_uniform_(head)
    x, labels = torch.randn(B, T, D_MODEL), torch.randint(V, (B * T,))
    for layer in layers:
        before, x = x, layer(x)
    last = F.layer_norm(x, (D_MODEL,)) if norm_first else x  # pre-norm needs one more norm at the end
    F.cross_entropy((last @ head.T).flatten(0, 1), labels).backward()
    gradients = torch.stack([layer.ffn.down.weight.grad.norm() for layer in layers])
    return gradients, x.square().mean().sqrt().item(), ((x - before).norm() / before.norm()).item()


def average(n_layers: int, n_seeds: int, *, norm_first: bool) -> tuple[Tensor, float, float]:
    """The mean of `measure` over the seeds from 0 on."""
    found = []
    for seed in range(n_seeds):
        torch.manual_seed(seed)
        found.append(measure(n_layers, norm_first=norm_first))
    gradients, stream, update = zip(*found, strict=True)
    return torch.stack(gradients).mean(dim=0), sum(stream) / n_seeds, sum(update) / n_seeds


@dataclass(frozen=True)
class Params:
    placement: Literal["post", "pre"] = "pre"
    n_layers: int = 96
    n_seeds: int = 3  # that are averaged

    def __post_init__(self) -> None:
        if not 12 <= self.n_layers <= 128:
            raise ValueError("n_layers must be between 12 and 128")
        if not 2 <= self.n_seeds <= 10:
            raise ValueError("n_seeds must be between 2 and 10: a single draw is too noisy")


def run(p: Params) -> Result:
    with torch.random.fork_rng(devices=[]):
        found = {
            (name, depth): average(depth, p.n_seeds, norm_first=name == "pre")
            for name in ("post", "pre")
            for depth in dict.fromkeys((SHALLOW, 24, p.n_layers))
        }
    (gradients, stream, update), (shallow_gradients, shallow_stream, _) = (
        found[p.placement, depth] for depth in (p.n_layers, SHALLOW)
    )
    first, last = gradients[0].item(), gradients[-1].item()
    fall = shallow_gradients[-1].item() / last
    post_over_pre = (found["post", p.n_layers][0][-1] / found["pre", p.n_layers][0][-1]).item()
    root = (p.n_layers / SHALLOW) ** 0.5
    is_pre = p.placement == "pre"
    facts = [
        Fact("first_layer_gradient", "", first),
        Fact("last_layer_gradient", "", last),
        Fact("first_over_last", "×", first / last),
        Fact("gradient_fall", "×", fall, predicted=root if is_pre else 1, rtol=0.5),  # of the last layer, from 6 layers
        Fact("post_over_pre", "×", post_over_pre),  # of the last layer's gradient, at this depth
        Fact("stream_rms", "", stream, predicted=None if is_pre else 1, rtol=0.01),
        Fact("stream_growth", "×", stream / shallow_stream, predicted=root if is_pre else 1, rtol=0.3),
        Fact("last_update", "of the stream", update),
        Fact("shallow_layers", "layers", SHALLOW),
    ]
    rows = [
        (f"{name}-norm", depth, g[0].item(), g[-1].item(), rms, change)
        for (name, depth), (g, rms, change) in found.items()
    ]
    columns = ("placement", "layers", "gradient, first layer", "gradient, last layer", "stream (RMS)", "last update")
    return Result(
        takeaway=Text(
            en=f"{p.placement}-norm, {p.n_layers} layers: the last layer's gradient is {last:.2f} (at {SHALLOW} layers "
            f"{fall:.1f}× that); the stream has size {stream:.1f} and the last layer changes it by {update:.0%}.",
            zh=f"{p.placement}-norm，{p.n_layers} 层：最后一层的梯度为 {last:.2f}（{SHALLOW} 层时是它的 "
            f"{fall:.1f} 倍）；残差流大小为 {stream:.1f}，最后一层只改变它的 {update:.0%}。",
        ),
        facts=facts,
        table=Table(columns, rows),
        plot=Plot(
            f"Gradient of the FFN's output matrix at initialisation, {p.n_layers} layers",
            "layer",
            "gradient norm",
            [
                Series(f"{name}-norm", list(range(1, p.n_layers + 1)), found[name, p.n_layers][0].tolist())
                for name in ("post", "pre")
            ],
            log_y=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
