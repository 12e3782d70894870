"""How does a ViT turn an image into tokens, and why is that step called a convolution?

Cut the image into squares of p·p pixels, write each as one row of 3·p² numbers, multiply every row by the same matrix:
a sequence of embeddings, as from an embedding table. A convolution whose stride equals its kernel takes exactly these
products, since its windows do not overlap; so ViT's only convolution is a matrix product in disguise. Two things go
wrong silently: the numbers of a patch in another order than the kernel's, and pixels beyond the last whole patch.

Legend: B batch, C colour channels, S image side, p patch side, n = S // p patches a side, N = n² tokens, d d_model.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from llmprep.lab import Fact, Plot, Result, Series, Table, Text

Order = Literal["channel_row_column", "row_column_channel"]
SHOWN = (8, 14, 16, 28, 32)  # pixels, patch sides of the table


def formula_tokens(image_size: int, patch_size: int) -> int:
    """N = (S / p)², rounded down to whole patches: arXiv 2010.11929, section 3.1. 224 / 16 gives 196."""
    return (image_size // patch_size) ** 2


def patchify(images: Tensor, patch_size: int, order: Order = "channel_row_column") -> Tensor:
    """(B, C, S, S) → (B, N, C·p²): row by row as one reads; a patch's numbers in the order of a Conv2d kernel."""
    n = images.shape[-1] // patch_size
    whole = images[..., : n * patch_size, : n * patch_size]
    squares = whole.unflatten(-2, (n, patch_size)).unflatten(-1, (n, patch_size))  # (B, C, n, p, n, p)
    if order == "row_column_channel":
        return squares.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)
    return squares.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def embed_by_matmul(images: Tensor, kernel: Tensor, bias: Tensor, order: Order = "channel_row_column") -> Tensor:
    """Cut and multiply: (B, C, S, S) and a Conv2d kernel (d, C, p, p) → tokens (B, N, d)."""
    return patchify(images, kernel.shape[-1], order) @ kernel.flatten(1).T + bias


def embed_by_convolution(images: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """The usual code, one line: (B, C, S, S) → (B, d, n, n) → tokens (B, N, d)."""
    return F.conv2d(images, kernel, bias, stride=kernel.shape[-1]).flatten(2).transpose(1, 2)


def pixels_without_gradient(images: Tensor, kernel: Tensor, bias: Tensor) -> int:
    """Pixels that no token depends on, asked of autograd."""
    images = images.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(embed_by_convolution(images, kernel, bias).square().sum(), images)
    return int((gradient[0].abs().amax(dim=0) == 0).sum())


@dataclass(frozen=True)
class Params:
    image_size: int = 224  # S, pixels a side
    patch_size: int = 16  # p, pixels a side
    d_model: int = 768  # ViT-B
    order: Order = "channel_row_column"  # in which a patch is flattened; row_column_channel: as decoded images come
    seed: int = 0

    def __post_init__(self) -> None:
        if not 4 <= self.patch_size <= self.image_size <= 1024:
            raise ValueError("patch_size must be at least 4, and image_size between patch_size and 1,024")
        if not 8 <= self.d_model <= 1024 or formula_tokens(self.image_size, self.patch_size) > 4096:
            raise ValueError("d_model must be between 8 and 1,024, and the image must give at most 4,096 tokens")


def run(p: Params) -> Result:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(p.seed)
        layer = torch.nn.Conv2d(3, p.d_model, kernel_size=p.patch_size, stride=p.patch_size).double()
        images = torch.randn(1, 3, p.image_size, p.image_size, dtype=torch.float64)
    kernel, bias = layer.weight.detach(), layer.bias.detach()
    tokens = embed_by_convolution(images, kernel, bias)  # (1, N, d)
    by_matmul = embed_by_matmul(images, kernel, bias, p.order)
    mismatches = int(((tokens - by_matmul).abs() > 1e-9).sum())
    n_tokens, pairs = tokens.shape[1], (tokens @ tokens.mT).numel()
    ignored = pixels_without_gradient(images, kernel, bias)
    parameters = sum(w.numel() for w in layer.parameters())

    predicted = formula_tokens(p.image_size, p.patch_size)
    numbers = 3 * p.patch_size**2
    sides = [s for s in SHOWN if s <= p.image_size]
    counts = [formula_tokens(p.image_size, s) for s in sides]
    return Result(
        takeaway=Text(
            en=f"{p.image_size} px in patches of {p.patch_size}: {n_tokens:,} tokens of {numbers:,} numbers, one "
            f"matrix for all; {mismatches:,} of {tokens.numel():,} outputs differ from the convolution, and "
            f"{ignored:,} pixels reach no token.",
            zh=f"{p.image_size} px 的图按 {p.patch_size} px 切块：{n_tokens:,} 个 token，每块 {numbers:,} 个数，"
            f"共用一个矩阵；{tokens.numel():,} 个输出中有 {mismatches:,} 个与卷积不同，"
            f"{ignored:,} 个像素没有进入任何 token。",
        ),
        facts=[
            Fact("tokens", "tokens", n_tokens, predicted),
            Fact("tokens_with_class", "tokens", n_tokens + 1),  # ViT and CLIP put a [class] token in front
            Fact("numbers_per_patch", "numbers", patchify(images, p.patch_size).shape[2], numbers),
            Fact("parameters", "weights", parameters, (numbers + 1) * p.d_model),
            Fact("attention_pairs", "scores", pairs, predicted**2),  # of one head, without the class token
            Fact("outputs", "numbers", tokens.numel(), predicted * p.d_model),
            Fact("mismatches", "numbers", mismatches, 0 if p.order == "channel_row_column" else None),
            Fact("pixels_ignored", "pixels", ignored, p.image_size**2 - predicted * p.patch_size**2),
        ],
        table=Table(
            ("patch side (px)", f"tokens of a {p.image_size} px image", "scores of one head", "numbers per patch"),
            [(s, n, n * n, 3 * s * s) for s, n in zip(sides, counts, strict=True)],
        ),
        plot=Plot(
            f"Tokens of a {p.image_size} px image",
            "patch side (px)",
            "tokens",
            [Series("tokens", sides, counts)],
            log_x=True,
            log_y=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
