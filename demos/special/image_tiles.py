"""What does an image cost in an API that bills by tiles, and how much of it is left when the tiles are cut?

Of GPT-4V's inside nothing is published, but its bill is. In low detail an image costs one base price. In high detail it
is fitted into 2,048 × 2,048 px, then scaled down until the shorter side has 768 px, and each 512 px square that it
touches costs a fixed number of tokens more: the price grows in steps, then stops, and larger images only lose pixels.
Smaller images are not enlarged here; the guide's wording leaves that open.

Legend: w, h sides in pixels.
"""

from dataclasses import dataclass
from math import ceil
from typing import Literal

from llmprep.lab import Fact, Plot, Result, Series, Table, Text

BASE, PER_TILE = 85, 170  # tokens: OpenAI's vision guide, "calculating costs", for GPT-4V, GPT-4 Turbo and GPT-4o
FIT, SHORT, TILE = 2048, 768, 512  # pixels


def formula_tokens(w: int, h: int) -> int:
    """85 + 170 · ⌈w/512⌉ · ⌈h/512⌉ after scaling. 2,048 × 4,096 px becomes 768 × 1,536 px: 85 + 170 · 2 · 3 = 1,105."""
    return BASE + PER_TILE * ceil(w / TILE) * ceil(h / TILE)


def scale_down(w: int, h: int) -> tuple[int, int]:
    """The size that is cut: first the longer side to at most 2,048 px, then the shorter to at most 768 px."""
    for limit, side in ((FIT, max), (SHORT, min)):
        now = side(w, h)
        if now > limit:
            w, h = max(1, round(w * limit / now)), max(1, round(h * limit / now))
    return w, h


def cut(w: int, h: int) -> list[tuple[int, int, int, int]]:
    """The tiles themselves: left, top, width and height of each; those at the edges may be narrow."""
    return [(x, y, min(TILE, w - x), min(TILE, h - y)) for y in range(0, h, TILE) for x in range(0, w, TILE)]


@dataclass(frozen=True)
class Params:
    width: int = 2048  # pixels
    height: int = 4096
    detail: Literal["low", "high"] = "high"

    def __post_init__(self) -> None:
        if min(self.width, self.height) < 1 or max(self.width, self.height) > 16384:
            raise ValueError("width and height must be between 1 and 16,384 pixels")


def run(p: Params) -> Result:
    w, h = scale_down(p.width, p.height)
    tiles = cut(w, h)
    pixels = sum(tile_w * tile_h for _, _, tile_w, tile_h in tiles)
    tokens = BASE + (PER_TILE * len(tiles) if p.detail == "high" else 0)
    predicted = formula_tokens(w, h) if p.detail == "high" else BASE

    sides = [256, 512, 768, 1024, 1536, 2048, 4096, 8192]
    rows = []
    for side in sides:
        scaled, _ = scale_down(side, side)
        rows.append((side, scaled, len(cut(scaled, scaled)), formula_tokens(scaled, scaled)))
    return Result(
        takeaway=Text(
            en=f"{p.width:,} × {p.height:,} px in {p.detail} detail: {tokens:,} tokens; high detail cuts "
            f"{len(tiles)} tile(s) from {w:,} × {h:,} px, {pixels / (p.width * p.height):.0%} of the pixels sent.",
            zh=f"{p.width:,} × {p.height:,} px，detail = {p.detail}：{tokens:,} 个 token；"
            f"high 模式缩到 {w:,} × {h:,} px，切成 {len(tiles)} 块，"
            f"像素只剩原图的 {pixels / (p.width * p.height):.0%}。",
        ),
        facts=[
            Fact("tokens", "tokens", tokens, predicted),
            Fact("tiles", "tiles", len(tiles)),  # in high detail
            Fact("scaled_width", "px", w),
            Fact("scaled_height", "px", h),
            Fact("pixels_cut", "px", pixels, w * h),  # the tiles cover the scaled image once
            Fact("pixels_kept", "", pixels / (p.width * p.height)),
        ],
        table=Table(("square image, side (px)", "scaled to (px)", "tiles", "tokens, high detail"), rows),
        plot=Plot(
            "Tokens billed for a square image",
            "side (px)",
            "tokens",
            [
                Series("high detail", sides, [row[3] for row in rows]),
                Series("low detail", sides, [BASE] * len(sides)),
            ],
            log_x=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
