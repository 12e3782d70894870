"""How can DDIM sample in twenty steps from the network that DDPM trained for a thousand?

Training only asks: which noise is in x_t? Given a guess ε̂, the clean point is x̂_0 = (x_t − √(1 − ᾱ_t)·ε̂)/√ᾱ_t, and
from it any earlier level can be built: x_s = √ᾱ_s·x̂_0 + √(1 − ᾱ_s − σ²)·ε̂ + σ·z. With DDPM's σ (η = 1) each step adds
fresh noise; with σ = 0 (DDIM) nothing is random after x_T and the path can be followed in large strides. The loss
never knew σ, so one network serves both. Here it is really trained, on four Gaussians in the plane.

Legend: B points, two coordinates each; T noise levels; s < t.
"""

import functools
import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from llmprep.demos.architecture.one_head_limit import one_thread
from llmprep.demos.special.forward_noising import alpha_bar, jump, noise_schedule
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

T, STD, N_POINTS = 1000, 0.2, 500
CENTRES = torch.tensor([[1.4, 0.0], [0.0, 1.4], [-1.4, 0.0], [0.0, -1.4]])
LEVELS = alpha_bar(noise_schedule("linear", T)).float()  # ᾱ_1 … ᾱ_T


def data(n: int) -> Tensor:
    """Points around one of the centres, (n, 2)."""
    return CENTRES[torch.randint(len(CENTRES), (n,))] + STD * torch.randn(n, 2)


class NoisePredictor(nn.Module):
    """ε̂(x_t, t): a small MLP on the point, and on sines of its coordinates and of the noise level."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(24, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """(B, 2) and (B,) → (B, 2)."""
        time = t[:, None] / T * 2.0 ** torch.arange(5)
        place = (x[..., None] * 2.0 ** torch.arange(3)).flatten(1)
        return self.net(torch.cat([x, time.sin(), time.cos(), place.sin(), place.cos()], dim=-1))


@functools.cache
def trained(steps: int, seed: int) -> NoisePredictor:
    """‖ε − ε̂(√ᾱ_t·x_0 + √(1 − ᾱ_t)·ε, t)‖², t at random: DDPM, arXiv 2006.11239, algorithm 1."""
    with torch.random.fork_rng(devices=[]), one_thread():
        torch.manual_seed(seed)
        model = NoisePredictor()
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        for _ in range(steps):
            x0, noise, t = data(256), torch.randn(256, 2), torch.randint(T, (256,))
            loss = (model(jump(x0, noise, LEVELS[t, None]), t) - noise).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return model.requires_grad_(requires_grad=False)


def update(x: Tensor, noise: Tensor, level: Tensor, earlier: Tensor, eta: float, fresh: Tensor) -> Tensor:
    """From ᾱ_t to the cleaner ᾱ_s: DDIM, arXiv 2010.02502, equations 12 and 16. η = 1 and s = t − 1 is DDPM's step."""
    clean = (x - (1 - level).sqrt() * noise) / level.sqrt()
    sigma = eta * ((1 - earlier) / (1 - level) * (1 - level / earlier)).sqrt()
    return earlier.sqrt() * clean + (1 - earlier - sigma**2).sqrt() * noise + sigma * fresh


def sample(model: nn.Module, x: Tensor, steps: int, eta: float) -> tuple[Tensor, int]:
    """From pure noise x_T down in `steps` even strides: (points, calls of the network, counted by a hook)."""
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    times = [T * i // steps - 1 for i in range(steps, 0, -1)] + [-1]
    with model.register_forward_hook(count):
        for t, s in itertools.pairwise(times):
            earlier = LEVELS[s] if s >= 0 else torch.tensor(1.0)
            noise = model(x, torch.full((len(x),), t))
            x = update(x, noise, LEVELS[t], earlier, eta, torch.randn_like(x))
    return x, calls


def share_on_mode(points: Tensor) -> float:
    """How many points lie within three standard deviations of a centre."""
    return (torch.cdist(points, CENTRES).amin(dim=1) < 3 * STD).float().mean().item()


def formula_share_of_data() -> float:
    """The radius of a plane Gaussian is Rayleigh: P(r < 3σ) = 1 − exp(−9/2) = 98.9%."""
    return 1 - math.exp(-4.5)


@dataclass(frozen=True)
class Params:
    eta: float = 0.0  # 0: DDIM, 1: DDPM's noise
    steps: int = 20  # calls of the network per sample
    train_steps: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1 or not 2 <= self.steps <= T:
            raise ValueError("eta must be between 0 and 1, steps between 2 and 1,000")
        if not 500 <= self.train_steps <= 2000:
            raise ValueError("train_steps must be between 500 and 2,000")


def run(p: Params) -> Result:
    model = trained(p.train_steps, p.seed)
    with torch.random.fork_rng(devices=[]), one_thread():
        torch.manual_seed(p.seed + 1)
        start = torch.randn(N_POINTS, 2)
        points, calls = sample(model, start, p.steps, p.eta)
        again, _ = sample(model, start, p.steps, p.eta)  # the same x_T, other noise on the way
        ddpm = share_on_mode(sample(model, start, T, eta=1.0)[0])
        strides = (3, 5, 10, 20, 50, 100)
        shares = {(eta, n): share_on_mode(sample(model, start, n, eta)[0]) for eta in (0.0, 1.0) for n in strides}
        of_data, of_noise = share_on_mode(data(20 * N_POINTS)), share_on_mode(start)
    share, moved = share_on_mode(points), int(((points - again).norm(dim=-1) > 1e-6).sum())
    return Result(
        takeaway=Text(
            en=f"η = {p.eta:g}, {calls} network calls: {share:.0%} of the points lie on a mode (DDPM with {T:,} calls "
            f"{ddpm:.0%}, pure noise {of_noise:.0%}); sampled again from the same x_T, {moved} of {N_POINTS} move.",
            zh=f"η = {p.eta:g}，调用网络 {calls} 次：{share:.0%} 的点落在某个模态上（DDPM 调用 {T:,} 次为 {ddpm:.0%}，"
            f"纯噪声 {of_noise:.0%}）；从同一个 x_T 再采一次，{N_POINTS} 个点中有 {moved} 个位置变了。",
        ),
        facts=[
            Fact("share_on_mode", "", share),
            Fact("share_ddpm", "", ddpm),
            Fact("share_noise", "", of_noise),
            Fact("share_data", "", of_data, formula_share_of_data(), atol=0.01),
            Fact("calls", "calls", calls, predicted=p.steps),
            Fact("moved", "points", moved, predicted=N_POINTS if p.eta > 0.1 else 0 if p.eta == 0 else None),
            Fact("points", "points", N_POINTS),
        ],
        table=Table(
            ("network calls", "points on a mode, DDIM", "points on a mode, η = 1"),
            [*((n, shares[0.0, n], shares[1.0, n]) for n in strides), (T, None, ddpm)],
        ),
        plot=Plot(
            "Samples that lie on a mode of the data",
            "network calls",
            "share of points",
            [
                Series("DDIM (η = 0)", strides, [shares[0.0, n] for n in strides]),
                Series("η = 1", [*strides, T], [*(shares[1.0, n] for n in strides), ddpm]),
            ],
            log_x=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
