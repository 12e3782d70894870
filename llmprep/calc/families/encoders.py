"""Encoders, with the pooler that their base model has and without a head."""

from collections.abc import Callable
from typing import Any

from llmprep.calc.config import Config
from llmprep.calc.families import llama
from llmprep.calc.families.fields import Renamed, both_sides
from llmprep.calc.families.gpt import crossed, multi_head, plain, positions
from llmprep.calc.shapes import FeedForward, Layer, Shape, Stack, Weight, matrix

_DISTILBERT = {  # common name: the names in a config.json
    "hidden_size": ("hidden_size", "dim"),
    "num_attention_heads": ("num_attention_heads", "n_heads"),
    "num_hidden_layers": ("num_hidden_layers", "n_layers"),
    "intermediate_size": ("hidden_dim",),
}


def _encoder(config: Config, stacks: tuple[Stack, ...], **fields: Any) -> Shape:
    """Layers without a head that see both sides; the head of pretraining would be the token embedding."""
    tied = config.flag("tie_word_embeddings", True)
    return llama.decoder(config, stacks, **{"tied": tied, "head": False, "causal": False, "norm": "layer", **fields})


def _layer(config: Config) -> Layer:
    """The layer of BERT: biases everywhere, a plain FFN, a norm behind each part."""
    return crossed(config, multi_head(config, qkv_bias=True, out_bias=True), plain(config.size("intermediate_size")))


def _segments(config: Config, width: int) -> Weight:
    """The table of token types; RoBERTa keeps one row of it."""
    return Weight("position embedding", "segments", "S × d", (config.size("type_vocab_size", 2), width), "table")


def _pooler(d: int) -> tuple[Weight, ...]:
    """A square matrix for the first token."""
    return tuple(matrix("pooler", "W_pool", "d × d", d, d, bias=True))


def _bert(config: Config, skipped: int = 0) -> Shape:
    """Post-norm, learned positions and segments with a norm over their sum, a pooler."""
    d, causal = config.size("hidden_size"), config.flag("is_decoder", False)
    if config.flag("add_cross_attention", False) and not causal:
        raise config.error("add_cross_attention", "needs is_decoder to be true")
    n_positions = config.size("max_position_embeddings", 512)
    return _encoder(
        config,
        (Stack(_layer(config), config.size("num_hidden_layers")),),
        extra=(positions(n_positions, d), _segments(config, d), *_pooler(d)),
        context=n_positions - skipped,
        causal=causal,
    )


def _roberta(config: Config) -> Shape:
    """BERT whose positions start behind that of the padding token: two rows stay unused."""
    return _bert(config, skipped=config.size("pad_token_id", 1, least=0) + 1)


def _distilbert(config: Config) -> Shape:
    """BERT without segments and without a pooler."""
    config = Renamed(config, _DISTILBERT)
    n_positions = config.size("max_position_embeddings", 512)
    return _encoder(
        config,
        (Stack(_layer(config), config.size("num_hidden_layers")),),
        extra=(positions(n_positions, config.size("hidden_size")),),
        context=n_positions,
    )


def _albert(config: Config) -> Shape:
    """BERT whose layers share their weights, with embeddings of 128 that a matrix widens."""
    d, e = config.size("hidden_size"), config.size("embedding_size", 128)
    n_positions = config.size("max_position_embeddings", 512)
    return _encoder(
        config,
        _groups(config),
        last_norms=0,
        extra=(
            positions(n_positions, e),
            _segments(config, e),
            Weight("norms", "embedding norm", "2e", (2 * e,), "vector"),
            *matrix("token embedding", "W_in", "e × d", e, d, bias=True),
            *_pooler(d),
        ),
        embedding_dim=e,
        context=n_positions,
    )


def _groups(config: Config) -> tuple[Stack, ...]:
    """ALBERT's sets of weights and how often each runs: the one layer of one group, in every published model."""
    n_layers, n_groups = config.size("num_hidden_layers"), config.size("num_hidden_groups", 1)
    runs = [0] * n_groups
    for i in range(n_layers):
        runs[int(i / (n_layers / n_groups))] += 1
    inner, layer = config.size("inner_group_num", 1), _layer(config)
    return tuple(Stack(layer, n, shared=True) for n in runs for _ in range(inner))


def _modernbert(config: Config) -> Shape:
    """Pre-norm with rotary positions, GeGLU, no biases, and a window in two layers of three; no pooler."""
    every = config.size("global_attn_every_n_layers", 3)
    window = both_sides(config.size("local_attention", 128))
    bias = config.flag("attention_bias", False)
    mixer = multi_head(config, qkv_bias=bias, out_bias=bias)
    mixers = llama.windowed(
        Config({**config.fields, "sliding_window": window}, config.source), mixer, lambda i: i % every == 0
    )
    ffn = FeedForward(config.size("intermediate_size"), bias=config.flag("mlp_bias", False))
    layers = [Layer(m, ffn, norms=2 if i else 1) for i, m in enumerate(mixers)]  # the embedding's norm is the first
    return _encoder(
        config,
        llama.stacks(layers),
        norm="layer" if config.flag("norm_bias", False) else "layer without bias",
        last_norms=2,
    )


FAMILIES: dict[str, Callable[[Config], Shape]] = {
    "bert": _bert,
    "roberta": _roberta,
    "xlm-roberta": _roberta,
    "distilbert": _distilbert,
    "albert": _albert,
    "modernbert": _modernbert,
}
