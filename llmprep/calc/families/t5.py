"""T5: an encoder, and a decoder that attends to it."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from llmprep.calc.config import Config
from llmprep.calc.families import llama
from llmprep.calc.families.fields import Renamed
from llmprep.calc.shapes import Attention, FeedForward, Layer, Shape, Stack, Weight

_T5 = {  # common name: the names in a config.json
    "hidden_size": ("hidden_size", "d_model"),
    "num_attention_heads": ("num_attention_heads", "num_heads"),
    "num_hidden_layers": ("num_hidden_layers", "num_layers"),
    "head_dim": ("head_dim", "d_kv"),
}


def _t5(config: Config, activation: str = "relu") -> Shape:
    """RMSNorm, no biases, heads of any width; one table of relative positions for each side, used by all its layers.

    Where `tie_word_embeddings` is false, as in T5 1.1, Flan-T5 and mT5, the checkpoint has a head of its own.
    """
    config = Renamed(config, _T5)
    n_heads, n_layers = config.size("num_attention_heads"), config.size("num_hidden_layers")
    mixer = Attention(n_heads, n_heads, config.size("head_dim", 64))
    ffn = FeedForward(config.size("d_ff"), gated=config.flag("is_gated_act", _gated(config, activation)))
    layer = Layer(mixer, ffn)
    crossed = replace(layer, norms=3, cross=replace(mixer, part="cross-attention"))
    table = (config.size("relative_attention_num_buckets", 32), n_heads)
    return llama.decoder(
        config,
        (Stack(crossed, config.size("num_decoder_layers", n_layers)),),
        tied=config.flag("tie_word_embeddings", True),
        last_norms=2,
        extra=(Weight("position embedding", "P", "buckets × H", table, "table", copies=2, used=2),),
        context=config.maybe_size("n_positions"),
        encoder=(Stack(layer, n_layers),),
    )


def _gated(config: Config, default: str) -> bool:
    """Whether `feed_forward_proj` is something like gated-gelu."""
    name = config.word("feed_forward_proj", default)
    first, *rest = name.split("-")
    if len(rest) > 1 or (rest and first != "gated"):
        raise config.error("feed_forward_proj", f"must look like relu or gated-gelu, not {name!r}")
    return first == "gated"


FAMILIES: dict[str, Callable[[Config], Shape]] = {"t5": _t5, "mt5": partial(_t5, activation="gated-gelu")}
