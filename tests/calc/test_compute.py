import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmprep import content
from llmprep.calc import compute, families, params
from llmprep.calc.shapes import Attention, FeedForward, Layer, Shape, Stack

A100 = content.hardware("a100-80gb")


def gpt(n_layers: int, d_model: int, n_heads: int) -> Shape:
    layer = Layer(Attention(n_heads, n_heads, d_model // n_heads), FeedForward(4 * d_model, gated=False))
    return Shape("gpt2", 51_200, d_model, (Stack(layer, n_layers),), tied=True)


# Korthikanti et al., arXiv 2205.05198, tables 3 and 5: layers, width, heads, A100s, global batch, seconds, MFU in %
@pytest.mark.parametrize(
    ("shape", "n_devices", "batch", "seconds", "mfu"),
    [
        (gpt(48, 6144, 64), 8, 4, 1.10, 41.5),
        (gpt(96, 12288, 96), 64, 64, 13.75, 51.4),
        (gpt(105, 20480, 128), 280, 280, 37.83, 56.0),
        (gpt(128, 25600, 160), 512, 512, 71.49, 56.3),
    ],
    ids=["22B", "175B", "530B", "1T"],
)
def test_reported_step_times_give_the_reported_utilisation(shape, n_devices, batch, seconds, mfu):
    flops = compute.training_flops_per_token(shape, 2048)
    got = compute.model_flops_utilization(flops, batch * 2048 / seconds / n_devices, A100["flops"]["bf16"])
    assert 100 * got == pytest.approx(mfu, abs=0.25)


def test_palm_count_is_megatron_equation_7():
    """72·L·h²·(1 + s/(6h) + V/(12hL)) FLOPs a token, the same sum written differently."""
    layers, h, s, vocab = 96, 12288, 2048, 51_200
    expected = 72 * layers * h**2 * (1 + s / (6 * h) + vocab / (12 * h * layers))
    assert compute.training_flops_per_token(gpt(layers, h, 96), s) == pytest.approx(expected, rel=1e-12)


def test_gpt3_training_flops():
    """Brown et al., arXiv 2005.14165, table D.1 prints 3.14e23 for 300B tokens."""
    assert compute.training_flops(174.6e9, 300e9) == pytest.approx(3.14e23, rel=0.002)


def test_llama_13b_needed_about_half_of_the_peak():
    """135,168 A100 hours for 1T tokens (Touvron et al., arXiv 2302.13971, table 15) are an MFU of 51% by 6ND."""
    flops = compute.training_flops(params.total(families.of("llama-13b")), 1e12)
    mfu = flops / (135_168 * 3600 * A100["flops"]["bf16"])
    assert mfu == pytest.approx(0.514, abs=0.001)
    assert compute.training_days(flops, 135_168, A100["flops"]["bf16"], mfu) == pytest.approx(1 / 24)


def test_ridge_of_an_a100():
    assert compute.ridge(A100["flops"]["bf16"], A100["bandwidth"]) == pytest.approx(153, abs=0.1)


DECODERS = ["gpt2", "llama-3-8b", "gemma-3-1b", "mixtral-8x7b", "deepseek-v3", "gpt-oss-20b", "falcon-7b", "opt-350m"]


@pytest.mark.parametrize("name", DECODERS)
def test_training_is_the_count_of_palm(name):
    """6N + 12·L·H·D·T a token, with the head on every token and attention over the full square."""
    shape = families.of(name)
    assert compute.training_step(shape, 1000) == 1000 * compute.training_flops_per_token(shape, 1000)


@pytest.mark.parametrize("name", DECODERS)
def test_a_forward_pass_costs_two_flops_a_weight(name):
    shape = families.of(name)
    one = compute.forward(shape, 1)
    assert one.linear + one.head == 2 * params.in_matmuls(shape)


def test_six_nd_for_llama_3_8b():
    """All 8.03B for N: the table is counted, attention is not; at 8,192 tokens that is 17% too little."""
    shape = families.of("llama-3-8b")
    exact = compute.training_step(shape, 8192)
    assert compute.training_flops(params.total(shape), 8192) / exact == pytest.approx(0.832, abs=5e-4)
    without_attention = exact - 3 * compute.forward(shape, 8192, square=True).attention
    assert compute.training_flops(params.in_matmuls(shape), 8192) == without_attention


def brute_force_pairs(tokens: int, past: int, window: int | None) -> int:
    return sum(
        window is None or query - key < window for query in range(past, past + tokens) for key in range(query + 1)
    )


@given(st.integers(0, 30), st.integers(0, 30), st.none() | st.integers(1, 40))
def test_pairs_are_those_that_the_mask_lets_through(tokens, past, window):
    assert compute.pairs(tokens, past, window) == brute_force_pairs(tokens, past, window)


@given(st.integers(1, 40), st.integers(1, 50))
def test_local_pairs_are_neighbours(tokens, window):
    near = sum(abs(query - key) <= window // 2 for query in range(tokens) for key in range(tokens))
    assert compute.local_pairs(tokens, window) == near


@given(st.sampled_from(["gpt2", "gemma-3-1b", "mixtral-8x7b"]), st.integers(1, 700), st.integers(1, 700))
def test_a_prompt_in_two_chunks_costs_the_same(name, first, second):
    shape = families.of(name)
    whole = compute.forward(shape, first + second)
    chunks = compute.forward(shape, first), compute.forward(shape, second, past=first)
    assert whole == tuple(a + b for a, b in zip(*chunks, strict=True))


def test_the_causal_half():
    shape = families.of("llama-3-8b")
    seen, square = compute.forward(shape, 4096), compute.forward(shape, 4096, square=True)
    assert seen.attention / square.attention == pytest.approx(4097 / 8192)
    assert seen._replace(attention=0) == square._replace(attention=0)


def test_a_window_bounds_decoding():
    shape = families.of("mistral-7b-v0.1")
    assert compute.decode(shape, 100_000) == compute.decode(shape, 4096)
    assert compute.decode(shape, 4095).attention < compute.decode(shape, 4096).attention


def test_only_the_last_token_of_a_prompt_needs_logits():
    shape = families.of("llama-3-8b")
    assert compute.forward(shape, 100, logits=1).head == 2 * params.head(shape)
    assert compute.forward(shape, 100).head == 100 * 2 * params.head(shape)


def test_mla_absorbed_widens_the_pairs_but_not_the_matrices():
    """DeepSeek-V3: 2·128·(2·512 + 64) FLOPs a key instead of 2·128·(128 + 64 + 128)."""
    shape = families.of("deepseek-v3")
    plain, absorbed = (compute.forward(shape, 1, past=999, absorbed=a) for a in (False, True))
    assert plain.attention == 61 * 1000 * 2 * 128 * 320
    assert absorbed.attention == 61 * 1000 * 2 * 128 * 1088
    assert plain._replace(attention=0) == absorbed._replace(attention=0)
    assert compute.decode(shape, 1000) == absorbed
    assert compute.decompression_flops(shape, 1000) == 1000 * 61 * 2 * 512 * 128 * 256


def test_gqa_saves_no_attention_flops():
    shape = families.of("llama-3-8b")
    grouped, plain = Attention(32, 8, 128), Attention(32, 32, 128)
    assert compute.pair_flops(grouped) == compute.pair_flops(plain) == 4 * shape.attention.q_dim


def test_an_encoder_runs_its_pooler_once():
    shape = families.of("bert-base-uncased")
    assert compute.forward(shape, 10).linear - compute.forward(shape, 9).linear == 2 * 12 * (4 + 8) * 768**2
    assert compute.forward(shape, 10).linear == 10 * 2 * 12 * 12 * 768**2 + 2 * 768**2
    assert compute.forward(shape, 10) == compute.forward(shape, 10, square=True)


def test_encoder_and_decoder_of_t5_run_on_their_own_tokens():
    shape, d, ff = families.of("t5-base"), 768, 3072
    block = 2 * (4 * d * d + 2 * d * ff)
    cross = 2 * 2 * d * d
    got = compute.forward(shape, 10, encoder_tokens=100)
    assert got.linear == 12 * (100 * (block + cross) + 10 * (block + cross))
    assert got.attention == 12 * 4 * d * (100 * 100 + 55 + 10 * 100)
    assert compute.decode(shape, 10, encoder_tokens=100).attention == 12 * 4 * d * (10 + 100)
    assert compute.decode(shape, 10).linear == 12 * (block + cross)  # W_q, W_o; keys and values are cached


def test_states_cost_the_same_at_any_length():
    shape = families.of("mamba-130m")
    assert compute.decode(shape, 1) == compute.decode(shape, 10**6)
    assert compute.decode(shape, 1).state == 24 * 1536 * (2 * 4 + 8 * 16)


@pytest.mark.parametrize(("tokens", "expected"), [(1, 8), (2, 8 + 8 * (1 - 8 / 256)), (10**4, 256)])
def test_experts_touched(tokens, expected):
    assert compute.experts_touched(256, 8, tokens) == pytest.approx(expected)


def test_experts_touched_as_a_simulation_finds_them():
    rng, rounds = random.Random(0), 2000
    found = sum(len({e for _ in range(12) for e in rng.sample(range(32), 4)}) for _ in range(rounds)) / rounds
    assert compute.experts_touched(32, 4, 12) == pytest.approx(found, rel=0.01)
