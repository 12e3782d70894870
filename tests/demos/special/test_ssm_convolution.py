# ruff: noqa: E402, N803, N806 (the letters of the papers)
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.special.ssm_convolution import (
    Params,
    causal_convolution,
    discretise,
    kernel,
    recurrence,
    run,
)

F64 = torch.float64


@given(st.integers(1, 60), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_fft_convolution_equals_torchs_conv1d(T, seed):
    g = torch.Generator().manual_seed(seed)
    K, x = torch.randn(2, T, dtype=F64, generator=g)
    padded = torch.nn.functional.pad(x, (T - 1, 0))
    theirs = torch.nn.functional.conv1d(padded[None, None], K.flip(0)[None, None])[0, 0]
    torch.testing.assert_close(causal_convolution(K, x), theirs)


@given(st.integers(2, 40), st.integers(1, 6), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_recurrence_is_the_convolution_when_nothing_changes(T, N, seed):
    g = torch.Generator().manual_seed(seed)
    A_bar, B_bar, C = torch.rand(3, N, dtype=F64, generator=g)
    x = torch.randn(T, dtype=F64, generator=g)
    by_recurrence = recurrence(*(m.expand(T, -1) for m in (A_bar, B_bar, C)), x)
    torch.testing.assert_close(by_recurrence, causal_convolution(kernel(A_bar, B_bar, C, T), x))


def test_zero_order_hold_solves_the_differential_equation():
    """h' = A·h + B·x from h = 0 with x = 1, in many small Euler steps."""
    a, b, delta, n = -2.0, 3.0, 0.7, 20_000
    h = 0.0
    for _ in range(n):
        h += delta / n * (a * h + b)
    _, B_bar = discretise(*(torch.tensor([value], dtype=F64) for value in (delta, a, b)))
    assert B_bar.item() == pytest.approx(h, rel=1e-4)


def test_without_padding_the_end_would_leak_into_the_beginning():
    x = torch.zeros(8, dtype=F64)
    x[-1] = 1.0
    assert causal_convolution(torch.ones(8, dtype=F64), x)[:-1].abs().max() < 1e-12


def test_one_kernel_does_not_fit_a_selective_system():
    result = run(Params(system="selective", seq_len=64))
    assert result.fact("mismatches").measured == 63  # only the first token has the kernel's own parameters


@pytest.mark.parametrize("wrong", [{"seq_len": 1}, {"state_size": 0}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
