"""Random small configs of every family with experts, latent attention or states, counted by transformers and by us."""

# ruff: noqa: E402
import itertools
import random
from collections import Counter

import pytest

transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")

from llmprep.calc import families, params

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")]

DRAWS = 12
TOKENS = 6
ABSENT = object()


def divisor(name, default):
    """Heads of keys and values: a divisor of the query heads. Absent only where the default is one as well."""

    def draw(rng, drawn):
        n = drawn[name]
        found = [k for k in range(1, n + 1) if n % k == 0]
        return rng.choice([*found, ABSENT] if n % default == 0 else found)

    return draw


def chosen(number, default):
    """Experts a token passes through: at most as many as there are."""

    def draw(rng, drawn):
        n = drawn[number]
        return rng.choice([1, 2, n, *([ABSENT] if default and default <= n else [])])

    return draw


def types(*kinds):
    """What each layer is, mostly left to the family's rule."""

    def draw(rng, drawn):
        return rng.choice([ABSENT, ABSENT, [rng.choice(kinds) for _ in range(drawn["num_hidden_layers"])]])

    return draw


def some_layers(rng, drawn):
    """Numbers of a few layers, perhaps of none."""
    n = drawn["num_hidden_layers"]
    return rng.choice([ABSENT, None, [], sorted(rng.sample(range(n), k=rng.randint(1, n)))])


def qwen2_moe_types(rng, drawn):
    """Windows only where they are switched on."""
    kinds = ["full_attention"] + ["sliding_attention"] * (drawn.get("use_sliding_window") is True)
    return types(*kinds)(rng, drawn)


def rope(rng, drawn):
    """Llama 4's layers without RoPE, which see everything."""
    n = drawn["num_hidden_layers"]
    return rng.choice([ABSENT, [], [rng.randint(0, 1) for _ in range(n)]])


def shared_bias(rng, drawn):
    """Not for a shared expert of width 0, of which the reference keeps a bias."""
    return rng.choice([False, ABSENT] if drawn.get("n_shared_experts") == 0 else [True, False, ABSENT])


def groups(rng, drawn):
    """Groups of experts, each of the same size."""
    return rng.choice([ABSENT, 1, 2, 4])


def nested(fields):
    """A config inside a config."""

    def draw(rng, drawn):
        return draw_fields(rng, fields)

    return draw


def inner_width(rng, drawn):
    """Mamba's inner width spelt out, as Falcon-Mamba's file does against its own `expand`."""
    return rng.choice([ABSENT, 3 * drawn["hidden_size"]])


def offset(period, default):
    """The first layer of a kind: before the second period begins."""

    def draw(rng, drawn):
        n = drawn.get(period)
        return rng.randrange(n) if n and n <= default else rng.choice([ABSENT, 0])

    return draw


def mamba2_heads(rng, drawn):
    """As many heads as fill the inner width."""
    return drawn.get("expand", 2) * drawn["hidden_size"] // drawn.get("head_dim", 64)


SWITCH = (True, False, ABSENT)
DEPTH, VOCAB, NUMBER = (1, 2, 5, 9), (50, 64), (8, 12, 16)
SIZES = {
    "hidden_size": (64, 128),
    "num_hidden_layers": DEPTH,
    "num_attention_heads": (8, 16, 32),
    "vocab_size": VOCAB,
    "tie_word_embeddings": SWITCH,
    "max_position_embeddings": (40, ABSENT),
    "pad_token_id": (0,),
}
STATES = {name: SIZES[name] for name in ("hidden_size", "num_hidden_layers", "vocab_size", "tie_word_embeddings")}
WIDTH = {"intermediate_size": (24, 40)}
HEADS = {"num_key_value_heads": divisor("num_attention_heads", 8)}
BIAS = {"attention_bias": SWITCH}
MIXTRAL = (
    SIZES
    | WIDTH
    | HEADS
    | {
        "num_local_experts": NUMBER,
        "num_experts_per_tok": chosen("num_local_experts", 2),
        "sliding_window": (9, None, ABSENT),
    }
)
QWEN = (
    SIZES
    | WIDTH
    | {
        "num_experts": NUMBER,
        "moe_intermediate_size": (12, 20),
        "decoder_sparse_step": (1, 2, 3, ABSENT),
        "mlp_only_layers": some_layers,
    }
)
LATENT = {
    "kv_lora_rank": (24, ABSENT),
    "q_lora_rank": (20, None, ABSENT),
    "qk_nope_head_dim": (8, ABSENT),
    "qk_rope_head_dim": (4, ABSENT),
    "v_head_dim": (6, ABSENT),
}
DEEPSEEK = (
    SIZES
    | WIDTH
    | BIAS
    | {
        "n_routed_experts": (8, 16),
        "n_shared_experts": (0, 1, 3, ABSENT),
        "moe_intermediate_size": (12, 20),
        "num_experts_per_tok": chosen("n_routed_experts", 8),
        "n_group": groups,
        "first_k_dense_replace": (0, 1, 4, ABSENT),
        "num_nextn_predict_layers": (0, 1, 2, ABSENT),
    }
)
MAMBA = STATES | {
    "state_size": (5, ABSENT),
    "conv_kernel": (3, ABSENT),
    "expand": (1, 2, ABSENT),
    "intermediate_size": inner_width,
    "time_step_rank": (7, "auto", ABSENT),
    "use_bias": SWITCH,
    "use_conv_bias": SWITCH,
}
LLAMA4 = (
    SIZES
    | WIDTH
    | HEADS
    | BIAS
    | {
        "head_dim": (8, ABSENT),
        "intermediate_size_mlp": (56,),
        "num_local_experts": NUMBER,
        "num_experts_per_tok": chosen("num_local_experts", 1),
        "interleave_moe_layer_step": (1, 2, 3, ABSENT),
        "moe_layers": some_layers,
        "no_rope_layers": rope,
        "no_rope_layer_interval": (2, ABSENT),
        "attention_chunk_size": (9, ABSENT),
        "layer_types": types("full_attention", "chunked_attention"),
    }
)
FIELDS = {
    "mixtral": MIXTRAL | {"head_dim": (8, None, ABSENT)},
    "phimoe": MIXTRAL | BIAS | {"lm_head_bias": SWITCH},
    "olmoe": SIZES
    | WIDTH
    | BIAS
    | {
        "num_key_value_heads": divisor("num_attention_heads", 1),
        "num_experts": NUMBER,
        "num_experts_per_tok": chosen("num_experts", 8),
    },
    "granitemoe": SIZES
    | WIDTH
    | BIAS
    | {
        "num_key_value_heads": divisor("num_attention_heads", 1),
        "num_local_experts": NUMBER,
        "num_experts_per_tok": chosen("num_local_experts", 2),
    },
    "gpt_oss": SIZES
    | WIDTH
    | HEADS
    | BIAS
    | {
        "head_dim": (8, ABSENT),
        "num_local_experts": NUMBER,
        "num_experts_per_tok": chosen("num_local_experts", 4),
        "sliding_window": (9, ABSENT),
        "layer_types": types("full_attention", "sliding_attention"),
    },
    "qwen2_moe": QWEN
    | {
        "num_key_value_heads": divisor("num_attention_heads", 16),
        "num_experts_per_tok": chosen("num_experts", 4),
        "shared_expert_intermediate_size": (28,),
        "qkv_bias": SWITCH,
        "use_sliding_window": SWITCH,
        "sliding_window": (9, ABSENT),
        "max_window_layers": (3, ABSENT),
        "layer_types": qwen2_moe_types,
    },
    "qwen3_moe": QWEN
    | BIAS
    | {
        "head_dim": (16, ABSENT),
        "num_key_value_heads": divisor("num_attention_heads", 4),
        "num_experts_per_tok": chosen("num_experts", 8),
        "use_sliding_window": SWITCH,
        "sliding_window": (9, None, ABSENT),
    },
    "dbrx": {
        "d_model": (64, 128),
        "n_layers": DEPTH,
        "n_heads": (8, 16),
        "vocab_size": VOCAB,
        "max_seq_len": (40, ABSENT),
        "attn_config": nested({"kv_n_heads": (1, 2, 4, 8, ABSENT), "rope_theta": (1e4,), "clip_qkv": (8,)}),
        "ffn_config": nested(
            {
                "ffn_hidden_size": (24, 40),
                "moe_num_experts": NUMBER,
                "moe_top_k": chosen("moe_num_experts", 1),
                "ffn_act_fn": ({"name": "silu"},),
            }
        ),
    },
    "llama4_text": LLAMA4,
    "llama4": {"text_config": nested(LLAMA4)},
    "glm4_moe": DEEPSEEK | HEADS | {"head_dim": (16, ABSENT), "use_qk_norm": SWITCH},
    "deepseek_v2": DEEPSEEK
    | LATENT
    | {
        "num_key_value_heads": divisor("num_attention_heads", 1),
        "mlp_bias": shared_bias,
        "num_experts_per_tok": (2, 3),
    },
    "deepseek_v3": DEEPSEEK | LATENT,
    "kimi_k2": DEEPSEEK | LATENT,
    "qwen3_next": QWEN
    | BIAS
    | {
        "num_experts": (12, 16),
        "head_dim": (16, ABSENT),
        "num_key_value_heads": divisor("num_attention_heads", 2),
        "num_experts_per_tok": chosen("num_experts", 10),
        "shared_expert_intermediate_size": (28,),
        "linear_num_key_heads": (2, 4),
        "linear_num_value_heads": (4, 8, ABSENT),
        "linear_key_head_dim": (6, ABSENT),
        "linear_value_head_dim": (10, ABSENT),
        "linear_conv_kernel_dim": (3, ABSENT),
        "full_attention_interval": (2, ABSENT),
        "layer_types": types("full_attention", "linear_attention"),
    },
    "mamba": MAMBA,
    "falcon_mamba": MAMBA,
    "mamba2": STATES
    | {
        "expand": (1, 2, ABSENT),
        "head_dim": (8, 16, ABSENT),
        "num_heads": mamba2_heads,
        "n_groups": (1,),
        "state_size": (5, ABSENT),
        "conv_kernel": (3, ABSENT),
        "use_bias": SWITCH,
        "use_conv_bias": SWITCH,
    },
    "jamba": SIZES
    | WIDTH
    | HEADS
    | {
        "num_experts": (1, 8, 12),
        "num_experts_per_tok": (1,),
        "attn_layer_period": (2, 3, ABSENT),
        "attn_layer_offset": offset("attn_layer_period", 4),
        "expert_layer_period": (1, ABSENT),
        "expert_layer_offset": offset("expert_layer_period", 1),
        "mamba_d_state": (5, ABSENT),
        "mamba_d_conv": (3, ABSENT),
        "mamba_expand": (1, ABSENT),
        "mamba_dt_rank": (7, "auto", ABSENT),
        "mamba_conv_bias": SWITCH,
        "mamba_proj_bias": SWITCH,
    },
}
NEEDED = {
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "num_experts"),
    *("num_local_experts", "n_routed_experts", "moe_intermediate_size", "shared_expert_intermediate_size"),
    *("intermediate_size_mlp", "d_model", "n_heads", "n_layers", "text_config"),
}

ONE_GROUP = {"n_group": 1, "topk_group": 1}
RUNNING = dict.fromkeys(("deepseek_v2", "deepseek_v3", "kimi_k2", "glm4_moe"), ONE_GROUP) | {
    "qwen3_next": {
        "num_hidden_layers": 2,
        "layer_types": ["linear_attention", "full_attention"],
        "mlp_only_layers": [1],
    }
}  # what a forward pass needs beyond a count


def draw_fields(rng, fields):
    drawn = {}
    for name, options in fields.items():
        value = options(rng, drawn) if callable(options) else rng.choice(options)
        if value is not ABSENT:
            drawn[name] = value
    return drawn


def draws(model_type):
    """Fields of config.json files, as different as the family allows."""
    rng = random.Random(model_type)
    for _ in range(DRAWS):
        yield draw_fields(rng, FIELDS[model_type])


def config_of(model_type, fields):
    return transformers.CONFIG_MAPPING["deepseek_v3" if model_type == "kimi_k2" else model_type](**fields)


def build(config, device="meta"):
    with torch.device(device):
        return transformers.AutoModelForCausalLM.from_config(config)


def shape_of(fields, model_type):
    return families.shape({**fields, "model_type": model_type}, model_type)


def count(model, part=""):
    """Parameters of the modules whose name has `part` in it; a tied tensor is yielded once."""
    return sum(p.numel() for name, p in model.named_parameters() if part in name)


def active(model):
    """Parameters that a token passes through, by all three conventions, from the reference's modules and config."""
    text = model.config.get_text_config()
    part = getattr(text, "ffn_config", text)
    used, routed = count(model), count(model, ".experts.")
    if routed:
        names = ("moe_num_experts", "n_routed_experts", "num_local_experts", "num_experts")
        n = next(getattr(part, name) for name in names if hasattr(part, name))
        chosen = part.moe_top_k if part is not text else text.num_experts_per_tok
        used -= routed // n * (n - chosen)
    embedding = model.get_input_embeddings().weight
    tied = model.get_output_embeddings().weight is embedding
    head = count(model, "lm_head")  # nothing but a bias where it is tied
    return used, used - (0 if tied else embedding.numel()), used - embedding.numel() - head


def layers(shape):
    """What each kind of layer keeps: its window, None for everything, or "state"; with the number of such layers."""
    kept = Counter()
    for stack in shape.stacks:
        cached = stack.layer.mixer.cached
        kept["state" if cached.state else cached.window] += stack.n
    return kept


def cache_layers(config):
    """The same from the cache that the reference makes."""
    cache = transformers.DynamicCache(config=config)
    return Counter(
        "state" if hasattr(layer, "recurrent_states") else getattr(layer, "sliding_window", None)
        for layer in cache.layers
    )


@pytest.mark.parametrize("model_type", FIELDS)
def test_random_configs_have_the_parameters_of_the_reference(model_type):
    counts = set()
    for fields in draws(model_type):
        config = config_of(model_type, fields)
        written, whole = config.to_diff_dict(), config.to_dict()
        model = build(config)
        counts.add(count(model))
        for source in (fields, written, whole):
            shape = shape_of(source, model_type)
            assert params.total(shape) == count(model), fields
            assert params.active(shape) == active(model), fields
    assert len(counts) > DRAWS / 2, "the draws hardly differ"


@pytest.mark.parametrize("model_type", FIELDS)
def test_random_configs_have_the_windows_and_states_of_the_reference(model_type):
    for fields in draws(model_type):
        shape, config = shape_of(fields, model_type), config_of(model_type, fields)
        text = config.get_text_config()
        assert layers(shape) == cache_layers(config), fields
        assert shape.n_layers == text.num_hidden_layers
        assert shape.context == getattr(text, "max_position_embeddings", None)


@pytest.mark.parametrize("model_type", FIELDS)
def test_what_a_config_leaves_out_is_as_in_the_reference(model_type):
    """At the widths of the reference's own default, with nothing said but widths and depth."""
    config = config_of(model_type, {})
    fields = {name: value for name, value in config.to_dict().items() if name in NEEDED}
    if model_type in ("mamba", "falcon_mamba"):
        del fields["intermediate_size"]
    if "num_local_experts" in fields and model_type == "qwen3_moe":
        fields["num_experts"] = fields.pop("num_local_experts")  # the name in the files of the hub
    if model_type == "dbrx":
        fields["attn_config"] = {"rope_theta": 1e4}
        fields["ffn_config"] = {"ffn_hidden_size": 3584, "moe_num_experts": 4, "ffn_act_fn": {"name": "silu"}}
    elif model_type == "llama4":
        fields["text_config"] = {name: value for name, value in fields["text_config"].items() if name in NEEDED}
    else:
        fields["num_hidden_layers"] = 9
    if model_type == "deepseek_v2":
        fields["num_experts_per_tok"] = 6  # has no default
    if model_type == "glm4_moe":
        fields["num_attention_heads"] = 64  # the default of 96 does not divide the default width
    config = config_of(model_type, fields)
    shape = shape_of(fields, model_type)
    model = build(config)
    assert params.total(shape) == count(model)
    assert params.active(shape) == active(model)
    assert layers(shape) == cache_layers(config)
    assert shape.context == getattr(config.get_text_config(), "max_position_embeddings", None)


@pytest.mark.parametrize("model_type", FIELDS)
def test_a_cache_holds_what_the_reference_keeps(model_type):
    """The tensors of a real cache after a few tokens, fewer than any window."""
    for drawn in itertools.islice(draws(model_type), 4):
        fields = drawn | RUNNING.get(model_type, {})
        if model_type in ("deepseek_v2", "deepseek_v3", "kimi_k2"):
            fields["num_key_value_heads"] = fields["num_attention_heads"]
        shape = shape_of(fields, model_type)
        model = build(config_of(model_type, fields), "cpu").eval()
        with torch.no_grad():
            out = model(torch.randint(3, 40, (1, TOKENS)), use_cache=True)
        cache = out.cache_params if "cache_params" in out else out.past_key_values
        held = 0
        for layer in cache.layers:
            if hasattr(layer, "recurrent_states"):
                tensors = (*layer.conv_states.values(), *layer.recurrent_states.values())
            else:
                tensors = (layer.keys, layer.values)
            held += sum(t.numel() for t in tensors)
        kept = [(stack.n, stack.layer.mixer.cached) for stack in shape.stacks]
        assert held == sum(n * (c.per_token * TOKENS + c.state) for n, c in kept), fields
