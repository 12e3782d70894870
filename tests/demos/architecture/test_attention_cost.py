# ruff: noqa: E402, N803
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.attention import attention
from llmprep.demos.architecture.attention_cost import (
    Params,
    Shape,
    attention_by_blocks,
    classic,
    count_linear_flops,
    count_quadratic_flops,
    crossover,
    formula_linear_weights,
    run,
    shape_of,
)

SHAPES = st.builds(
    lambda d, h, group, D, ff, m: Shape(d, h * group, h, D, ff, m),
    st.integers(1, 64),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 16),
    st.integers(1, 99),
    st.sampled_from([2, 3]),
)


@settings(max_examples=20, deadline=None)
@given(s=SHAPES, T=st.integers(1, 50), with_ffn=st.booleans())
def test_counted_flops_are_the_formulas(s, T, with_ffn):
    assert count_linear_flops(s, T, with_ffn=with_ffn) == 2 * T * formula_linear_weights(s, with_ffn=with_ffn)
    assert count_quadratic_flops(s, T) == 4 * s.n_heads * s.head_dim * T * T


@settings(max_examples=30, deadline=None)
@given(T=st.integers(1, 40), block=st.integers(1, 50))
def test_skipping_masked_blocks_changes_no_output(T, block):
    q, k, v = torch.randn(3, 1, 2, T, 4, generator=torch.Generator().manual_seed(T), dtype=torch.float64)
    torch.testing.assert_close(attention_by_blocks(q, k, v, block), attention(q, k, v))


@pytest.mark.parametrize(("T", "block", "share"), [(8, 8, 1.0), (8, 4, 0.75), (8, 1, 9 / 16), (1024, 128, 9 / 16)])
def test_skipping_leaves_a_little_more_than_half(T, block, share):
    s = classic(128)
    assert count_quadratic_flops(s, T, block) == share * count_quadratic_flops(s, T)


@pytest.mark.parametrize("d_model", [128, 768, 4096])
def test_classic_layer_crosses_at_six_times_the_width(d_model):
    s = classic(d_model)
    at = crossover(s, with_ffn=True)
    assert at == 6 * d_model
    assert crossover(s, with_ffn=False) == 2 * d_model
    linear = count_linear_flops(s, 1, with_ffn=True)
    assert count_quadratic_flops(s, at) >= at * linear
    assert count_quadratic_flops(s, at - 1) < (at - 1) * linear


@pytest.mark.parametrize(
    ("model", "layer_weights"),
    [
        ("llama-3-8b", (8_030_261_248 - 2 * 128_256 * 4096 - 4096 * 65) // 32),  # embeddings, norms out; per layer
        ("gpt2", 12 * 768**2),
    ],
)
def test_shapes_are_those_of_the_real_models(model, layer_weights):
    assert formula_linear_weights(shape_of(model), with_ffn=True) == layer_weights


@pytest.mark.parametrize("model", ["mixtral-8x7b", "deepseek-v3", "bert-base-uncased", "gemma-2-2b"])
def test_other_families_are_refused(model):
    with pytest.raises(ValueError, match="must"):
        Params(model=model)


def test_run_agrees_with_itself_where_blocks_do_not_fit():
    result = run(Params(d_model=128, seq_len=1001, block=100))
    assert all(f.agrees for f in result.facts)
    assert 0.5 < result.fact("share_left_by_skipping").measured < 0.6


@pytest.mark.parametrize("wrong", [{"d_model": 100}, {"seq_len": 0}, {"seq_len": 2**20}, {"block": 1}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
