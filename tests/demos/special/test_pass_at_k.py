import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmprep.demos.special.pass_at_k import (
    Params,
    enumerate_subsets,
    formula_unbiased,
    mean_estimate,
    plug_in,
    run,
    truth,
)


@given(n=st.integers(1, 9), data=st.data())
def test_formula_is_the_share_of_subsets(n, data):
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    assert formula_unbiased(n, c, k) == enumerate_subsets(n, c, k)


@given(n=st.integers(1, 12), hundredths=st.integers(0, 100), data=st.data())
def test_unbiased_means_unbiased(n, hundredths, data):
    k, p = data.draw(st.integers(1, n)), Fraction(hundredths, 100)
    assert mean_estimate(n, k, p, "unbiased") == truth(p, k)
    assert mean_estimate(n, k, p, "plug-in") <= truth(p, k)  # Jensen: 1 − (1 − x)^k is concave


@pytest.mark.parametrize(("n", "c", "k"), [(200, 5, 1), (200, 5, 10), (200, 5, 100), (10, 8, 5)])
def test_is_the_stable_product_of_the_paper(n, c, k):
    """Figure 3 of arXiv 2107.03374: 1 − Π (1 − k/i)."""
    expected = 1.0 if n - c < k else 1 - math.prod(1 - k / i for i in range(n - c + 1, n + 1))
    assert float(formula_unbiased(n, c, k)) == pytest.approx(expected)


def test_at_one_try_both_are_the_share():
    assert formula_unbiased(20, 3, 1) == plug_in(20, 3, 1) == Fraction(3, 20)


def test_plug_in_is_too_low():
    assert run(Params(estimator="plug-in")).fact("bias_points").measured < -4
    assert run(Params()).fact("bias_points").measured == 0


@pytest.mark.parametrize("wrong", [{"k": 13}, {"c": 13}, {"n": 21}, {"success_rate": 0.123}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
