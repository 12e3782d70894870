import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.inference.beam_search import (
    Params,
    beam_search,
    best_by_enumeration,
    garden_path,
    markov,
    random_rows,
    run,
    viterbi,
)

SEEDS = st.integers(0, 10_000)


def greedy(step, length):
    y, score = (), 0.0
    for _ in range(length):
        log_probs = step(y)
        token = max(range(len(log_probs)), key=log_probs.__getitem__)
        y, score = (*y, token), score + log_probs[token]
    return score, y


@settings(deadline=None)
@given(SEEDS, st.integers(2, 6), st.integers(1, 6))
def test_width_one_is_greedy(seed, vocab, length):
    step = markov(random_rows(random.Random(seed), vocab))
    score, y = beam_search(step, 1, length)[0]
    assert (pytest.approx(score), y) == greedy(step, length)


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.integers(2, 4), st.integers(1, 4))
def test_a_full_beam_is_exact_and_viterbi_agrees(seed, vocab, length):
    rows = random_rows(random.Random(seed), vocab)
    best = beam_search(markov(rows), vocab ** max(length - 1, 0), length)[0][0]
    assert best == pytest.approx(best_by_enumeration(markov(rows), vocab, length))
    assert best == pytest.approx(viterbi(rows, length))


@settings(deadline=None)
@given(SEEDS, st.integers(1, 5))
def test_beams_are_distinct_sorted_and_scored_right(seed, width):
    step = markov(random_rows(random.Random(seed), 4))
    beams = beam_search(step, width, 5)
    assert len({y for _, y in beams}) == len(beams) == width
    assert [s for s, _ in beams] == sorted((s for s, _ in beams), reverse=True)
    for score, y in beams:
        assert score == pytest.approx(sum(step(y[:t])[token] for t, token in enumerate(y)))


@pytest.mark.parametrize(("width", "probability"), [(1, 0.16), (2, 0.07), (3, 0.16), (9, 0.16)])
def test_garden_path_is_worse_at_width_two(width, probability):
    assert math.exp(beam_search(garden_path, width, 3)[0][0]) == pytest.approx(probability)


def test_garden_path_rows_are_distributions():
    for n in range(3):
        for y in itertools.product(range(3), repeat=n):
            assert sum(map(math.exp, garden_path(y))) == pytest.approx(1)


@pytest.mark.parametrize("p_end", [0.1, 0.5])
def test_end_token_and_rows_sum_to_one(p_end):
    step = markov(random_rows(random.Random(0), 5), p_end)
    assert sum(map(math.exp, step((3,)))) == pytest.approx(1)
    assert math.exp(step(())[5]) == pytest.approx(p_end)


def test_ended_texts_are_complete_and_can_all_be_found():
    rows = random_rows(random.Random(3), 2)
    step = markov(rows, 0.3)
    found = beam_search(step, 100, 3, eos=2)
    texts = [y for _, y in found]
    assert all(2 not in y[:-1] for y in texts)  # nothing follows the end token
    ended = {(2,), *((a, 2) for a in (0, 1)), *((a, b, 2) for a in (0, 1) for b in (0, 1))}
    cut = set(itertools.product((0, 1), repeat=3))  # texts that ran into max_len
    assert set(texts) == ended | cut
    assert sum(math.exp(s) for s, _ in found) == pytest.approx(1)


def test_length_penalty_divides_by_the_length_with_the_end_token():
    step = markov(random_rows(random.Random(3), 2), 0.3)
    raw = {y: s for s, y in beam_search(step, 100, 4, eos=2)}
    for score, y in beam_search(step, 100, 4, eos=2, length_penalty=0.7):
        assert score == pytest.approx(raw[y] / len(y) ** 0.7)


@pytest.mark.parametrize("setting", [{"beam_width": 2}, {"vocab": 3, "length": 4, "beam_width": 27}, {"beam_width": 1}])
def test_facts_agree(setting):
    assert all(fact.agrees for fact in run(Params(**{"n_models": 10, **setting})).facts)


@pytest.mark.parametrize("setting", [{"beam_width": 0}, {"vocab": 1}, {"length": 1}, {"n_models": 1000, "vocab": 50}])
def test_nonsense_is_refused(setting):
    with pytest.raises(ValueError, match="must"):
        Params(**setting)
