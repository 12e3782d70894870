# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given
from hypothesis import strategies as st

from llmprep.demos.architecture.relative_bias import (
    Params,
    bias,
    bucket,
    bucket_both_ways,
    formula_last_bucket_starts,
    run,
)


@pytest.mark.parametrize(
    ("distance", "expected"),
    [(0, 0), (15, 15), (16, 16), (18, 16), (19, 17), (112, 30), (113, 31), (128, 31), (100_000, 31)],
)
def test_buckets_of_the_decoder(distance, expected):
    assert bucket(distance) == expected


@given(n_buckets=st.integers(2, 64).map(lambda n: 2 * n), factor=st.integers(2, 20))
def test_buckets_never_fall_and_none_is_left_out(n_buckets, factor):
    max_distance = factor * n_buckets
    seen = [bucket(d, n_buckets, max_distance) for d in range(max_distance + 50)]
    assert seen == sorted(seen)
    assert set(seen) == set(range(n_buckets))
    assert seen.index(n_buckets - 1) == formula_last_bucket_starts(n_buckets, max_distance)
    assert set(seen[max_distance:]) == {n_buckets - 1}


def test_encoder_tells_before_from_after():
    assert bucket_both_ways(5) == 5
    assert bucket_both_ways(-5) == 21
    assert {bucket_both_ways(d) for d in range(-500, 501)} == set(range(32)) - {
        16
    }  # "after, at distance 0" is never used


def test_bias_reads_the_table_by_distance():
    table = torch.arange(32.0)[:, None].repeat(1, 2)
    b = bias(table, 200)
    assert b.shape == (2, 200, 200)
    assert b[0, 199, 199] == 0
    assert b[1, 199, 0] == 31
    assert b[0, 40, 20] == bucket(20)
    assert torch.equal(b[0, 120, 20:121], b[0, 170, 70:171])  # moved by 50


@pytest.mark.parametrize(
    "p",
    [Params(n_buckets=4, max_distance=8, seq_len=9), Params(n_buckets=64, max_distance=500), Params(model="t5-11b")],
    ids=str,
)
def test_run_agrees_for_odd_settings(p):
    assert all(f.agrees for f in run(p).facts)


@pytest.mark.parametrize(
    "wrong", [{"n_buckets": 3}, {"max_distance": 40}, {"seq_len": 100}, {"model": "gpt2"}], ids=str
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
