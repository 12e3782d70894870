# ruff: noqa: E402
import itertools

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.effective_reach import (
    Params,
    formula_mean,
    formula_std,
    influence_by_distance,
    run,
    window_mean,
)


def test_window_mean_looks_back_only():
    assert window_mean(torch.tensor([2.0, 4.0, 6.0]), 2).tolist() == [1.0, 3.0, 5.0]


@settings(max_examples=20, deadline=None)
@given(n_layers=st.integers(1, 3), window=st.integers(2, 4), residual=st.floats(0, 0.99))
def test_influence_is_the_distribution_of_a_sum_of_steps(n_layers, window, residual):
    """Every way to take n steps, enumerated."""
    step = [(1 - residual) / window + (residual if d == 0 else 0) for d in range(window)]
    expected = torch.zeros(n_layers * (window - 1) + 1, dtype=torch.float64)
    for steps in itertools.product(range(window), repeat=n_layers):
        expected[sum(steps)] += torch.tensor([step[d] for d in steps], dtype=torch.float64).prod()
    torch.testing.assert_close(influence_by_distance(n_layers, window, residual), expected)


@pytest.mark.parametrize(("n_layers", "window", "residual"), [(1, 2, 0.0), (5, 7, 0.3), (20, 33, 0.95)])
def test_mean_and_spread(n_layers, window, residual):
    p = influence_by_distance(n_layers, window, residual)
    d = torch.arange(len(p), dtype=torch.float64)
    mean = (p * d).sum()
    assert mean.item() == pytest.approx(formula_mean(n_layers, window, residual))
    assert (p * (d - mean) ** 2).sum().sqrt().item() == pytest.approx(formula_std(n_layers, window, residual))


def test_four_times_the_layers_spread_twice_as_far():
    assert formula_std(64, 128, 0.5) == pytest.approx(2 * formula_std(16, 128, 0.5))


@pytest.mark.parametrize(
    "p", [Params(n_layers=1, window=2), Params(residual=0.0, share=0.5), Params(n_layers=64, window=512)]
)
def test_run_agrees_for_odd_settings(p):
    assert all(f.agrees for f in run(p).facts)


@pytest.mark.parametrize("wrong", [{"window": 1}, {"residual": 1.0}, {"share": 1.0}, {"n_layers": 0}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
