import math
from collections import Counter

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.first_merge import (
    Params,
    count_pairs,
    count_tokens,
    formula_gain,
    log_likelihood,
    merge,
    ratio,
    run,
    spell,
)

# The words of the Hugging Face course, whose arithmetic is public.
COURSE = spell({"hug": 10, "pug": 5, "pun": 12, "bun": 4, "hugs": 5})
WORDS = st.dictionaries(st.text(alphabet="abcd", min_size=1, max_size=6), st.integers(1, 20), min_size=1, max_size=8)


def test_the_course_by_hand():
    tokens, pairs = count_tokens(COURSE), count_pairs(COURSE)
    assert (tokens["##u"], tokens["##g"], tokens["##s"]) == (36, 20, 5)
    assert max(pairs, key=pairs.get) == ("##u", "##g")
    assert pairs["##u", "##g"] == 20
    scores = {(a, b): ratio(n, tokens[a], tokens[b]) for (a, b), n in pairs.items()}
    assert max(scores, key=scores.get) == ("##g", "##s")
    assert scores["##g", "##s"] == pytest.approx(1 / 20)


@pytest.mark.parametrize(
    ("word", "pair", "merged"),
    [
        ("hugs", ("##u", "##g"), ("h", "##ug", "##s")),
        ("hugs", ("h", "##u"), ("hu", "##g", "##s")),
        ("hugug", ("##u", "##g"), ("h", "##ug", "##ug")),
        ("gu", ("##g", "##u"), ("g", "##u")),  # the first letter is another symbol
    ],
)
def test_merge_by_hand(word, pair, merged):
    assert merge(spell({word: 3}), pair) == {merged: 3}


@settings(deadline=None)
@given(WORDS)
def test_the_formula_is_the_gain_of_a_real_merge(words):
    spelt = spell(words)
    tokens, pairs = count_tokens(spelt), count_pairs(spelt)
    different = [(a, b) for a, b in pairs if a != b]
    assume(different)
    a, b = max(different, key=lambda pair: (pairs[pair], pair))
    gain = log_likelihood(merge(spelt, (a, b))) - log_likelihood(spelt)
    assert gain == pytest.approx(formula_gain(pairs[a, b], tokens[a], tokens[b], tokens.total()), abs=1e-6)


@settings(deadline=None)
@given(WORDS)
def test_merging_keeps_the_letters(words):
    spelt = spell(words)
    for pair in count_pairs(spelt):
        joined = Counter("".join(t.removeprefix("##") for t in word) for word in merge(spelt, pair))
        assert joined == Counter(words.keys())


def test_gain_of_an_inseparable_pair_is_its_count_times_log():
    """n(a) = n(b) = n(ab) = k of N: k·ln(N²/k²) − k·ln(N/k) and a little for the tokens that vanish."""
    k, total = 5, 1000
    expected = k * math.log(total / k) + total * math.log(total) - (total - k) * math.log(total - k)
    expected -= k * math.log(total)
    assert formula_gain(k, k, k, total) == pytest.approx(expected)


def test_three_scores_take_three_pairs():
    first = {s: run(Params(score=s)) for s in ("count", "ratio", "likelihood")}
    assert [r.fact("pair_count").measured for r in first.values()] == [27, 4, 22]
    assert first["ratio"].fact("ratio").measured == 4 / 16


@pytest.mark.parametrize(
    ("corpus", "score"),
    [("toy", "count"), ("toy", "ratio"), ("toy", "likelihood"), ("alice", "likelihood"), ("tokens-en", "ratio")],
)
def test_facts_agree(corpus, score):
    result = run(Params(corpus=corpus, score=score))
    assert all(fact.agrees for fact in result.facts)
    assert result.fact("gain").measured <= result.fact("best_gain").measured
    assert result.fact("pair_count").measured <= result.fact("highest_count").measured
