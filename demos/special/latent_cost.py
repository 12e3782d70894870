"""What does it save to run diffusion in the latent space of an autoencoder?

A denoiser works on every position of its input at every step. Stable Diffusion lets a VAE shrink the image first: each
side by 8, the three colours into four channels. That leaves 64 times fewer positions and 48 times fewer numbers, and
the attention between positions, which is quadratic, gets 64² times cheaper. The price is paid once per image: an
encoder and a decoder, whose error bounds the quality. Below, a stack of strided convolutions has the VAE's shape, and
the FLOPs of scores and weighted sums of one self-attention layer are counted by torch, on the meta device; its
projections, which grow with the positions only, are left out.

Legend: N positions, C channels inside the denoiser.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from llmprep.lab import Fact, Plot, Result, Series, Table, Text

C = 320  # width of the first U-Net stage in Stable Diffusion 1; it cancels in every ratio


def formula_ratios(downsampling: int, latent_channels: int) -> tuple[float, int, int]:
    """(fewer numbers, fewer positions, fewer FLOPs for attention): 3f²/c, f² and f⁴, here 48, 64 and 4,096."""
    return 3 * downsampling**2 / latent_channels, downsampling**2, downsampling**4


def encoder(downsampling: int, latent_channels: int) -> nn.Sequential:
    """One strided convolution per halving: the shape of the VAE's encoder, without its residual blocks."""
    halvings = downsampling.bit_length() - 1
    layers = [nn.Conv2d(3 if i == 0 else 8, 8, 3, stride=2, padding=1) for i in range(halvings)]
    return nn.Sequential(*layers, nn.Conv2d(8 if halvings else 3, latent_channels, 3, padding=1))


def attention_flops(image: Tensor) -> int:
    """One self-attention over all positions of (1, channels, height, width): q·kᵀ and weights·v, counted by torch."""
    positions = image.shape[2] * image.shape[3]
    q = torch.empty(1, positions, C, device="meta")
    with FlopCounterMode(display=False) as counter:
        (q @ q.mT).softmax(dim=-1) @ q
    return counter.get_total_flops()


@dataclass(frozen=True)
class Params:
    image_size: int = 512  # pixels a side
    downsampling: int = 8  # pixels per latent position, a side
    latent_channels: int = 4  # of the VAE; Stable Diffusion 3 and FLUX have 16

    def __post_init__(self) -> None:
        if self.downsampling not in (1, 2, 4, 8, 16, 32):
            raise ValueError("downsampling must be a power of two up to 32")
        if not 64 <= self.image_size <= 2048 or self.image_size % self.downsampling:
            raise ValueError("image_size must be between 64 and 2,048, and a multiple of downsampling")
        if not 1 <= self.latent_channels <= 64:
            raise ValueError("latent_channels must be between 1 and 64")


def run(p: Params) -> Result:
    rows = []
    with torch.device("meta"), torch.no_grad():
        image = torch.empty(1, 3, p.image_size, p.image_size)
        for f in sorted({1, 4, 8, 16} | {p.downsampling}):
            latent = encoder(f, p.latent_channels)(image)
            rows.append((f, latent.shape[2] * latent.shape[3], latent.numel(), attention_flops(latent)))
    pixels = image.shape[2] * image.shape[3], image.numel(), attention_flops(image)
    _, positions, numbers, flops = next(row for row in rows if row[0] == p.downsampling)
    fewer_numbers, fewer_positions, fewer_flops = formula_ratios(p.downsampling, p.latent_channels)
    return Result(
        takeaway=Text(
            en=f"An image of {p.image_size}² pixels becomes {positions:,} latent positions: {pixels[1] / numbers:g} "
            f"times fewer numbers, {pixels[0] / positions:g} times fewer positions, and attention "
            f"costs {pixels[2] / flops:,.0f} times fewer FLOPs.",
            zh=f"{p.image_size}² 像素的图变成 {positions:,} 个隐空间位置：数值个数是 1/{pixels[1] / numbers:g}，"
            f"位置数是 1/{pixels[0] / positions:g}，注意力的计算量是 1/{pixels[2] / flops:,.0f}。",
        ),
        facts=[
            Fact("positions", "positions", positions),
            Fact("latent_numbers", "numbers", numbers),
            Fact("fewer_numbers", "×", pixels[1] / numbers, fewer_numbers, rtol=1e-12),
            Fact("fewer_positions", "×", pixels[0] / positions, fewer_positions),
            Fact("attention_saving", "×", pixels[2] / flops, fewer_flops),
        ],
        table=Table(("downsampling a side", "positions", "numbers", "FLOPs of one attention"), rows),
        plot=Plot(
            f"One self-attention layer on an image of {p.image_size}² pixels",
            "downsampling a side",
            "FLOP",
            [Series("attention", [r[0] for r in rows], [r[3] for r in rows])],
            log_x=True,
            log_y=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
