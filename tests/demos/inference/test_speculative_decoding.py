import math
import random
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from llmprep.demos.inference.speculative_decoding import (
    Params,
    accept_probability,
    exact_distribution,
    formula_tokens_per_call,
    noisy_copy,
    replacement,
    run,
    speculative_call,
    total_variation,
)
from llmprep.demos.inference.temperature import softmax

PROBS = st.lists(st.floats(-4, 4), min_size=4, max_size=4).map(softmax)


def one_token(p, q, rule):
    """Distribution of one emitted token, by the textbook sum over drafts."""
    kept = [b * accept_probability(a, b, rule) for a, b in zip(p, q, strict=True)]
    instead = replacement(p, q, rule)
    return [k + (1 - sum(kept)) * r for k, r in zip(kept, instead, strict=True)]


@given(PROBS, PROBS)
def test_one_token_has_exactly_the_target_distribution(p, q):
    assert one_token(p, q, "exact") == pytest.approx(p, abs=1e-12)


@given(PROBS, PROBS)
def test_acceptance_is_one_minus_total_variation(p, q):
    overlap = sum(q_x * accept_probability(p_x, q_x, "exact") for p_x, q_x in zip(p, q, strict=True))
    assert overlap == pytest.approx(1 - total_variation(p, q))


@given(PROBS, PROBS)
def test_the_two_mistakes_are_off_by_a_known_amount(p, q):
    tv = total_variation(p, q)
    assume(tv > 0.01)
    assert one_token(p, q, "accept_all") == pytest.approx(q)
    wrong = one_token(p, q, "resample_target")
    assert wrong == pytest.approx([min(a, b) + tv * a for a, b in zip(p, q, strict=True)])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 5))
def test_texts_of_three_tokens_have_exactly_the_target_distribution(seed, gamma):
    rng = random.Random(seed)
    target, draft = ([softmax([rng.gauss(0, 2) for _ in range(3)]) for _ in range(3)] for _ in range(2))
    texts = exact_distribution((target, draft), gamma, 3, "exact")
    assert sum(texts.values()) == pytest.approx(1)
    for text, probability in texts.items():
        assert probability == pytest.approx(math.prod(target[a][b] for a, b in pairwise(text)))


def test_the_walk_over_branches_agrees_with_running_the_wrong_rule():
    rng = random.Random(0)
    target, draft = ([softmax([rng.gauss(0, 2) for _ in range(3)]) for _ in range(3)] for _ in range(2))
    exact = exact_distribution((target, draft), 2, 3, "resample_target")
    drawn = Counter()
    for _ in range(20_000):
        text = [0]
        while len(text) < 4:
            text += speculative_call((target, draft), text[-1], 2, "resample_target", rng)[0]
        drawn[tuple(text[:4])] += 1
    assert {t: drawn[t] / 20_000 for t in exact} == pytest.approx(exact, abs=0.02)


@pytest.mark.parametrize(
    ("acceptance", "gamma", "tokens"),
    [(0.8, 4, 3.3616), (0.9, 8, 6.125795), (0.5, 1, 1.5), (1, 7, 8), (0.0, 3, 1)],
)
def test_formula_against_published_examples_and_the_geometric_sum(acceptance, gamma, tokens):
    assert formula_tokens_per_call(acceptance, gamma) == pytest.approx(tokens, abs=1e-6)
    assert tokens == pytest.approx(sum(acceptance**i for i in range(gamma + 1)), abs=1e-6)


@given(st.integers(0, 1000), st.floats(0.3, 1))
def test_noisy_copy_has_the_acceptance_it_was_asked_for(seed, acceptance):
    rng = random.Random(seed)
    p = softmax([rng.gauss(0, 1) for _ in range(6)])
    q = noisy_copy(p, acceptance, rng)
    assert sum(q) == pytest.approx(1)
    assert 1 - total_variation(p, q) == pytest.approx(acceptance, abs=1e-6)


def test_identical_models_accept_everything():
    rows = [softmax([0.0, 1.0, 2.0])] * 3
    rng = random.Random(0)
    assert all(speculative_call((rows, rows), 0, 4, "exact", rng)[1] == 4 for _ in range(200))


@pytest.mark.parametrize(
    "setting",
    [
        {},
        {"rule": "accept_all"},
        {"rule": "resample_target"},
        {"acceptance": 1.0},
        {"acceptance": 0.35, "vocab": 3, "gamma": 1},
        {"gamma": 32, "acceptance": 0.95},
    ],
)
def test_facts_agree(setting):
    assert all(fact.agrees for fact in run(Params(**{"n_tokens": 10_000, **setting})).facts)


@pytest.mark.parametrize("setting", [{"acceptance": 0.1}, {"acceptance": 1.1}, {"gamma": 0}, {"vocab": 2}])
def test_nonsense_is_refused(setting):
    with pytest.raises(ValueError, match="must"):
        Params(**setting)
