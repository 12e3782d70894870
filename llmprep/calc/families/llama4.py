"""Llama 4: chunks instead of windows, one expert chosen beside a shared one, and a vision tower around it."""

from collections.abc import Callable
from dataclasses import replace

from llmprep.calc.config import Config
from llmprep.calc.families import llama, moe
from llmprep.calc.families.fields import VISION_LEFT_OUT
from llmprep.calc.shapes import FeedForward, Shape


def _text(config: Config) -> Shape:
    """Llama 4: a shared expert beside one chosen expert, perhaps in every other layer only; chunks in 3 of 4 layers.

    A token sees at most its chunk of `attention_chunk_size` in the layers with RoPE and everything in those without.
    """
    n_layers = config.size("num_hidden_layers")
    bias = config.flag("attention_bias", False)
    mixer = llama.attention(config, head_dim=128, kv_heads=8, qkv_bias=bias, out_bias=bias)
    interval = config.size("no_rope_layer_interval", 4)
    rope = [(i + 1) % interval for i in range(n_layers)]  # 0: without RoPE
    if config.get("no_rope_layers"):  # published configs have an empty list
        rope = config.items("no_rope_layers", n_layers) or rope
    chunk = config.size("attention_chunk_size", 8192, null=0) or None
    mixers = llama.windowed(config, mixer, lambda i: not rope[i], chunk)
    expert = FeedForward(config.size("intermediate_size"))
    ffn = moe.experts(config, ("num_local_experts",), expert, 1, shared=expert)
    step, sparse = config.size("interleave_moe_layer_step", 1), moe.indices(config, "moe_layers", n_layers)
    marked = [(i + 1) % step == 0 if sparse is None else i in sparse for i in range(n_layers)]
    return moe.decoder(config, mixers, marked, ffn, 131_072, dense="intermediate_size_mlp")


def _llama4(config: Config) -> Shape:
    """Llama 4 as published, with a vision tower: the language model is in text_config."""
    return replace(
        _text(config.part("text_config", "llama4_text")),
        note=VISION_LEFT_OUT,
    )


FAMILIES: dict[str, Callable[[Config], Shape]] = {"llama4_text": _text, "llama4": _llama4}
