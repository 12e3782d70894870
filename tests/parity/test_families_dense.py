"""Random small configs of every dense family, counted on the meta device by transformers and by us."""

# ruff: noqa: E402
import random
from collections import Counter

import pytest

transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")

from llmprep.calc import families, kv, params

pytestmark = pytest.mark.parity

DRAWS = 12
ABSENT = object()


def kv_heads(rng, drawn):
    """A divisor of the number of heads."""
    n = drawn["num_attention_heads"]
    return rng.choice([k for k in range(1, n + 1) if n % k == 0])


def layer_types(rng, drawn):
    """Mostly left to the family's rule."""
    kinds = ["full_attention", "sliding_attention"]
    return rng.choice([ABSENT, ABSENT, [rng.choice(kinds) for _ in range(drawn["num_hidden_layers"])]])


def attention_types(rng, drawn):
    """GPT-Neo's patterns, which have to describe every layer."""
    n = drawn["num_layers"]
    return rng.choice([[[["global"], n]], [[["local"], n]], [[["local", "global"], n // 2], [["local"], n % 2]]])


def cross_attention(rng, drawn):
    """For a decoder only."""
    return drawn["is_decoder"] and rng.choice([True, False])


def own_heads(rng, drawn):
    """Falcon's field, of meaning only with groups."""
    return kv_heads(rng, drawn) if drawn["new_decoder_architecture"] else rng.choice([ABSENT, 1])


SWITCH = (True, False, ABSENT)
D, FF, LAYERS, HEADS, VOCAB = (48, 96), (40, 72), (1, 2, 5, 8), (2, 4, 6), (50, 64)
SIZES = {
    "hidden_size": D,
    "intermediate_size": FF,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "vocab_size": VOCAB,
    "pad_token_id": (0,),
    "tie_word_embeddings": SWITCH,
}
GROUPED = SIZES | {"num_key_value_heads": kv_heads}
BIASED = GROUPED | {"attention_bias": SWITCH}
GEMMA = BIASED | {"head_dim": (16, ABSENT)}
ALTERNATING = {"layer_types": layer_types, "sliding_window": (8, None, ABSENT)}
GPT2 = {
    "n_embd": D,
    "n_layer": LAYERS,
    "n_head": HEADS,
    "n_inner": (40, None, ABSENT),
    "n_positions": (30, ABSENT),
    "vocab_size": VOCAB,
    "tie_word_embeddings": SWITCH,
}
BERT = SIZES | {
    "max_position_embeddings": (30, ABSENT),
    "type_vocab_size": (1, 3, ABSENT),
    "is_decoder": (True, False),
    "add_cross_attention": cross_attention,
}
T5 = {
    "d_model": D,
    "d_kv": (16, ABSENT),
    "d_ff": FF,
    "num_layers": LAYERS,
    "num_decoder_layers": (3, None, ABSENT),
    "num_heads": HEADS,
    "vocab_size": VOCAB,
    "relative_attention_num_buckets": (8, ABSENT),
    "feed_forward_proj": ("relu", "gated-gelu", ABSENT),
}
FIELDS = {
    "gemma": GEMMA,
    "gemma2": GEMMA | ALTERNATING,
    "gemma3_text": GEMMA | ALTERNATING | {"sliding_window_pattern": (2, ABSENT)},
    "phi": GROUPED | {"qk_layernorm": SWITCH},
    "phi3": GROUPED | {"sliding_window": (8, None, ABSENT)},
    "olmo": BIASED,
    "olmo2": BIASED,
    "olmo3": BIASED | ALTERNATING,
    "cohere": BIASED | {"use_qk_norm": SWITCH},
    "cohere2": BIASED | ALTERNATING | {"sliding_window_pattern": (2, ABSENT)},
    "stablelm": GROUPED | {"use_qkv_bias": SWITCH, "qk_layernorm": SWITCH, "use_parallel_residual": SWITCH},
    "granite": BIASED | {"mlp_bias": SWITCH},
    "starcoder2": GROUPED | {"use_bias": SWITCH, "sliding_window": (8, None, ABSENT)},
    "glm": GEMMA,
    "glm4": GEMMA,
    "gpt2": GPT2 | {"add_cross_attention": SWITCH},
    "gpt_bigcode": GPT2 | {"multi_query": SWITCH},
    "gptj": GPT2 | {"rotary_dim": (4,)},
    "codegen": GPT2 | {"rotary_dim": (4,)},
    "gpt_neo": {
        "hidden_size": D,
        "num_layers": LAYERS,
        "num_heads": HEADS,
        "intermediate_size": (40, None, ABSENT),
        "max_position_embeddings": (30,),
        "window_size": (8, ABSENT),
        "vocab_size": VOCAB,
        "tie_word_embeddings": SWITCH,
        "attention_types": attention_types,
    },
    "gpt_neox": SIZES | {"attention_bias": SWITCH, "use_parallel_residual": SWITCH},
    "opt": {name: options for name, options in SIZES.items() if name != "intermediate_size"}
    | {
        "ffn_dim": FF,
        "max_position_embeddings": (30, ABSENT),
        "word_embed_proj_dim": (24, 48, None, ABSENT),
        "do_layer_norm_before": SWITCH,
        "_remove_final_layer_norm": (True, False, ABSENT, ABSENT),
        "enable_bias": SWITCH,
        "layer_norm_elementwise_affine": SWITCH,
    },
    "bloom": {
        "hidden_size": D,
        "n_layer": LAYERS,
        "n_head": HEADS,
        "vocab_size": VOCAB,
        "tie_word_embeddings": SWITCH,
    },
    "falcon": {
        "hidden_size": D,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "vocab_size": VOCAB,
        "ffn_hidden_size": (40, None, ABSENT),
        "new_decoder_architecture": SWITCH[:2],
        "num_kv_heads": own_heads,
        "multi_query": SWITCH,
        "parallel_attn": SWITCH,
        "num_ln_in_parallel_attn": (1, 2, None, ABSENT),
        "bias": SWITCH,
        "alibi": SWITCH,
        "tie_word_embeddings": SWITCH,
    },
    "mpt": {
        "d_model": D,
        "n_layers": LAYERS,
        "n_heads": HEADS,
        "vocab_size": VOCAB,
        "max_seq_len": (30, ABSENT),
        "learned_pos_emb": SWITCH,
        "tie_word_embeddings": SWITCH,
    },
    "bert": BERT,
    "roberta": BERT,
    "xlm-roberta": BERT,
    "distilbert": {
        "dim": D,
        "hidden_dim": FF,
        "n_layers": LAYERS,
        "n_heads": HEADS,
        "vocab_size": VOCAB,
        "max_position_embeddings": (30, ABSENT),
    },
    "albert": SIZES
    | {
        "embedding_size": (16, 48, ABSENT),
        "num_hidden_groups": (1, 2, 3, ABSENT),
        "inner_group_num": (1, 2, ABSENT),
        "max_position_embeddings": (30, ABSENT),
        "type_vocab_size": (1, ABSENT),
    },
    "modernbert": SIZES
    | {
        "layer_types": layer_types,
        "global_attn_every_n_layers": (2, ABSENT),
        "local_attention": (8, ABSENT),
        "attention_bias": SWITCH,
        "mlp_bias": SWITCH,
        "norm_bias": SWITCH,
    },
    "t5": T5,
    "mt5": T5,
}
ENCODERS = ("bert", "roberta", "xlm-roberta", "distilbert", "albert", "modernbert")
WIDTHS = {"hidden_size", "n_embd", "d_model", "dim", "intermediate_size", "ffn_dim", "d_ff", "hidden_dim", "vocab_size"}
DEPTHS = {"num_hidden_layers", "n_layer", "n_layers", "num_layers"}
NEEDED = WIDTHS | DEPTHS | {"num_attention_heads", "n_head", "n_heads", "num_heads"}


def draws(model_type):
    """Fields of config.json files, as different as the family allows."""
    rng = random.Random(model_type)
    for _ in range(DRAWS):
        drawn = {}
        for name, options in FIELDS[model_type].items():
            value = options(rng, drawn) if callable(options) else rng.choice(options)
            if value is not ABSENT:
                drawn[name] = value
        yield drawn


def config_of(model_type, fields):
    return transformers.CONFIG_MAPPING[model_type](**fields)


def build(config, device="meta"):
    kind = transformers.AutoModelForCausalLM
    if config.model_type in ENCODERS:
        kind = transformers.AutoModel
    if config.model_type in ("t5", "mt5"):
        kind = transformers.AutoModelForSeq2SeqLM
    with torch.device(device):
        return kind.from_config(config)


def count(model):
    return sum(p.numel() for p in model.parameters())  # a tied tensor is yielded once


def tiny(model_type, **more):
    """One layer, windows of 8 where the family has any."""
    few = {name: options[0] for name, options in FIELDS[model_type].items() if isinstance(options, tuple)}
    fields = {name: value for name, value in few.items() if value is not ABSENT} | {"num_key_value_heads": 1}
    return fields | dict.fromkeys(DEPTHS & fields.keys(), 1) | TINY.get(model_type, {}) | more


SLIDING = ("gemma2", "gemma3_text", "olmo3", "cohere2", "modernbert")
TINY = {name: {"layer_types": ["sliding_attention"]} for name in SLIDING} | {
    "gpt2": {"add_cross_attention": False},
    "codegen": {"n_head": 4},  # its code splits the heads in four
    "gpt_neo": {"attention_types": [[["local"], 1]]},
    "opt": {"word_embed_proj_dim": 24, "_remove_final_layer_norm": False},
    "bert": {"is_decoder": False, "max_position_embeddings": 40},
    "roberta": {"is_decoder": False, "max_position_embeddings": 40},
    "xlm-roberta": {"is_decoder": False, "max_position_embeddings": 40},
}


def seen(model, at=12, length=25):
    """The positions whose token makes a difference to the output at one position."""
    ids = torch.full((length + 1, length), 3)
    ids[range(length), range(length)] = 4  # row i differs from the last at position i
    kind = {"input_ids": ids}
    if model.config.is_encoder_decoder:
        kind = {"input_ids": ids[:, :1] * 0 + 3, "decoder_input_ids": ids}
    with torch.no_grad():
        out = model.double().eval()(**kind)[0][:, at]
    return {i for i in range(length) if not torch.allclose(out[i], out[-1], rtol=0, atol=1e-12)}


@pytest.mark.parametrize("model_type", FIELDS)
def test_random_configs_have_the_parameters_of_the_reference(model_type):
    counts = set()
    for fields in draws(model_type):
        config = config_of(model_type, fields)
        written, whole = config.to_diff_dict(), config.to_dict()
        expected = count(build(config))
        counts.add(expected)
        for source in (fields, written, whole):
            shape = families.shape(source, model_type)
            assert params.total(shape) == expected, fields
            assert params.active(shape).with_embeddings == expected, fields
    assert len(counts) > DRAWS / 2, "the draws hardly differ"


@pytest.mark.parametrize("model_type", FIELDS)
def test_what_a_config_leaves_out_is_as_in_the_reference(model_type):
    """At the widths of the reference's own default, with nothing said but widths and depth."""
    config = config_of(model_type, {})
    fields = {name: value for name, value in config.to_dict().items() if name in NEEDED}
    if model_type != "gpt_neo":  # whose default pattern is one for 24 layers
        fields |= dict.fromkeys(DEPTHS & fields.keys(), 13)
    config = config_of(model_type, fields)
    shape = families.shape(fields, model_type)
    assert params.total(shape) == count(build(config))
    types = getattr(config, "layer_types", None)
    if types and shape.causal:
        windows = [config.sliding_window if kind == "sliding_attention" else None for kind in types]
        assert {stack.layer.mixer.window: stack.n for stack in shape.stacks} == Counter(windows)


@pytest.mark.parametrize("model_type", FIELDS)
def test_a_query_sees_what_the_reference_lets_it_see(model_type):
    fields = tiny(model_type)
    model = build(config_of(model_type, fields), "cpu")
    shape = families.shape(fields, model_type)
    assert count(model) == params.total(shape) == count(build(config_of(model_type, fields)))
    window = shape.stacks[0].layer.mixer.window
    assert window in ((9,) if model_type == "modernbert" else (8, None))
    positions = range(13) if shape.causal else range(25)
    assert seen(model) == {i for i in positions if window is None or abs(12 - i) < (window if shape.causal else 5)}


@pytest.mark.parametrize("model_type", ["gemma3_text", "bert", "roberta"])
def test_the_switch_between_one_side_and_both(model_type):
    name, value = ("is_decoder", True) if model_type in ENCODERS else ("use_bidirectional_attention", True)
    fields = tiny(model_type, **{name: value})
    shape = families.shape(fields, model_type)
    model = build(config_of(model_type, fields), "cpu")
    assert len(seen(model)) == (shape.stacks[0].layer.mixer.window or 13)
    assert shape.causal == (max(seen(model)) == 12)


def test_the_cache_of_a_forward_pass_is_as_large_as_ours():
    checked = set()
    for model_type in FIELDS.keys() - set(ENCODERS):
        fields = tiny(model_type)
        shape = families.shape(fields, model_type)
        model = build(config_of(model_type, fields), "cpu").eval()
        ids = {"input_ids": torch.full((1, 6), 3)}
        if model.config.is_encoder_decoder:
            ids["decoder_input_ids"] = ids["input_ids"]
        with torch.no_grad():
            cache = model(**ids, use_cache=True).past_key_values
        cache = getattr(cache, "self_attention_cache", cache)
        elements = sum(layer.keys.numel() + layer.values.numel() for layer in cache.layers)
        expected = 6 * kv.bytes_per_token(shape, itemsize=1)
        repeated = shape.attention.n_heads // shape.attention.n_kv_heads if model_type == "falcon" else 1
        assert elements == repeated * expected, model_type  # Falcon's groups are repeated before they are kept
        checked.add(model_type)
    assert len(checked) == len(FIELDS) - len(ENCODERS)


GEMMA3 = {
    "hidden_size": (48, ABSENT),
    "intermediate_size": (40, ABSENT),
    "num_hidden_layers": (2, 7, ABSENT),
    "num_attention_heads": (4, ABSENT),
    "num_key_value_heads": (2, ABSENT),
    "head_dim": (16, ABSENT),
    "vocab_size": (64, ABSENT),
    "sliding_window": (8, ABSENT),
}


def test_gemma3_counts_its_language_model_only():
    rng = random.Random(3)
    eyes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    for tied in (True, False, ABSENT) * 3:
        text = {name: rng.choice(options) for name, options in GEMMA3.items()}
        text = {name: value for name, value in text.items() if value is not ABSENT} | {"pad_token_id": 0}
        fields = {"text_config": text, "vision_config": eyes} | (
            {} if tied is ABSENT else {"tie_word_embeddings": tied}
        )
        config = config_of("gemma3", fields)
        written, whole = config.to_diff_dict(), config.to_dict()
        model = build(config)
        seeing = [p.numel() for name, p in model.named_parameters() if "vision" in name or "multi_modal" in name]
        for source in (fields, written, whole):
            shape = families.shape(source, "gemma3")
            assert params.total(shape) == count(model) - sum(seeing), fields
            assert "vision tower" in shape.note.en
        assert sum(seeing) > 0


@pytest.mark.parametrize("model_type", ["t5", "mt5"])
def test_a_t5_checkpoint_with_a_head_of_its_own(model_type, tmp_path):
    """Transformers ties every T5 that it builds, but loads both tables of a checkpoint that has two, as Flan-T5."""
    fields = tiny(model_type)
    model = build(config_of(model_type, fields), "cpu")
    tied = count(model)
    model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight))
    model.save_pretrained(tmp_path)
    loaded = type(model).from_pretrained(tmp_path)
    file = tmp_path / "config.json"
    assert params.total(families.from_file(tmp_path)) == tied  # as save_pretrained calls it tied
    file.write_text(file.read_text().replace('"tie_word_embeddings": true', '"tie_word_embeddings": false'))
    assert params.total(families.from_file(tmp_path)) == count(loaded) == tied + 50 * 48


@pytest.mark.parametrize("bias", [True, False, ABSENT], ids=["on", "off", "absent"])
def test_remote_code_has_the_widths_of_llama(bias):
    rng = random.Random(5)
    for _ in range(DRAWS):
        fields = {name: rng.choice(options) for name, options in SIZES.items() if ABSENT not in options}
        fields |= {"num_key_value_heads": kv_heads(rng, fields)}
        said = {} if bias is ABSENT else {"bias": bias}
        llama = config_of("llama", {**fields, "attention_bias": bias is not False})
        assert params.total(families.shape({**fields, **said}, "internlm2")) == count(build(llama))
        llama = config_of("llama", {**fields, "attention_bias": bias is True, "tie_word_embeddings": True})
        said = {} if bias is ABSENT else {"attention_bias": bias}
        assert params.total(families.shape({**fields, **said}, "minicpm")) == count(build(llama))
        mixtral = config_of("mixtral", {**fields, "num_local_experts": 4, "tie_word_embeddings": True})
        said = {"num_experts": 4, "num_experts_per_tok": 2}
        assert params.total(families.shape({**fields, **said}, "minicpm")) == count(build(mixtral))
