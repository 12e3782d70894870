import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmprep.demos.inference.repetition import (
    NGram,
    Params,
    loop_length,
    loop_of_states,
    read_words,
    repeated_share,
    run,
)


def test_bigram_probabilities_by_hand():
    # Text 0 1 0 1 0 2: after 0 came 1, 1, 2. Two kinds, three tokens: λ = 3/5 for the counts, 2/5 for the unigram.
    model = NGram([0, 1, 0, 1, 0, 2], 3, 2)
    unigram = [(3 * 1 / 3 + count) / (3 + 6) for count in (3, 2, 1)]
    expected = [2 / 5 * u + count / 5 for u, count in zip(unigram, (0, 2, 1), strict=True)]
    assert [math.exp(x) for x in model.log_probs([0])] == pytest.approx(expected)


@given(st.lists(st.integers(0, 4), min_size=2, max_size=30), st.integers(2, 4), st.lists(st.integers(0, 4), min_size=1))
def test_every_context_gives_a_distribution_without_zeros(tokens, order, context):
    probs = [math.exp(x) for x in NGram(tokens, 5, order).log_probs(context)]
    assert sum(probs) == pytest.approx(1)
    assert min(probs) > 0


@given(st.lists(st.integers(0, 4), min_size=2, max_size=30), st.integers(2, 3), st.integers(0, 4))
def test_the_greedy_text_really_repeats_with_the_period_of_the_states(tokens, order, start):
    model = NGram(tokens, 5, order)
    begin, period = loop_of_states(model, [start])
    text = [start]
    while len(text) < begin + 5 * period + 5:
        scores = model.log_probs(text)
        text.append(max(range(5), key=scores.__getitem__))
    assert text[begin : begin + 4 * period] == text[begin + period : begin + 5 * period]
    assert period <= 5 ** (order - 1)  # as many states as there are, no more


@pytest.mark.parametrize(
    ("tokens", "length"),
    [
        ([1, 2, 3, 4, 5, 6], 0),
        ([9, 1, 1, 1], 1),
        ([9, 8, 1, 2, 1, 2, 1, 2], 2),
        ([1, 2, 1, 2], 0),  # twice is not a loop
        ([1, 2, 3, 1, 2, 3, 1, 2, 3, 4], 0),  # it went on
    ],
)
def test_loop_length_by_hand(tokens, length):
    assert loop_length(tokens) == length


@pytest.mark.parametrize(
    ("tokens", "n", "share"), [([1, 2, 3, 4, 5], 4, 0), ([1] * 8, 4, 4 / 5), ([1, 2, 1, 2, 1], 2, 2 / 4)]
)
def test_repeated_share_by_hand(tokens, n, share):
    assert repeated_share(tokens, n) == pytest.approx(share)


def test_corpus_is_the_rabbit_hole():
    words = read_words("alice.txt")
    assert words[:5] == ["alice", "was", "beginning", "to", "get"]
    assert 2000 < len(words) < 3000


def test_presence_never_breaks_a_loop_of_words_seen_once_each_but_frequency_does():
    setting = {"order": 3, "strength": 1.0}
    assert run(Params(rule="presence", **setting)).fact("loop_length").measured == 2
    assert run(Params(rule="frequency", **setting)).fact("loop_length").measured == 0


@pytest.mark.parametrize(
    "setting",
    [
        {},
        {"order": 3},
        {"order": 4, "n_tokens": 60},
        {"decoding": "sampling"},
        {"rule": "ctrl", "logit_shift": 10},
        {"rule": "frequency", "strength": 0},
    ],
)
def test_facts_agree(setting):
    assert all(fact.agrees for fact in run(Params(**{"n_tokens": 100, **setting})).facts)


@pytest.mark.parametrize("setting", [{"order": 1}, {"n_tokens": 3}, {"rule": "ctrl", "strength": 0.5}])
def test_nonsense_is_refused(setting):
    with pytest.raises(ValueError, match="must"):
        Params(**setting)
