import math
from collections import Counter
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.ngram import (
    Params,
    add_k,
    back_off,
    count,
    count_continuations,
    discounted,
    perplexity,
    read_tokens,
    run,
    stupid,
)

TEXT = list("she sells sea shells by the sea shore")


def kneser_ney_by_hand(text, context, token, d):
    """Written from the definition, on a list of all substrings, one probability at a time."""

    def grams(n):
        return [tuple(text[i : i + n]) for i in range(len(text) - n + 1)]

    def weight(gram, top):
        return grams(len(gram)).count(gram) if top else len({g for g in grams(len(gram) + 1) if g[1:] == gram})

    def p(h, top):
        weights = {w: weight((*h, w), top) for w in set(text)}
        total, types = sum(weights.values()), sum(1 for v in weights.values() if v)
        lower = p(h[1:], top=False) if h else dict.fromkeys(weights, 1 / len(weights))
        if not total:
            return lower
        return {w: max(v - d, 0) / total + d * types / total * lower[w] for w, v in weights.items()}

    return p(tuple(context), top=True)[token]


@pytest.mark.parametrize("context", ["", "s", "e", "se", "ea", "ll", "by", "she", "sea", "xx", "qe"])
@pytest.mark.parametrize("d", [0.1, 0.75])
def test_kneser_ney_is_the_definition(context, d):
    n, vocabulary = len(context) + 1, sorted(set(TEXT))
    tables = [*(count_continuations(TEXT, m) for m in range(1, n)), count(TEXT, n)]
    row = back_off(tables, vocabulary, partial(discounted, discount=d))(tuple(context))
    for token in vocabulary:
        assert row[token] == pytest.approx(kneser_ney_by_hand(TEXT, context, token, d), rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    text=st.lists(st.sampled_from("abcde"), min_size=5, max_size=60),
    context=st.lists(st.sampled_from("abcdeX"), max_size=3),
    k=st.floats(1e-3, 5),
    d=st.floats(0.01, 0.99),
    lower=st.sampled_from([count, count_continuations]),
)
def test_every_row_is_a_distribution(text, context, k, d, lower):
    """Also after a context that was never seen, or that holds a token out of the vocabulary."""
    n, vocabulary = len(context) + 1, sorted(set(text))
    tables = [*(lower(text, m) for m in range(1, n)), count(text, n)]
    for row in (
        add_k(tables[-1], tuple(context), vocabulary, k),
        back_off(tables, vocabulary, partial(discounted, discount=d))(tuple(context)),
    ):
        assert math.fsum(row.values()) == pytest.approx(1, abs=1e-12)
        assert min(row.values()) > 0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from("abc"), min_size=4, max_size=40), st.integers(1, 3))
def test_counts_are_substring_counts(text, n):
    flat = Counter({(*h, w): c for h, row in count(text, n).items() for w, c in row.items()})
    assert flat == Counter(tuple(text[i : i + n]) for i in range(len(text) - n + 1))


def test_francisco_is_frequent_but_follows_one_word():
    """Plain counts send "reading ..." to Francisco; continuation counts know that it only follows San."""
    text = ("San Francisco " * 20 + "my glasses your glasses his glasses").split()
    assert count(text, 1)[()]["Francisco"] > count(text, 1)[()]["glasses"]
    assert count_continuations(text, 1)[()]["Francisco"] == 1
    assert count_continuations(text, 1)[()]["glasses"] == 3


def test_add_k_mixes_counts_with_the_uniform():
    counts, vocabulary, k = count(TEXT, 2), sorted(set(TEXT)), 0.3
    followers = counts["e",]
    keep = followers.total() / (followers.total() + k * len(vocabulary))
    for w, p in add_k(counts, ("e",), vocabulary, k).items():
        assert p == pytest.approx(keep * followers[w] / followers.total() + (1 - keep) / len(vocabulary))


def test_stupid_backoff_adds_without_taking_away():
    row = stupid(Counter(a=3, b=1), {"a": 0.5, "b": 0.3, "c": 0.2})
    assert row == pytest.approx({"a": 0.75, "b": 0.25, "c": 0.08})


def test_perplexity_of_a_uniform_row_is_the_vocabulary():
    tokens = read_tokens("character")[:500]
    vocabulary = sorted(set(tokens))
    uniform = dict.fromkeys(vocabulary, 1 / len(vocabulary))
    assert perplexity(lambda _: uniform, tokens, 3, 100) == pytest.approx(len(vocabulary))


def test_only_add_k_and_plain_discounting_turn_up_again():
    curve = {
        s: [row[1] for row in run(Params(smoothing=s, max_order=6)).table.rows] for s in ("add-k", "absolute discount")
    }
    for values in curve.values():
        best = values.index(min(values))
        assert 0 < best < len(values) - 1
        assert values[:best] == sorted(values[:best], reverse=True)
        assert values[best:] == sorted(values[best:])
    kneser_ney = [row[1] for row in run(Params(smoothing="kneser-ney", max_order=6)).table.rows]
    assert kneser_ney == sorted(kneser_ney, reverse=True)


@pytest.mark.parametrize("smoothing", ["add-k", "absolute discount", "kneser-ney", "stupid backoff"])
@pytest.mark.parametrize("unit", ["character", "word"])
@pytest.mark.parametrize("order", [1, 3])
def test_facts_agree(smoothing, unit, order):
    result = run(Params(smoothing=smoothing, unit=unit, order=order, max_order=3, held_out=0.05))
    assert all(fact.agrees for fact in result.facts)


@pytest.mark.parametrize(
    "bad", [{"order": 0}, {"order": 8}, {"k": 0.0}, {"discount": 1.0}, {"held_out": 0.9}, {"max_order": 1}]
)
def test_nonsense_is_refused(bad):
    with pytest.raises(ValueError, match="must"):
        Params(**bad)
