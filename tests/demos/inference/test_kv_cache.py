# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from llmprep import content
from llmprep.demos.inference.kv_cache import (
    CachedAttention,
    Params,
    allocated_bytes_per_token,
    attention_shape,
    count_tokens,
    decode_by_recomputing,
    decode_with_cache,
    decoder,
    formula_bytes_per_token,
    formula_forwards_saved,
    run,
)


def layers(n=2, n_heads=4, n_kv_heads=2, *, causal=True):
    torch.manual_seed(0)
    return [CachedAttention(16, n_heads, n_kv_heads, 8, causal=causal).double() for _ in range(n)]


def facts(**settings_):
    return {f.name: f for f in run(Params(**settings_)).facts}


def test_attention_is_the_textbook_one():
    (layer,) = layers(1, n_heads=4, n_kv_heads=1)
    x = torch.randn(2, 5, 16, dtype=torch.float64)
    q = layer.wq(x).view(2, 5, 4, 8)
    scores = torch.einsum("bihd,bjd->bhij", q, layer.wk(x)) / 8**0.5
    scores = scores.masked_fill(torch.ones(5, 5, dtype=torch.bool).triu(1), -torch.inf)
    expected = layer.wo(torch.einsum("bhij,bjd->bihd", scores.softmax(-1), layer.wv(x)).flatten(2))
    torch.testing.assert_close(layer(x), expected)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 2, 4]), st.integers(1, 3))
def test_cached_decoding_equals_one_full_forward(prompt_tokens, new_tokens, n_kv_heads, n_layers):
    with torch.no_grad():
        model = layers(n_layers, n_kv_heads=n_kv_heads)
        x = torch.randn(2, prompt_tokens + new_tokens - 1, 16, dtype=torch.float64)
        cached, full = decode_with_cache(model, x, prompt_tokens), decoder(model, x)[:, prompt_tokens - 1 :]
    torch.testing.assert_close(cached, full)


@pytest.mark.parametrize("chunk", [1, 2, 3, 5])
def test_prefill_may_come_in_chunks(chunk):
    """The mask of a later chunk is rectangular: new rows stand at the end, so it is aligned bottom right."""
    model, x = layers(), torch.randn(1, 10, 16, dtype=torch.float64)
    caches = [[] for _ in model]
    pieces = [decoder(model, x[:, i : i + chunk], caches) for i in range(0, 10, chunk)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), decoder(model, x))


def test_is_causal_of_sdpa_aligns_to_the_wrong_corner_for_a_cached_step():
    """The famous bug: one query against T keys with is_causal=True sees only the first key."""
    q, k, v = torch.randn(1, 1, 1, 8), torch.randn(1, 1, 6, 8), torch.randn(1, 1, 6, 8)
    assert torch.allclose(torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True), v[:, :, :1])


def test_without_a_causal_mask_one_layer_still_agrees_but_two_do_not():
    x = torch.randn(1, 6, 16, dtype=torch.float64)
    one, two = layers(1, causal=False), layers(2, causal=False)
    torch.testing.assert_close(decode_with_cache(one, x, 1), decode_by_recomputing(one, x, 1))
    assert not torch.allclose(decode_with_cache(two, x, 1)[:, 1:], decode_by_recomputing(two, x, 1)[:, 1:])


def test_old_keys_are_untouched_by_new_tokens():
    model, x = layers(), torch.randn(1, 7, 16, dtype=torch.float64)
    short, long = [[] for _ in model], [[] for _ in model]
    decoder(model, x[:, :4], short)
    decoder(model, x, long)
    for (k4, v4), (k7, v7) in zip(short, long, strict=True):
        torch.testing.assert_close(k7[:, :, :4], k4)
        torch.testing.assert_close(v7[:, :, :4], v4)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12))
def test_tokens_counted_by_hook_are_the_triangle(prompt_tokens, new_tokens):
    model = layers(1, 1, 1)
    x = torch.zeros(1, prompt_tokens + new_tokens - 1, 16, dtype=torch.float64)
    _, cached = count_tokens(model, lambda: decode_with_cache(model, x, prompt_tokens))
    _, recomputed = count_tokens(model, lambda: decode_by_recomputing(model, x, prompt_tokens))
    assert cached == prompt_tokens + new_tokens - 1
    assert recomputed == sum(range(prompt_tokens, prompt_tokens + new_tokens))
    assert recomputed / cached == pytest.approx(formula_forwards_saved(prompt_tokens, new_tokens))


def test_flops_of_the_projections_fall_as_the_tokens_do():
    """FlopCounterMode sees the linear layers only."""
    model, x, n_tokens = layers(1), torch.randn(1, 20, 16, dtype=torch.float64), 20
    flops = []
    for decode in (decode_with_cache, decode_by_recomputing):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            decode(model, x, 1)
        flops.append(counter.flop_counts["Global"][torch.ops.aten.mm])
    assert flops[0] == n_tokens * 2 * 16 * (2 * 4 * 8 + 2 * 2 * 8)  # two FLOPs for each weight and token
    assert flops[1] / flops[0] == formula_forwards_saved(1, n_tokens) == (n_tokens + 1) / 2


def plain_models():
    for entry in content.load_json("models.json")["models"]:
        try:
            yield pytest.param(entry, attention_shape(entry["name"]), id=entry["name"])
        except ValueError:
            assert entry["name"] not in {"llama-3-8b", "llama-2-7b", "qwen2.5-7b", "qwen3-8b"}


@pytest.mark.parametrize(("entry", "shape"), list(plain_models()))
def test_formula_agrees_with_models_json(entry, shape):
    """The table was measured by filling transformers' own cache on the meta device."""
    n_layers, _, n_kv_heads, head_dim = shape
    assert formula_bytes_per_token(n_layers, n_kv_heads, head_dim, 2) == entry["kv_bf16"]["per_token_all_layers"]


@pytest.mark.parametrize(
    ("model", "n_kv_heads", "dtype", "expected"),
    [
        ("llama-3-8b", 0, "bfloat16", 131_072),
        ("llama-3-8b", 32, "bfloat16", 524_288),
        ("llama-3-8b", 1, "bfloat16", 16_384),
        ("llama-3-8b", 0, "float8_e4m3fn", 65_536),
        ("llama-2-7b", 0, "float16", 524_288),
        ("llama-2-7b", 0, "float32", 1_048_576),
        ("llama-3.1-70b", 0, "int8", 163_840),
        ("opt-13b", 40, "float16", 819_200),  # 800 KB, vLLM paper section 3
    ],
)
def test_known_sizes(model, n_kv_heads, dtype, expected):
    if model == "opt-13b":  # its config has no KV heads: the shape by hand
        assert allocated_bytes_per_token(40, 40, n_kv_heads, 128, getattr(torch, dtype)) == expected
    else:
        got = facts(model=model, n_kv_heads=n_kv_heads, dtype=dtype, new_tokens=1)
        assert got["bytes_per_token"].measured == expected


def test_a_cached_head_is_a_kv_head_not_a_query_head():
    """The mistake of counting query heads is off by exactly the group size."""
    assert allocated_bytes_per_token(2, 32, 8, 128, torch.float16) * 4 == formula_bytes_per_token(2, 32, 128, 2)


@pytest.mark.parametrize(
    "settings_",
    [
        {"new_tokens": 1},
        {"prompt_tokens": 9, "new_tokens": 3},
        {"mask": "bidirectional", "new_tokens": 40},
        {"mask": "bidirectional", "prompt_tokens": 40, "new_tokens": 5, "seed": 7},
        {"model": "qwen2.5-7b", "n_kv_heads": 7, "dtype": "int8", "new_tokens": 2},
        {"model": "smollm2-135m", "n_kv_heads": 9, "dtype": "float32", "new_tokens": 2},
    ],
)
def test_facts_agree_with_their_predictions(settings_):
    got = facts(**settings_)
    assert [f.name for f in got.values() if not f.agrees] == []


@pytest.mark.parametrize(
    "settings_",
    [
        {"new_tokens": 0},
        {"prompt_tokens": 0},
        {"new_tokens": 4096},
        {"n_kv_heads": 5},
        {"n_kv_heads": -1},
        {"seq_len": 0},
        {"model": "deepseek-v3"},  # a latent, not heads
        {"model": "gemma-2-2b"},  # half of its layers keep a window only
        {"model": "bert-base-uncased"},  # no cache at all
    ],
)
def test_nonsense_is_refused(settings_):
    with pytest.raises(ValueError, match="must"):
        Params(**settings_)
