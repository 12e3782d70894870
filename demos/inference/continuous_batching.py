"""What does continuous batching gain over static batching, and when does it gain nothing?

A static batch runs until its longest answer ends; slots whose answers ended earlier idle, and nobody may join.
Continuous batching (iteration-level scheduling, Orca, OSDI 2022) looks at the queue after every step: whoever is done
leaves, and the next request takes the slot. With a full queue a static batch of B needs E[longest of B] steps for the
work of E[length] steps a slot, so the gain is E[max]/E[length]: the harmonic number H(B) for geometric lengths, 1 for
equal ones. Model: a step takes the same time however full the batch is (decoding is bound by reading the weights);
prefill is left out.

Legend: B slots of the batch; a request is (arrival step, answer length in tokens).
"""

import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, NamedTuple

from llmprep.lab import Fact, Plot, Result, Series, Table, Text

SHORT_SHARE, LONG_OVER_SHORT = 0.9, 10  # of the bimodal lengths


def quantile(kind: str, mean: float) -> Callable[[float], int]:
    """From a uniform number in [0, 1) to an answer length of at least one token, with this mean (about)."""
    short = mean / (SHORT_SHARE + (1 - SHORT_SHARE) * LONG_OVER_SHORT)
    return {
        "equal": lambda _: max(1, round(mean)),
        "uniform": lambda u: 1 + int(u * (2 * mean - 1)),
        "geometric": lambda u: 1 + int(math.log(1 - u) / math.log(1 - 1 / mean)) if mean > 1 else 1,
        "bimodal": lambda u: max(1, round(short if u < SHORT_SHARE else short * LONG_OVER_SHORT)),
    }[kind]


def formula_gain(kind: str, mean: float, batch_size: int, grid: int = 20_000) -> float:
    """E[longest of B] / E[length], by integrating the quantile function: the longest of B has the quantile u^(1/B)."""
    length = quantile(kind, mean)
    middles = [(i + 0.5) / grid for i in range(grid)]
    return sum(length(u ** (1 / batch_size)) for u in middles) / sum(map(length, middles))


class Schedule(NamedTuple):
    """What came of a schedule: all counts in steps."""

    steps: int  # until the last request was done
    busy: float  # share of the slots that produced a token
    latency: float  # mean, from a request's arrival to its last token


def static_batching(requests: Sequence[tuple[int, int]], batch_size: int) -> Schedule:
    """Take up to B waiting requests, run until the longest is done, return all of them, repeat."""
    waiting, now, running_steps, tokens, latencies = deque(requests), 0, 0, 0, []
    while waiting:
        now = max(now, waiting[0][0])
        batch = []
        while waiting and waiting[0][0] <= now and len(batch) < batch_size:
            batch.append(waiting.popleft())
        longest = max(length for _, length in batch)
        now, running_steps = now + longest, running_steps + longest
        tokens += sum(length for _, length in batch)
        latencies += [now - arrival for arrival, _ in batch]
    return Schedule(now, tokens / (running_steps * batch_size), sum(latencies) / len(latencies))


def continuous_batching(requests: Sequence[tuple[int, int]], batch_size: int) -> Schedule:
    """After every step, let finished requests out and waiting ones in."""
    waiting, now, running_steps, tokens, latencies = deque(requests), 0, 0, 0, []
    running: list[list[int]] = []  # [arrival, tokens still to come]
    while waiting or running:
        if not running:
            now = max(now, waiting[0][0])
        while waiting and waiting[0][0] <= now and len(running) < batch_size:
            running.append(list(waiting.popleft()))
        now, running_steps, tokens = now + 1, running_steps + 1, tokens + len(running)
        for request in running:
            request[1] -= 1
        latencies += [now - arrival for arrival, left in running if not left]
        running = [request for request in running if request[1]]
    return Schedule(now, tokens / (running_steps * batch_size), sum(latencies) / len(latencies))


@dataclass(frozen=True)
class Params:
    lengths: Literal["equal", "uniform", "geometric", "bimodal"] = "geometric"  # of the answers
    mean_tokens: float = 100.0
    batch_size: int = 16  # slots
    batches: int = 200  # requests = batches · batch_size
    load: float = 0.2  # for the latency: tokens that arrive, over the tokens that all slots can make
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.batch_size <= 64 or not 100 <= self.batches <= 1000 or not 1 <= self.mean_tokens <= 1000:
            raise ValueError("batch_size must be 1 to 64, batches 100 to 1000, mean_tokens 1 to 1000")
        if self.batches * self.batch_size * self.mean_tokens > 2e6:
            raise ValueError("batches · batch_size · mean_tokens must be at most 2,000,000 tokens")
        if not 0.01 <= self.load <= 1:
            raise ValueError("load must be between 0.01 and 1")


def run(p: Params) -> Result:
    rng = random.Random(p.seed)
    length = quantile(p.lengths, p.mean_tokens)
    lengths = [length(rng.random()) for _ in range(p.batches * p.batch_size)]
    queued = [(0, n) for n in lengths]
    static, continuous = static_batching(queued, p.batch_size), continuous_batching(queued, p.batch_size)
    rate = p.load * p.batch_size / (sum(lengths) / len(lengths))  # requests per step
    arrivals = accumulate(rng.expovariate(rate) for _ in lengths)
    arriving = [(int(t), n) for t, n in zip(arrivals, lengths, strict=True)]
    late, soon = static_batching(arriving, p.batch_size), continuous_batching(arriving, p.batch_size)

    gain, predicted = static.steps / continuous.steps, formula_gain(p.lengths, p.mean_tokens, p.batch_size)
    sizes = [1, 2, 4, 8, 16, 32, 64]
    kinds = ("equal", "uniform", "geometric", "bimodal")
    return Result(
        takeaway=Text(
            en=f"With {p.batch_size} slots and {p.lengths} lengths, continuous batching is {gain:.2f}× as fast; "
            f"static batching keeps {static.busy:.0%} of its slots busy.",
            zh=f"{p.batch_size} 个槽位、长度分布为 {p.lengths} 时，连续批处理的吞吐是静态批处理的 {gain:.2f} 倍；"
            f"静态批处理只有 {static.busy:.0%} 的槽位在干活。",
        ),
        facts=[
            Fact("gain", "×", gain, predicted, rtol=0.15),
            Fact("busy_static", "of the slots", static.busy, 1 / predicted, rtol=0.15),
            Fact("busy_continuous", "of the slots", continuous.busy),
            Fact("latency_static", "steps", late.latency),
            Fact("latency_continuous", "steps", soon.latency),
            Fact("latency_ratio", "×", late.latency / soon.latency),
        ],
        table=Table(
            ("scheduling", "steps for all", "slots busy (%)", f"mean latency at load {p.load:g} (steps)"),
            [
                ("static", static.steps, 100 * static.busy, late.latency),
                ("continuous", continuous.steps, 100 * continuous.busy, soon.latency),
            ],
        ),
        plot=Plot(
            "Gain of continuous batching, E[max]/E[length]",
            "slots",
            "×",
            [Series(kind, sizes, [formula_gain(kind, p.mean_tokens, b, grid=2000) for b in sizes]) for kind in kinds],
            log_x=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
