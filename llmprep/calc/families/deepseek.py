"""DeepSeek and those who follow it: dense layers first, then many small experts beside shared ones."""

from collections.abc import Callable

from llmprep.calc.config import Config
from llmprep.calc.families import llama, moe
from llmprep.calc.shapes import NOTHING, Attention, FeedForward, Latent, Shape
from llmprep.content import Text


def _latent(config: Config) -> Latent:
    """Multi-head latent attention, where `num_key_value_heads` has no meaning.

    `q_lora_rank` null means that queries are projected without a latent.
    """
    return Latent(
        config.size("num_attention_heads"),
        q_rank=config.size("q_lora_rank", 1536, null=0) or None,
        kv_rank=config.size("kv_lora_rank", 512),
        nope_dim=config.size("qk_nope_head_dim", 128),
        rope_dim=config.size("qk_rope_head_dim", 64),
        v_dim=config.size("v_head_dim", 128),
        bias=config.flag("attention_bias", False),
    )


def _decoder(
    config: Config,
    mixer: Latent | Attention,
    *,
    first: int,
    top_k: int | None,
    n_shared: int,
    context: int,
    bias: bool = False,
) -> Shape:
    """Dense layers before `first_k_dense_replace`, experts from there on, shared ones as one FFN of their joint width.

    `first`, `top_k`, `n_shared` and `context` are the family's defaults; `bias` is that of all FFNs but the chosen.
    """
    n_layers, width = config.size("num_hidden_layers"), config.size("moe_intermediate_size")
    n_shared = config.size("n_shared_experts", n_shared, least=0)
    names = ("n_routed_experts", "num_local_experts", "num_experts")
    shared = FeedForward(n_shared * width, bias=bias) if n_shared else None
    ffn = moe.experts(config, names, FeedForward(width), top_k, shared=shared)
    if config.has("n_group"):
        config.divide("n_routed_experts", ffn.n, "n_group", config.size("n_group"))
    dense = config.size("first_k_dense_replace", first, least=0)
    sparse = [i >= dense for i in range(n_layers)]
    return moe.decoder(config, [mixer] * n_layers, sparse, ffn, context, dense_bias=bias, note=_left_out(config))


def _left_out(config: Config) -> Text:
    """What a checkpoint holds beside the model, where its config announces it."""
    name = "num_nextn_predict_layers" if config.has("num_nextn_predict_layers") else "num_mtp_layers"
    n = config.size(name, 0, least=0)
    if not n:
        return NOTHING
    modules = f"{n} multi-token-prediction module{'s' if n > 1 else ''}"
    return Text(f"{modules} beside the model not counted", f"另有 {n} 个 MTP（multi-token prediction）模块，不计入")


def _deepseek_v2(config: Config) -> Shape:
    """DeepSeek-V2: the first with latent attention; softmax routing, two shared experts."""
    config.divide("hidden_size", config.size("hidden_size"), "num_attention_heads", config.size("num_attention_heads"))
    bias = config.flag("mlp_bias", False)
    return _decoder(config, _latent(config), first=0, top_k=None, n_shared=2, context=2048, bias=bias)


def _deepseek_v3(config: Config) -> Shape:
    """DeepSeek-V3, R1 and Kimi K2: the router's correction bias is a buffer, not a parameter."""
    return _decoder(config, _latent(config), first=3, top_k=8, n_shared=1, context=4096)


def _glm4_moe(config: Config) -> Shape:
    """GLM-4.5: the experts of DeepSeek-V3 under grouped-query attention, biases on q, k and v only."""
    norm = "head" if config.flag("use_qk_norm", False) else ""
    mixer = llama.attention(config, kv_heads=8, qk_norm=norm, qkv_bias=config.flag("attention_bias", False))
    return _decoder(config, mixer, first=1, top_k=8, n_shared=1, context=131_072)


FAMILIES: dict[str, Callable[[Config], Shape]] = {
    "deepseek_v2": _deepseek_v2,
    "deepseek_v3": _deepseek_v3,
    "kimi_k2": _deepseek_v3,
    "glm4_moe": _glm4_moe,
}
