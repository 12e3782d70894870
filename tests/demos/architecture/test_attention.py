# ruff: noqa: E402, N803, N806, N812
import math

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.attention import (
    Params,
    attention,
    bytes_kept,
    changed_earlier_outputs,
    count_flops,
    forgot_scale,
    masked_after_softmax,
    mismatches,
    output_and_gradients,
    run,
    softmax_over_queries,
    torch_kernel,
)

BUGS = [forgot_scale, masked_after_softmax, softmax_over_queries]


def qkv(*shape: int, n: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow_attention(q, k, v, *, causal):
    """The definition with loops and Python floats: for one head, (T, D) each."""
    T, D = q.shape
    out = torch.zeros_like(v)
    for i in range(T):
        visible = range(i + 1) if causal else range(T)
        exps = {j: math.exp(sum(float(q[i, c]) * float(k[j, c]) for c in range(D)) / math.sqrt(D)) for j in visible}
        for j, e in exps.items():
            out[i] += e / sum(exps.values()) * v[j]
    return out


@settings(max_examples=25, deadline=None)
@given(T=st.integers(1, 6), D=st.integers(1, 5), causal=st.booleans(), seed=st.integers(0, 1000))
def test_is_the_definition(T, D, causal, seed):
    q, k, v = qkv(T, D, seed=seed)
    torch.testing.assert_close(attention(q, k, v, causal=causal), slow_attention(q, k, v, causal=causal))


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("shape", [(1, 1, 1, 4), (2, 3, 7, 8), (1, 4, 33, 16)], ids=str)
def test_is_torchs_scaled_dot_product_attention(shape, causal):
    q, k, v, upstream = qkv(*shape, n=4)
    ours = output_and_gradients(lambda *x: attention(*x, causal=causal), q, k, v, upstream)
    torchs = output_and_gradients(lambda *x: F.scaled_dot_product_attention(*x, is_causal=causal), q, k, v, upstream)
    for a, b in zip(ours, torchs, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", ["flash", "math"])
def test_both_kernels_are_the_same_function(name):
    q, k, v = qkv(1, 2, 40, 8)
    torch.testing.assert_close(torch_kernel(name)(q, k, v), attention(q, k, v))


@pytest.mark.parametrize("bug", BUGS)
def test_every_bug_is_caught_in_values_and_gradients(bug):
    q, k, v, upstream = qkv(1, 2, 16, 8, n=4)
    right, wrong = (output_and_gradients(f, q, k, v, upstream) for f in (attention, bug))
    assert all(mismatches(a, b) > a.numel() // 2 for a, b in zip(right, wrong, strict=True))


@settings(max_examples=25, deadline=None)
@given(T=st.integers(2, 12), t=st.integers(1, 11), seed=st.integers(0, 1000))
def test_later_tokens_change_nothing_before_them(T, t, seed):
    q, k, v = qkv(1, 1, T, 4, seed=seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(10_000 + seed)  # or the new tokens may be the old ones
        assert changed_earlier_outputs(attention, q, k, v, min(t, T - 1)) == 0
        assert changed_earlier_outputs(masked_after_softmax, q, k, v, min(t, T - 1)) > 0


def test_no_causality_without_the_mask():
    q, k, v = qkv(1, 1, 8, 4)
    assert changed_earlier_outputs(lambda *x: attention(*x, causal=False), q, k, v, 4) == 4 * 4


def test_output_is_a_mean_of_values_so_it_stays_among_them():
    q, k, v = qkv(1, 2, 20, 4)
    out = attention(10 * q, 10 * k, v)
    assert (out <= v.cummax(dim=-2).values + 1e-12).all()
    assert (out >= v.cummin(dim=-2).values - 1e-12).all()
    torch.testing.assert_close(out[..., 0, :], v[..., 0, :])  # the first token sees itself only


@settings(deadline=None, max_examples=25)
@given(st.permutations(range(6)))
def test_without_mask_a_permutation_of_the_tokens_permutes_the_outputs(order):
    """Attention has no notion of position."""
    q, k, v = qkv(1, 1, 6, 4)
    shuffled = attention(*(x[..., order, :] for x in (q, k, v)), causal=False)
    torch.testing.assert_close(shuffled, attention(q, k, v, causal=False)[..., order, :])


@pytest.mark.parametrize(("H", "T", "D"), [(1, 8, 4), (8, 512, 64), (3, 100, 7)])
def test_counted_flops_are_four_per_score_and_channel(H, T, D):
    assert count_flops(attention, H, T, D) == 4 * H * T * T * D
    q = torch.empty(1, H, T, D, device="meta")
    assert attention(q, q, q).shape == q.shape


def test_bytes_kept_hold_the_table_and_the_kernel_does_not():
    H, T, D = 2, 64, 8
    inputs, table, mask = 3 * H * T * D * 4, H * T * T * 4, T * T
    assert bytes_kept(attention, H, T, D) == inputs + table + mask
    assert bytes_kept(torch_kernel("flash"), H, T, D) < inputs + table / 2
    assert bytes_kept(torch_kernel("math"), H, T, D) >= table


def test_run_reports_what_a_bug_does():
    right, leaky = (
        run(Params(seq_len=32, n_heads=2, head_dim=8, version=v)) for v in ("attention", "masked_after_softmax")
    )
    assert all(f.agrees for f in (*right.facts, *leaky.facts))
    assert right.fact("mismatches").measured == right.fact("changed_earlier_outputs").measured == 0
    assert leaky.fact("mismatches").measured > 0
    assert leaky.fact("changed_earlier_outputs").measured > 0


@pytest.mark.parametrize("wrong", [{"seq_len": 6}, {"seq_len": 2048}, {"n_heads": 0}, {"head_dim": 1}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
