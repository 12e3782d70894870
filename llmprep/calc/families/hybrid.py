"""Models with a state instead of a cache, and hybrids that keep some attention: Mamba, Jamba, Qwen3-Next."""

from collections.abc import Callable
from typing import Any

from llmprep.calc.config import Config
from llmprep.calc.families import llama, moe
from llmprep.calc.shapes import DeltaNet, FeedForward, Layer, Mamba2, Mixer, Shape, Stack, StateSpace


def _rank(config: Config, name: str) -> int:
    """The width of Mamba's time step before it is projected up; "auto" is ⌈d/16⌉."""
    if config.get(name, "auto") == "auto":
        return -(-config.size("hidden_size") // 16)
    return config.size(name)


def _states(config: Config, mixer: StateSpace | Mamba2, **fields: Any) -> Shape:
    """Layers of one norm and one mixer, without FFN."""
    stack = Stack(Layer(mixer, None, norms=1), config.size("num_hidden_layers"))
    return llama.decoder(config, (stack,), context=None, **fields)


def _mamba(config: Config) -> Shape:
    """Mamba and Falcon-Mamba, whose extra norms have no weights; `intermediate_size` overrules `expand`."""
    mixer = StateSpace(
        d_inner=config.size("intermediate_size", config.size("expand", 2) * config.size("hidden_size")),
        d_state=config.size("state_size", 16),
        d_conv=config.size("conv_kernel", 4),
        dt_rank=_rank(config, "time_step_rank"),
        bias=config.flag("use_bias", False),
        conv_bias=config.flag("use_conv_bias", True),
    )
    return _states(config, mixer, tied=config.flag("tie_word_embeddings", True))


def _mamba2(config: Config) -> Shape:
    """Mamba-2: heads with one decay each; B and C come straight from the input, in groups."""
    n_heads, head_dim = config.size("num_heads", 128), config.size("head_dim", 64)
    d_inner = config.size("expand", 2) * config.size("hidden_size")
    if n_heads * head_dim != d_inner:
        raise config.error("num_heads", f"{n_heads} × head_dim {head_dim} is not hidden_size × expand {d_inner}")
    n_groups = config.size("n_groups", 8)
    config.divide("num_heads", n_heads, "n_groups", n_groups)
    mixer = Mamba2(
        n_heads,
        head_dim,
        n_groups,
        d_state=config.size("state_size", 128),
        d_conv=config.size("conv_kernel", 4),
        bias=config.flag("use_bias", False),
        conv_bias=config.flag("use_conv_bias", True),
    )
    return _states(config, mixer)


def _every(config: Config, part: str, period: int, offset: int) -> list[bool]:
    """Which layers Jamba gives a part: one in `period`, beginning with layer `offset`; the arguments are defaults."""
    period = config.size(f"{part}_layer_period", period)
    offset = config.size(f"{part}_layer_offset", offset, least=0)
    if offset >= period:
        raise config.error(f"{part}_layer_offset", f"{offset} is not smaller than {part}_layer_period {period}")
    return [i % period == offset for i in range(config.size("num_hidden_layers"))]


def _jamba(config: Config) -> Shape:
    """Jamba: one layer of attention to seven of Mamba, which has RMSNorms inside; experts in every other layer."""
    attention = llama.attention(config, kv_heads=8)
    state = StateSpace(
        d_inner=config.size("mamba_expand", 2) * config.size("hidden_size"),
        d_state=config.size("mamba_d_state", 16),
        d_conv=config.size("mamba_d_conv", 4),
        dt_rank=_rank(config, "mamba_dt_rank"),
        bias=config.flag("mamba_proj_bias", False),
        conv_bias=config.flag("mamba_conv_bias", True),
        norms=True,
    )
    mixers: list[Mixer] = [attention if here else state for here in _every(config, "attn", 8, 4)]
    sparse = _every(config, "expert", 2, 1)
    expert = FeedForward(config.size("intermediate_size"))
    ffn = moe.experts(config, ("num_experts", "num_local_experts"), expert, 2)
    if ffn.n == 1:
        sparse = [False] * len(sparse)
    return moe.decoder(config, mixers, sparse, ffn, 262_144)


def _qwen3_next(config: Config) -> Shape:
    """Qwen3-Next: Gated DeltaNet in three of four layers, attention behind an output gate in the fourth."""
    n_layers, bias = config.size("num_hidden_layers"), config.flag("attention_bias", False)
    attention = llama.attention(
        config, head_dim=256, kv_heads=2, qk_norm="head", gate=True, qkv_bias=bias, out_bias=bias
    )
    linear = DeltaNet(
        n_key_heads=config.size("linear_num_key_heads", 16),
        n_value_heads=config.size("linear_num_value_heads", 32),
        key_dim=config.size("linear_key_head_dim", 128),
        value_dim=config.size("linear_value_head_dim", 128),
        d_conv=config.size("linear_conv_kernel_dim", 4),
    )
    config.divide("linear_num_value_heads", linear.n_value_heads, "linear_num_key_heads", linear.n_key_heads)
    interval = config.size("full_attention_interval", 4)
    kinds: dict[str, Mixer] = {"linear_attention": linear, "full_attention": attention}
    types = config.items("layer_types", n_layers)
    if types is None:
        types = ["linear_attention" if (i + 1) % interval else "full_attention" for i in range(n_layers)]
    for name in types:
        if name not in tuple(kinds):
            raise config.error("layer_types", f"names {name!r}; expected {' or '.join(kinds)}")
    shared = FeedForward(config.size("shared_expert_intermediate_size"))
    expert = FeedForward(config.size("moe_intermediate_size"))
    ffn = moe.experts(config, ("num_experts",), expert, 10, shared=shared, shared_gate=True)
    return moe.decoder(config, [kinds[name] for name in types], moe.qwen_sparse(config), ffn, 32_768)


FAMILIES: dict[str, Callable[[Config], Shape]] = {
    "mamba": _mamba,
    "falcon_mamba": _mamba,
    "mamba2": _mamba2,
    "jamba": _jamba,
    "qwen3_next": _qwen3_next,
}
