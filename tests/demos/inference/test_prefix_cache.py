import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.inference.prefix_cache import Params, PrefixCache, formula_computed, run, serve

prompts = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=14), min_size=1, max_size=12)


def common(a, b):
    n = 0
    while n < min(len(a), len(b)) and a[n] == b[n]:
        n += 1
    return n


@given(prompts, st.integers(1, 4))
def test_finds_the_longest_common_prefix_in_full_blocks(requests, block_size):
    cache = PrefixCache(block_size, 10**6)
    for i, request in enumerate(requests):
        shared = max(
            (min(common(request, old), len(old) // block_size * block_size) for old in requests[:i]), default=0
        )
        expected = min(shared, len(request) - 1) // block_size * block_size
        assert cache.match(request) == expected
        cache.insert(request)


@given(prompts, st.integers(1, 3), st.integers(0, 20))
def test_never_too_large_and_never_cut_off_from_the_root(requests, block_size, capacity):
    cache = PrefixCache(block_size, capacity)
    for request in requests:
        cache.insert(request)
        assert len(cache.blocks) * block_size <= capacity
        assert all(parent == 0 or parent in cache.blocks.values() for parent, _ in cache.blocks)


def test_the_last_token_is_always_computed():
    """Its logits are what the request came for."""
    cache = PrefixCache(1, 100)
    cache.insert([1, 2, 3])
    assert cache.match([1, 2, 3]) == 2


def test_drops_what_was_used_longest_ago_and_leaves_before_roots():
    cache = PrefixCache(1, 4)
    cache.insert([1, 2])
    cache.insert([3, 4])
    cache.match([1, 2, 9])
    cache.insert([1, 2])  # used again, so [3, 4] is older now
    cache.insert([5])
    assert (cache.match([1, 2, 9]), cache.match([3, 4, 9])) == (2, 1)


@given(
    st.integers(1, 6), st.integers(1, 4), st.integers(0, 40), st.integers(1, 9), st.integers(0, 12), st.integers(1, 20)
)
@settings(max_examples=60, deadline=None)
def test_computed_tokens_follow_the_formula(conversations, turns, system, user, answer, block_size):
    for replicas in (1, 3):
        p = Params(conversations, turns, system, user, answer, block_size, replicas=replicas)
        assert serve(p).computed == formula_computed(p)


def test_one_off_prompts_share_nothing():
    assert run(Params(turns=1, system_tokens=0)).fact("hit_rate").measured == 0


def test_granularity_matters_less_than_routing_and_room():
    def hit_rate(**setting):
        seen = serve(Params(conversations=16, turns=4, **setting))
        return 1 - seen.computed / seen.prompt

    blocks, tokens = hit_rate(block_size=16), hit_rate(block_size=1)
    assert 0 < tokens - blocks < 0.02
    assert hit_rate(replicas=4, routing="random") < blocks - 0.15
    assert hit_rate(capacity_tokens=8000) < blocks - 0.1


@pytest.mark.parametrize(
    "setting", [{"block_size": 2000}, {"capacity_tokens": 1}, {"replicas": 50}, {"answer_tokens": 0}]
)
def test_facts_agree_for_odd_settings(setting):
    assert [f for f in run(Params(conversations=8, turns=3, **setting)).facts if not f.agrees] == []


@pytest.mark.parametrize(
    "wrong", [{"turns": 0}, {"user_tokens": 0}, {"block_size": 0}, {"system_tokens": -1}, {"conversations": 10_000}]
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
