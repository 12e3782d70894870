"""What does a pre-trained representation still know about the tasks that it was not trained for?

A foundation model is trained once, on broad data and mostly without labels, and then adapted to many tasks. The world
here has four hidden factors, and each observed number mixes all of them with noise. One encoder learns by filling in:
half of an observation is masked and must be predicted from the rest, so it pays to keep every factor. A second one
learns to name the first factor from labels, so it pays to keep that one, and the narrow bottleneck drops the others.
Both see the same data. Then they are frozen, and a linear probe with few labels is fitted for every factor in turn.

Legend: F factors of K values each, X observed numbers, D bottleneck.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmprep.lab import Fact, Plot, Result, Series, Table, Text

N_FACTORS, OBSERVED, HIDDEN, BOTTLENECK = 4, 48, 128, 8
N_UNLABELLED, STEPS, BATCH = 4000, 300, 128


class World:
    """Draws observations x = mixture of the factors + noise, and what the factors were."""

    def __init__(self, n_values: int, noise: float) -> None:
        self.n_values, self.noise = n_values, noise
        self.mixing = torch.randn(N_FACTORS * n_values, OBSERVED) / N_FACTORS**0.5

    def draw(self, n: int) -> tuple[Tensor, Tensor]:
        """Observations (n, X) and factors (n, F)."""
        factors = torch.randint(self.n_values, (n, N_FACTORS))
        signal = F.one_hot(factors, self.n_values).flatten(1).float() @ self.mixing  # (n, X)
        return signal + self.noise * torch.randn(n, OBSERVED), factors


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers of these widths with ReLU between them."""
    layers: list[nn.Module] = []
    for d_in, d_out in pairwise(widths):
        layers += [nn.Linear(d_in, d_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def pretrain_masked(encoder: nn.Module, x: Tensor) -> None:
    """Self-supervised: hide half of each observation, predict it from what the bottleneck kept. Uses no label."""
    decoder = mlp(BOTTLENECK, HIDDEN, OBSERVED)
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=3e-3)
    for _ in range(STEPS):
        batch = x[torch.randint(len(x), (BATCH,))]
        hidden = torch.rand_like(batch) < 0.5
        loss = (decoder(encoder(batch.masked_fill(hidden, 0))) - batch)[hidden].square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def pretrain_on_labels(encoder: nn.Module, x: Tensor, labels: Tensor, n_values: int) -> None:
    """Supervised: name one factor, as a classifier on ImageNet names the object."""
    head = nn.Linear(BOTTLENECK, n_values)
    optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()], lr=3e-3)
    for _ in range(STEPS):
        chosen = torch.randint(len(x), (BATCH,))
        loss = F.cross_entropy(head(encoder(x[chosen])), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def probe(train_h: Tensor, train_y: Tensor, test_h: Tensor, test_y: Tensor, n_values: int) -> float:
    """Accuracy of a linear classifier on frozen features (n, D), standardised, with a little weight decay."""
    mean, std = train_h.mean(dim=0), train_h.std(dim=0) + 1e-6
    weights = torch.zeros(train_h.shape[1] + 1, n_values, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=50)

    def logits(h: Tensor) -> Tensor:
        return F.pad((h - mean) / std, (0, 1), value=1.0) @ weights

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(logits(train_h), train_y) + 0.005 * weights.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return (logits(test_h).argmax(dim=-1) == test_y).double().mean().item()


@dataclass(frozen=True)
class Params:
    pretraining: Literal["masked", "label", "none"] = "masked"
    n_values: int = 3  # K: each factor takes one of so many values
    noise: float = 0.5  # standard deviation of what is added to each observed number
    n_labelled: int = 100  # examples with labels, for the probes
    seed: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.n_values <= 4:
            raise ValueError("n_values must be between 2 and 4")
        if not 0 <= self.noise <= 2 or not 20 <= self.n_labelled <= 2000:
            raise ValueError("noise must be between 0 and 2, n_labelled between 20 and 2,000")


def accuracies(p: Params, pretraining: str) -> list[float]:
    """Pre-train, freeze, probe: the accuracy for each factor, and as a control for labels drawn at random."""
    torch.manual_seed(p.seed)
    world, encoder = World(p.n_values, p.noise), mlp(OBSERVED, HIDDEN, BOTTLENECK)
    (x, factors), (few_x, few_factors), (test_x, test_factors) = map(world.draw, (N_UNLABELLED, p.n_labelled, 2000))
    if pretraining == "masked":
        pretrain_masked(encoder, x)
    elif pretraining == "label":
        pretrain_on_labels(encoder, x, factors[:, 0], p.n_values)
    with torch.no_grad():
        few_h, test_h = encoder(few_x), encoder(test_x)
    found = [probe(few_h, few_factors[:, f], test_h, test_factors[:, f], p.n_values) for f in range(N_FACTORS)]
    chance_y, chance_test_y = torch.randint(p.n_values, (len(few_h),)), torch.randint(p.n_values, (len(test_h),))
    return [*found, probe(few_h, chance_y, test_h, chance_test_y, p.n_values)]


def run(p: Params) -> Result:
    with torch.random.fork_rng(devices=[]):
        found = {pretraining: accuracies(p, pretraining) for pretraining in ("masked", "label", "none")}
    own, *others, chance = found[p.pretraining]
    facts = [
        Fact("first_factor", "", own),
        Fact("other_factors", "", sum(others) / len(others)),
        Fact("worst_factor", "", min(own, *others)),
        Fact("chance", "", chance, predicted=1 / p.n_values, atol=0.06),  # 5 standard deviations of 2,000 tests
    ]
    names = [*(f"factor {f + 1}" for f in range(N_FACTORS)), "random labels"]
    pretraining_zh = {"masked": "掩码自监督", "label": "单一标签监督", "none": "未训练"}[p.pretraining]
    pretraining_en = {"masked": "by filling in", "label": "on labels of factor 1", "none": "not at all"}[p.pretraining]
    return Result(
        takeaway=Text(
            en=f"Encoder pre-trained {pretraining_en}: a linear probe with {p.n_labelled} labels reads factor 1 with "
            f"{own:.0%} accuracy, the other three with {facts[1].measured:.0%} (chance: {chance:.0%}).",
            zh=f"{pretraining_zh}的编码器：用 {p.n_labelled} 个标注样本做线性探针，第 1 个因子的准确率为 {own:.0%}，"
            f"其余三个平均 {facts[1].measured:.0%}（随机标签 {chance:.0%}）。",
        ),
        facts=facts,
        table=Table(
            ("pre-training", *(f"{name} (%)" for name in names)),
            [(pretraining, *(100 * a for a in row)) for pretraining, row in found.items()],
        ),
        plot=Plot(
            "Linear probes on frozen encoders",
            "factor",
            "accuracy",
            [Series(pretraining, names, row) for pretraining, row in found.items()],
            kind="bar",
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
