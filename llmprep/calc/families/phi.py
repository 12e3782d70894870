"""Phi: small models of Microsoft's."""

from collections.abc import Callable

from llmprep.calc.config import Config
from llmprep.calc.families import llama
from llmprep.calc.families.gpt import head_bias, plain
from llmprep.calc.shapes import FeedForward, Layer, Shape, Stack


def _phi(config: Config) -> Shape:
    """Phi-1 and 2: attention and FFN side by side behind one LayerNorm, biases everywhere, in the head as well."""
    qk_norm = "head" if config.flag("qk_layernorm", False) else ""
    mixer = llama.attention(config, qkv_bias=True, out_bias=True, qk_norm=qk_norm, norm_bias=True)
    layer = Layer(mixer, plain(config.size("intermediate_size")), norms=1)
    stack = Stack(layer, config.size("num_hidden_layers"))
    return llama.decoder(config, (stack,), norm="layer", extra=(head_bias(config),))


def _phi3(config: Config) -> Shape:
    """Phi-3 and 4: Llama's layout, with a window in every layer where the config gives one."""
    mixer = llama.attention(config, window=config.maybe_size("sliding_window"))
    layer = Layer(mixer, FeedForward(config.size("intermediate_size")))
    return llama.decoder(config, (Stack(layer, config.size("num_hidden_layers")),))


FAMILIES: dict[str, Callable[[Config], Shape]] = {"phi": _phi, "phi3": _phi3}
