import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.inference.beam_length import Params, distinct, exact_mode_length, run, sample
from llmprep.demos.inference.beam_search import markov, random_rows


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(0.05, 0.9), st.sampled_from([0.0, 0.5, 1.0, 2.0]))
def test_mode_length_against_every_text(seed, p_end, alpha):
    rows = random_rows(random.Random(seed), 2)
    step = markov(rows, p_end)
    scores = {}
    for n in range(5):
        for y in itertools.product(range(2), repeat=n):
            log_prob = sum(step(y[:t])[token] for t, token in enumerate(y)) + math.log(p_end)
            scores[y] = log_prob / (n + 1) ** alpha
    best = max(scores.values())
    lengths = {len(y) for y, s in scores.items() if s > best - 1e-9}
    assert exact_mode_length(rows, p_end, 5, alpha) in lengths


def test_the_empty_text_is_the_mode_without_normalisation():
    rows = random_rows(random.Random(0), 10)
    assert exact_mode_length(rows, 0.05, 40, 0.0) == 0
    assert exact_mode_length(rows, 0.05, 40, 1.0) > 10


@pytest.mark.parametrize(
    ("n", "texts", "share"),
    [(1, [(1, 1, 1, 1)], 1 / 4), (2, [(1, 2, 1, 2)], 2 / 3), (2, [(1, 2, 3), (1, 2, 4)], 3 / 4), (3, [(1, 2, 3)], 1)],
)
def test_distinct_by_hand(n, texts, share):
    assert distinct(n, texts) == pytest.approx(share)


def test_samples_follow_the_model_and_stop_at_the_end():
    rows = random_rows(random.Random(0), 3)
    step, rng = markov(rows, 0.4), random.Random(1)
    drawn = [sample(step, rng, 100, end=3) for _ in range(5000)]
    assert all(y[-1] == 3 and 3 not in y[:-1] for y in drawn)
    assert sum(y == (3,) for y in drawn) / 5000 == pytest.approx(0.4, abs=0.035)
    starts = [y[0] for y in drawn if y[0] != 3]
    assert starts.count(0) / len(starts) == pytest.approx(math.exp(rows[0][0]), abs=0.05)


@pytest.mark.parametrize("setting", [{}, {"length_penalty": 1.0}, {"p_end": 0.5}, {"beam_width": 1}])
def test_facts_agree(setting):
    result = run(Params(**{"n_models": 5, "vocab": 8, "max_len": 12, **setting}))
    assert all(fact.agrees for fact in result.facts)


def test_wider_beams_give_shorter_texts():
    rows = run(Params(n_models=5, vocab=12, max_len=20)).table.rows
    lengths = [row[1] for row in rows]
    assert lengths[0] > 3 * lengths[-1]


@pytest.mark.parametrize("setting", [{"beam_width": 0}, {"p_end": 0}, {"length_penalty": -1}, {"n_texts": 1}])
def test_nonsense_is_refused(setting):
    with pytest.raises(ValueError, match="must"):
        Params(**setting)
