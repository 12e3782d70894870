import heapq
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.inference.continuous_batching import (
    Params,
    continuous_batching,
    formula_gain,
    quantile,
    run,
    static_batching,
)

requests = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 12)), min_size=1, max_size=30).map(sorted)


def facts(**settings_):
    return {f.name: f for f in run(Params(**settings_)).facts}


def event_driven(requests, batch_size):
    """The same schedule from another side: each request goes to the slot that is free first."""
    slots, ends = [0] * batch_size, []
    for arrival, length in requests:
        end = max(heapq.heappop(slots), arrival) + length
        heapq.heappush(slots, end)
        ends.append(end)
    return max(ends), sum(end - arrival for end, (arrival, _) in zip(ends, requests, strict=True)) / len(ends)


@given(requests, st.integers(1, 5))
def test_step_by_step_equals_the_event_driven_schedule(reqs, batch_size):
    schedule = continuous_batching(reqs, batch_size)
    steps, latency = event_driven(reqs, batch_size)
    assert (schedule.steps, schedule.latency) == (steps, pytest.approx(latency))


@given(requests, st.integers(1, 5))
def test_laws_of_both_schedules(reqs, batch_size):
    static, continuous = static_batching(reqs, batch_size), continuous_batching(reqs, batch_size)
    total = sum(length for _, length in reqs)
    for schedule in (static, continuous):
        assert 0 < schedule.busy <= 1
        assert schedule.steps * batch_size >= total
        assert schedule.latency >= total / len(reqs)
    if batch_size == 1:
        assert continuous == static


@given(st.lists(st.integers(1, 30), min_size=1, max_size=40), st.integers(1, 8))
def test_with_a_full_queue_continuous_is_never_slower(lengths, batch_size):
    queue = [(0, n) for n in lengths]
    static = static_batching(queue, batch_size)
    batches = [lengths[i : i + batch_size] for i in range(0, len(lengths), batch_size)]
    assert static.steps == sum(map(max, batches))
    assert continuous_batching(queue, batch_size).steps <= static.steps


def test_by_hand():
    """Two slots, answers of 1, 4, 1, 2 tokens: 4 + 2 steps static, 4 steps continuous."""
    queue = [(0, 1), (0, 4), (0, 1), (0, 2)]
    static, continuous = static_batching(queue, 2), continuous_batching(queue, 2)
    assert (static.steps, static.busy, static.latency) == (6, 8 / 12, (4 + 4 + 6 + 6) / 4)
    assert (continuous.steps, continuous.busy, continuous.latency) == (4, 1.0, (1 + 4 + 2 + 4) / 4)


def test_a_newcomer_waits_for_the_static_batch_but_not_for_the_continuous_one():
    late = [(0, 10), (1, 2)]
    assert static_batching(late, 2).latency == (10 + 11) / 2
    assert continuous_batching(late, 2).latency == (10 + 2) / 2


@pytest.mark.parametrize("batch_size", [1, 4, 8, 16, 32])
def test_geometric_lengths_gain_the_harmonic_number(batch_size):
    harmonic = sum(1 / i for i in range(1, batch_size + 1))
    assert formula_gain("geometric", 500, batch_size) == pytest.approx(harmonic, rel=0.01)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 16])
def test_uniform_lengths_gain_2b_over_b_plus_1(batch_size):
    assert formula_gain("uniform", 1000, batch_size) == pytest.approx(2 * batch_size / (batch_size + 1), rel=0.005)


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_bimodal_lengths_need_one_long_answer(batch_size):
    short = 100 / 1.9
    long_first = short + 9 * short * (1 - 0.9**batch_size)
    assert formula_gain("bimodal", 100, batch_size) == pytest.approx(long_first / 100, rel=0.01)


@pytest.mark.parametrize("kind", ["equal", "uniform", "geometric", "bimodal"])
def test_quantiles_have_the_mean_asked_for(kind):
    length, rng = quantile(kind, 50), random.Random(0)
    drawn = [length(rng.random()) for _ in range(40_000)]
    assert sum(drawn) / len(drawn) == pytest.approx(50, rel=0.03)
    assert min(drawn) >= 1


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(["equal", "uniform", "geometric", "bimodal"]), st.sampled_from([1, 2, 8]), st.integers(0, 10**6))
def test_simulation_agrees_with_the_formula(kind, batch_size, seed):
    got = facts(lengths=kind, batch_size=batch_size, mean_tokens=10, seed=seed)
    assert [name for name, fact in got.items() if not fact.agrees] == []


def test_equal_lengths_gain_nothing_but_a_newcomer_still_waits_less():
    got = facts(lengths="equal", mean_tokens=20, batches=100)
    assert got["gain"].measured == 1
    assert got["latency_ratio"].measured > 1.2


@pytest.mark.parametrize(
    "settings_",
    [{"batch_size": 0}, {"batches": 3}, {"mean_tokens": 0.5}, {"load": 0}, {"batch_size": 64, "mean_tokens": 1000}],
)
def test_nonsense_is_refused(settings_):
    with pytest.raises(ValueError, match="must"):
        Params(**settings_)
