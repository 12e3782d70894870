"""How much prefill does a prefix cache save, and does that depend on the engine or on the traffic?

The KV cache of a token depends only on the tokens before it, so requests that begin alike can share it. vLLM hashes
full blocks of tokens, SGLang keeps a radix tree of single tokens; both throw out what was used longest ago. The saving
is set by what requests share: nothing among one-off prompts, nearly everything in a long chat. It is lost when the
cache is smaller than the conversations in flight, or when the router sends a conversation to another replica.

A conversation is a system prompt shared by all, then turns of a user message and an answer; each request repeats all
that was said before.
"""

import itertools
import random
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from llmprep.lab import Fact, Plot, Result, Series, Table, Text


class PrefixCache:
    """Blocks of tokens in a trie, as one ordered dictionary: (parent block, tokens of the block) → number of the block.

    A walk touches the blocks of a prompt from the last to the first, so a parent is always younger than its children,
    and dropping the oldest entry never cuts a path in the middle.
    """

    def __init__(self, block_size: int, capacity_tokens: int) -> None:
        self.block_size, self.capacity = block_size, capacity_tokens // block_size
        self.blocks: OrderedDict[tuple[int, tuple[int, ...]], int] = OrderedDict()
        self.numbers = itertools.count(1)

    def split(self, tokens: list[int]) -> list[tuple[int, ...]]:
        """Full blocks only: the rest of the last one is not shared."""
        size = self.block_size
        return [tuple(tokens[i : i + size]) for i in range(0, len(tokens) - size + 1, size)]

    def match(self, tokens: list[int]) -> int:
        """Tokens at the start of the prompt whose keys and values are here; at least one token is left to compute."""
        parent, found = 0, 0
        for block in self.split(tokens[:-1]):
            if (parent := self.blocks.get((parent, block), -1)) == -1:
                break
            found += self.block_size
        return found

    def insert(self, tokens: list[int]) -> None:
        """Keep the blocks of a request that has been answered, and drop the oldest if there are too many."""
        parent, path = 0, []
        for block in self.split(tokens):
            path.append((parent, block))
            parent = self.blocks.setdefault((parent, block), next(self.numbers))
        for key in reversed(path):
            self.blocks.move_to_end(key)
        while len(self.blocks) > self.capacity:
            self.blocks.popitem(last=False)


@dataclass(frozen=True)
class Params:
    conversations: int = 32
    turns: int = 6  # of each conversation
    system_tokens: int = 500  # the same for all
    user_tokens: int = 60  # a turn
    answer_tokens: int = 200  # a turn
    block_size: int = 16  # tokens that are shared or not as one; 1: a radix tree over single tokens
    capacity_tokens: int = 0  # of one cache; 0: nothing is ever thrown out
    replicas: int = 1  # servers, each with its own cache
    routing: Literal["sticky", "random"] = "sticky"  # a conversation stays with a replica, or any replica takes it
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.conversations, self.turns, self.user_tokens, self.block_size, self.replicas) < 1:
            raise ValueError("conversations, turns, user_tokens, block_size and replicas must be at least 1")
        if min(self.system_tokens, self.answer_tokens, self.capacity_tokens) < 0:
            raise ValueError("system_tokens, answer_tokens and capacity_tokens must not be negative")
        length = self.system_tokens + self.turns * (self.user_tokens + self.answer_tokens)
        if self.conversations * self.turns * length > 400_000:
            raise ValueError("conversations · turns · tokens of a conversation must be at most 400,000")


class Served(NamedTuple):
    """Tokens: of all prompts, of those that had to be computed, and the most that lay in one cache."""

    prompt: int
    computed: int
    cached: int


def serve(p: Params) -> Served:
    """Send every conversation through, turn by turn; within a turn they arrive in random order."""
    rng, fresh = random.Random(p.seed), itertools.count(p.system_tokens)
    caches = [PrefixCache(p.block_size, p.capacity_tokens or 2**40) for _ in range(p.replicas)]
    history = [list(range(p.system_tokens)) for _ in range(p.conversations)]
    prompt_tokens = computed = cached = 0
    for _ in range(p.turns):
        for i in rng.sample(range(p.conversations), p.conversations):
            cache = caches[i % p.replicas if p.routing == "sticky" else rng.randrange(p.replicas)]
            history[i] += itertools.islice(fresh, p.user_tokens)
            prompt_tokens += len(history[i])
            computed += len(history[i]) - cache.match(history[i])
            history[i] += itertools.islice(fresh, p.answer_tokens)
            cache.insert(history[i])
            cached = max(cached, len(cache.blocks) * p.block_size)
    return Served(prompt_tokens, computed, cached)


def formula_computed(p: Params) -> int:
    """Every token once, the system prompt once a replica, and what full blocks cut off; if nothing is ever lost."""

    def cut_off(n: int) -> int:
        return n % p.block_size

    turn = p.user_tokens + p.answer_tokens
    system = min(p.replicas, p.conversations) * (p.system_tokens - cut_off(p.system_tokens))
    ends = [p.system_tokens + t * turn for t in range(p.turns)]
    return system + p.conversations * sum(p.user_tokens + cut_off(end) for end in ends)


def run(p: Params) -> Result:
    served = serve(p)
    hit_rate = 1 - served.computed / served.prompt
    plain = p.capacity_tokens == 0 and (p.routing == "sticky" or p.replicas == 1)
    facts = [
        Fact("hit_rate", "of prompt tokens", hit_rate),
        Fact("prefill_saving", "×", served.prompt / served.computed),
        Fact("prompt_tokens", "tokens", served.prompt),
        Fact("computed_tokens", "tokens", served.computed, formula_computed(p) if plain else None),
        Fact("cached_tokens", "tokens", served.cached),
    ]
    one_off = replace(p, turns=1, system_tokens=0, user_tokens=p.system_tokens + p.user_tokens)
    traffic = {
        "one-off prompts": serve(one_off),
        "shared system prompt": serve(replace(p, turns=1)),
        "conversations": served,
    }
    everything = serve(replace(p, capacity_tokens=0)).cached if p.capacity_tokens else served.cached
    sizes = [max(1, everything * i // 4) for i in range(1, 5)]
    rates = [serve(replace(p, capacity_tokens=size)) for size in sizes]
    return Result(
        takeaway=Text(
            en=f"{p.conversations} conversations of {p.turns} turns, blocks of {p.block_size}: {hit_rate:.1%} of the "
            f"prompt tokens come from the cache, prefill shrinks {served.prompt / served.computed:.1f}×.",
            zh=f"{p.conversations} 个对话、各 {p.turns} 轮，块大小 {p.block_size}：{hit_rate:.1%} 的 prompt token "
            f"命中缓存，prefill 降到 1/{served.prompt / served.computed:.1f}。",
        ),
        facts=facts,
        table=Table(
            ("traffic", "prompt tokens", "computed tokens", "hit rate"),
            [(name, t.prompt, t.computed, round(1 - t.computed / t.prompt, 3)) for name, t in traffic.items()],
        ),
        plot=Plot(
            "Hit rate by size of the cache",
            "cached tokens",
            "hit rate",
            [Series("conversations", sizes, [1 - r.computed / r.prompt for r in rates])],
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
