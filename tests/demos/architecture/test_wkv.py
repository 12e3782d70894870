# ruff: noqa: E402
import math

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.associative_scan import loop, scan
from llmprep.demos.architecture.wkv import Params, naive_wkv, parallel_wkv, recurrent_wkv, run

F64 = torch.float64


@given(st.integers(1, 30), st.integers(1, 5), st.floats(0.1, 20), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_loop_equals_softmax_over_all_pairs(steps, width, key_std, seed):
    g = torch.Generator().manual_seed(seed)
    w, u = torch.rand(width, dtype=F64, generator=g), torch.randn(width, dtype=F64, generator=g)
    k, v = torch.randn(2, steps, width, dtype=F64, generator=g)
    wanted = parallel_wkv(w, u, key_std * k, v)
    torch.testing.assert_close(recurrent_wkv(w, u, key_std * k, v), wanted)
    torch.testing.assert_close(naive_wkv(w, u, key_std * k, v), wanted)  # float64 has room for e^100


def test_two_tokens_by_hand():
    w, u, k, v = (torch.tensor(x, dtype=F64) for x in ([0.5], [0.3], [[1.0], [2.0]], [[10.0], [20.0]]))
    bonus = math.exp(0.3 + 2.0)
    expected = (math.exp(1.0) * 10 + bonus * 20) / (math.exp(1.0) + bonus)  # one step back: not decayed yet
    assert parallel_wkv(w, u, k, v)[:, 0].tolist() == pytest.approx([10.0, expected])


def test_sums_are_a_linear_recurrence_so_they_scan():
    torch.manual_seed(0)
    k = torch.randn(20, 3, dtype=F64)
    decay = torch.full_like(k, math.exp(-0.4))
    torch.testing.assert_close(scan(decay, k.exp())[0], loop(decay, k.exp()))


def test_naive_overflows_and_stable_does_not():
    assert run(Params(form="naive", key_std=60.0)).fact("nan_outputs").measured > 100
    assert run(Params(form="stable", key_std=60.0, seq_len=40)).fact("mismatches").measured == 0


@pytest.mark.parametrize("wrong", [{"seq_len": 1}, {"channels": 0}, {"key_std": 0}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
