import functools
import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.inference.online_softmax import (
    Params,
    Row,
    attend,
    expected_rescales,
    in_pairs,
    merge,
    online_softmax,
    run,
    safe_softmax,
)

scores = st.lists(st.floats(-50, 50), min_size=1, max_size=40)
pairs = st.lists(st.tuples(st.floats(-700, 700), st.floats(-3, 3)), min_size=1, max_size=30)


def facts(**settings_):
    return {f.name: f for f in run(Params(**settings_)).facts}


def textbook(xs):
    total = math.fsum(math.exp(x) for x in xs)
    return [math.exp(x) / total for x in xs]


@given(scores)
def test_both_softmaxes_are_the_textbook_one(xs):
    for softmax in (safe_softmax, online_softmax):
        assert softmax(Row(xs)) == pytest.approx(textbook(xs), rel=1e-9, abs=1e-300)


def test_equals_torch():
    torch = pytest.importorskip("torch")
    xs = torch.linspace(-30, 80, 57, dtype=torch.float64)
    assert online_softmax(Row(xs.tolist())) == pytest.approx(xs.softmax(0).tolist(), rel=1e-12)


def test_survives_scores_that_overflow_exp():
    xs = [1e4, -1e4, 1e4 - 1]
    with pytest.raises(OverflowError):
        textbook(xs)
    assert online_softmax(Row(xs)) == pytest.approx([1 / (1 + math.exp(-1)), 0, math.exp(-1) / (1 + math.exp(-1))])


@pytest.mark.parametrize(("softmax", "reads"), [(safe_softmax, 3), (online_softmax, 2)])
def test_counts_reads(softmax, reads):
    row = Row([0.5] * 7)
    softmax(row)
    assert row.reads == reads * 7


def test_a_block_is_read_once():
    row = Row([1.0, 2.0, 3.0])
    assert row.block(2, 4) == [3.0]
    assert row.reads == 1


@given(pairs, st.integers(1, 8))
def test_any_cut_and_either_order_of_merging_give_the_whole(keys, block):
    """The largest score may stand anywhere, in particular in the last block."""
    xs, vs = (list(column) for column in zip(*keys, strict=True))
    whole = attend(xs, vs)
    parts = [attend(xs[i : i + block], vs[i : i + block]) for i in range(0, len(xs), block)]
    for merged in (functools.reduce(merge, parts), in_pairs(parts), in_pairs(parts[::-1])):
        assert merged.m == whole.m
        assert merged.total == pytest.approx(whole.total)
        assert merged.out / merged.total == pytest.approx(whole.out / whole.total, abs=1e-9)


@given(st.tuples(pairs, pairs, pairs))
@settings(max_examples=50)
def test_merge_is_associative_and_commutative(three):
    a, b, c = (attend(*map(list, zip(*keys, strict=True))) for keys in three)
    assert merge(a, b) == pytest.approx(merge(b, a))
    assert merge(merge(a, b), c) == pytest.approx(merge(a, merge(b, c)), abs=1e-9)


@pytest.mark.parametrize("n", range(1, 8))
def test_rescales_are_the_records_of_a_random_order(n):
    """Count running maxima over all orders of n distinct scores."""
    orders = list(itertools.permutations(range(n)))
    records = sum(len(set(itertools.accumulate(order, max))) for order in orders)
    assert records / len(orders) == pytest.approx(expected_rescales(n))


def test_without_rescaling_the_result_is_wrong():
    assert facts(rescale=True)["mismatches"].measured == 0
    assert facts(rescale=False)["mismatches"].measured > 100


@pytest.mark.parametrize(
    "setting", [{"n_keys": 64, "block": 64}, {"n_keys": 2, "block": 1}, {"seed": 3, "score_std": 1e3}]
)
def test_facts_agree_for_odd_settings(setting):
    assert [f for f in facts(**setting).values() if not f.agrees] == []


@pytest.mark.parametrize(
    "wrong", [{"n_keys": 100}, {"block": 0}, {"n_keys": 1, "block": 1}, {"n_rows": 5}, {"score_std": 0}]
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
