"""What does a block table waste, and what do sequences save by sharing blocks?

PagedAttention (arXiv 2309.06180, section 4) keeps the KV cache in blocks of B slots. A sequence holds a table of block
numbers and takes a new block only when its last one is full, so at most B − 1 slots are empty: bounded, not zero.
Blocks carry reference counts. n samples of one prompt point to the same blocks, and whoever writes first into a
shared, half-full block copies it: all but the tail of the prompt is stored once instead of n times.

Legend: B block size, P prompt tokens, T new tokens of each sample; a slot holds the key and value of one token.
"""

import math
from collections import deque
from dataclasses import dataclass, field

from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def formula_blocks(prompt: int, new: int, n_samples: int, block_size: int) -> int:
    """Full prompt blocks are stored once; from the first block that is written to, each sample has its own."""
    shared = prompt // block_size
    return shared + n_samples * (math.ceil((prompt + new) / block_size) - shared)


@dataclass
class BlockTable:
    """Logical block i of a sequence is physical block `blocks[i]`; `length` tokens are stored."""

    blocks: list[int] = field(default_factory=list)
    length: int = 0


class BlockPool:
    """Physical blocks with reference counts, handed out one at a time."""

    def __init__(self, n_blocks: int, block_size: int) -> None:
        self.block_size, self.free, self.refs = block_size, deque(range(n_blocks)), [0] * n_blocks

    def take(self) -> int:
        """A free block, held once; IndexError when memory is full."""
        block = self.free.popleft()
        self.refs[block] = 1
        return block

    def release(self, block: int) -> None:
        """Let go of a block, which is free again when nobody holds it."""
        self.refs[block] -= 1
        if not self.refs[block]:
            self.free.append(block)

    def append(self, seq: BlockTable, *, copy_on_write: bool = True) -> tuple[int, int, int | None]:
        """Where the next token goes: (block, slot in it, block to copy there first or None)."""
        slot, copy_from = seq.length % self.block_size, None
        if slot == 0:
            seq.blocks.append(self.take())  # not before the last block is full
        elif copy_on_write and self.refs[seq.blocks[-1]] > 1:
            copy_from, seq.blocks[-1] = seq.blocks[-1], self.take()
            self.release(copy_from)
        seq.length += 1
        return seq.blocks[-1], slot, copy_from

    def fork(self, seq: BlockTable) -> BlockTable:
        """A second sequence with the same past: the table is copied, the blocks are not."""
        for block in seq.blocks:
            self.refs[block] += 1
        return BlockTable(list(seq.blocks), seq.length)


def sample_one_prompt(pool: BlockPool, prompt: int, new: int, n: int) -> tuple[list[BlockTable], int]:
    """Store the prompt once, fork it, decode n samples in lockstep: their tables, and how many blocks were copied."""
    samples, copies = [BlockTable()], 0
    for _ in range(prompt):
        pool.append(samples[0])
    samples += [pool.fork(samples[0]) for _ in range(n - 1)]
    for _ in range(new):
        for seq in samples:
            copies += pool.append(seq)[2] is not None
    return samples, copies


def last_block_waste(tokens: int, block_size: int) -> list[int]:
    """Empty slots of one sequence after each of its tokens."""
    pool, seq, waste = BlockPool(tokens // block_size + 1, block_size), BlockTable(), []
    for _ in range(tokens):
        pool.append(seq)
        waste.append(len(seq.blocks) * block_size - seq.length)
    return waste


@dataclass(frozen=True)
class Params:
    prompt_tokens: int = 100
    new_tokens: int = 60  # of each sample
    n_samples: int = 4
    block_size: int = 16  # slots

    def __post_init__(self) -> None:
        if min(self.prompt_tokens, self.new_tokens, self.n_samples, self.block_size) < 1:
            raise ValueError("prompt_tokens, new_tokens, n_samples and block_size must be at least 1")
        if self.n_samples * (self.prompt_tokens + self.new_tokens) > 2**18 or self.block_size > 2**12:
            raise ValueError("n_samples · (prompt_tokens + new_tokens) must be at most 262144, block_size 4096")


def run(p: Params) -> Result:
    P, T, n, B = p.prompt_tokens, p.new_tokens, p.n_samples, p.block_size
    pool = BlockPool(n * math.ceil((P + T) / B), B)
    samples, copies = sample_one_prompt(pool, P, T, n)
    used = len(pool.refs) - len(pool.free)
    alone = sum(len(seq.blocks) for seq in samples)  # what the same tables would take without sharing
    waste = last_block_waste(8 * B, B)

    rows = []
    for size in sorted({1, 8, 16, 32, 128, B}):
        blocks = math.ceil((P + T) / size)
        rows.append((size, size - 1, blocks * size - P - T, n * blocks * size, formula_blocks(P, T, n, size) * size))
    columns = ("block size", "empty slots at most", "empty slots here", "slots, each alone", "slots, shared")
    return Result(
        takeaway=Text(
            en=f"{n} samples of a {P}-token prompt take {used} blocks of {B} instead of {alone} ({copies} copied); "
            f"a sequence leaves at most {max(waste)} slots empty, {sum(waste) / len(waste):.1f} on average.",
            zh=f"同一个 {P} token 的 prompt 采样 {n} 次，共享后占 {used} 个块（块大小 {B}），不共享要 {alone} 个；"
            f"写时复制了 {copies} 个块；每条序列最多空 {max(waste)} 个槽位，平均 {sum(waste) / len(waste):.1f} 个。",
        ),
        facts=[
            Fact("worst_waste", "slots", max(waste), predicted=B - 1),
            Fact("mean_waste", "slots", sum(waste) / len(waste), predicted=(B - 1) / 2),
            Fact("blocks_shared", "blocks", used, predicted=formula_blocks(P, T, n, B)),
            Fact("blocks_alone", "blocks", alone, predicted=n * math.ceil((P + T) / B)),
            Fact("memory_saved", "of the blocks", 1 - used / alone),
            Fact("copies", "blocks", copies, predicted=n - 1 if P % B else 0),
        ],
        table=Table(columns, rows),
        plot=Plot(
            "Empty slots of one growing sequence",
            "tokens",
            "slots",
            [Series(f"blocks of {B}", list(range(1, len(waste) + 1)), waste)],
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
