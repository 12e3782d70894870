from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmprep.calc import activations, families, memory
from llmprep.calc.adapters import Adapters
from llmprep.calc.parallel import interleaved
from llmprep.calc.shapes import Attention, Experts, FeedForward, Layer, Shape, Stack


def gpt(d, heads, layers=1, vocab=51_200):
    layer = Layer(
        Attention(heads, heads, d // heads, qkv_bias=True, out_bias=True), FeedForward(4 * d, gated=False, bias=True)
    )
    return Shape("gpt2", vocab, d, (Stack(layer, layers),), tied=True, norm="layer")


def kept(shape, s, tensor=1, *, sequence=False, **options):
    """Bytes of a token in the first kind of layer, statistics aside as the paper leaves them out."""
    saved = activations.of_layer(shape, shape.stacks[0].layer, s, **options)
    return sum(each.on_a_gpu(tensor, sequence=sequence) for each in saved if each.part != "statistics")


# Korthikanti et al., arXiv 2205.05198, table 2, for GPT-3 175B: a = 96, h = 12288, s = 2048, so 5as/h = 80
@pytest.mark.parametrize(
    ("tensor", "sequence", "scores", "in_units_of_h"),
    [
        (1, False, True, 34 + 80),
        (8, False, True, 10 + 24 / 8 + 80 / 8),
        (8, True, True, (34 + 80) / 8),
        (8, False, False, 10 + 24 / 8),
        (8, True, False, 34 / 8),
    ],
)
def test_tensor_by_tensor_it_is_table_2(tensor, sequence, scores, in_units_of_h):
    got = kept(gpt(12288, 96), 2048, tensor, sequence=sequence, scores=scores, dropout=True)
    assert got == in_units_of_h * 12288


@given(
    heads=st.integers(1, 8).map(lambda n: 4 * n),
    head_dim=st.integers(1, 64),
    s=st.integers(1, 4096),
    tensor=st.sampled_from([1, 2, 4]),
)
def test_general_formula_is_the_gpt_formula(heads, head_dim, s, tensor):
    d = heads * head_dim
    for scores, policy in ((True, "none"), (False, "selective")):
        expected = memory.activation_bytes_per_layer(s, 1, d, heads, policy, tensor_parallel=tensor) / s
        got = kept(gpt(d, heads), s, tensor, scores=scores, dropout=True)
        assert got == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("tensor", [1, 8])
def test_head_is_section_4_3(tensor):
    """4sbh(1 + v/h)/t: the inputs of the last norm and the head and the FP32 logits, with sequence parallelism."""
    d, v = 12288, 51_200
    head = activations.of_head(gpt(d, 96))
    got = sum(each.on_a_gpu(tensor, sequence=True) for each in head if each.name != "logits in 16 bits")
    assert got == pytest.approx(4 * d * (1 + v / d) / tensor, rel=1e-12)
    assert sum(each.on_a_gpu(tensor) for each in head if each.name == "logits in 16 bits") == 2 * v / tensor


def test_no_second_copy_of_the_logits_in_fp32():
    assert [each.name for each in activations.of_head(gpt(8, 2), itemsize=4) if each.part == "logits"] == [
        "logits in FP32"
    ]
    assert activations.of_head(replace(gpt(8, 2), head=False)) == []


def test_interleaving_factor():
    """Section 4.2.3: 1 + (p − 1)/(p·m) with m chunks a stage; 175B has p = 8, m = 3."""
    assert interleaved(8, 3) == 1 + 7 / 24
    assert interleaved(8, 1) == 1


def test_a_llama_layer():
    """Llama-13B, a token: 2 B × (8·d + 3·d_ff) and 4 B for each statistic."""
    shape = families.of("llama-13b")
    assert kept(shape, 2048) == 2 * (8 * 5120 + 3 * 13824)
    everything = sum(each.per_token for each in activations.of_layer(shape, shape.stacks[0].layer, 2048))
    assert everything - kept(shape, 2048) == 4 * (2 + 40)


def test_grouped_queries_keep_fewer_keys_and_values():
    many, few = families.of("llama-2-7b"), families.of("llama-2-7b", num_key_value_heads=4)
    assert kept(many, 512) - kept(few, 512) == 2 * 2 * (32 - 4) * 128


def test_keys_and_values_are_repeated_beyond_their_heads():
    few = families.of("llama-2-7b", num_key_value_heads=4)
    saved = {each.name: each for each in activations.of_layer(few, few.stacks[0].layer, 512)}
    assert saved["K, V"].on_a_gpu(8) == saved["K, V"].per_token / 4
    assert saved["Q"].on_a_gpu(8) == saved["Q"].per_token / 8


def test_a_mixture_keeps_what_its_chosen_experts_see():
    """k tokens sent, k·3·d_ff inside, n probabilities in FP32, beside a shared expert."""
    shape = families.of("tinyllama-1.1b")
    d = shape.d_model

    def bytes_of(ffn):
        layer = replace(shape.stacks[0].layer, ffn=ffn)
        return sum(each.per_token for each in activations.of_layer(shape, layer, 64))

    without = bytes_of(FeedForward(0))
    assert bytes_of(Experts(8, 2, FeedForward(6))) - without == 2 * (2 * d + 2 * 3 * 6) + 4 * 8
    shared = bytes_of(Experts(8, 2, FeedForward(6), FeedForward(5))) - bytes_of(Experts(8, 2, FeedForward(6)))
    assert shared == 2 * 3 * 5


def test_frozen_weights_read_nothing():
    """With adapters on W_q and W_v only, what o, up, gate and down read is not kept; two A·x are."""
    shape = families.of("llama-2-7b")
    full, q_v = kept(shape, 512), kept(shape, 512, adapters=Adapters(16, "qv"))
    assert full - q_v == 2 * (4096 + 11008) - 2 * 2 * 16
    every = kept(shape, 512, adapters=Adapters(16, "all-linear"))
    assert every - full == 2 * 7 * 16


@pytest.mark.parametrize("name", ["mamba-130m", "qwen3-next-80b-a3b", "deepseek-v3", "gemma-2-2b", "phi-2"])
def test_every_kind_of_layer_keeps_something(name):
    shape = families.of(name)
    for stack in shape.stacks:
        saved = activations.of_layer(shape, stack.layer, 128, scores=True)
        assert min(each.per_token for each in saved) > 0
        assert any(each.read_by for each in saved)


def test_recurrent_layers():
    """As save_for_backward of their kernels lists it: x, z, output and (dt, B, C) with B and C once more."""
    mamba = families.of("mamba-130m")  # E = 1536, N = 16, R = 48; states of one chunk in FP32
    assert kept(mamba, 4096) == 2 * (2 * 768 + 3 * 1536 + 48 + 4 * 16) + 4 * 2 * 1536 * 16 / 2048
    assert kept(mamba, 100) - kept(mamba, 2048) == pytest.approx(4 * 2 * 1536 * 16 * (1 / 100 - 1 / 2048))


def test_one_norm_feeds_both_branches():
    beside, behind = families.of("phi-2"), families.of("gpt2")
    assert sum(each.name.startswith("input of") and each.part == "norms" for each in _saved(beside)) == 1
    assert sum(each.name.startswith("input of") and each.part == "norms" for each in _saved(behind)) == 2


def _saved(shape):
    return activations.of_layer(shape, shape.stacks[0].layer, 64)
