import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from llmprep.demos.inference.block_allocator import (
    BlockPool,
    BlockTable,
    Params,
    formula_blocks,
    last_block_waste,
    run,
    sample_one_prompt,
)


class Allocator(RuleBasedStateMachine):
    """Any order of append, fork and free keeps the books straight, and no sequence sees another's tokens."""

    def __init__(self):
        super().__init__()
        self.pool = BlockPool(200, 4)
        self.sequences = [(BlockTable(), [])]  # with what a contiguous cache would hold
        self.memory = {}  # (block, slot) → token
        self.clock = 0

    def pick(self, i):
        return self.sequences[i % len(self.sequences)]

    @precondition(lambda self: self.sequences and self.pool.free)
    @rule(i=st.integers(0, 99))
    def append(self, i):
        seq, tokens = self.pick(i)
        block, slot, copy_from = self.pool.append(seq)
        if copy_from is not None:
            for s in range(4):
                self.memory[block, s] = self.memory.get((copy_from, s))
        self.clock += 1
        self.memory[block, slot] = self.clock
        tokens.append(self.clock)

    @precondition(lambda self: self.sequences)
    @rule(i=st.integers(0, 99))
    def fork(self, i):
        seq, tokens = self.pick(i)
        self.sequences.append((self.pool.fork(seq), list(tokens)))

    @precondition(lambda self: len(self.sequences) > 1)
    @rule(i=st.integers(0, 99))
    def free(self, i):
        seq, _ = self.sequences.pop(i % len(self.sequences))
        for block in seq.blocks:
            self.pool.release(block)

    @invariant()
    def every_sequence_reads_its_own_tokens(self):
        for seq, tokens in self.sequences:
            assert [self.memory[seq.blocks[t // 4], t % 4] for t in range(seq.length)] == tokens

    @invariant()
    def references_are_counted(self):
        holders = [block for seq, _ in self.sequences for block in seq.blocks]
        assert all(self.pool.refs[block] == holders.count(block) for block in range(200))
        assert sorted(self.pool.free) == [b for b in range(200) if b not in set(holders)]

    @invariant()
    def tables_are_as_long_as_they_must_be(self):
        assert all(len(seq.blocks) == math.ceil(seq.length / 4) for seq, _ in self.sequences)


TestAllocator = Allocator.TestCase
TestAllocator.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 60), st.integers(1, 40), st.integers(1, 6), st.integers(1, 20))
def test_sharing_formula_counts_the_allocators_blocks(prompt, new, n, block_size):
    pool = BlockPool(n * math.ceil((prompt + new) / block_size), block_size)  # never more than without sharing
    samples, copies = sample_one_prompt(pool, prompt, new, n)
    held = {block for seq in samples for block in seq.blocks}
    assert len(held) == len(pool.refs) - len(pool.free) == formula_blocks(prompt, new, n, block_size)
    assert copies == (n - 1 if prompt % block_size else 0)


@pytest.mark.parametrize(
    ("prompt", "new", "n", "block_size", "expected"),
    [(16, 1, 1, 16, 2), (16, 1, 4, 16, 5), (17, 1, 4, 16, 5), (100, 60, 4, 16, 22), (7, 1, 3, 8, 3), (1, 1, 9, 1, 10)],
)
def test_blocks_by_hand(prompt, new, n, block_size, expected):
    assert formula_blocks(prompt, new, n, block_size) == expected


@given(st.integers(1, 64))
def test_waste_is_below_one_block_and_zero_only_for_blocks_of_one(block_size):
    waste = last_block_waste(4 * block_size, block_size)
    assert max(waste) == block_size - 1
    assert waste == [-t % block_size for t in range(1, 4 * block_size + 1)]


def test_a_write_without_copy_goes_to_the_shared_block():
    pool = BlockPool(4, 4)
    first = BlockTable()
    pool.append(first)
    second = pool.fork(first)
    assert pool.append(first, copy_on_write=False)[:2] == pool.append(second, copy_on_write=False)[:2]


def test_a_full_pool_refuses():
    pool = BlockPool(1, 2)
    seq = BlockTable()
    pool.append(seq)
    pool.append(seq)
    with pytest.raises(IndexError):
        pool.append(seq)
    assert seq == BlockTable([0], 2)  # unchanged by the refusal


@pytest.mark.parametrize("block_size", [1, 16, 32, 128])
def test_facts_agree(block_size):
    result = run(Params(block_size=block_size))
    assert [f.name for f in result.facts if not f.agrees] == []
    assert result.fact("worst_waste").measured == block_size - 1


@pytest.mark.parametrize(
    "settings_", [{"prompt_tokens": 0}, {"n_samples": 0}, {"block_size": 0}, {"new_tokens": 10**6}]
)
def test_nonsense_is_refused(settings_):
    with pytest.raises(ValueError, match="must"):
        Params(**settings_)
