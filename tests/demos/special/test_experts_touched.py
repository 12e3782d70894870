import itertools
import random

import pytest

from llmprep.demos.special.experts_touched import Params, draw_touched, formula_touched, run


@pytest.mark.parametrize(("n", "k", "batch"), [(4, 2, 1), (4, 2, 2), (3, 1, 4), (5, 2, 3)])
def test_formula_is_the_mean_over_all_outcomes(n, k, batch):
    """Enumerate every way in which the tokens may choose."""
    outcomes = itertools.product(itertools.combinations(range(n), k), repeat=batch)
    counts = [len(set(itertools.chain(*choices))) for choices in outcomes]
    assert formula_touched(n, k, batch) == pytest.approx(sum(counts) / len(counts))


def test_figures_for_eight_experts():
    assert [round(formula_touched(8, 2, b), 1) for b in (1, 4, 16)] == [2.0, 5.5, 7.9]


def test_a_token_draws_different_experts():
    rng = random.Random(0)
    assert all(draw_touched(8, 3, 1, rng) == 3 for _ in range(50))
    assert all(3 <= draw_touched(8, 3, 4, rng) <= 8 for _ in range(50))


def test_a_batch_that_chose_together_would_read_k_only():
    assert run(Params(choice="whole batch")).fact("touched").measured == 2
    assert run(Params()).fact("touched").measured > 7.5


@pytest.mark.parametrize("wrong", [{"top_k": 9}, {"batch": 0}, {"trials": 1}, {"n_experts": 600}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
