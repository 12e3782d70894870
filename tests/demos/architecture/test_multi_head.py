# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.multi_head import (
    MultiHeadAttention,
    Params,
    channels_read,
    count_parameters,
    formula_parameters,
    run,
    slice_the_input,
    sum_of_heads,
)


def layer_and_input(d_model: int, n_heads: int, n_kv_heads: int = 0, seed: int = 0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MultiHeadAttention(d_model, n_heads, n_kv_heads).double(), torch.randn(2, 5, d_model).double()


def as_torch_mha(layer: MultiHeadAttention) -> torch.nn.MultiheadAttention:
    """torch's own module with the same weights; the KV heads of a group are copied to its query heads."""
    d_model, h = layer.wq.in_features, layer.n_heads
    k, v = (
        w.weight.view(layer.n_kv_heads, -1, d_model).repeat_interleave(h // layer.n_kv_heads, dim=0).flatten(0, 1)
        for w in (layer.wk, layer.wv)
    )
    mha = torch.nn.MultiheadAttention(d_model, h, bias=False, batch_first=True, dtype=torch.float64)
    mha.load_state_dict({"in_proj_weight": torch.cat([layer.wq.weight, k, v]), "out_proj.weight": layer.wo.weight})
    return mha


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("d_model", "h", "kv"), [(8, 1, 1), (8, 2, 2), (24, 4, 4), (24, 4, 2), (24, 6, 1)])
def test_is_torchs_multihead_attention(d_model, h, kv, causal):
    layer, x = layer_and_input(d_model, h, kv)
    mask = torch.ones(5, 5, dtype=torch.bool).triu(diagonal=1) if causal else None
    theirs, _ = as_torch_mha(layer)(x, x, x, attn_mask=mask, need_weights=False)
    torch.testing.assert_close(layer(x, causal=causal), theirs)


@pytest.mark.parametrize("kv", [1, 2, 4])
def test_concatenation_is_the_sum_of_the_heads(kv):
    layer, x = layer_and_input(16, 4, kv)
    torch.testing.assert_close(sum_of_heads(layer, x), layer(x))


def test_a_pruned_head_takes_away_its_own_term_only():
    """Zeroing the rows of W_O that belong to head 1 is the same as leaving it out of the sum."""
    layer, x = layer_and_input(16, 4)
    with torch.no_grad():
        term = layer.heads(x)[:, 1] @ layer.wo.weight[:, 4:8].T
        full = layer(x)
        layer.wo.weight[:, 4:8] = 0
        torch.testing.assert_close(layer(x), full - term)


@settings(deadline=None)
@given(d=st.integers(1, 8), h=st.sampled_from([1, 2, 4, 8]))
def test_parameters_do_not_depend_on_the_number_of_heads(d, h):
    d_model = 8 * d
    assert count_parameters(d_model, h, h, d_model // h) == 4 * d_model**2 == formula_parameters(d_model, 1, 1, d_model)


@pytest.mark.parametrize(
    ("shape", "parameters"),
    [
        ((512, 8, 8, 64), 1_048_576),  # Transformer base
        ((4096, 32, 8, 128), 41_943_040),  # Llama-3-8B
        ((4096, 32, 32, 128), 67_108_864),  # Llama-7B
        ((1024, 16, 8, 128), 6_291_456),  # Qwen3-0.6B: n_heads · head_dim is not d_model
    ],
)
def test_parameters_of_known_layers(shape, parameters):
    assert count_parameters(*shape) == formula_parameters(*shape) == parameters


def test_every_head_reads_every_channel_unless_the_input_is_sliced():
    layer, x = layer_and_input(16, 4)
    assert [channels_read(layer, x, head) for head in range(4)] == [16] * 4
    slice_the_input(layer)
    assert [channels_read(layer, x, head) for head in range(4)] == [4] * 4


@pytest.mark.parametrize(
    "p",
    [
        Params(d_model=1, n_heads=1, n_kv_heads=1),
        Params(n_kv_heads=8, reads="slice"),
        Params(d_model=1000, n_heads=7, n_kv_heads=7, head_dim=5),
        Params(d_model=512, n_heads=8, n_kv_heads=8, head_dim=512),
    ],
    ids=str,
)
def test_run_agrees_for_odd_settings(p):
    assert all(f.agrees for f in run(p).facts)


@pytest.mark.parametrize(
    "wrong",
    [{"n_kv_heads": 5}, {"n_heads": 0}, {"d_model": 100}, {"n_kv_heads": 64}, {"head_dim": 10**6}, {"n_heads": 256}],
    ids=str,
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
