import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.inference.paged_memory import (
    ContiguousMemory,
    PagedMemory,
    Params,
    draw_requests,
    run,
    serve,
)


def facts(**settings_):
    return {f.name: f for f in run(Params(**settings_)).facts}


def test_first_fit_leaves_a_hole_that_no_larger_request_fits():
    memory = ContiguousMemory(10, reserve=lambda total: total)
    a, b = memory.start(1, 4), memory.start(1, 3)
    assert (a, b, memory.start(1, 3)) == ((0, 4), (4, 7), (7, 10))
    memory.stop(a)
    memory.stop((7, 10))
    assert memory.start(1, 5) is None  # 7 slots are free, but in pieces of 4 and 3: external fragmentation
    assert memory.start(1, 3) == (0, 3)


def test_pages_have_no_such_holes():
    memory = PagedMemory(10, block_size=1)
    sequences = [memory.start(n, n) for n in (4, 3, 3)]
    memory.stop(sequences[0])
    memory.stop(sequences[2])
    assert memory.start(7, 7) is not None


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.booleans()), max_size=60))
def test_regions_never_overlap(operations):
    memory, live = ContiguousMemory(30, reserve=lambda total: total), []
    for size, stop in operations:
        if stop and live:
            memory.stop(live.pop(size % len(live)))
        elif (region := memory.start(1, size)) is not None:
            live.append(region)
        assert sorted(live) == memory.regions
        assert all(a[1] <= b[0] for a, b in zip(memory.regions, memory.regions[1:], strict=False))
        assert all(0 <= start < end <= 30 for start, end in memory.regions)


def test_paged_memory_grows_until_it_is_full():
    memory = PagedMemory(6, block_size=2)
    seq, other = memory.start(3, 99), memory.start(2, 99)
    assert (memory.held(seq), memory.held(other)) == (4, 2)
    assert memory.grow(seq)  # the last free slot of its block
    assert not memory.grow(seq)
    assert memory.start(1, 1) is None
    memory.stop(other)
    assert memory.grow(seq)


def test_serving_regions_by_hand():
    """Two requests of 8 + 24 tokens fit in regions of 32; the third waits for 24 steps."""
    served = serve([(8, 32)] * 3, ContiguousMemory(64, lambda _: 32), 64)
    filled = [2 * (8 + i) for i in range(24)] + [8]  # tokens stored in each step, the third's first step included
    assert served.filled == pytest.approx(sum(filled) / 25 / 64)
    assert served.empty == pytest.approx((24 * 64 + 32 - sum(filled)) / 25 / 64)
    assert served.batch == pytest.approx((24 * 2 + 1) / 25)
    assert (served.worst_waste, served.preempted) == (24, 0)


def test_serving_pages_admits_more_and_makes_the_youngest_give_way():
    served = serve([(7, 32)] * 20, PagedMemory(64, 4), 64)
    assert served.batch > 2
    assert served.worst_waste == 3
    assert served.preempted > 0


@pytest.mark.parametrize("seed", range(5))
def test_preemption_keeps_the_books_straight(seed):
    requests, memory = draw_requests(60, 20, 1.0, 64, random.Random(seed)), PagedMemory(128, 4)
    assert serve(requests, memory, 128).preempted > 0
    assert sum(memory.pool.refs) == len(memory.pool.refs) - len(memory.pool.free)  # each block is held once or free


@pytest.mark.parametrize("seed", range(3))
def test_order_of_the_policies(seed):
    got = {name: fact.measured for name, fact in facts(seed=seed).items()}
    assert (
        got["filled_longest"] < got["filled_power_of_two"] < got["filled_exact"] < 0.7 < 0.95 < got["filled_paged"] < 1
    )
    assert got["worst_waste"] <= 15


def test_one_block_as_large_as_the_reservation_is_no_paging():
    got = facts(block_size=2048)
    assert got["filled_paged"].measured == pytest.approx(got["filled_longest"].measured)
    assert got["batch_gain"].measured == pytest.approx(1)


@pytest.mark.parametrize("block_size", [1, 16, 64])
def test_facts_agree(block_size):
    assert [name for name, fact in facts(block_size=block_size, requests=60).items() if not fact.agrees] == []


def test_lengths_have_the_mean_asked_for():
    halves = [t for p, total in draw_requests(20000, 50, 0.5, 2**20, random.Random(0)) for t in (p, total - p)]
    assert sum(halves) / len(halves) == pytest.approx(50, rel=0.02)


@pytest.mark.parametrize(
    "settings_",
    [{"block_size": 0}, {"block_size": 24}, {"max_len": 1}, {"slots": 2048}, {"requests": 0}, {"sigma": -1}],
)
def test_nonsense_is_refused(settings_):
    with pytest.raises(ValueError, match="must"):
        Params(**settings_)
