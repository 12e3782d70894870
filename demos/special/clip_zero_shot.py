"""How does a model that only matched images with captions classify things that it was never shown?

Two towers are really trained with CLIP's loss on small drawings, "red cross", "blue ring" and so on. No class has a
number: a class is its caption, so a new one costs a sentence. To classify, embed the caption of every class once, and
take the one nearest to the image. Six combinations of colour and shape never occur while training, and are named all
the same. Give each class an id of its own instead of words, as a classifier does, and the new ones are out of reach.
A batch holds each class at most once: two red crosses in it would be each other's negatives.

Legend: B images in a batch, P pixels a side, E embedding channels.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmprep.demos.special.clip_loss import clip_loss
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

COLOURS = {"red": "100", "green": "010", "blue": "001", "yellow": "110", "pink": "101", "white": "111"}  # on or off
SHAPES = {  # 5 × 5 pixels
    "cross": "..#.. ..#.. ##### ..#.. ..#..",
    "ring": ".###. #...# #...# #...# .###.",
    "square": "##### ##### ##### ##### #####",
    "slash": "....# ...#. ..#.. .#... #....",
    "bars": "#.#.# #.#.# #.#.# #.#.# #.#.#",
    "frame": "##### #...# #...# #...# #####",
}
N_COLOURS, N_SHAPES, P, E, BATCH, DRAWINGS = len(COLOURS), len(SHAPES), 8, 32, 24, 40
CLASSES = torch.cartesian_prod(torch.arange(N_COLOURS), torch.arange(N_SHAPES))  # (36, 2)
UNSEEN = CLASSES[:, 0] == CLASSES[:, 1]  # each colour and each shape is missing just once
Captions = Literal["words", "ids", "shuffled"]


def draw(colour: Tensor, shape: Tensor) -> Tensor:
    """(B,) colours and shapes → noisy drawings (B, 3, P, P), each shape at a random place."""
    palette = torch.tensor([[float(channel) for channel in rgb] for rgb in COLOURS.values()])
    stencils = torch.tensor([[[c == "#" for c in row] for row in s.split()] for s in SHAPES.values()]).float()
    images = 0.2 * torch.randn(len(colour), 3, P, P)
    y, x = torch.randint(P - 4, (2, len(colour)))
    for i in range(len(colour)):
        images[i, :, y[i] : y[i] + 5, x[i] : x[i] + 5] += palette[colour[i]][:, None, None] * stencils[shape[i]]
    return images


class TwoTowers(nn.Module):
    """An image tower, a text tower, and the learned logit scale, at first 1/0.07: arXiv 2103.00020, section 2.5."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Sequential(nn.Flatten(), nn.Linear(3 * P * P, 256), nn.ReLU(), nn.Linear(256, E))
        self.words = nn.Embedding(N_COLOURS + N_SHAPES, 32)
        self.ids = nn.Embedding(len(CLASSES), 32)
        self.text = nn.Linear(32, E)
        self.log_scale = nn.Parameter(torch.tensor(1 / 0.07).log())

    def embed_captions(self, classes: Tensor, captions: Captions) -> Tensor:
        """Colour and shape (B, 2) → (B, E): the mean of two word vectors, or one vector for each class."""
        if captions == "ids":
            return self.text(self.ids(classes[:, 0] * N_SHAPES + classes[:, 1]))
        return self.text((self.words(classes[:, 0]) + self.words(N_COLOURS + classes[:, 1])) / 2)


def train(captions: Captions, steps: int) -> tuple[TwoTowers, list[float], int]:
    """The trained towers, the loss of each step, and how many drawings of unseen classes they were shown."""
    towers, losses, shown = TwoTowers(), [], 0
    optimiser = torch.optim.Adam(towers.parameters(), lr=0.003)
    seen = CLASSES[~UNSEEN]
    for _ in range(steps):
        batch = seen[torch.randperm(len(seen))[:BATCH]]
        shown += int((batch[:, 0] == batch[:, 1]).sum())
        told = batch[torch.randperm(BATCH)] if captions == "shuffled" else batch
        loss = clip_loss(towers.image(draw(*batch.T)), towers.embed_captions(told, captions), towers.log_scale)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return towers, losses, shown


@torch.no_grad()
def zero_shot(towers: TwoTowers, captions: Captions) -> Tensor:
    """New drawings of every class, each named by the nearest of all captions: accuracy of each class, (36,)."""
    classifier = F.normalize(towers.embed_captions(CLASSES, captions), dim=-1)  # (36, E): the captions are the weights
    truth = torch.arange(len(CLASSES)).repeat_interleave(DRAWINGS)
    images = F.normalize(towers.image(draw(*CLASSES[truth].T)), dim=-1)
    named = (images @ classifier.T).argmax(dim=-1)
    return (named == truth).view(len(CLASSES), DRAWINGS).double().mean(dim=1)


@dataclass(frozen=True)
class Params:
    captions: Captions = "words"  # ids: a vector per class; shuffled: captions of other images in the batch
    steps: int = 300  # of 24 drawings
    n_seeds: int = 3  # pairs of towers, each trained from scratch
    seed: int = 0  # of the first

    def __post_init__(self) -> None:
        if not 100 <= self.steps <= 1000 or not 1 <= self.n_seeds <= 5:
            raise ValueError("steps must be between 100 and 1,000, n_seeds between 1 and 5")


def run(p: Params) -> Result:
    losses, seen, unseen, scales, shown = [], [], [], [], 0
    for seed in range(p.seed, p.seed + p.n_seeds):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            towers, history, drawn = train(p.captions, p.steps)
            accuracy = zero_shot(towers, p.captions)
        losses.append(history)
        shown += drawn
        seen.append(accuracy[~UNSEEN].mean().item())
        unseen.append(accuracy[UNSEEN].mean().item())
        scales.append(towers.log_scale.exp().item())
    n, n_unseen, n_classes = p.n_seeds, int(UNSEEN.sum()), len(CLASSES)
    mean_loss = [sum(step) / n for step in zip(*losses, strict=True)]
    final_loss, seen_mean, unseen_mean = sum(mean_loss[-20:]) / 20, sum(seen) / n, sum(unseen) / n
    blind = torch.tensor(float(BATCH)).log().item()
    return Result(
        takeaway=Text(
            en=f"Captions {p.captions}, {n} seeds: of {n_classes} classes, drawings of those seen while training are "
            f"named right {seen_mean:.0%} of the time, of the {n_unseen} never seen {unseen_mean:.0%} "
            f"(chance {1 / n_classes:.1%}).",
            zh=f"描述方式 {p.captions}，{n} 个 seed：在 {n_classes} 个类别中选，训练时见过的类别准确率 "
            f"{seen_mean:.0%}，从未见过的 {n_unseen} 类准确率 {unseen_mean:.0%}（随机猜为 {1 / n_classes:.1%}）。",
        ),
        facts=[
            Fact("accuracy_seen", "", seen_mean),
            Fact("accuracy_unseen", "", unseen_mean),
            Fact("accuracy_unseen_least", "", min(unseen)),
            Fact("accuracy_unseen_most", "", max(unseen)),
            Fact("accuracy_drop", "", seen_mean - unseen_mean),
            Fact("classes", "classes", n_classes, N_COLOURS * N_SHAPES),
            Fact("unseen_classes", "classes", n_unseen),
            Fact("unseen_shown", "drawings", shown, 0),
            Fact("chance", "", 1 / n_classes),
            Fact("batch", "pairs", BATCH),
            Fact("final_loss", "nats", final_loss, blind if p.captions == "shuffled" else None, atol=0.2),
            Fact("blind_loss", "nats", blind),  # ln of the batch: nothing learned
            Fact("final_scale", "", sum(scales) / n),
        ],
        table=Table(
            ("seed", "accuracy, seen classes", "accuracy, unseen classes", "logit scale at the end"),
            list(zip(range(p.seed, p.seed + n), seen, unseen, scales, strict=True)),
        ),
        plot=Plot(
            f"Training two towers, captions: {p.captions}",
            "step",
            "loss (nats)",
            [
                Series("loss, mean of the seeds", list(range(p.steps)), mean_loss),
                Series("ln of the batch", [0, p.steps - 1], [blind] * 2),
            ],
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
