"""What does CLIP's loss ask of a batch, where does it start, and which way does it push the temperature?

N images and their N captions become unit vectors; all N² cosines, times a learned scale, are logits. Row i is a
classification of image i among N captions, column i of caption i among N images, and the answers lie on the diagonal:
the mean of two cross-entropies. Towers that cannot tell anything yet pay ln N. That N is the number of candidates, so a
batch cut into micro-batches is an easier task with a lower loss: accumulating gradients does not make a large batch.

Legend: N pairs in a batch, E embedding channels, s = 1/τ logit scale.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def clip_loss(images: Tensor, texts: Tensor, log_scale: Tensor) -> Tensor:
    """Symmetric cross-entropy over the cosines of all pairs: arXiv 2103.00020, figure 3. (N, E), (N, E), () → ()."""
    logits = log_scale.exp() * F.normalize(images, dim=-1) @ F.normalize(texts, dim=-1).T  # (N, N)
    pairs = torch.arange(len(logits))  # caption i belongs to image i
    return (F.cross_entropy(logits, pairs) + F.cross_entropy(logits.T, pairs)) / 2


def formula_start(n_pairs: int, embed_dim: int, scale: float) -> float:
    """Independent directions: logits are nearly normal, their variance is s²/E, and ln mean exp adds half of it."""
    return math.log(n_pairs) + scale**2 / embed_dim / 2


def formula_scale_gradient(images: Tensor, texts: Tensor, scale: float) -> float:
    """dL/d ln s: the logit the softmax expects minus the logit of the true pair, mean over rows and columns."""
    logits = scale * F.normalize(images, dim=-1) @ F.normalize(texts, dim=-1).T
    expected = (logits.softmax(dim=1) * logits).sum(dim=1) / 2 + (logits.softmax(dim=0) * logits).sum(dim=0) / 2
    return (expected - logits.diagonal()).mean().item()


def pairs_with_cosine(n_pairs: int, embed_dim: int, cosine: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random unit vectors whose partners have this cosine; those of different pairs are independent: twice (N, E)."""
    images, noise = torch.randn(2, n_pairs, embed_dim, dtype=torch.float64, generator=generator)
    images = F.normalize(images, dim=-1)
    noise = F.normalize(noise - (noise * images).sum(dim=-1, keepdim=True) * images, dim=-1)  # at a right angle
    return images, cosine * images + math.sqrt(1 - cosine**2) * noise


def mean_over_micro_batches(images: Tensor, texts: Tensor, log_scale: Tensor, micro_batches: int) -> Tensor:
    """What gradient accumulation would minimise: each part of the batch sees only its own negatives."""
    parts = zip(images.chunk(micro_batches), texts.chunk(micro_batches), strict=True)
    return torch.stack([clip_loss(i, t, log_scale) for i, t in parts]).mean()


@dataclass(frozen=True)
class Params:
    n_pairs: int = 512  # N, a batch
    micro_batches: int = 1  # parts in which the loss is computed; 1: over the whole batch
    embed_dim: int = 512  # E
    temperature: float = 0.07  # τ, where CLIP starts; logits are cosines / τ
    pair_cosine: float = 0.0  # between an image and its caption; 0: nothing learned yet
    seed: int = 0

    def __post_init__(self) -> None:
        if not 8 <= self.n_pairs <= 2048 or not 64 <= self.embed_dim <= 2048:
            raise ValueError("n_pairs must be between 8 and 2,048, embed_dim between 64 and 2,048")
        if self.micro_batches < 1 or self.n_pairs % self.micro_batches or self.n_pairs // self.micro_batches < 2:
            raise ValueError("micro_batches must divide n_pairs and leave at least two pairs")
        if not 0.01 <= self.temperature <= 1 or not -1 <= self.pair_cosine <= 1:
            raise ValueError("temperature must be between 0.01 and 1, pair_cosine between -1 and 1")


def run(p: Params) -> Result:
    scale = 1 / p.temperature
    log_scale = torch.tensor(math.log(scale), dtype=torch.float64, requires_grad=True)
    generator = torch.Generator().manual_seed(p.seed)
    images, texts = pairs_with_cosine(p.n_pairs, p.embed_dim, p.pair_cosine, generator)

    one_vector = images[:1].expand(p.n_pairs, -1)  # towers that give everything the same embedding
    blind = mean_over_micro_batches(one_vector, one_vector, log_scale, p.micro_batches).item()
    loss = mean_over_micro_batches(images, texts, log_scale, p.micro_batches).item()
    (gradient,) = torch.autograd.grad(clip_loss(images, texts, log_scale), log_scale)

    seen = p.n_pairs // p.micro_batches
    spread = scale / math.sqrt(p.embed_dim)  # of the logits of strangers
    simple = p.pair_cosine == 0 and spread <= 0.7 and seen >= 256  # where the formula's approximations hold
    cosines = [i / 10 for i in range(11)]
    rows = []
    for cosine in cosines:
        pair = pairs_with_cosine(p.n_pairs, p.embed_dim, cosine, torch.Generator().manual_seed(p.seed))
        value = clip_loss(*pair, log_scale)
        rows.append((cosine, value.item(), torch.autograd.grad(value, log_scale)[0].item()))
    return Result(
        takeaway=Text(
            en=f"{p.n_pairs} pairs in {p.micro_batches} part(s): blind towers pay {blind:.3f}, these embeddings "
            f"{loss:.3f}; the gradient of ln scale is {gradient:+.3f}, so a step "
            f"{'raises' if gradient < 0 else 'lowers'} the scale.",
            zh=f"{p.n_pairs} 对样本，分 {p.micro_batches} 份计算：什么都分不清时损失为 {blind:.3f}，当前向量的损失为 "
            f"{loss:.3f}；对 ln scale 的梯度是 {gradient:+.3f}，更新一步会{'调高' if gradient < 0 else '调低'} scale。",
        ),
        facts=[
            Fact("loss_blind", "nats", blind, math.log(seen), rtol=1e-9),
            Fact("loss", "nats", loss, formula_start(seen, p.embed_dim, scale) if simple else None, atol=0.1),
            Fact("loss_above_blind", "nats", loss - blind),
            Fact(
                "scale_gradient",
                "nats",
                gradient.item(),
                formula_scale_gradient(images, texts, scale),
                rtol=1e-9,
                atol=1e-9,
            ),
            Fact("similarities", "cosines", p.micro_batches * seen**2),
        ],
        table=Table(("cosine of the pairs", "loss (nats)", "gradient of ln scale (nats)"), rows),
        plot=Plot(
            f"CLIP loss, {p.n_pairs} pairs, temperature {p.temperature:g}",
            "cosine of the pairs",
            "nats",
            [
                Series("loss", cosines, [r[1] for r in rows]),
                Series("gradient of ln scale", cosines, [r[2] for r in rows]),
            ],
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
