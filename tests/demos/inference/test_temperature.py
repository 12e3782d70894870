import math
import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmprep.demos.inference.temperature import (
    Params,
    entropy,
    formula_entropy_slope,
    gumbel_draw,
    run,
    scaled_probabilities,
    softmax,
)

LOGITS = st.lists(st.floats(-20, 20), min_size=2, max_size=12)
TEMPERATURES = st.floats(0.1, 10)


@given(LOGITS, TEMPERATURES)
def test_softmax_equals_probabilities_raised_to_one_over_t(logits, temperature):
    powers = [p ** (1 / temperature) for p in softmax(logits)]
    assert softmax(logits, temperature) == pytest.approx([p / sum(powers) for p in powers], abs=1e-9)


@given(LOGITS, TEMPERATURES, st.floats(-100, 100))
def test_softmax_ignores_a_common_shift(logits, temperature, shift):
    shifted = softmax([z + shift for z in logits], temperature)
    assert shifted == pytest.approx(softmax(logits, temperature), abs=1e-9)


@given(LOGITS, TEMPERATURES, st.floats(0.1, 10))
def test_only_logits_over_temperature_counts(logits, temperature, scale):
    scaled = softmax([z * scale for z in logits], temperature * scale)
    assert scaled == pytest.approx(softmax(logits, temperature), abs=1e-9)


@given(LOGITS, TEMPERATURES, st.floats(1.01, 5))
def test_entropy_never_falls_with_temperature(logits, temperature, factor):
    assert entropy(softmax(logits, temperature * factor)) >= entropy(softmax(logits, temperature)) - 1e-12


@given(LOGITS, TEMPERATURES)
def test_temperature_never_changes_the_ranking(logits, temperature):
    probs = softmax(logits, temperature)
    order = sorted(range(len(logits)), key=lambda i: (-logits[i], i))
    assert all(probs[i] >= probs[j] for i, j in pairwise(order))


def test_limits_are_argmax_and_uniform():
    logits = [1.0, 3.0, 2.0]
    assert softmax(logits, 0.01) == pytest.approx([0, 1, 0])
    assert softmax(logits, 1e6) == pytest.approx([1 / 3] * 3, abs=1e-5)


@pytest.mark.parametrize(
    ("probs", "nats"),
    [([1.0], 0), ([0.5, 0.5], math.log(2)), ([0.25] * 4, math.log(4)), ([0.5, 0.25, 0.25], 1.5 * math.log(2))],
)
def test_entropy_of_known_distributions(probs, nats):
    assert entropy(probs) == pytest.approx(nats)


def test_entropy_slope_against_the_binary_case():
    # Two tokens: H(T) has the closed form below, with x = gap / T and p = 1 / (1 + e^−x).
    gap, temperature = 2.0, 0.7

    def closed(t):
        p = 1 / (1 + math.exp(-gap / t))
        return -p * math.log(p) - (1 - p) * math.log(1 - p)

    h = 1e-5
    numeric = (closed(temperature + h) - closed(temperature - h)) / (2 * h)
    assert formula_entropy_slope([gap, 0.0], temperature) == pytest.approx(numeric, rel=1e-6)


def test_gumbel_race_draws_from_the_softmax():
    logits, rng = [0.0, 1.0, -1.0], random.Random(1)
    drawn = Counter(gumbel_draw(logits, 0.5, rng) for _ in range(20_000))
    assert [drawn[i] / 20_000 for i in range(3)] == pytest.approx(softmax(logits, 0.5), abs=0.015)


def test_dividing_probabilities_does_nothing():
    assert scaled_probabilities([3.0, 1.0, 0.0], 0.1) == pytest.approx(softmax([3.0, 1.0, 0.0]))


@pytest.mark.parametrize(
    "setting",
    [
        {},
        {"temperature": 0.5, "gap": 2},
        {"temperature": 1000, "gap": 0.001, "vocab": 1000, "n_draws": 1000},
        {"gap": 50, "vocab": 2},
        {"divide": "probabilities", "temperature": 0.3},
    ],
)
def test_facts_agree(setting):
    assert all(fact.agrees for fact in run(Params(**{"n_draws": 4000, **setting})).facts)


@pytest.mark.parametrize(
    "setting", [{"temperature": 0}, {"temperature": -1}, {"gap": 0}, {"vocab": 1}, {"gap": 51}, {"n_draws": 10}]
)
def test_nonsense_is_refused(setting):
    with pytest.raises(ValueError, match="must"):
        Params(**setting)
