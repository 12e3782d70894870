"""What happens to the tokens when attention layers are stacked without residual connections?

Each layer replaces a token by a weighted mean of all tokens it may see, so the tokens move together: their matrix
approaches rank 1, all rows the same, doubly exponentially with depth (arXiv 2103.03404). This is a collapse of the
*outputs* with depth. The first attention matrices are of full rank; as the tokens merge, unmasked ones tend to 1/n in
every place. A causal mask is slower here, since early tokens see little, but it collapses too. What prevents it is the
residual: a token keeps itself. Here: random weights at initialisation, one head, LayerNorm before each attention, no
FFN.

Legend: n tokens, d width, L layers.
"""

from dataclasses import dataclass
from statistics import median
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from llmprep.demos.architecture.attention import attention
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

FLOOR = 1e-12  # below this a distance is noise of float64


def distance_to_rank_one(x: Tensor) -> float:
    """‖x − 1·m‖ / ‖x‖ for tokens x (n, d) with mean m: 1 for tokens around 0, 0 if all are the same."""
    return ((x - x.mean(dim=0)).norm() / x.norm()).item()


def depth_profile(n: int, d: int, n_layers: int, *, causal: bool, skip: bool) -> list[float]:
    """Distance to rank 1 before the first layer and after each: x ← attention(norm(x)), plus x with a residual."""
    x = torch.randn(n, d, dtype=torch.float64)
    profile = [distance_to_rank_one(x)]
    for _ in range(n_layers):
        wq, wk, wv = torch.randn(3, d, d, dtype=torch.float64) / d**0.5
        y = F.layer_norm(x, (d,))
        mixed = attention(*((y @ w)[None, None] for w in (wq, wk, wv)), causal=causal)[0, 0]  # (n, d)
        x = x + mixed if skip else mixed
        profile.append(max(distance_to_rank_one(x), FLOOR))
    return profile


def layers_until(profile: list[float], threshold: float) -> int:
    """The first layer after which the distance is below the threshold; one more than there are if none."""
    return next((i for i, value in enumerate(profile) if value < threshold), len(profile))


@dataclass(frozen=True)
class Params:
    mask: Literal["none", "causal"] = "none"
    residual: bool = False
    n_tokens: int = 64
    d_model: int = 32
    n_layers: int = 12
    threshold: float = 0.01  # a distance below it counts as collapsed
    n_seeds: int = 9
    seed: int = 0  # the first of them

    def __post_init__(self) -> None:
        if not 2 <= self.n_tokens <= 256 or not 8 <= self.d_model <= 256:
            raise ValueError("n_tokens must be between 2 and 256, d_model between 8 and 256")
        if not 1 <= self.n_layers <= 48 or not 1 <= self.n_seeds <= 20:
            raise ValueError("n_layers must be between 1 and 48, n_seeds between 1 and 20")
        if not 1e-9 <= self.threshold <= 0.5:
            raise ValueError("threshold must be between 1e-9 and 0.5: above the noise, below the start")


def run(p: Params) -> Result:
    profiles = {}
    with torch.random.fork_rng(devices=[]):
        for mask in ("none", "causal"):
            for skip in (False, True):
                several = []
                for seed in range(p.seed, p.seed + p.n_seeds):
                    torch.manual_seed(seed)
                    shape = (p.n_tokens, p.d_model, p.n_layers)
                    several.append(depth_profile(*shape, causal=mask == "causal", skip=skip))
                profiles[mask, skip] = several
    mine = profiles[p.mask, p.residual]
    until = [layers_until(profile, p.threshold) for profile in mine]
    names = {key: f"mask {key[0]}, {'residual' if key[1] else 'no residual'}" for key in profiles}
    middle = {key: [median(values) for values in zip(*several, strict=True)] for key, several in profiles.items()}
    start, distance = middle[p.mask, p.residual][0], middle[p.mask, p.residual][-1]

    layers, reached = list(range(p.n_layers + 1)), median(until)
    when_en = f"after {reached:.0f} layers" if reached <= p.n_layers else "never"
    when_zh = f"用了 {reached:.0f} 层" if reached <= p.n_layers else "始终没有发生"
    name_zh = f"{'因果' if p.mask == 'causal' else '无'}掩码、{'有' if p.residual else '无'}残差"
    return Result(
        takeaway=Text(
            en=f"{names[p.mask, p.residual]}: after {p.n_layers} layers the tokens are {distance:.1e} away from being "
            f"one vector (median of {p.n_seeds} seeds); below {p.threshold:.0%}: {when_en}.",
            zh=f"{name_zh}：{p.n_layers} 层之后，各 token 与“全部相同”的相对距离是 {distance:.1e}"
            f"（{p.n_seeds} 个 seed 的中位数）；降到 {p.threshold:.0%} 以下：{when_zh}。",
        ),
        facts=[
            Fact("distance", "", distance),
            Fact("distance_at_start", "", start, predicted=(1 - 1 / p.n_tokens) ** 0.5, atol=0.35),
            Fact("layers_until_collapse", "layers", int(median(until))),  # n_layers + 1: never
            Fact("collapsed", "seeds", sum(profile[-1] < p.threshold for profile in mine)),
        ],
        table=Table(
            ("stack", f"distance after {p.n_layers} layers", f"layers until below {p.threshold:.0%}"),
            [(names[k], middle[k][-1], median(layers_until(x, p.threshold) for x in profiles[k])) for k in profiles],
        ),
        plot=Plot(
            "Distance of the tokens from all being the same",
            "layer",
            "relative distance",
            [Series(names[key], layers, values) for key, values in middle.items()],
            log_y=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
