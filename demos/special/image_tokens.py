"""What does an image cost an LLM: how many tokens, and how much KV cache?

A multimodal LLM puts the projected patch vectors of an image into the sequence where its placeholder stands. From then
on they are tokens like any other: they take places in the context, prefill FLOPs and KV cache. LLaVA-1.5 pads and
scales every image to one square; models with native resolution keep its size, and merge blocks of patches into tokens.

Legend: p patch side, m patches merged per side, N image tokens, T text tokens, d d_model of the LLM.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from llmprep import content
from llmprep.demos.inference.kv_cache import allocated_bytes_per_token, attention_shape
from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def formula_tokens(height: int, width: int, patch_size: int, merge: int) -> int:
    """(H / p·m) · (W / p·m), each rounded down to whole blocks. 336 px, p = 14, m = 1: 24² = 576 (LLaVA-1.5)."""
    return (height // (patch_size * merge)) * (width // (patch_size * merge))


def encode(image: Tensor, patch_size: int, merge: int) -> Tensor:
    """(3, H, W) → (N, m²·3·p²): cut patches with a moving window, then lay m × m neighbours side by side.

    Stands in for encoder and projector, which change what a vector holds, not how many there are.
    """
    patches = image.unfold(1, patch_size, patch_size).unfold(2, patch_size, patch_size)  # (3, H/p, W/p, p, p)
    blocks = patches.unfold(1, merge, merge).unfold(2, merge, merge)  # (3, H/pm, W/pm, p, p, m, m)
    return blocks.permute(1, 2, 0, 3, 4, 5, 6).flatten(2).flatten(0, 1)


def splice(text: Tensor, image_tokens: Tensor, at: int) -> Tensor:
    """(T, d), (N, d) → (T − 1 + N, d): the placeholder at place `at` gives way to the image."""
    return torch.cat([text[:at], image_tokens, text[at + 1 :]])


@dataclass(frozen=True)
class Params:
    height: int = 1008  # pixels of the image
    width: int = 1344
    resize: Literal["square", "native"] = "square"  # square: to the encoder's own size; native: left as it is
    encoder_size: int = 336  # pixels a side, for "square": CLIP ViT-L/14-336
    patch_size: int = 14  # pixels a side
    merge: int = 1  # patches a side that become one token: 1 in LLaVA-1.5, 2 in Qwen2-VL
    text_tokens: int = 64  # T, with one placeholder for the image among them
    llm: str = "llama-2-7b"  # the shape of Vicuna-7B v1.5; a name in data/models.json

    def __post_init__(self) -> None:
        if not 4 <= self.patch_size <= 64 or not 1 <= self.merge <= 4:
            raise ValueError("patch_size must be between 4 and 64, merge between 1 and 4")
        sides = (self.height, self.width, self.encoder_size)
        if min(sides) < self.patch_size * self.merge or max(sides) > 4096:
            raise ValueError("the sides of the image must hold at least one token, and at most 4,096 pixels")
        if not 1 <= self.text_tokens <= 100_000:
            raise ValueError("text_tokens must be between 1 and 100,000")
        attention_shape(self.llm)


def run(p: Params) -> Result:
    n_layers, n_heads, n_kv_heads, head_dim = attention_shape(p.llm)
    height, width = (p.encoder_size, p.encoder_size) if p.resize == "square" else (p.height, p.width)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        bytes_per_token = allocated_bytes_per_token(n_layers, n_heads, n_kv_heads, head_dim, torch.bfloat16)
        tokens = len(encode(torch.zeros(3, height, width), p.patch_size, p.merge))
        in_llm = len(splice(torch.zeros(p.text_tokens, 1), torch.zeros(tokens, 1), at=p.text_tokens // 2))
    predicted = formula_tokens(height, width, p.patch_size, p.merge)

    cache_mb = tokens * bytes_per_token / 1e6
    context = content.model(p.llm)["config"]["max_position_embeddings"]
    sides = [224, 336, 448, 672, 1008, 1344]
    curves = [
        Series(f"{m} × {m} patches per token", sides, [formula_tokens(s, s, p.patch_size, m) for s in sides])
        for m in sorted({1, 2, p.merge})
    ]
    return Result(
        takeaway=Text(
            en=f"A {p.width} × {p.height} px image ({p.resize}) becomes {tokens:,} tokens: {tokens / context:.0%} "
            f"of the context of {p.llm} and {cache_mb:,.0f} MB of its KV cache.",
            zh=f"一张 {p.width} × {p.height} px 的图（{p.resize}）变成 {tokens:,} 个 token：占 {p.llm} 上下文的 "
            f"{tokens / context:.0%}，KV Cache {cache_mb:,.0f} MB。",
        ),
        facts=[
            Fact("image_tokens", "tokens", tokens, predicted),
            Fact("sequence", "tokens", in_llm, p.text_tokens - 1 + predicted),  # the placeholder is gone
            Fact("cache_mb", "MB", cache_mb),  # of the image, BF16
            Fact("context_share", "", tokens / context),
            Fact("pixels_per_token", "px", height * width / tokens),
        ],
        table=Table(
            ("square image, side (px)", *(f"tokens, {c.label}" for c in curves)),
            [(s, *(c.y[i] for c in curves)) for i, s in enumerate(sides)],
        ),
        plot=Plot("Tokens of a square image", "side (px)", "tokens", curves, log_x=True, log_y=True),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
