import math
import random

import pytest

from llmprep.demos.special.benchmark_noise import Params, draw_scores, formula_half_width, run


def test_half_width_from_the_binomial_itself():
    """The mass within ±4.6 points, summed term by term."""
    width = formula_half_width(164, 0.9)
    assert width == pytest.approx(4.59, abs=0.01)
    inside = sum(math.comb(164, c) * 0.9**c * 0.1 ** (164 - c) for c in range(165) if abs(100 * c / 164 - 90) <= width)
    assert inside == pytest.approx(0.95, abs=0.02)


def test_four_times_the_problems_halve_it():
    assert formula_half_width(400, 0.7) == pytest.approx(formula_half_width(100, 0.7) / 2)


def test_scores_are_whole_numbers_of_problems():
    scores = draw_scores(50, 0.5, 200, random.Random(0))
    assert scores == sorted(scores)
    assert all((s / 2) == round(s / 2) for s in scores)


def test_facts_agree_at_the_edges():
    for p in (Params(n_problems=100, score=0.95), Params(n_problems=1000, score=0.2)):
        assert all(f.agrees for f in run(p).facts)


@pytest.mark.parametrize("wrong", [{"n_problems": 10}, {"score": 1.0}, {"n_draws": 5}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
