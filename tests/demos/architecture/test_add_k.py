from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmprep.demos.architecture import ngram
from llmprep.demos.architecture.add_k import (
    Params,
    followers,
    formula_counted_share,
    formula_probability,
    pretend,
    run,
)


def test_whiteboard_example():
    assert formula_probability(10, 1000, 50_000, 1) == pytest.approx(11 / 51_000)
    assert formula_counted_share(1000, 50_000, 1) == pytest.approx(1 / 51)


@given(st.integers(1, 50), st.integers(0, 50), st.integers(2, 30), st.fractions(Fraction(1, 20), 3, max_denominator=20))
def test_pretending_is_the_formula_and_the_ngram_demo(context_count, next_count, vocab, k):
    next_count = min(next_count, context_count)
    text = followers(next_count, context_count)
    counted = pretend(text, vocab, k)
    names = [str(i) for i in range(vocab)]
    table = {("h",): Counter({str(token): n for token, n in text.items()})}
    row = ngram.add_k(table, ("h",), names, float(k))
    for token in range(vocab):
        share = counted[token] / counted.total()
        assert share == pytest.approx(formula_probability(text[token], context_count, vocab, float(k)))
        assert share == pytest.approx(row[str(token)])


@pytest.mark.parametrize("k", [1e-4, 0.01, 0.3, 1, 7.5])
@pytest.mark.parametrize(("context_count", "next_count", "vocab"), [(1, 0, 2), (1, 1, 3), (900, 12, 1000)])
def test_facts_agree(k, context_count, next_count, vocab):
    assert all(f.agrees for f in run(Params(context_count, next_count, vocab, k)).facts)


@pytest.mark.parametrize("bad", [{"next_count": 2000}, {"context_count": 0}, {"vocab": 1}, {"k": 0.0}])
def test_nonsense_is_refused(bad):
    with pytest.raises(ValueError, match="must"):
        Params(**bad)
