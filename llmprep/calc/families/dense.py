"""Dense decoders that change a detail of Llama: its norms, where they stand, its biases, its FFN."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from llmprep.calc.config import Config
from llmprep.calc.families import llama
from llmprep.calc.families.fields import unless_null
from llmprep.calc.families.gpt import plain
from llmprep.calc.shapes import Attention, Experts, FeedForward, Layer, Shape, Stack


def _attention(config: Config, **switches: Any) -> Attention:
    """Grouped queries with biases on all four matrices where `attention_bias` asks for them."""
    bias = config.flag("attention_bias", False)
    return llama.attention(config, qkv_bias=bias, out_bias=bias, **switches)


def _equal(config: Config, layer: Layer, **fields: Any) -> Shape:
    """A decoder of equal layers."""
    return llama.decoder(config, (Stack(layer, config.size("num_hidden_layers")),), **fields)


def _gated(config: Config) -> FeedForward:
    """SwiGLU without biases."""
    return FeedForward(config.size("intermediate_size"))


def _olmo(config: Config) -> Shape:
    """LayerNorms without weights."""
    return _equal(config, Layer(_attention(config), _gated(config)), norm="none")


def _olmo2(config: Config) -> Shape:
    """RMSNorms behind the parts instead of before them, and over all queries and all keys together."""
    return _equal(config, Layer(_attention(config, qk_norm="all"), _gated(config)))


def _olmo3(config: Config) -> Shape:
    """OLMo 2 with a window in three layers of four."""
    default = unless_null(config, "sliding_window", 4096)
    mixers = llama.windowed(config, _attention(config, qk_norm="all"), lambda i: (i + 1) % 4 == 0, default)
    return llama.decoder(config, llama.stacks([Layer(mixer, _gated(config)) for mixer in mixers]))


def _cohere(config: Config) -> Shape:
    """Command R: attention and FFN side by side behind one LayerNorm without bias; a tied head."""
    qk_norm = "heads" if config.flag("use_qk_norm", False) else ""
    layer = Layer(_attention(config, qk_norm=qk_norm), _gated(config), norms=1)
    return _equal(config, layer, norm="layer without bias", tied=config.flag("tie_word_embeddings", True))


def _cohere2(config: Config) -> Shape:
    """Command R7B and A: Cohere's layer, with a window in three layers of four."""
    pattern = config.size("sliding_window_pattern", 4)
    default = unless_null(config, "sliding_window", 4096)
    mixers = llama.windowed(config, _attention(config), lambda i: (i + 1) % pattern == 0, default)
    layers = llama.stacks([Layer(mixer, _gated(config), norms=1) for mixer in mixers])
    tied = config.flag("tie_word_embeddings", True)
    return llama.decoder(config, layers, norm="layer without bias", tied=tied)


def _stablelm(config: Config) -> Shape:
    """LayerNorms with biases; side by side behind one norm or one after the other behind two; a norm for each head."""
    d, n_heads = config.size("hidden_size"), config.size("num_attention_heads")
    mixer = llama.attention(
        config,
        kv_heads=32,
        qkv_bias=config.flag("use_qkv_bias", False),
        qk_norm="heads" if config.flag("qk_layernorm", False) else "",
    )
    mixer = replace(mixer, head_dim=config.divide("hidden_size", d, "num_attention_heads", n_heads))
    norms = 1 if config.flag("use_parallel_residual", False) else 2
    return _equal(config, Layer(mixer, _gated(config), norms), norm="layer")


def _granite(config: Config) -> Shape:
    """Llama with four scalars, which are no parameters."""
    ffn = FeedForward(config.size("intermediate_size"), bias=config.flag("mlp_bias", False))
    return _equal(config, Layer(_attention(config), ffn))


def _starcoder2(config: Config) -> Shape:
    """LayerNorms, a plain FFN, biases everywhere but in the head, which is tied; a window in every layer."""
    bias, window = config.flag("use_bias", True), config.maybe_size("sliding_window")
    mixer = llama.attention(config, kv_heads=2, qkv_bias=bias, out_bias=bias, window=window)
    layer = Layer(mixer, plain(config.size("intermediate_size"), bias=bias))
    return _equal(config, layer, norm="layer", tied=config.flag("tie_word_embeddings", True))


def _glm(config: Config, norms: int = 2) -> Shape:
    """GLM-4-9B: two key/value heads of 128, with a bias on q, k and v only."""
    mixer = llama.attention(config, head_dim=128, kv_heads=2, qkv_bias=config.flag("attention_bias", True))
    return _equal(config, Layer(mixer, _gated(config), norms))


def _glm4(config: Config) -> Shape:
    """GLM-4-0414: GLM with norms before and after each part."""
    return _glm(config, norms=4)


def _internlm2(config: Config) -> Shape:
    """InternLM 2 (its own code): Llama, with biases in attention unless `bias` is false, as its checkpoints say."""
    bias = config.flag("bias", True)
    return _equal(config, Layer(llama.attention(config, qkv_bias=bias, out_bias=bias), _gated(config)))


def _minicpm(config: Config) -> Shape:
    """MiniCPM 1, 2 and 4 (its own code): Llama with a tied head; a mixture of experts where `num_experts` is given."""
    ffn: FeedForward | Experts = _gated(config)
    n_experts = config.size("num_experts", 0, least=0)
    if n_experts:
        ffn = Experts(n_experts, config.size("num_experts_per_tok"), _gated(config))
    tied = config.flag("tie_word_embeddings", True)
    return _equal(config, Layer(_attention(config), ffn), tied=tied)


FAMILIES: dict[str, Callable[[Config], Shape]] = {
    "olmo": _olmo,
    "olmo2": _olmo2,
    "olmo3": _olmo3,
    "cohere": _cohere,
    "cohere2": _cohere2,
    "stablelm": _stablelm,
    "granite": _granite,
    "starcoder2": _starcoder2,
    "glm": _glm,
    "glm4": _glm4,
    "internlm2": _internlm2,
    "minicpm": _minicpm,
}
