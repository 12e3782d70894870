import pytest

from llmprep import content
from llmprep.calc import families, kv, params
from llmprep.calc.families import dense, encoders, gemma, gpt, opt, phi, t5
from llmprep.calc.shapes import Experts
from llmprep.errors import UserError

OURS = gpt.FAMILIES | opt.FAMILIES | phi.FAMILIES | gemma.FAMILIES | dense.FAMILIES | encoders.FAMILIES | t5.FAMILIES
MODELS = [m["name"] for m in content.load_json("models.json")["models"] if m["model_type"] in OURS]

LLAMA_LIKE = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
}
GPT_LIKE = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 32, "vocab_size": 100}
GPT_NEO = {"hidden_size": 64, "num_layers": 4, "num_heads": 4, "vocab_size": 100}
BLOOM = {"hidden_size": 64, "n_layer": 2, "n_head": 4, "vocab_size": 100}
FALCON = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 100}
MPT = {"d_model": 64, "n_layers": 2, "n_heads": 4, "vocab_size": 100}
OPT = {"hidden_size": 64, "ffn_dim": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 100}
DISTILBERT = {"dim": 64, "hidden_dim": 128, "n_layers": 2, "n_heads": 4, "vocab_size": 100}
T5 = {"d_model": 64, "d_ff": 128, "num_layers": 2, "num_heads": 4, "vocab_size": 100}
SMALL = dict.fromkeys(OURS, LLAMA_LIKE) | {
    **dict.fromkeys(("gpt2", "gpt_bigcode", "gptj", "codegen"), GPT_LIKE),
    "gpt_neo": GPT_NEO | {"attention_types": [[["global", "local"], 2]]},
    "bloom": BLOOM,
    "falcon": FALCON,
    "mpt": MPT,
    "opt": OPT,
    "distilbert": DISTILBERT,
    "t5": T5,
    "mt5": T5,
}


def windows(shape):
    """How many layers have which window."""
    found = {}
    for stack in shape.stacks:
        window = stack.layer.mixer.window
        found[window] = found.get(window, 0) + stack.n
    return found


@pytest.mark.parametrize("name", MODELS)
def test_parameters_and_cache_are_those_of_the_instantiated_model(name):
    entry = content.model(name)
    shape, cache = families.of(name), entry["kv_bf16"]
    assert params.total(shape) == sum(params.terms(shape).values()) == entry["params_total"]
    assert params.active(shape).with_embeddings == entry["params_total"]
    if cache["kind"] == "none (encoder)":
        assert not shape.causal
        assert not shape.head
        return
    assert shape.causal
    assert kv.bytes_per_token(shape) == cache["per_token_all_layers"]
    assert shape.n_layers == cache["full_layers"] + cache["sliding_layers"]
    sliding = {cache["window"]: cache["sliding_layers"]} if cache["sliding_layers"] else {}
    assert windows(shape) == sliding | ({None: cache["full_layers"]} if cache["full_layers"] else {})


def wide(d, d_ff, n_layers, n_heads, vocab, n_kv_heads=None, **fields):
    """The five widths that most config.json files have."""
    fields |= {"hidden_size": d, "intermediate_size": d_ff, "num_hidden_layers": n_layers}
    fields |= {"num_attention_heads": n_heads, "vocab_size": vocab}
    return fields | ({"num_key_value_heads": n_kv_heads} if n_kv_heads else {})


GEMMA3_4B = {"hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34, "sliding_window": 1024}
FLAN_T5 = {"d_model": 768, "d_kv": 64, "d_ff": 2048, "num_layers": 12, "num_heads": 12, "vocab_size": 32128}
MT5_SMALL = {"d_model": 512, "d_kv": 64, "d_ff": 1024, "num_layers": 8, "num_heads": 6, "vocab_size": 250112}
FALCON_1B = {"hidden_size": 2048, "num_hidden_layers": 24, "num_attention_heads": 32, "vocab_size": 50304}
GPT_NEO_3B = {"hidden_size": 2560, "num_layers": 32, "num_heads": 20, "vocab_size": 50257}


@pytest.mark.parametrize(
    ("model_type", "config", "total"),
    [
        pytest.param("gemma", wide(3072, 24576, 28, 16, 256000, 16), 8_537_680_896, id="gemma-7b"),
        pytest.param(
            "gemma3", {"text_config": {**GEMMA3_4B, "vocab_size": 262144}}, 3_880_099_328, id="gemma-3-4b of Keras"
        ),
        pytest.param("gemma3", {"text_config": GEMMA3_4B}, 3_880_099_328 + 64 * 2560, id="gemma-3-4b"),
        pytest.param("bert", wide(1024, 4096, 24, 16, 30522), 335_141_888, id="bert-large"),
        pytest.param(
            "xlm-roberta",
            wide(1024, 4096, 24, 16, 250002, max_position_embeddings=514, type_vocab_size=1),
            559_890_432,
            id="xlm-roberta-large",
        ),
        pytest.param(
            "distilbert",
            {"dim": 768, "hidden_dim": 3072, "n_layers": 6, "n_heads": 12, "vocab_size": 30522},
            66_362_880,
            id="distilbert-base",
        ),
        pytest.param("albert", wide(768, 3072, 12, 12, 30000), 11_683_584, id="albert-base-v2"),
        pytest.param(
            "t5",
            {**FLAN_T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
            247_577_856,
            id="flan-t5-base",
        ),
        pytest.param("mt5", {**MT5_SMALL, "tie_word_embeddings": False}, 300_176_768, id="mt5-small"),
        pytest.param(
            "falcon",
            {**FALCON_1B, "multi_query": False, "parallel_attn": False, "alibi": True, "bias": True},
            1_311_625_216,
            id="falcon-rw-1b",
        ),
        pytest.param(
            "mpt", {"d_model": 4096, "n_heads": 32, "n_layers": 32, "vocab_size": 50432}, 6_649_286_656, id="mpt-7b"
        ),
        pytest.param("glm", wide(4096, 13696, 40, 32, 151552, 2), 9_399_951_360, id="glm-4-9b"),
        pytest.param(
            "stablelm", wide(2048, 5632, 24, 32, 100352, 32, use_qkv_bias=True), 1_644_515_328, id="stablelm-2-1.6b"
        ),
        pytest.param(
            "codegen",
            {"n_embd": 1024, "n_layer": 20, "n_head": 16, "n_positions": 2048, "vocab_size": 51200},
            356_712_448,
            id="codegen-350m",
        ),
        pytest.param("phi", wide(2048, 8192, 24, 32, 51200), 1_418_270_720, id="phi-1.5"),
        pytest.param(
            "starcoder2", wide(6144, 24576, 40, 48, 49152, 4, tie_word_embeddings=False), 15_957_889_024, id="sc2-15b"
        ),
        pytest.param("olmo3", wide(4096, 11008, 32, 32, 100278), 7_298_011_136, id="olmo-3-7b"),
        pytest.param(
            "gpt_neo", {**GPT_NEO_3B, "attention_types": [[["global", "local"], 16]]}, 2_651_307_520, id="gpt-neo-2.7b"
        ),
        pytest.param("internlm2", wide(4096, 14336, 32, 32, 92544, 8, bias=False), 7_737_708_544, id="internlm2-7b"),
        pytest.param(
            "bloom",
            {"n_embed": 2560, "n_layer": 30, "num_attention_heads": 32, "vocab_size": 250880},
            3_002_557_440,
            id="bloom-3b",
        ),
    ],
)
def test_published_models_that_the_data_does_not_hold(model_type, config, total):
    """With the fields of their config.json, absent ones included."""
    assert params.total(families.shape(config, model_type)) == total


@pytest.mark.parametrize("name", ["internlm2-1.8b", "minicpm-2b"])
def test_remote_code_that_the_data_counts_as_llama(name):
    entry = content.model(name)
    shape = families.shape({**entry["config"], "bias": False}, name.partition("-")[0])
    assert params.total(shape) == entry["params_total"]
    assert params.total(shape) == params.total(families.of(name))


def test_minicpm_with_experts_has_them_instead_of_the_ffn():
    shape = families.shape({**LLAMA_LIKE, "num_experts": 8, "num_experts_per_tok": 2}, "minicpm")
    experts = shape.stacks[0].layer.ffn
    assert isinstance(experts, Experts)
    assert params.terms(shape)["experts"] == 6 * 8 * 3 * 64 * 128
    assert params.terms(shape)["router"] == 6 * 64 * 8


@pytest.mark.parametrize("model_type", sorted(OURS.keys() - {"gemma3"}))
def test_every_width_and_depth_is_needed(model_type):
    derived = {"n_positions", "num_key_value_heads", "attention_types"}
    for name in SMALL[model_type].keys() - derived:
        for absent in ({}, {name: None}):
            fields = {key: value for key, value in SMALL[model_type].items() if key != name} | absent
            with pytest.raises(UserError, match=f"^here: {name} is missing; a {model_type} needs it$"):
                families.shape(fields, model_type, "here")
        with pytest.raises(UserError, match=f"^here: {name} must be a positive whole number, not 0$"):
            families.shape({**SMALL[model_type], name: 0}, model_type, "here")


@pytest.mark.parametrize("model_type", sorted(OURS.keys() - {"gemma3", "t5", "mt5"}))
def test_widths_that_heads_do_not_divide_are_refused(model_type):
    fields = dict(SMALL[model_type])
    heads = next(name for name in ("num_attention_heads", "n_heads", "n_head", "num_heads") if name in fields)
    width = next(name for name in ("hidden_size", "n_embd", "d_model", "dim") if name in fields)
    shape = families.shape({**fields, heads: 6, width: 96}, model_type)  # 64 would be no multiple of 6
    assert params.total(shape) > params.total(families.shape(fields, model_type))
    independent = {"gemma", "glm", "glm4"}  # heads have a width of their own
    if model_type not in independent:
        with pytest.raises(UserError, match=f"^here: {width} 64 is not divisible by {heads} 6$"):
            families.shape({**fields, heads: 6}, model_type, "here")


@pytest.mark.parametrize(
    ("model_type", "changes", "message"),
    [
        ("gemma2", {"layer_types": ["full_attention"]}, "layer_types must be a list of 6 entries, one a layer"),
        ("olmo3", {"layer_types": ["full_attention"] * 7}, "layer_types must be a list of 6 entries"),
        (
            "gemma2",
            {"layer_types": ["attention"] * 6},
            "layer_types 'attention' is none of full_attention, sliding_attention",
        ),
        ("gemma2", {"per_layer_config": {"1": {}}}, "per_layer_config gives single layers widths of their own"),
        ("modernbert", {"layer_types": "full_attention"}, "layer_types must be a list of 6 entries"),
        ("cohere", {"num_key_value_heads": 3}, "num_attention_heads 4 is not divisible by num_key_value_heads 3"),
        ("phi3", {"sliding_window": 0}, "sliding_window must be a positive whole number, not 0"),
        ("gemma3_text", {"sliding_window_pattern": 0}, "sliding_window_pattern must be a positive whole number"),
        ("stablelm", {"use_parallel_residual": 1}, "use_parallel_residual must be true or false, not 1"),
        ("minicpm", {"num_experts": 8}, "num_experts_per_tok is missing; a minicpm needs it"),
        ("gpt_bigcode", {"add_cross_attention": True}, "add_cross_attention needs multi_query to be false"),
        ("bert", {"add_cross_attention": True}, "add_cross_attention needs is_decoder to be true"),
        ("gpt_neo", {"attention_types": None}, "attention_types must describe 4 layers, as num_layers says"),
        ("gpt_neo", {"attention_types": [[["global"], 10**12]]}, "attention_types must describe 4 layers"),
        ("gpt_neo", {"attention_types": [["global", "local"]]}, r"attention_types must look like \[\[\[\"global\""),
        ("gpt_neo", {"attention_types": [[["global"], "4"]]}, "attention_types must look like"),
        ("gpt_neo", {"attention_types": [[["global", "far"], 2]]}, "must name each layer global or local"),
        ("gpt_neo", {"attention_layers": ["global"]}, "attention_layers must be a list of 4 entries"),
        (
            "falcon",
            {"new_decoder_architecture": True, "num_kv_heads": 3},
            "num_attention_heads 4 is not divisible by num_kv_heads 3",
        ),
        ("mpt", {"expansion_ratio": 8}, "expansion_ratio must be 4, and no_bias true"),
        ("mpt", {"no_bias": False}, "expansion_ratio must be 4, and no_bias true"),
        ("t5", {"feed_forward_proj": "gelu-gated"}, "feed_forward_proj must look like relu or gated-gelu"),
        ("t5", {"feed_forward_proj": "gated-gelu-new"}, "not 'gated-gelu-new'"),
        ("t5", {"feed_forward_proj": 3}, "feed_forward_proj must be a word, not 3"),
        ("gemma3", {}, "text_config is missing; a gemma3 needs it"),
        ("gemma3", {"text_config": [1]}, "text_config must be an object"),
        ("gemma3", {"text_config": {"head_dim": -1}}, "text_config: head_dim must be a positive whole number"),
    ],
)
def test_contradictions_are_named_with_file_and_field(model_type, changes, message):
    with pytest.raises(UserError, match=message) as caught:
        families.shape({**SMALL[model_type], **changes}, model_type, "here")
    assert str(caught.value).startswith("here: ")
    assert "\n" not in str(caught.value)


def test_errors_use_the_name_that_the_file_uses():
    with pytest.raises(UserError, match="here: n_head is missing"):
        families.shape({"n_embed": 64, "n_layer": 2, "vocab_size": 100}, "bloom", "here")
    with pytest.raises(UserError, match="here: n_embed 64 is not divisible by num_attention_heads 5"):
        families.shape({"n_embed": 64, "n_layer": 2, "num_attention_heads": 5, "vocab_size": 100}, "bloom", "here")


@pytest.mark.parametrize(
    ("model_type", "own", "common"),
    [
        ("gpt2", "n_embd", "hidden_size"),
        ("gptj", "n_head", "num_attention_heads"),
        ("gpt_bigcode", "n_positions", "max_position_embeddings"),
        ("gpt_neo", "num_layers", "num_hidden_layers"),
        ("bloom", "n_layer", "num_hidden_layers"),
        ("bloom", "hidden_size", "n_embed"),
        ("falcon", "hidden_size", "n_embed"),
        ("mpt", "n_heads", "num_attention_heads"),
        ("distilbert", "dim", "hidden_size"),
        ("t5", "num_layers", "num_hidden_layers"),
    ],
)
def test_both_names_of_a_field_are_read_and_the_common_one_overrules(model_type, own, common):
    fields = SMALL[model_type]
    expected = families.shape(fields, model_type)
    renamed = {common if name == own else name: value for name, value in fields.items()}
    assert families.shape(renamed, model_type) == expected
    assert families.shape({**fields, own: 1, common: fields[own]}, model_type) == expected


@pytest.mark.parametrize(
    ("model_type", "changes", "expected"),
    [
        ("gemma2", {}, {4096: 3, None: 3}),
        ("gemma2", {"sliding_window": 32}, {32: 3, None: 3}),
        ("gemma2", {"sliding_window": None}, {None: 6}),
        ("gemma3_text", {}, {4096: 5, None: 1}),
        ("gemma3_text", {"sliding_window_pattern": 3}, {4096: 4, None: 2}),
        ("gemma3_text", {"layer_types": ["full_attention"] * 6}, {None: 6}),
        ("gemma3_text", {"use_bidirectional_attention": True, "sliding_window": 32}, {33: 5, None: 1}),
        ("olmo3", {"num_hidden_layers": 8}, {4096: 6, None: 2}),
        ("cohere2", {"num_hidden_layers": 8}, {4096: 6, None: 2}),
        ("cohere2", {"sliding_window": None}, {None: 6}),
        ("phi3", {}, {None: 6}),
        ("phi3", {"sliding_window": 32}, {32: 6}),
        ("starcoder2", {"sliding_window": 32}, {32: 6}),
        ("gpt_neo", {}, {None: 2, 256: 2}),
        ("gpt_neo", {"attention_layers": ["local"] * 4, "window_size": 8}, {8: 4}),
        ("modernbert", {"num_hidden_layers": 7}, {None: 3, 129: 4}),
        ("modernbert", {"local_attention": 16, "global_attn_every_n_layers": 2}, {None: 3, 17: 3}),
    ],
)
def test_windows(model_type, changes, expected):
    assert windows(families.shape({**SMALL[model_type], **changes}, model_type)) == expected


@pytest.mark.parametrize(
    ("model_type", "changes", "context"),
    [
        ("gemma", {"max_position_embeddings": 77}, 77),
        ("gemma", {}, None),
        ("gpt2", {"n_positions": None}, 1024),
        ("opt", {}, 2048),
        ("mpt", {}, 2048),
        ("bloom", {"seq_length": 77}, 77),
        ("bert", {}, 512),
        ("roberta", {"max_position_embeddings": 514}, 512),
        ("modernbert", {"max_position_embeddings": 77}, 77),
        ("t5", {"n_positions": 77}, 77),
    ],
)
def test_context(model_type, changes, context):
    assert families.shape({**SMALL[model_type], **changes}, model_type).context == context


def test_terms_of_albert():
    """One layer that runs six times, embeddings of 16."""
    shape = families.shape({**LLAMA_LIKE, "embedding_size": 16}, "albert")
    d, e, ff = 64, 16, 128
    assert params.terms(shape) == {
        "token embedding": 100 * e + e * d + d,
        "position embedding": (512 + 2) * e,
        "attention": 4 * d * d + 4 * d,
        "feed-forward": 2 * d * ff + ff + d,
        "norms": 2 * e + 2 * 2 * d,
        "pooler": d * d + d,
    }
    assert shape.n_layers == 6
    assert params.in_matmuls(shape) == 6 * (4 * d * d + 2 * d * ff) + e * d + d * d


def test_terms_of_t5():
    shape = families.shape({**T5, "num_decoder_layers": 3}, "t5")
    d, ff, heads = 64, 128, 4 * 64  # heads are 64 wide by default
    assert params.terms(shape) == {
        "token embedding": 100 * d,
        "position embedding": 2 * 32 * 4,
        "attention": 5 * 4 * d * heads,
        "cross-attention": 3 * 4 * d * heads,
        "feed-forward": 5 * 2 * d * ff,
        "norms": (2 * 2 + 3 * 3 + 2) * d,
    }
    assert shape.n_layers == 3
    assert kv.bytes_per_token(shape) == 2 * 3 * 2 * heads


def test_terms_of_opt_with_narrow_embeddings_and_norms_behind():
    shape = families.shape({**OPT, "word_embed_proj_dim": 16, "do_layer_norm_before": False}, "opt")
    bill = params.terms(shape)
    assert bill["token embedding"] == 100 * 16 + 2 * 16 * 64
    assert bill["position embedding"] == 2050 * 64
    assert bill["norms"] == 2 * 2 * 2 * 64
    untied = families.shape({**OPT, "word_embed_proj_dim": 16, "tie_word_embeddings": False}, "opt")
    assert params.terms(untied)["output head"] == 100 * 16
    assert params.in_matmuls(untied) == 2 * (4 * 64 * 64 + 2 * 64 * 128) + 2 * 16 * 64 + 100 * 16


def test_gemma3_says_what_it_does_not_count():
    config = {"text_config": LLAMA_LIKE, "vision_config": {"hidden_size": 1152}}
    shape = families.shape(config, "gemma3")
    assert "vision tower" in shape.note.en
    assert params.total(shape) == params.total(families.shape(LLAMA_LIKE, "gemma3_text"))
    assert params.terms(families.shape({**config, "tie_word_embeddings": False}, "gemma3"))["output head"] == 6400


def test_only_encoders_see_both_sides():
    shapes = {name: families.shape(SMALL[name], name) for name in OURS.keys() - {"gemma3"}}
    assert {name for name, shape in shapes.items() if not shape.causal} == encoders.FAMILIES.keys()
    assert {name for name, shape in shapes.items() if not shape.head} == encoders.FAMILIES.keys()
    assert all(shapes[name].tied for name in encoders.FAMILIES)
    assert families.shape({**LLAMA_LIKE, "is_decoder": True}, "bert").causal
    assert not families.shape({**LLAMA_LIKE, "use_bidirectional_attention": True}, "gemma3_text").causal
