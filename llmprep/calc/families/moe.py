"""Mixtures of experts with ordinary attention: a router and expert FFNs where others have one FFN."""

from collections.abc import Callable, Sequence
from typing import Any

from llmprep.calc.config import Config
from llmprep.calc.families import llama
from llmprep.calc.families.gpt import head_bias
from llmprep.calc.shapes import Attention, Experts, FeedForward, Layer, Mixer, Shape, Stack


def experts(
    config: Config,
    names: tuple[str, ...],
    expert: FeedForward,
    top_k: int | None,
    chosen: str = "num_experts_per_tok",
    **parts: Any,
) -> Experts:
    """The experts of a layer: `names` are the fields that may hold their number, `chosen` the one that holds top-k.

    `top_k` is the family's default; transformers renames the first field to the second when it saves some families.
    """
    name = next((name for name in names if config.has(name)), names[0])
    n, used = config.size(name), config.size(chosen, top_k)
    if used > n:
        raise config.error(chosen, f"{used} is more than {name} {n}")
    return Experts(n, used, expert, **parts)


def decoder(
    config: Config,
    mixers: Sequence[Mixer],
    sparse: Sequence[bool],
    ffn: Experts,
    context: int,
    *,
    dense: str = "intermediate_size",
    dense_bias: bool = False,
    **fields: Any,
) -> Shape:
    """A model with experts in the layers that `sparse` marks, and a dense FFN as wide as the field `dense` in others.

    `context` is the family's default.
    """
    plain = None if all(sparse) else FeedForward(config.size(dense), bias=dense_bias)
    stacks = llama.stacks(
        [Layer(mixer, ffn if marked else plain) for mixer, marked in zip(mixers, sparse, strict=True)]
    )
    context = config.size("max_position_embeddings", context)
    return llama.decoder(config, stacks, context=context, **fields)


def indices(config: Config, name: str, n_layers: int) -> list[int] | None:
    """A list of layer numbers, each of a layer that there is; None where the field is absent."""
    found = config.items(name)
    for index in found or []:
        if not isinstance(index, int) or not 0 <= index < n_layers:
            raise config.error(name, f"names layer {index!r}, but num_hidden_layers is {n_layers}")
    return found


def qwen_sparse(config: Config) -> list[bool]:
    """Which layers of a Qwen have experts: every `decoder_sparse_step`-th that `mlp_only_layers` does not name."""
    n_layers, step = config.size("num_hidden_layers"), config.size("decoder_sparse_step", 1)
    dense = indices(config, "mlp_only_layers", n_layers) or []
    return [(i + 1) % step == 0 and i not in dense for i in range(n_layers)]


def _uniform(config: Config, mixer: Attention, ffn: Experts, context: int, **fields: Any) -> Shape:
    """A model whose layers are all alike."""
    n_layers = config.size("num_hidden_layers")
    return decoder(config, [mixer] * n_layers, [True] * n_layers, ffn, context, **fields)


def _mixtral(config: Config) -> Shape:
    """Mistral with 8 experts, 2 of them chosen; the window, where there is one, is in every layer."""
    mixer = llama.attention(config, kv_heads=8, window=config.maybe_size("sliding_window"))
    ffn = experts(config, ("num_local_experts", "num_experts"), FeedForward(config.size("intermediate_size")), 2)
    return _uniform(config, mixer, ffn, 131_072)


def _phimoe(config: Config) -> Shape:
    """Phi-3.5-MoE: LayerNorms with biases, and a bias on the output head where the config says so."""
    bias = config.flag("attention_bias", False)
    mixer = llama.attention(
        config, kv_heads=8, qkv_bias=bias, out_bias=bias, window=config.maybe_size("sliding_window")
    )
    ffn = experts(config, ("num_local_experts",), FeedForward(config.size("intermediate_size")), 2)
    extra = (head_bias(config),) if config.flag("lm_head_bias", False) else ()
    return _uniform(config, mixer, ffn, 131_072, norm="layer", extra=extra)


def _olmoe(config: Config) -> Shape:
    """OLMoE: many small experts, and an RMSNorm over all heads together for queries and keys."""
    bias = config.flag("attention_bias", False)
    mixer = llama.attention(config, qkv_bias=bias, out_bias=bias, qk_norm="all")
    d = config.size("hidden_size")
    if mixer.q_dim != d:
        raise config.error("head_dim", f"{mixer.head_dim} in {mixer.n_heads} heads does not give hidden_size {d}")
    ffn = experts(config, ("num_experts", "num_local_experts"), FeedForward(config.size("intermediate_size")), 8)
    return _uniform(config, mixer, ffn, 4096)


def _granitemoe(config: Config) -> Shape:
    """Granite 3 MoE: Llama with small experts; its multipliers of embeddings and residuals are no parameters."""
    bias = config.flag("attention_bias", False)
    mixer = llama.attention(config, qkv_bias=bias, out_bias=bias)
    ffn = experts(config, ("num_local_experts",), FeedForward(config.size("intermediate_size")), 2)
    return _uniform(config, mixer, ffn, 2048)


def _gpt_oss(config: Config) -> Shape:
    """gpt-oss: biases on everything, the router and the experts too; a sink per head; a window in every other layer."""
    bias = config.flag("attention_bias", True)
    mixer = llama.attention(config, head_dim=64, kv_heads=8, qkv_bias=bias, out_bias=bias, sinks=True)
    expert = FeedForward(config.size("intermediate_size"), bias=True)
    ffn = experts(config, ("num_local_experts", "num_experts"), expert, 4, router_bias=True)
    mixers = llama.windowed(config, mixer, lambda i: i % 2 == 1, 128)
    return decoder(config, mixers, [True] * len(mixers), ffn, 131_072)


def _qwen2_moe(config: Config) -> Shape:
    """Qwen1.5-MoE and Qwen2-MoE: biases on q, k and v, and a shared expert behind a gate of its own."""
    mixer = llama.attention(config, kv_heads=16, qkv_bias=config.flag("qkv_bias", True))
    shared = FeedForward(config.size("shared_expert_intermediate_size"))
    expert = FeedForward(config.size("moe_intermediate_size"))
    ffn = experts(config, ("num_experts",), expert, 4, shared=shared, shared_gate=True)
    sparse = qwen_sparse(config)
    mixers = [mixer] * len(sparse)
    if config.flag("use_sliding_window", False):
        last = config.size("max_window_layers", 28, least=0)
        mixers = llama.windowed(config, mixer, lambda i: i % 2 == 1 or i >= last, 4096)
    elif "sliding_attention" in (config.items("layer_types", len(sparse)) or []):
        raise config.error("layer_types", "names sliding_attention, but use_sliding_window is false")
    return decoder(config, mixers, sparse, ffn, 32_768)


def _qwen3_moe(config: Config) -> Shape:
    """Qwen3-MoE: no shared expert, an RMSNorm over head_dim for queries and keys; the window is in every layer."""
    bias = config.flag("attention_bias", False)
    windowed = config.flag("use_sliding_window", False)
    window = config.size("sliding_window", 4096, null=0) or None if windowed else None
    mixer = llama.attention(config, kv_heads=4, qk_norm="head", qkv_bias=bias, out_bias=bias, window=window)
    expert = FeedForward(config.size("moe_intermediate_size"))
    ffn = experts(config, ("num_experts", "num_local_experts"), expert, 8)
    sparse = qwen_sparse(config)
    return decoder(config, [mixer] * len(sparse), sparse, ffn, 32_768)


def _dbrx(config: Config) -> Shape:
    """DBRX: sizes in nested configs under names of its own, LayerNorms without biases."""
    d, n_heads = config.size("d_model"), config.size("n_heads")
    attn, ffn = config.part("attn_config", "dbrx"), config.part("ffn_config", "dbrx")
    n_kv_heads = attn.size("kv_n_heads", 1)
    attn.divide("n_heads", n_heads, "kv_n_heads", n_kv_heads)
    mixer = Attention(n_heads, n_kv_heads, config.divide("d_model", d, "n_heads", n_heads))
    expert = FeedForward(ffn.size("ffn_hidden_size"))
    layer = Layer(mixer, experts(ffn, ("moe_num_experts",), expert, 1, "moe_top_k"))
    if config.flag("tie_word_embeddings", False):
        raise config.error("tie_word_embeddings", "must be false: a dbrx has a head of its own")
    return Shape(
        family="dbrx",
        vocab_size=config.size("vocab_size"),
        d_model=d,
        stacks=(Stack(layer, config.size("n_layers")),),
        tied=False,
        norm="layer without bias",
        context=config.size("max_seq_len", 2048),
    )


FAMILIES: dict[str, Callable[[Config], Shape]] = {
    "mixtral": _mixtral,
    "phimoe": _phimoe,
    "olmoe": _olmoe,
    "granitemoe": _granitemoe,
    "gpt_oss": _gpt_oss,
    "qwen2_moe": _qwen2_moe,
    "qwen3_moe": _qwen3_moe,
    "dbrx": _dbrx,
}
