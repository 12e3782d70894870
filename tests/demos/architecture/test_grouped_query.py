# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from llmprep.demos.architecture.grouped_query import Params, grouped_attention, kv_heads_held, pool, run, tied_mha


def qkv(n_heads, n_kv_heads, new_tokens=5, tokens=5, head_dim=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((n_heads, new_tokens), (n_kv_heads, tokens), (n_kv_heads, tokens))
    return [torch.randn(2, h, t, head_dim, generator=generator, dtype=torch.float64) for h, t in shapes]


def facts(**settings_):
    return {f.name: f for f in run(Params(**settings_)).facts}


shapes = st.integers(1, 4).flatmap(lambda g: st.integers(1, 4).map(lambda s: (g * s, g)))


@settings(max_examples=40, deadline=None)
@given(shapes, st.integers(1, 9), st.integers(0, 99))
def test_equals_enable_gqa_of_sdpa(shape, tokens, seed):
    q, k, v = qkv(*shape, tokens, tokens, seed=seed)
    expected = scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    torch.testing.assert_close(grouped_attention(q, k, v), expected)


@settings(max_examples=40, deadline=None)
@given(shapes, st.integers(1, 9), st.integers(0, 99))
def test_equals_mha_on_interleaved_copies(shape, tokens, seed):
    q, k, v = qkv(*shape, 1, tokens, seed=seed)  # a decode step: one query sees every key
    copies = shape[0] // shape[1]
    expected = scaled_dot_product_attention(q, k.repeat_interleave(copies, 1), v.repeat_interleave(copies, 1))
    torch.testing.assert_close(grouped_attention(q, k, v), expected)
    torch.testing.assert_close(grouped_attention(q, k, v, causal=False), expected)


def test_as_many_kv_heads_as_query_heads_is_mha_exactly():
    q, k, v = qkv(6, 6)
    torch.testing.assert_close(grouped_attention(q, k, v), scaled_dot_product_attention(q, k, v, is_causal=True))


def test_tiled_copies_are_the_wrong_heads():
    q, k, v = qkv(6, 2)
    tiled = scaled_dot_product_attention(q, k.repeat(1, 3, 1, 1), v.repeat(1, 3, 1, 1), is_causal=True)
    same = (grouped_attention(q, k, v) - tiled).abs().amax(dim=(0, 2, 3)) < 1e-9
    assert same.tolist() == [i // 3 == i % 2 for i in range(6)]  # heads 0, 2, 3, 5 happen to agree


def test_tied_mha_has_one_set_of_kv_weights_for_each_group():
    wq, wk, wv = torch.randn(16, 16), torch.randn(8, 16), torch.randn(8, 16)
    _, k_weight, _ = tied_mha(wq, wk, wv, 4, "interleave").in_proj_weight.view(3, 4, 4, 16)
    assert torch.equal(k_weight[0], k_weight[1])
    assert torch.equal(k_weight[2], wk[4:])
    assert not torch.equal(k_weight[1], k_weight[2])


@pytest.mark.parametrize("other", ["first", "random"])
def test_no_shared_head_is_nearer_to_a_group_than_its_mean(other):
    """The least-squares reason for mean pooling, whatever the heads look like."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        heads = torch.randn(8, 4, 16) + 3 * torch.randn(1, 4, 16)  # heads that have something in common
        error = {
            how: (heads - pool(heads, 2, how).repeat_interleave(4, 0)).square().sum().item() for how in ("mean", other)
        }
    assert error["mean"] < error[other]


def test_pooling_a_group_of_one_changes_nothing():
    heads = torch.randn(4, 2, 8)
    for how in ("mean", "first"):
        assert torch.equal(pool(heads, 4, how), heads)


@pytest.mark.parametrize(
    ("n_heads", "n_kv_heads", "gpus", "expected"),
    [
        (8, 2, 1, [{0, 1}]),
        (8, 2, 2, [{0}, {1}]),
        (8, 2, 4, [{0}, {0}, {1}, {1}]),
        (8, 1, 4, [{0}] * 4),
        (8, 8, 2, [{0, 1, 2, 3}, {4, 5, 6, 7}]),
    ],
)
def test_kv_heads_held(n_heads, n_kv_heads, gpus, expected):
    assert kv_heads_held(n_heads, n_kv_heads, gpus) == expected


@pytest.mark.parametrize(
    ("n_heads", "n_kv_heads", "saving", "share", "copies"),
    [(32, 32, 1, 1, 1), (32, 8, 4, 0.625, 1), (64, 8, 8, 0.5625, 1), (32, 1, 32, 0.515625, 8), (32, 2, 16, 0.53125, 4)],
)
def test_ratios_of_known_shapes(n_heads, n_kv_heads, saving, share, copies):
    got = facts(n_heads=n_heads, n_kv_heads=n_kv_heads, seq_len=8, head_dim=4)
    assert got["cache_saving"].measured == got["flop_per_cache_byte"].measured == saving
    assert got["parameter_share"].measured == share
    assert got["kv_copies"].measured == copies
    assert got["key_directions"].measured == n_kv_heads * 4
    assert [f.name for f in got.values() if not f.agrees] == []


def test_attention_flops_do_not_depend_on_the_grouping():
    assert len({facts(n_kv_heads=g, seq_len=8, head_dim=4)["decode_flops"].measured for g in (1, 4, 32)}) == 1


@pytest.mark.parametrize(
    "settings_",
    [
        {"n_heads": 12, "n_kv_heads": 5},
        {"n_kv_heads": 0},
        {"tensor_parallel": 5},
        {"tensor_parallel": 0},
        {"n_heads": 12, "n_kv_heads": 4, "tensor_parallel": 6},
        {"seq_len": 1},
        {"head_dim": 1},
        {"n_heads": 1024},
    ],
)
def test_nonsense_is_refused(settings_):
    with pytest.raises(ValueError, match="must"):
        Params(**settings_)
