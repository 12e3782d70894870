import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.inference.nucleus_sampling import (
    Params,
    below_p,
    formula_nucleus_size,
    nucleus,
    renormalise,
    run,
    smallest_set_by_search,
    texts_hit_by_tail,
    top_k_set,
)
from llmprep.demos.inference.temperature import softmax

PROBS = st.lists(st.floats(-5, 5), min_size=2, max_size=8).map(softmax)
MASS = st.floats(0.05, 0.99)


@settings(deadline=None)
@given(PROBS, MASS)
def test_nucleus_is_the_smallest_set_that_reaches_p(probs, top_p):
    kept = nucleus(probs, top_p)
    mass = sum(probs[token] for token in kept)
    assert mass >= top_p - 1e-9
    assert mass - probs[kept[-1]] < top_p  # without its last token it would not reach p
    assert len(kept) <= smallest_set_by_search(probs, top_p + 1e-9)


@given(PROBS, MASS, MASS)
def test_a_larger_p_keeps_a_larger_set(probs, p, q):
    small, large = sorted((p, q))
    assert set(nucleus(probs, small)) <= set(nucleus(probs, large))


@given(PROBS, MASS)
def test_the_top_token_always_stays(probs, top_p):
    assert probs[nucleus(probs, top_p)[0]] == max(probs)
    assert probs[below_p(probs, top_p)[0]] == max(probs)


@given(PROBS, st.integers(1, 8))
def test_top_k_keeps_the_k_most_likely(probs, k):
    kept = top_k_set(probs, k)
    assert len(kept) == min(k, len(probs))
    assert min(probs[token] for token in kept) >= max((probs[t] for t in range(len(probs)) if t not in kept), default=0)


@given(PROBS, MASS)
def test_renormalised_probabilities_sum_to_one_and_keep_their_ratios(probs, top_p):
    kept = nucleus(probs, top_p)
    target = renormalise(probs, kept)
    assert sum(target) == pytest.approx(1)
    assert all(target[t] == 0 for t in range(len(probs)) if t not in kept)
    assert target[kept[-1]] / target[kept[0]] == pytest.approx(probs[kept[-1]] / probs[kept[0]])


@pytest.mark.parametrize(
    ("probs", "top_p", "kept"),
    [
        ([0.5, 0.3, 0.15, 0.05], 0.8, [0, 1]),  # reaching p exactly is enough
        ([0.5, 0.3, 0.15, 0.05], 0.81, [0, 1, 2]),
        ([0.05, 0.15, 0.3, 0.5], 0.7, [3, 2]),  # order of the vocabulary does not matter
        ([0.97, 0.02, 0.01], 0.9, [0]),
        ([0.25] * 4, 0.6, [0, 1, 2]),
    ],
)
def test_nucleus_by_hand(probs, top_p, kept):
    assert nucleus(probs, top_p) == kept


def test_the_mistake_loses_the_crossing_token():
    assert below_p([0.5, 0.3, 0.15, 0.05], 0.9) == [0, 1]
    assert nucleus([0.5, 0.3, 0.15, 0.05], 0.9) == [0, 1, 2]


@pytest.mark.parametrize(("gap", "t", "top_p", "size"), [(0.3, 1, 0.95, 10), (3, 1, 0.95, 1), (0.03, 1, 0.95, 100)])
def test_formula_size(gap, t, top_p, size):
    assert formula_nucleus_size(gap, t, top_p) == size
    assert len(nucleus(softmax([-gap * i for i in range(2000)], t), top_p)) == size


def test_tail_risk_of_long_texts():
    probs, rng = [0.9, 0.1], random.Random(0)
    hit = texts_hit_by_tail(probs, [0], 10, 5000, rng)
    assert hit == pytest.approx(1 - 0.9**10, abs=5 * math.sqrt(0.25 / 5000))


@pytest.mark.parametrize(
    "setting",
    [{}, {"method": "top_k"}, {"method": "below_p"}, {"temperature": 2}, {"top_p": 0.999, "gap": 1}, {"gap": 10}],
)
def test_facts_agree(setting):
    assert all(fact.agrees for fact in run(Params(**{"n_draws": 2000, **setting})).facts)


@pytest.mark.parametrize("setting", [{"top_p": 1.0}, {"top_p": 0}, {"gap": 0.02}, {"top_k": 0}, {"vocab": 10}])
def test_nonsense_is_refused(setting):
    with pytest.raises(ValueError, match="must"):
        Params(**setting)
