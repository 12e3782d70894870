"""Llama and the families that change a detail of it: RMSNorm, RoPE, SwiGLU, no biases unless named."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from llmprep.calc.config import Config
from llmprep.calc.shapes import Attention, FeedForward, Layer, Shape, Stack

LAYER_TYPES = ("full_attention", "sliding_attention", "chunked_attention")


def attention(
    config: Config, *, head_dim: int | None = None, kv_heads: int | None = None, **switches: Any
) -> Attention:
    """Grouped-query attention from the usual fields.

    `head_dim` and `kv_heads` are the family's defaults for absent fields; without them they are d/H and H.
    """
    d, n_heads = config.size("hidden_size"), config.size("num_attention_heads")
    n_kv_heads = config.size("num_key_value_heads", kv_heads or n_heads, null=n_heads)
    config.divide("num_attention_heads", n_heads, "num_key_value_heads", n_kv_heads)
    width = config.maybe_size("head_dim", head_dim)
    if width is None:
        width = config.divide("hidden_size", d, "num_attention_heads", n_heads)
    return Attention(n_heads, n_kv_heads, width, **switches)


def windowed(
    config: Config, mixer: Attention, full: Callable[[int], bool], default: int | None = None
) -> list[Attention]:
    """The attention of every layer, where `full(i)` says that layer i sees everything and others see a window.

    `layer_types` of the config, where it has one, overrules the rule.
    """
    n_layers = config.size("num_hidden_layers")
    types = config.items("layer_types", n_layers)
    window = config.maybe_size("sliding_window", default)
    unknown = [kind for kind in types or () if kind not in LAYER_TYPES]
    if unknown:
        raise config.error("layer_types", f"{unknown[0]!r} is none of {', '.join(LAYER_TYPES)}")
    everything = [types[i] == "full_attention" if types else full(i) for i in range(n_layers)]
    return [mixer if whole else replace(mixer, window=window) for whole in everything]


def stacks(layers: list[Layer]) -> tuple[Stack, ...]:
    """Equal layers counted together."""
    numbers: dict[Layer, int] = {}
    for layer in layers:
        numbers[layer] = numbers.get(layer, 0) + 1
    return tuple(Stack(layer, n) for layer, n in numbers.items())


def decoder(config: Config, layers: tuple[Stack, ...], **fields: Any) -> Shape:
    """A decoder-only language model around its layers."""
    return Shape(
        **{
            "family": config.word("model_type", ""),
            "vocab_size": config.size("vocab_size"),
            "d_model": config.size("hidden_size"),
            "stacks": layers,
            "tied": config.flag("tie_word_embeddings", False),
            "context": config.maybe_size("max_position_embeddings"),
            **fields,
        }
    )


def _llama(config: Config) -> Shape:
    """Llama 1–3, Yi, DeepSeek LLM, SmolLM, InternLM2, MiniCPM."""
    bias = config.flag("attention_bias", False)
    ffn = FeedForward(config.size("intermediate_size"), bias=config.flag("mlp_bias", False))
    layer = Layer(attention(config, qkv_bias=bias, out_bias=bias), ffn)
    return decoder(config, (Stack(layer, config.size("num_hidden_layers")),))


def _mistral(config: Config) -> Shape:
    """Llama with a sliding window in every layer, where the config gives one."""
    mixer = attention(config, kv_heads=8, window=config.maybe_size("sliding_window", 4096))
    if "sliding_window" in config.fields and config.fields["sliding_window"] is None:
        mixer = replace(mixer, window=None)
    layer = Layer(mixer, FeedForward(config.size("intermediate_size")))
    return decoder(config, (Stack(layer, config.size("num_hidden_layers")),))


def _qwen2(config: Config) -> Shape:
    """Llama with a bias on q, k and v only."""
    mixer = attention(config, kv_heads=32, qkv_bias=True)
    return decoder(config, _qwen_layers(config, mixer))


def _qwen3(config: Config) -> Shape:
    """Llama with an RMSNorm over head_dim for queries and keys."""
    bias = config.flag("attention_bias", False)
    mixer = attention(config, head_dim=128, kv_heads=32, qk_norm="head", qkv_bias=bias, out_bias=bias)
    return decoder(config, _qwen_layers(config, mixer))


def _qwen_layers(config: Config, mixer: Attention) -> tuple[Stack, ...]:
    """A window only where `use_sliding_window` says so, and then from layer `max_window_layers` on."""
    ffn = FeedForward(config.size("intermediate_size"))
    if not config.flag("use_sliding_window", False):
        return (Stack(Layer(mixer, ffn), config.size("num_hidden_layers")),)
    first = config.size("max_window_layers", 28, least=0)
    return stacks([Layer(m, ffn) for m in windowed(config, mixer, lambda i: i < first, 4096)])


FAMILIES: dict[str, Callable[[Config], Shape]] = {
    "llama": _llama,
    "mistral": _mistral,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
}
