# ruff: noqa: E402, N803
import math

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.rope import frequencies
from llmprep.demos.architecture.rope_wavelengths import (
    Params,
    angles_travelled,
    formula_unfinished,
    formula_wavelength,
    run,
)


@pytest.mark.parametrize(("base", "expected"), [(10_000, 54_410), (500_000, 2_559_195)])
def test_longest_wavelengths_of_llama_2_and_llama_3(base, expected):
    assert formula_wavelength(63, 128, base) == pytest.approx(expected, rel=1e-4)


@settings(max_examples=30, deadline=None)
@given(half=st.integers(2, 32), base=st.floats(10, 1e6), T=st.integers(2, 300))
def test_arrows_travel_theta_per_step(half, base, T):
    theta = frequencies(2 * half, base)
    torch.testing.assert_close(angles_travelled(theta, T), (T - 1) * theta, rtol=1e-9, atol=1e-9)


@settings(max_examples=50, deadline=None)
@given(half=st.integers(2, 128), base=st.floats(10, 1e8), T=st.integers(16, 10_000))
def test_unfinished_pairs_counted_one_by_one(half, base, T):
    wavelengths = [2 * math.pi * base ** (i / half) for i in range(half)]
    assert abs(formula_unfinished(2 * half, base, T) - sum(w > T - 1 for w in wavelengths)) <= sum(
        math.isclose(w, T - 1, rel_tol=1e-9) for w in wavelengths
    )


def test_a_larger_base_leaves_more_pairs_unfinished():
    assert [formula_unfinished(128, base, 8192) for base in (1e4, 5e5, 1e6)] == [14, 29, 30]


@pytest.mark.parametrize(
    "p",
    [Params(head_dim=4, base=10.0, trained_len=16), Params(base=1e9), Params(base=500_000.0, trained_len=16_384)],
    ids=str,
)
def test_run_agrees_for_odd_settings(p):
    assert all(f.agrees for f in run(p).facts)


@pytest.mark.parametrize("wrong", [{"head_dim": 5}, {"trained_len": 3}, {"base": 1.0}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
