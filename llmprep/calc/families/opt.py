"""OPT, BLOOM, Falcon and MPT: large open models from the time before Llama."""

from collections.abc import Callable

from llmprep.calc.config import Config
from llmprep.calc.families import llama
from llmprep.calc.families.fields import Renamed
from llmprep.calc.families.gpt import multi_head, plain, positions
from llmprep.calc.shapes import Layer, Shape, Stack, Weight

_BLOOM = {  # common name: the names in a config.json
    "hidden_size": ("n_embed", "hidden_size"),
    "num_attention_heads": ("num_attention_heads", "n_head"),
    "num_hidden_layers": ("num_hidden_layers", "n_layer"),
}
_MPT = {
    "hidden_size": ("hidden_size", "d_model"),
    "num_attention_heads": ("num_attention_heads", "n_heads"),
    "num_hidden_layers": ("num_hidden_layers", "n_layers"),
}


def _opt(config: Config) -> Shape:
    """GPT-2 with two unused rows of positions; the 350M model has narrow embeddings and norms after each part."""
    d, bias = config.size("hidden_size"), config.flag("enable_bias", True)
    layer = Layer(multi_head(config, qkv_bias=bias, out_bias=bias), plain(config.size("ffn_dim"), bias=bias))
    n_positions = config.size("max_position_embeddings", 2048)
    width = config.size("word_embed_proj_dim", d)
    extra = [positions(n_positions + 2, d)]
    if width != d:
        extra.append(Weight("token embedding", "W_in", "e × d", (width, d)))
        extra.append(Weight("token embedding", "W_out", "d × e", (d, width)))
    last_norm = config.flag("do_layer_norm_before", True) and not config.flag("_remove_final_layer_norm", False)
    return llama.decoder(
        config,
        (Stack(layer, config.size("num_hidden_layers")),),
        tied=config.flag("tie_word_embeddings", True),
        norm="layer" if config.flag("layer_norm_elementwise_affine", True) else "none",
        last_norms=int(last_norm),
        extra=tuple(extra),
        embedding_dim=width,
        context=n_positions,
    )


def _bloom(config: Config) -> Shape:
    """ALiBi, so no positions to store; biases everywhere, and a norm right behind the embedding."""
    config = Renamed(config, _BLOOM)
    layer = Layer(multi_head(config, qkv_bias=True, out_bias=True), plain(4 * config.size("hidden_size")))
    return llama.decoder(
        config,
        (Stack(layer, config.size("num_hidden_layers")),),
        tied=config.flag("tie_word_embeddings", True),
        norm="layer",
        last_norms=2,
        context=config.maybe_size("seq_length"),
    )


def _falcon(config: Config) -> Shape:
    """Attention and FFN side by side: 7B with one norm and one key/value head, 40B with two norms and groups."""
    config = Renamed(config, {"hidden_size": ("n_embed", "hidden_size")})
    n_heads, bias = config.size("num_attention_heads"), config.flag("bias", False)
    grouped = config.flag("new_decoder_architecture", False)
    kv_heads = n_heads
    if grouped:
        kv_heads = config.size("num_kv_heads", n_heads)
        config.divide("num_attention_heads", n_heads, "num_kv_heads", kv_heads)
    elif config.flag("multi_query", True):
        kv_heads = 1
    beside = config.flag("parallel_attn", True)
    norms_beside = config.size("num_ln_in_parallel_attn", 2 if grouped else 1)
    layer = Layer(
        multi_head(config, kv_heads, qkv_bias=bias, out_bias=bias),
        plain(config.size("ffn_hidden_size", 4 * config.size("hidden_size")), bias=bias),
        norms=1 if beside and norms_beside != 2 else 2,
    )
    tied = config.flag("tie_word_embeddings", True)
    return llama.decoder(config, (Stack(layer, config.size("num_hidden_layers")),), tied=tied, norm="layer")


def _mpt(config: Config) -> Shape:
    """ALiBi and no bias anywhere, not in the norms either: the layout that transformers builds, which is MPT-7B's."""
    config = Renamed(config, _MPT)
    if config.size("expansion_ratio", 4) != 4 or not config.flag("no_bias", True):
        raise config.error("expansion_ratio", "must be 4, and no_bias true: no other MPT is counted")
    layer = Layer(multi_head(config), plain(4 * config.size("hidden_size"), bias=False))
    return llama.decoder(
        config,
        (Stack(layer, config.size("num_hidden_layers")),),
        tied=config.flag("tie_word_embeddings", True),
        norm="layer without bias",
        context=config.size("max_seq_len", 2048),
    )


FAMILIES: dict[str, Callable[[Config], Shape]] = {"opt": _opt, "bloom": _bloom, "falcon": _falcon, "mpt": _mpt}
