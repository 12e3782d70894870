"""How much of the KV memory do real tokens fill when it is reserved in one piece, and how much when it is paged?

A request's cache grows by one token a step, to a length nobody knows. Reserving a contiguous region for the longest
possible answer leaves most of it empty, and exact regions still leave holes that no waiting request fits.
PagedAttention (arXiv 2309.06180) hands out blocks of B slots instead, as an operating system pages memory: any free
block fits, so nothing is stranded between sequences, and inside one at most B − 1 slots of its last block are empty.
Near zero, not zero. A full memory costs something too: the youngest request is preempted and computed again.

Legend: a slot holds the key and value of one token over all layers; B is the block size in slots.
"""

import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from llmprep.demos.inference.block_allocator import BlockPool, BlockTable
from llmprep.lab import Fact, Plot, Result, Series, Table, Text


class PagedMemory:
    """Blocks as they are needed: a sequence starts with room for its prompt only, for nobody knows the answer."""

    def __init__(self, slots: int, block_size: int) -> None:
        self.pool = BlockPool(slots // block_size, block_size)

    def start(self, prompt: int, _total: int) -> BlockTable | None:
        """A table that holds the prompt, or None where the free blocks do not suffice."""
        if math.ceil(prompt / self.pool.block_size) > len(self.pool.free):
            return None
        seq = BlockTable()
        for _ in range(prompt):
            self.pool.append(seq)
        return seq

    def grow(self, seq: BlockTable) -> bool:
        """One token more, or False when that takes a block and none is free."""
        if seq.length % self.pool.block_size == 0 and not self.pool.free:
            return False
        self.pool.append(seq)
        return True

    def stop(self, seq: BlockTable) -> None:
        """Give all blocks back."""
        for block in seq.blocks:
            self.pool.release(block)

    def held(self, seq: BlockTable) -> int:
        """Slots that nobody else can use."""
        return len(seq.blocks) * self.pool.block_size


class ContiguousMemory:
    """One region a request, `reserve(total)` slots long, in the first gap that is large enough."""

    def __init__(self, slots: int, reserve: Callable[[int], int]) -> None:
        self.slots, self.reserve, self.regions = slots, reserve, list[tuple[int, int]]()  # (start, end), in order

    def start(self, _prompt: int, total: int) -> tuple[int, int] | None:
        """The region, or None where no gap is large enough, however much is free in all."""
        size, gap_start = self.reserve(total), 0
        for i, (start, end) in enumerate([*self.regions, (self.slots, self.slots)]):
            if start - gap_start >= size:
                self.regions.insert(i, (gap_start, gap_start + size))
                return self.regions[i]
            gap_start = end
        return None

    def grow(self, _region: tuple[int, int]) -> bool:
        """The region was reserved to its full length."""
        return True

    def stop(self, region: tuple[int, int]) -> None:
        """Free the region."""
        self.regions.remove(region)

    def held(self, region: tuple[int, int]) -> int:
        """Slots that nobody else can use."""
        return region[1] - region[0]


@dataclass(eq=False)
class Running:
    """A request in the batch: `length` of its `total` tokens are stored."""

    length: int
    total: int
    handle: Any


class Served(NamedTuple):
    """Averages over the steps in which requests were waiting; shares are of all slots."""

    filled: float
    empty: float  # reserved or allocated, but without a token
    batch: float
    worst_waste: int  # slots, of one sequence in one step
    preempted: int


def serve(requests: Sequence[tuple[int, int]], memory: PagedMemory | ContiguousMemory, slots: int) -> Served:
    """First come, first served, (prompt, total) tokens each; a step stores one token for each running request."""
    waiting, running, steps, preempted = deque(requests), list[Running](), list[tuple[int, int, int, int]](), 0
    while waiting:
        while waiting and (handle := memory.start(*waiting[0])) is not None:
            running.append(Running(*waiting.popleft(), handle))
        empty = [memory.held(r.handle) - r.length for r in running]
        steps.append((sum(r.length for r in running), sum(empty), len(running), max(empty)))
        for r in list(running):
            while r in running and not memory.grow(r.handle):  # full: the youngest gives way
                loser = running.pop()
                memory.stop(loser.handle)
                waiting.appendleft((loser.length, loser.total))  # what it has generated is prompt next time
                preempted += 1
            if r not in running:
                continue
            r.length += 1
            if r.length == r.total:
                running.remove(r)
                memory.stop(r.handle)
    filled, empty_slots, batch, wastes = (list(column) for column in zip(*steps, strict=True))
    n = len(steps)
    return Served(sum(filled) / n / slots, sum(empty_slots) / n / slots, sum(batch) / n, max(wastes), preempted)


def draw_requests(n: int, mean_tokens: float, sigma: float, max_len: int, rng: random.Random) -> list[tuple[int, int]]:
    """(prompt, prompt + answer) in tokens, both log-normal with this mean before they are cut at half of `max_len`."""
    mu = math.log(mean_tokens) - sigma**2 / 2
    halves = [[min(max(1, round(rng.lognormvariate(mu, sigma))), max_len // 2) for _ in range(2)] for _ in range(n)]
    return [(prompt, prompt + answer) for prompt, answer in halves]


@dataclass(frozen=True)
class Params:
    slots: int = 16384  # tokens the KV memory holds
    max_len: int = 2048  # tokens, prompt and answer: what a server without paging must reserve
    block_size: int = 16  # slots
    requests: int = 200
    mean_tokens: float = 250.0  # of a prompt, and of an answer
    sigma: float = 1.0  # of the logarithm of the lengths; 0: all alike
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.block_size <= self.max_len or not 2 <= self.max_len <= self.slots // 2 <= 2**16:
            raise ValueError("block_size must be at most max_len, and slots from twice max_len to 131072")
        if self.slots % self.block_size:
            raise ValueError("slots must be a multiple of block_size")
        if not 1 <= self.requests <= 500 or self.mean_tokens < 1 or not 0 <= self.sigma <= 2:
            raise ValueError("requests must be between 1 and 500, mean_tokens at least 1, sigma between 0 and 2")


def run(p: Params) -> Result:
    requests = draw_requests(p.requests, p.mean_tokens, p.sigma, p.max_len, random.Random(p.seed))
    memories: dict[str, PagedMemory | ContiguousMemory] = {
        "longest possible": ContiguousMemory(p.slots, lambda _: p.max_len),
        "power of two": ContiguousMemory(p.slots, lambda total: 2 ** math.ceil(math.log2(total))),
        "exact (an oracle)": ContiguousMemory(p.slots, lambda total: total),
        f"blocks of {p.block_size}": PagedMemory(p.slots, p.block_size),
    }
    served = {name: serve(requests, memory, p.slots) for name, memory in memories.items()}
    longest, power, exact, paged = served.values()
    beyond = max(0, paged.worst_waste - (p.block_size - 1))
    facts = [
        Fact("filled_paged", "of the slots", paged.filled),
        Fact("filled_longest", "of the slots", longest.filled),
        Fact("filled_power_of_two", "of the slots", power.filled),
        Fact("filled_exact", "of the slots", exact.filled),
        Fact("batch_gain", "×", paged.batch / longest.batch),
        Fact("worst_waste", "slots", paged.worst_waste),
        Fact("worst_waste_beyond_a_block", "slots", beyond, predicted=0),
        Fact("preempted", "times", paged.preempted),
    ]
    rows = [(n, 100 * s.filled, 100 * s.empty, 100 * (1 - s.filled - s.empty), s.batch) for n, s in served.items()]
    names = list(served)
    parts = ("holding tokens", "allocated, empty", "free")
    return Result(
        takeaway=Text(
            en=f"Blocks of {p.block_size} fill {paged.filled:.1%} of the slots with tokens, regions for the longest "
            f"answer {longest.filled:.1%}: {paged.batch / longest.batch:.1f}× as many requests run at once.",
            zh=f"块大小为 {p.block_size} 时，{paged.filled:.1%} 的槽位存着 token；按最长长度预留只有 "
            f"{longest.filled:.1%}，同时运行的请求是后者的 {paged.batch / longest.batch:.1f} 倍。",
        ),
        facts=facts,
        table=Table(("memory given in", *(f"{part} (%)" for part in parts), "requests running"), rows),
        plot=Plot(
            "Where the KV memory goes",
            "memory given in",
            "% of the slots",
            [Series(part, names, [row[i] for row in rows]) for i, part in enumerate(parts, start=1)],
            kind="bar",
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
