"""GPT-2 and the models built after it: LayerNorm, a plain FFN, as many key/value heads as heads."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from llmprep.calc.config import Config
from llmprep.calc.families import llama
from llmprep.calc.families.fields import Renamed
from llmprep.calc.shapes import Attention, FeedForward, Layer, Shape, Stack, Weight

_GPT2 = {  # common name: the names in a config.json
    "hidden_size": ("hidden_size", "n_embd"),
    "num_attention_heads": ("num_attention_heads", "n_head"),
    "num_hidden_layers": ("num_hidden_layers", "n_layer"),
    "max_position_embeddings": ("max_position_embeddings", "n_positions"),
    "intermediate_size": ("n_inner",),
}
_GPT_NEO = {
    "num_attention_heads": ("num_attention_heads", "num_heads"),
    "num_hidden_layers": ("num_hidden_layers", "num_layers"),
}


def multi_head(config: Config, kv_heads: int | None = None, **switches: Any) -> Attention:
    """H heads of d/H, whatever the config says of head_dim or num_key_value_heads: the family does not read them."""
    d, n_heads = config.size("hidden_size"), config.size("num_attention_heads")
    head_dim = config.divide("hidden_size", d, "num_attention_heads", n_heads)
    return Attention(n_heads, kv_heads or n_heads, head_dim, **switches)


def four_times(config: Config) -> FeedForward:
    """Two matrices with biases, 4d wide unless the config says another width."""
    return plain(config.size("intermediate_size", 4 * config.size("hidden_size")))


def plain(d_ff: int, *, bias: bool = True) -> FeedForward:
    """Two matrices without a gate."""
    return FeedForward(d_ff, gated=False, bias=bias)


def positions(n: int, d: int) -> Weight:
    """A table of learned positions."""
    return Weight("position embedding", "P", "T × d", (n, d), "table")


def head_bias(config: Config) -> Weight:
    """A bias of the output head, which stays where the head is tied."""
    return Weight("output head", "b_head", "V", (config.size("vocab_size"),), "vector")


def _with_positions(config: Config, layers: tuple[Stack, ...], default: int) -> Shape:
    """Learned positions and a tied head around the layers."""
    n = config.size("max_position_embeddings", default)
    return llama.decoder(
        config,
        layers,
        tied=config.flag("tie_word_embeddings", True),
        norm="layer",
        extra=(positions(n, config.size("hidden_size")),),
        context=n,
    )


def crossed(config: Config, mixer: Attention, ffn: FeedForward) -> Layer:
    """A layer, with attention to an encoder and a norm for it where `add_cross_attention` asks for them."""
    if not config.flag("add_cross_attention", False):
        return Layer(mixer, ffn)
    return Layer(mixer, ffn, norms=3, cross=replace(mixer, part="cross-attention"))


def _gpt2(config: Config) -> Shape:
    """GPT-2 and GPT-3: learned positions, biases everywhere, a tied head."""
    config = Renamed(config, _GPT2)
    layer = crossed(config, multi_head(config, qkv_bias=True, out_bias=True), four_times(config))
    return _with_positions(config, (Stack(layer, config.size("num_hidden_layers")),), 1024)


def _gpt_bigcode(config: Config) -> Shape:
    """StarCoder: GPT-2 whose query heads share one key/value head."""
    config = Renamed(config, _GPT2)
    multi_query = config.flag("multi_query", True)
    if multi_query and config.flag("add_cross_attention", False):
        raise config.error("add_cross_attention", "needs multi_query to be false")
    mixer = multi_head(config, kv_heads=1 if multi_query else None, qkv_bias=True, out_bias=True)
    layer = crossed(config, mixer, four_times(config))
    return _with_positions(config, (Stack(layer, config.size("num_hidden_layers")),), 1024)


def _gptj(config: Config) -> Shape:
    """GPT-J and CodeGen: attention and FFN side by side behind one norm, biases in the FFN and in the head only."""
    config = Renamed(config, _GPT2)
    layer = Layer(multi_head(config), four_times(config), norms=1)
    stack = Stack(layer, config.size("num_hidden_layers"))
    return llama.decoder(config, (stack,), norm="layer", extra=(head_bias(config),))


def _gpt_neo(config: Config) -> Shape:
    """GPT-2 with no bias on q, k and v, and a window in every second layer."""
    config = Renamed(config, _GPT_NEO)
    mixer, ffn = multi_head(config, out_bias=True), four_times(config)
    local = replace(mixer, window=config.size("window_size", 256))
    layers = [Layer(local if kind == "local" else mixer, ffn) for kind in _attention_layers(config)]
    return _with_positions(config, llama.stacks(layers), 2048)


def _attention_layers(config: Config) -> list[str]:
    """Global or local for each layer, spelt out or as patterns with how often they repeat."""
    n_layers = config.size("num_hidden_layers")
    kinds = config.items("attention_layers", n_layers)
    if kinds is None:
        patterns = config.items("attention_types") or [[["global", "local"], 12]]
        try:
            kinds = [kind for pattern, times in patterns for kind in list(pattern) * min(times, n_layers + 1)]
        except (TypeError, ValueError):
            raise config.error("attention_types", 'must look like [[["global", "local"], 12]]') from None
        if len(kinds) != n_layers:
            raise config.error("attention_types", f"must describe {n_layers} layers, as num_layers says")
    if not all(kind in ("global", "local") for kind in kinds):
        raise config.error("attention_types", "must name each layer global or local")
    return kinds


def _gpt_neox(config: Config) -> Shape:
    """GPT-NeoX and Pythia: rotary positions, biases everywhere but in the head, which is its own."""
    bias = config.flag("attention_bias", True)
    layer = Layer(multi_head(config, qkv_bias=bias, out_bias=bias), plain(config.size("intermediate_size")))
    return llama.decoder(config, (Stack(layer, config.size("num_hidden_layers")),), norm="layer")


FAMILIES: dict[str, Callable[[Config], Shape]] = {
    "gpt2": _gpt2,
    "gpt_bigcode": _gpt_bigcode,
    "gptj": _gptj,
    "codegen": _gptj,
    "gpt_neo": _gpt_neo,
    "gpt_neox": _gpt_neox,
}
