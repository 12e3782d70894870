"""The shape of a dense decoder: what it takes to count its parameters, bytes and FLOPs.

To add a family, write one function below that reads its config.json and name it in `FAMILIES`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from llmprep import content
from llmprep.errors import UserError, did_you_mean

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Shape:
    """Widths and switches of a decoder, in the names of the papers."""

    vocab_size: int
    n_layers: int
    d_model: int
    n_heads: int
    n_kv_heads: int  # n_heads: MHA; fewer: GQA; 1: MQA
    head_dim: int
    d_ff: int
    tied: bool  # the output head is the token embedding, stored once
    gated: bool = True  # SwiGLU has three FFN matrices, a plain MLP two
    layer_norm: bool = False  # LayerNorm has a weight and a bias, RMSNorm a weight
    n_positions: int = 0  # rows of a learned position table; RoPE has none
    qkv_bias: bool = False
    out_bias: bool = False  # of the attention's output projection
    ffn_bias: bool = False
    qk_norm: bool = False  # an RMSNorm over head_dim for queries and one for keys


def _llama(config: Config) -> Shape:
    """Llama 1–3, Mistral, and all that reuse their config.json."""
    n_heads = config["num_attention_heads"]
    bias = config.get("attention_bias", False)
    return Shape(
        vocab_size=config["vocab_size"],
        n_layers=config["num_hidden_layers"],
        d_model=config["hidden_size"],
        n_heads=n_heads,
        n_kv_heads=config.get("num_key_value_heads") or n_heads,
        head_dim=config.get("head_dim") or config["hidden_size"] // n_heads,
        d_ff=config["intermediate_size"],
        tied=config.get("tie_word_embeddings", False),
        qkv_bias=bias,
        out_bias=bias,
        ffn_bias=config.get("mlp_bias", False),
    )


def _qwen2(config: Config) -> Shape:
    """Llama plus a bias on q, k and v only."""
    return replace(_llama(config), qkv_bias=True, out_bias=False)


def _qwen3(config: Config) -> Shape:
    """Llama plus QK-norm."""
    return replace(_llama(config), qk_norm=True)


def _gpt2(config: Config) -> Shape:
    """GPT-2 and GPT-3: LayerNorm, biases everywhere, a plain FFN, learned positions, a tied head."""
    d_model, n_heads = config["n_embd"], config["n_head"]
    return Shape(
        vocab_size=config["vocab_size"],
        n_layers=config["n_layer"],
        d_model=d_model,
        n_heads=n_heads,
        n_kv_heads=n_heads,
        head_dim=d_model // n_heads,
        d_ff=config.get("n_inner") or 4 * d_model,
        tied=config.get("tie_word_embeddings", True),
        gated=False,
        layer_norm=True,
        n_positions=config["n_positions"],
        qkv_bias=True,
        out_bias=True,
        ffn_bias=True,
    )


FAMILIES: dict[str, Callable[[Config], Shape]] = {
    "gpt2": _gpt2,
    "llama": _llama,
    "mistral": _llama,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
}


def from_config(config: Config, family: str) -> Shape:
    """The shape in a Hugging Face config.json; `family` is its `model_type`.

    Raises UserError for a family that is not in `FAMILIES`, or a config that lacks a field.
    """
    if family not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise UserError(f"cannot count models of the family {family!r} yet{did_you_mean(family, FAMILIES)} ({known})")
    try:
        return FAMILIES[family](config)
    except KeyError as error:
        raise UserError(f"a {family} config needs {error}") from None


def of(name: str) -> Shape:
    """The shape of a model in data/models.json."""
    entry = content.model(name)
    return from_config(entry["config"], entry["model_type"])
