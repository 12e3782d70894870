"""Gemma: tied embeddings, heads wider than d/H, and from Gemma 2 on norms before and after each part."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from llmprep.calc.config import Config
from llmprep.calc.families import llama
from llmprep.calc.families.fields import VISION_LEFT_OUT, both_sides, unless_null
from llmprep.calc.shapes import Attention, FeedForward, Layer, Shape, Stack

_GEMMA3_TEXT = {  # a text_config leaves out what is the default: that of Gemma 3 4B names no heads and no vocabulary
    "vocab_size": 262_208,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
}


def _attention(config: Config, kv_heads: int, **switches: Any) -> Attention:
    """Heads of 256 unless the config says another width."""
    bias = config.flag("attention_bias", False)
    return llama.attention(config, head_dim=256, kv_heads=kv_heads, qkv_bias=bias, out_bias=bias, **switches)


def _decoder(config: Config, layers: tuple[Stack, ...], **fields: Any) -> Shape:
    """Around the layers, with tied embeddings."""
    return llama.decoder(config, layers, tied=config.flag("tie_word_embeddings", True), **fields)


def _gemma(config: Config) -> Shape:
    """Llama with tied embeddings and heads of 256."""
    layer = Layer(_attention(config, 16), FeedForward(config.size("intermediate_size")))
    return _decoder(config, (Stack(layer, config.size("num_hidden_layers")),))


def _gemma2(config: Config) -> Shape:
    """Four norms a layer, and a window in every second layer, the first included."""
    return _decoder(config, _layers(config, _windowed(config, _attention(config, 4), 2)))


def _gemma3_text(config: Config) -> Shape:
    """Gemma 2 with norms on queries and keys, and five layers with a window to one without.

    EmbeddingGemma is an encoder: its queries see both sides, half of the window on each.
    """
    pattern = config.size("sliding_window_pattern", 6)
    mixers = _windowed(config, _attention(config, 4, qk_norm="head"), pattern)
    causal = not config.flag("use_bidirectional_attention", False)
    if not causal:
        mixers = [replace(mixer, window=mixer.window and both_sides(mixer.window)) for mixer in mixers]
    return _decoder(config, _layers(config, mixers), causal=causal)


def _windowed(config: Config, mixer: Attention, pattern: int) -> list[Attention]:
    """Every `pattern`-th layer sees everything, the others a window."""
    default = unless_null(config, "sliding_window", 4096)
    return llama.windowed(config, mixer, lambda i: (i + 1) % pattern == 0, default)


def _layers(config: Config, mixers: list[Attention]) -> tuple[Stack, ...]:
    """With four norms each; d has to be divisible by H, though heads have a width of their own."""
    d, n_heads = config.size("hidden_size"), config.size("num_attention_heads")
    config.divide("hidden_size", d, "num_attention_heads", n_heads)
    ffn = FeedForward(config.size("intermediate_size"))
    return llama.stacks([Layer(mixer, ffn, norms=4) for mixer in mixers])


def _gemma3(config: Config) -> Shape:
    """Gemma 3 with images: its language model, described in text_config."""
    if not config.has("text_config"):
        raise config.error("text_config", "is missing; a gemma3 needs it")
    text = config.part("text_config", "gemma3_text")
    absent = {name: size for name, size in _GEMMA3_TEXT.items() if not text.has(name)}
    return replace(
        _gemma3_text(Config({**text.fields, **absent}, text.source)),
        family="gemma3",
        tied=config.flag("tie_word_embeddings", True),
        note=VISION_LEFT_OUT,
    )


FAMILIES: dict[str, Callable[[Config], Shape]] = {
    "gemma": _gemma,
    "gemma2": _gemma2,
    "gemma3_text": _gemma3_text,
    "gemma3": _gemma3,
}
