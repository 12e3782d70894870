from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmprep import content
from llmprep.calc import families, kv
from llmprep.calc.shapes import Attention, FeedForward, Latent, Layer, Shape, Stack
from llmprep.errors import UserError

MODELS = [m for m in content.load_json("models.json")["models"] if m.get("kv_bf16", {}).get("per_token_all_layers")]


@pytest.mark.parametrize("entry", MODELS, ids=[m["name"] for m in MODELS])
def test_bytes_are_those_counted_for_every_model(entry):
    """Self-attention only: the stored figures leave out states and what cross-attention reads."""
    shape, stored = families.of(entry["name"]), entry["kv_bf16"]
    assert kv.bytes_per_token(shape) == stored["per_token_all_layers"]
    for tokens in (8192, 32768, 131072):
        held = sum(p.n_bytes(tokens, kv.FORMATS["bf16"]) for p in kv.layers(shape) if p.kind not in ("state", "cross"))
        assert held == stored.get(f"bytes_at_{tokens}", tokens * stored["per_token_all_layers"])


@pytest.mark.parametrize(
    "entry", [m for m in MODELS if "per_token_if_decompressed" in m["kv_bf16"]], ids=lambda m: m["name"]
)
def test_latents_spelt_out(entry):
    assert kv.mha_bytes(families.of(entry["name"]), 1) == entry["kv_bf16"]["per_token_if_decompressed"]


@pytest.mark.parametrize(
    "entry",
    [m for m in content.load_json("models.json")["models"] if "state_bytes_hf_measured" in m.get("kv_bf16", {})],
    ids=lambda m: m["name"],
)
def test_states_are_those_measured_in_transformers(entry):
    shape = families.of(entry["name"])
    assert kv.request_bytes(shape, 1) == kv.request_bytes(shape, 10**6) == entry["kv_bf16"]["state_bytes_hf_measured"]


@pytest.mark.parametrize(
    ("mixer", "layers", "elements"),
    [  # DeepSeek-V2, arXiv 2405.04434, table 9: 110.6K, 15.6K, 860.2K, 34.6K elements a token
        (Attention(16, 16, 128), 27, 110_592),
        (Latent(16, None, 512, 128, 64, 128), 27, 15_552),
        (Attention(56, 56, 128), 60, 860_160),
        (Latent(128, 1536, 512, 128, 64, 128), 60, 34_560),
    ],
)
def test_table_9_of_deepseek_v2(mixer, layers, elements):
    shape = Shape("test", 100, 1024, (Stack(Layer(mixer, FeedForward(64)), layers),), tied=True)
    assert kv.bytes_per_token(shape, itemsize=1) == elements


def test_table_1_of_deepseek_v2():
    """MLA with d_c = 4·d_h and d_h^R = d_h/2 caches 4.5·d_h a layer: GQA with 2.25 groups."""
    latent = Latent(128, 1536, 4 * 128, 128, 128 // 2, 128)
    assert latent.cached.per_token == 4.5 * 128 == 2.25 * Attention(128, 1, 128).cached.per_token


def test_93_percent_needs_6_bits():
    """DeepSeek 67B has 95 layers of 8 groups of 128 in 16 bits; its cache is the paper's yardstick."""
    old = 2 * 8 * 128 * 95 * 2
    new = families.of("deepseek-v2")
    assert 1 - kv.per_token(new, "int6") / old == pytest.approx(0.933, abs=5e-4)
    assert 1 - kv.per_token(new, "bf16") / old == pytest.approx(0.822, abs=5e-4)


def test_opt_13b_keeps_800_kib_a_token():
    """PagedAttention, arXiv 2309.06180, section 3: 800 KB a token, 1.6 GB for 2,048."""
    shape = families.of("opt-13b")
    assert kv.per_token(shape) == 800 * 1024
    assert kv.request_bytes(shape, 2048) == pytest.approx(1.6e9, rel=0.05)


def test_windows_hold_their_tokens_and_no_more():
    shape = families.of("gemma-3-12b-text")
    full, local = (2 * 2 * 8 * 256 * n for n in (8, 40))
    for tokens in (1, 1023, 1024, 1025, 100_000):
        assert kv.request_bytes(shape, tokens) == full * tokens + local * min(tokens, 1024)
    assert kv.growth(shape, 1023) == full + local
    assert kv.growth(shape, 1024) == full


def test_hybrids_keep_states_beside_the_cache():
    shape = families.of("qwen3-next-80b-a3b")
    state = 36 * (32 * 128 * 128 * 4 + (2 * 16 * 128 + 32 * 128) * 4 * 2)
    assert kv.request_bytes(shape, 1000) == state + 24_576 * 1000
    assert kv.per_token(shape) == kv.growth(shape, 5) == 24_576


def test_cross_attention_reads_the_encoders_tokens():
    shape = families.of("t5-base")
    assert kv.request_bytes(shape, 10, encoder_tokens=100) == 36_864 * 110
    assert kv.request_bytes(shape, 10) == 36_864 * 20
    assert kv.growth(shape, 10) == kv.per_token(shape) == 36_864


def test_encoders_cache_nothing():
    assert kv.request_bytes(families.of("bert-base-uncased"), 512) == 0


@pytest.mark.parametrize(
    ("fmt", "bits"),
    [("fp32", 32), ("bf16", 16), ("fp8", 8), ("int8", 8 + 16 / 128), ("int6", 6), ("int4", 4 + 32 / 64)],
)
def test_bits_with_their_scales(fmt, bits):
    shape = families.of("llama-3-8b")  # heads of 128
    assert kv.per_token(shape, fmt) == 2 * 32 * 8 * 128 * bits / 8


def test_groups_do_not_run_across_heads():
    short = Shape("test", 10, 80, (Stack(Layer(Attention(2, 2, 80), None), 1),), tied=True)
    assert kv.per_token(short, "int4") == 2 * 2 * (80 / 2 + 2 * 4)  # two groups for 80 numbers


SHAPES = st.builds(
    lambda groups, times, dim, layers, window: Shape(
        "test", 100, 64, (Stack(Layer(Attention(groups * times, groups, dim, window=window), None), layers),), tied=True
    ),
    st.sampled_from([1, 2, 4, 8]),
    st.integers(1, 8),
    st.sampled_from([64, 96, 128, 256]),
    st.integers(1, 4),
    st.none() | st.integers(1, 500),
)


@given(SHAPES, st.integers(1, 1000), st.integers(0, 1000))
def test_more_tokens_and_more_bits_take_more(shape, tokens, more):
    assert kv.request_bytes(shape, tokens) <= kv.request_bytes(shape, tokens + more)
    sizes = [kv.request_bytes(shape, tokens, fmt) for fmt in ("int4", "int6", "fp8", "int8", "bf16", "fp32")]
    assert sizes == sorted(sizes)
    assert kv.request_bytes(shape, tokens) <= kv.mha_bytes(shape, tokens)


@given(SHAPES, st.integers(1, 1000))
def test_growth_adds_up_to_the_request(shape, tokens):
    assert sum(kv.growth(shape, t) for t in range(tokens)) == kv.request_bytes(shape, tokens)


@given(SHAPES, st.sampled_from([1, 2, 4, 8, 16]))
def test_devices_share_heads_but_never_less_than_one(shape, devices):
    groups = shape.attention.n_kv_heads
    whole = kv.request_bytes(shape, 100)
    assert kv.request_bytes(shape, 100, tensor_parallel=devices) == whole / min(devices, groups)


def test_latents_lie_whole_on_every_device():
    shape = families.of("deepseek-v3")
    assert kv.request_bytes(shape, 100, tensor_parallel=8) == kv.request_bytes(shape, 100) == 70_272 * 100


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("llama-2-7b", "MHA"),
        ("llama-3-8b", "GQA"),
        ("falcon-7b", "MQA"),
        ("deepseek-v3", "MLA"),
        ("mamba-130m", "none"),
    ],
)
def test_names(model, name):
    assert kv.name(families.of(model)) == name


def test_equal_layers_are_one_line():
    assert [(p.n, p.kind) for p in kv.layers(families.of("deepseek-v3"))] == [(61, "latent")]
    twice = families.of("llama-3-8b")
    twice = replace(twice, stacks=twice.stacks * 2)
    assert [p.n for p in kv.layers(twice)] == [64]


def test_unknown_format():
    with pytest.raises(UserError, match=r"--kv-dtype int3: unknown format of the cache; did you mean 'int8'"):
        kv.find("int3")
