import math
from collections import Counter
from itertools import pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.unigram_pruning import (
    Params,
    best_by_enumeration,
    expected_counts,
    normalise,
    prune,
    run,
    seed_pieces,
    viterbi,
)

WORDS = Counter({"hug": 10, "pug": 5, "pun": 12, "bun": 4, "hugs": 5})
PIECES = st.dictionaries(st.text(alphabet="abc", min_size=2, max_size=3), st.floats(0.01, 1), max_size=8)


def all_cuts(word):
    for bars in product((False, True), repeat=len(word) - 1):
        edges = [0, *(i + 1 for i, bar in enumerate(bars) if bar), len(word)]
        yield [word[i:j] for i, j in pairwise(edges)]


def test_seed_pieces_of_the_course():
    """Hugging Face course, chapter on Unigram: h 15, hu 15, hug 15, ug 20, un 16."""
    seeds = seed_pieces(WORDS, longest=3)
    assert [seeds[piece] for piece in ("h", "u", "g", "hu", "ug", "un", "hug")] == [15, 36, 20, 15, 20, 16, 15]
    assert "hugs" not in seeds


def test_a_substring_seen_once_is_no_seed():
    assert set(seed_pieces({"abc": 1}, 3)) == {"a", "b", "c"}


@settings(deadline=None)
@given(st.text(alphabet="abc", min_size=1, max_size=7), PIECES)
def test_expected_counts_are_those_of_enumeration(word, pieces):
    p = normalise({"a": 1, "b": 1, "c": 1, **pieces})
    cuts = [(cut, math.prod(p[x] for x in cut)) for cut in all_cuts(word) if all(x in p for x in cut)]
    total = sum(prob for _, prob in cuts)
    slow = Counter()
    for cut, prob in cuts:
        for piece in cut:
            slow[piece] += prob / total
    counts, log_likelihood = expected_counts({word: 1}, p, 3)
    assert log_likelihood == pytest.approx(math.log(total))
    assert {x: n for x, n in counts.items() if n > 1e-12} == pytest.approx(dict(slow))
    assert viterbi(word, p, 3)[0] == pytest.approx(best_by_enumeration(word, p))


@settings(max_examples=20, deadline=None)
@given(st.dictionaries(st.text(alphabet="abc", min_size=1, max_size=6), st.integers(1, 9), min_size=1, max_size=6))
def test_a_step_of_em_never_lowers_the_likelihood(words):
    p = normalise(seed_pieces(words, 3))
    for _ in range(3):
        counts, before = expected_counts(words, p, 3)
        p = normalise(counts)
        assert expected_counts(words, p, 3)[1] >= before - 1e-3


def test_pruning_keeps_letters_and_what_is_dear():
    p = normalise(seed_pieces(WORDS, 4))
    kept = prune(WORDS, p, 4, size=9)
    assert len(kept) == 9
    assert {c for word in WORDS for c in word} <= set(kept)


def test_a_forbidden_piece_is_avoided():
    p = normalise({"a": 1, "b": 1, "ab": 8})
    assert viterbi("ab", p, 2)[1] == ["ab"]
    assert viterbi("ab", p, 2, forbidden="ab")[1] == ["a", "b"]


@pytest.mark.parametrize("setting", [{}, {"vocab_size": 100}, {"longest": 3, "em_steps": 1}, {"keep": 0.5}])
def test_facts_agree(setting):
    result = run(Params(**setting))
    assert all(fact.agrees for fact in result.facts)
    assert result.fact("vocab_size").measured <= Params(**setting).vocab_size


@pytest.mark.parametrize("bad", [{"vocab_size": 20}, {"longest": 1}, {"keep": 1.0}, {"em_steps": 0}])
def test_nonsense_is_refused(bad):
    with pytest.raises(ValueError, match="must"):
        Params(**bad)
