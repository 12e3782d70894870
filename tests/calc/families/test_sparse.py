from collections import Counter

import pytest

from llmprep import content
from llmprep.calc import families, kv, params
from llmprep.calc.families import deepseek, hybrid, llama4, moe
from llmprep.calc.shapes import Attention, Experts, FeedForward, Latent, Mamba2, StateSpace
from llmprep.errors import UserError

OURS = moe.FAMILIES | llama4.FAMILIES | deepseek.FAMILIES | hybrid.FAMILIES
ENTRIES = [pytest.param(m, id=m["name"]) for m in content.load_json("models.json")["models"] if m["model_type"] in OURS]
CONVENTIONS = ("total_incl_embeddings", "excl_input_embedding", "excl_embedding_and_head")

SIZES = {
    "hidden_size": 64,
    "intermediate_size": 40,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "vocab_size": 100,
}
QWEN = SIZES | {"num_experts": 16, "moe_intermediate_size": 12, "shared_expert_intermediate_size": 20}
DEEPSEEK = SIZES | {"n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 12}
LLAMA4 = SIZES | {"intermediate_size_mlp": 56, "num_local_experts": 8}
STATES = {"hidden_size": 64, "num_hidden_layers": 4, "vocab_size": 100}
SMALL = {
    **dict.fromkeys(("mixtral", "phimoe", "granitemoe", "gpt_oss"), SIZES | {"num_local_experts": 8}),
    "olmoe": SIZES | {"num_experts": 8},
    **dict.fromkeys(("qwen2_moe", "qwen3_moe", "qwen3_next"), QWEN),
    "dbrx": {
        "d_model": 64,
        "n_layers": 4,
        "n_heads": 8,
        "vocab_size": 100,
        "attn_config": {"kv_n_heads": 4},
        "ffn_config": {"ffn_hidden_size": 24, "moe_num_experts": 8, "moe_top_k": 2},
    },
    "llama4_text": LLAMA4,
    "llama4": {"text_config": LLAMA4, "vision_config": {"hidden_size": 32}},
    **dict.fromkeys(("glm4_moe", "deepseek_v2", "deepseek_v3", "kimi_k2"), DEEPSEEK),
    **dict.fromkeys(("mamba", "falcon_mamba"), STATES),
    "mamba2": STATES | {"num_heads": 16, "head_dim": 8},
    "jamba": SIZES | {"num_experts": 8},
}


def small(model_type, **changes):
    return families.shape(SMALL[model_type] | changes, model_type)


def windows(shape):
    """Windows of the layers with attention, None for everything."""
    kept = Counter()
    for stack in shape.stacks:
        if isinstance(stack.layer.mixer, Attention):
            kept[stack.layer.mixer.window] += stack.n
    return dict(kept)


@pytest.mark.parametrize("entry", ENTRIES)
def test_models_have_the_parameters_of_the_table(entry):
    shape = families.of(entry["name"])
    assert params.total(shape) == sum(params.terms(shape).values()) == entry["params_total"]
    if "active" in entry:
        assert params.active(shape) == tuple(entry["active"][name] for name in CONVENTIONS)
    else:
        assert params.active(shape).with_embeddings == entry["params_total"]


@pytest.mark.parametrize("entry", ENTRIES)
def test_models_have_the_cache_of_the_table(entry):
    """Elements a token, and what windows make of long texts, as transformers' own cache was measured."""
    shape, table = families.of(entry["name"]), entry["kv_bf16"]
    assert kv.bytes_per_token(shape) == table["per_token_all_layers"]
    layers = [(stack.n, stack.layer.mixer.cached) for stack in shape.stacks]
    with_kv = [(n, cached) for n, cached in layers if cached.per_token]
    assert {cached.per_token for _, cached in with_kv} == {table.get("elements_per_token_per_layer")} - {None}
    assert sum(2 * n * c.per_token for n, c in with_kv if c.window is None) == table["per_token_full_layers"]
    for tokens in (8192, 32_768, 131_072):
        if f"bytes_at_{tokens}" in table:
            held = sum(2 * n * c.per_token * min(tokens, c.window or tokens) for n, c in with_kv)
            assert held == table[f"bytes_at_{tokens}"]
    if "layers_with_kv" in table:
        assert sum(n for n, _ in with_kv) == table["layers_with_kv"]
        assert sum(n for n, cached in layers if cached.state) == table["linear_layers"]


@pytest.mark.parametrize("name", ["mamba-130m", "mamba-2.8b"])
def test_mamba_keeps_a_state_as_large_as_measured(name):
    """The state in FP32, the inputs of the convolution in BF16."""
    (stack,) = families.of(name).stacks
    mixer = stack.layer.mixer
    measured = content.model(name)["kv_bf16"]["state_bytes_hf_measured"]
    assert stack.n * mixer.d_inner * (4 * mixer.d_state + 2 * mixer.d_conv) == measured
    assert mixer.cached.state == mixer.d_inner * (mixer.d_state + mixer.d_conv)


@pytest.mark.parametrize("model_type", OURS)
def test_a_small_config_is_enough(model_type):
    shape = small(model_type)
    assert shape.n_layers == 4
    assert shape.vocab_size == 100
    assert shape.d_model == 64
    assert shape.tied == (model_type in ("mamba", "falcon_mamba"))


@pytest.mark.parametrize(
    ("model_type", "changes", "expected"),
    [
        ("mixtral", {}, {None: 4}),
        ("mixtral", {"sliding_window": 9}, {9: 4}),
        ("phimoe", {"sliding_window": 9}, {9: 4}),
        ("gpt_oss", {}, {128: 2, None: 2}),
        ("gpt_oss", {"num_hidden_layers": 3}, {128: 2, None: 1}),
        ("gpt_oss", {"layer_types": ["full_attention"] * 3 + ["sliding_attention"]}, {None: 3, 128: 1}),
        ("qwen2_moe", {"sliding_window": 0}, {None: 4}),  # as transformers saves it
        ("qwen2_moe", {"use_sliding_window": True, "sliding_window": 9}, {9: 2, None: 2}),
        ("qwen2_moe", {"use_sliding_window": True, "max_window_layers": 1}, {4096: 1, None: 3}),
        ("qwen2_moe", {"use_sliding_window": True, "max_window_layers": 0}, {None: 4}),
        ("qwen2_moe", {"use_sliding_window": True, "num_hidden_layers": 30}, {4096: 14, None: 16}),  # the first 28
        ("qwen3_moe", {"sliding_window": 9}, {None: 4}),
        ("qwen3_moe", {"use_sliding_window": True, "sliding_window": 9}, {9: 4}),
        ("qwen3_moe", {"use_sliding_window": True, "sliding_window": None}, {None: 4}),
        ("llama4_text", {}, {8192: 3, None: 1}),
        ("llama4_text", {"no_rope_layers": []}, {8192: 3, None: 1}),
        ("llama4_text", {"no_rope_layers": [0, 1, 0, 0]}, {8192: 1, None: 3}),
        ("llama4_text", {"no_rope_layer_interval": 2, "attention_chunk_size": 9}, {9: 2, None: 2}),
        ("llama4_text", {"attention_chunk_size": None}, {None: 4}),
        ("llama4_text", {"layer_types": ["full_attention"] * 4}, {None: 4}),
        ("olmoe", {"sliding_window": 9}, {None: 4}),
        ("glm4_moe", {}, {None: 4}),
        ("qwen3_next", {}, {None: 1}),
        ("qwen3_next", {"num_hidden_layers": 3}, {}),
        ("qwen3_next", {"full_attention_interval": 2}, {None: 2}),
        ("qwen3_next", {"layer_types": ["full_attention"] * 3 + ["linear_attention"]}, {None: 3}),
        ("jamba", {"attn_layer_period": 2, "attn_layer_offset": 1}, {None: 2}),
        ("jamba", {}, {}),
    ],
)
def test_which_layers_see_what(model_type, changes, expected):
    assert windows(small(model_type, **changes)) == expected


@pytest.mark.parametrize(
    ("model_type", "changes", "n"),
    [
        ("mixtral", {}, 4),
        ("qwen3_moe", {"mlp_only_layers": [0, 3]}, 2),
        ("qwen2_moe", {"decoder_sparse_step": 3}, 1),
        ("qwen3_next", {"decoder_sparse_step": 2, "mlp_only_layers": [1]}, 1),
        ("llama4_text", {}, 4),
        ("llama4_text", {"interleave_moe_layer_step": 2}, 2),
        ("llama4_text", {"moe_layers": [2]}, 1),
        ("llama4_text", {"moe_layers": []}, 0),
        ("deepseek_v2", {}, 4),
        ("deepseek_v3", {}, 1),
        ("deepseek_v3", {"first_k_dense_replace": 9}, 0),
        ("glm4_moe", {}, 3),
        ("jamba", {}, 2),
        ("jamba", {"expert_layer_period": 3, "expert_layer_offset": 0}, 2),
        ("jamba", {"num_experts": 1, "num_experts_per_tok": 1}, 0),
    ],
)
def test_which_layers_have_experts(model_type, changes, n):
    stacks = small(model_type, **changes).stacks
    sparse = sum(stack.n for stack in stacks if isinstance(stack.layer.ffn, Experts))
    dense = sum(stack.n for stack in stacks if isinstance(stack.layer.ffn, FeedForward))
    assert (sparse, dense) == (n, 4 - n)


def test_the_dense_width_is_needed_only_for_dense_layers():
    fields = {name: value for name, value in QWEN.items() if name != "intermediate_size"}
    assert params.total(families.shape(fields, "qwen3_moe")) == params.total(small("qwen3_moe"))
    with pytest.raises(UserError, match="intermediate_size is missing; a qwen3_moe needs it"):
        families.shape(fields | {"mlp_only_layers": [1]}, "qwen3_moe")


@pytest.mark.parametrize(
    ("model_type", "name", "other"),
    [
        ("mixtral", "num_local_experts", "num_experts"),
        ("qwen3_moe", "num_experts", "num_local_experts"),
        ("gpt_oss", "num_local_experts", "num_experts"),
        ("deepseek_v3", "n_routed_experts", "num_local_experts"),
        ("jamba", "num_experts", "num_local_experts"),
    ],
)
def test_the_number_of_experts_goes_by_two_names(model_type, name, other):
    fields = dict(SMALL[model_type])
    fields[other] = fields.pop(name)
    assert families.shape(fields, model_type) == small(model_type)


def test_a_shared_expert_is_as_wide_as_all_shared_ones_together():
    ffn = small("deepseek_v3", n_shared_experts=3).stacks[-1].layer.ffn
    assert ffn.shared == FeedForward(3 * 12)
    assert small("deepseek_v3", n_shared_experts=0).stacks[-1].layer.ffn.shared is None
    bill = params.terms(small("qwen2_moe"))
    assert bill["shared expert"] == 4 * (3 * 64 * 20 + 64)


def test_queries_without_a_latent_are_said_by_null():
    default, direct = small("deepseek_v2"), small("deepseek_v2", q_lora_rank=None)
    mixer = Latent(8, q_rank=1536, kv_rank=512, nope_dim=128, rope_dim=64, v_dim=128)
    assert default.stacks[0].layer.mixer == mixer
    q = 8 * (128 + 64)
    saved = 64 * 1536 + 1536 + 1536 * q - 64 * q
    assert params.total(default) - params.total(direct) == 4 * saved


def test_kimi_is_a_deepseek_by_another_name():
    v3 = small("deepseek_v3")
    assert small("kimi_k2").stacks == v3.stacks
    assert params.total(small("kimi_k2")) == params.total(v3)


@pytest.mark.parametrize(
    ("model_type", "changes", "note"),
    [
        ("deepseek_v3", {}, ""),
        ("deepseek_v3", {"num_nextn_predict_layers": 0}, ""),
        (
            "deepseek_v3",
            {"num_nextn_predict_layers": 1},
            "1 multi-token-prediction module beside the model not counted",
        ),
        ("glm4_moe", {"num_mtp_layers": 2}, "2 multi-token-prediction modules beside the model not counted"),
        ("llama4", {}, "the language model only: the vision tower and its projector are not counted"),
    ],
)
def test_a_note_says_what_is_left_out(model_type, changes, note):
    shape = small(model_type, **changes)
    assert shape.note.en == note
    assert bool(shape.note.zh) == bool(note)
    assert params.total(shape) == params.total(small("llama4_text" if model_type == "llama4" else model_type))


def test_the_bias_of_a_head_is_active_with_it():
    """Phi-3.5-MoE's head has one; a tied head keeps it."""
    for tied in (False, True):
        plain, biased = (
            params.active(small("phimoe", tie_word_embeddings=tied, lm_head_bias=b)) for b in (False, True)
        )
        assert [b - p for p, b in zip(plain, biased, strict=True)] == [100, 100, 0]


def test_biases_of_gpt_oss():
    """On q, k, v, o unless switched off, and always on the router and the experts; with a sink for each head."""
    with_bias, without = small("gpt_oss"), small("gpt_oss", attention_bias=False)
    assert params.total(with_bias) - params.total(without) == 4 * ((8 + 2 * 4) * 64 + 64)
    bill = params.terms(without)
    assert bill["router"] == 4 * (64 * 8 + 8)
    assert bill["experts"] == 4 * 8 * (3 * 64 * 40 + 2 * 40 + 64)
    assert bill["attention"] == 4 * (64 * 64 * 2 * (8 + 4) + 8)


def test_the_inner_width_of_mamba():
    """Falcon-Mamba's file says `expand: 16` beside the width that counts."""
    assert small("mamba").stacks[0].layer.mixer == StateSpace(128, d_state=16, d_conv=4, dt_rank=4)
    told = small("falcon_mamba", expand=16, intermediate_size=128, time_step_rank=4)
    assert told.stacks == small("mamba").stacks
    assert small("mamba", hidden_size=65).stacks[0].layer.mixer.dt_rank == 5  # 65/16, rounded up


def test_mamba2_by_hand():
    """E = 128 in 16 heads, 8 groups of N = 128: the convolution has 128 + 2·8·128 = 2,176 channels."""
    shape = small("mamba2")
    mixer = shape.stacks[0].layer.mixer
    assert mixer == Mamba2(16, 8, n_groups=8, d_state=128, d_conv=4)
    weights = 64 * (128 + 2176 + 16) + 2176 * (4 + 1) + 3 * 16 + 128 + 128 * 64
    assert params.terms(shape)["state space"] == 4 * weights
    assert mixer.cached.state == 128 * 128 + 2176 * 4
    assert mixer.flops_per_pair == 0
    switches = small("mamba2", use_bias=True, use_conv_bias=False)
    assert params.total(switches) - params.total(shape) == 4 * (128 + 2176 + 16 + 64 - 2176)


@pytest.mark.parametrize(
    ("model_type", "changes", "message"),
    [
        ("mixtral", {"num_local_experts": None}, "num_local_experts is missing; a mixtral needs it"),
        ("mixtral", {"num_experts_per_tok": 9}, "num_experts_per_tok 9 is more than num_local_experts 8"),
        ("mixtral", {"num_key_value_heads": 3}, "num_attention_heads 8 is not divisible by num_key_value_heads 3"),
        ("qwen3_moe", {"moe_intermediate_size": None}, "moe_intermediate_size is missing; a qwen3_moe needs it"),
        ("qwen3_moe", {"num_experts_per_tok": 17}, "num_experts_per_tok 17 is more than num_experts 16"),
        ("qwen3_moe", {"mlp_only_layers": [4]}, "mlp_only_layers names layer 4, but num_hidden_layers is 4"),
        ("qwen3_moe", {"decoder_sparse_step": 0}, "decoder_sparse_step must be a positive whole number, not 0"),
        ("qwen2_moe", {"layer_types": ["full_attention"] * 3}, "layer_types must be a list of 4 entries"),
        (
            "qwen2_moe",
            {"layer_types": ["full_attention"] * 3 + ["sliding_attention"]},
            "layer_types names sliding_attention, but use_sliding_window is false",
        ),
        ("gpt_oss", {"layer_types": ["full_attention"] * 5}, "layer_types must be a list of 4 entries"),
        ("olmoe", {"head_dim": 16}, "head_dim 16 in 8 heads does not give hidden_size 64"),
        ("dbrx", {"attn_config": {"kv_n_heads": 3}}, "attn_config: n_heads 8 is not divisible by kv_n_heads 3"),
        ("dbrx", {"n_heads": 7, "attn_config": {}}, "d_model 64 is not divisible by n_heads 7"),
        ("dbrx", {"ffn_config": None}, "ffn_config: ffn_hidden_size is missing; a dbrx needs it"),
        (
            "dbrx",
            {"ffn_config": {"ffn_hidden_size": 24, "moe_num_experts": 2, "moe_top_k": 3}},
            "ffn_config: moe_top_k 3 is more than moe_num_experts 2",
        ),
        ("dbrx", {"tie_word_embeddings": True}, "tie_word_embeddings must be false"),
        ("llama4", {"text_config": None}, "text_config: num_hidden_layers is missing; a llama4_text needs it"),
        ("llama4_text", {"moe_layers": ["1"]}, "moe_layers names layer '1', but num_hidden_layers is 4"),
        ("llama4_text", {"no_rope_layers": [1, 0]}, "no_rope_layers must be a list of 4 entries"),
        ("deepseek_v2", {"num_experts_per_tok": None}, "num_experts_per_tok is missing; a deepseek_v2 needs it"),
        ("deepseek_v2", {"hidden_size": 60}, "hidden_size 60 is not divisible by num_attention_heads 8"),
        ("deepseek_v3", {"n_group": 3}, "n_routed_experts 8 is not divisible by n_group 3"),
        ("deepseek_v3", {"n_routed_experts": None}, "n_routed_experts is missing; a deepseek_v3 needs it"),
        ("glm4_moe", {"num_experts_per_tok": 9}, "num_experts_per_tok 9 is more than n_routed_experts 8"),
        ("qwen3_next", {"layer_types": ["mamba"] * 4}, "layer_types names 'mamba'; expected linear_attention or full_"),
        ("qwen3_next", {"linear_num_value_heads": 24}, "24 is not divisible by linear_num_key_heads 16"),
        ("mamba", {"time_step_rank": "large"}, "time_step_rank must be a positive whole number, not 'large'"),
        ("mamba2", {"num_heads": 15}, "num_heads 15 × head_dim 8 is not hidden_size × expand 128"),
        ("mamba2", {"n_groups": 3}, "num_heads 16 is not divisible by n_groups 3"),
        ("jamba", {"attn_layer_offset": 8}, "attn_layer_offset 8 is not smaller than attn_layer_period 8"),
        ("jamba", {"expert_layer_period": 1}, "expert_layer_offset 1 is not smaller than expert_layer_period 1"),
    ],
)
def test_contradictions_are_named_with_their_file(model_type, changes, message):
    with pytest.raises(UserError) as caught:
        families.shape(SMALL[model_type] | changes, model_type, "x/config.json")
    assert str(caught.value).startswith("x/config.json: ")
    assert message in str(caught.value)
