"""A plan: how to spread a training job over GPUs so that it fits, by rules that one can defend.

1. No model parallelism, and the lowest ZeRO stage that fits with FlashAttention: each stage sends more. Within a
   node, where sending is cheap, a stage that holds no 4,096 tokens at a time gives way to the next. Across nodes,
   stages 2 and 3 must hide what they send for every micro-batch behind its arithmetic.
2. Then tensor parallelism up to the node, with sequence parallelism, and ZeRO-1.
3. Then pipeline stages across nodes, with ZeRO-1, as few as fit, with a bubble of at most a quarter.
4. Then what waits longer: stages 2 and 3 with tensor parallelism, pipelines with a larger bubble.
5. Full recomputation last: a third more arithmetic.

A layout must come near the global batch that is asked for, at most twice as large, unless nothing else fits.
"""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from math import gcd
from typing import NamedTuple

from llmprep.calc.hardware import Gpu
from llmprep.calc.job import Job
from llmprep.calc.memory import Recompute
from llmprep.calc.parallel import Held, Layout, hold
from llmprep.calc.shapes import Attention, DeltaNet, Latent, Mamba2
from llmprep.calc.traffic import sent

NODE = 8  # GPUs behind one switch of fast links
FAST_LINK = 1e11  # bytes/s from which tensor parallelism pays: NVLink, not PCIe
NETWORK = 25e9  # bytes/s of each GPU to other nodes: 200 Gb/s, as in a DGX A100 …
NEW_LINK, NEW_NETWORK = 4e11, 50e9  # … and 400 Gb/s, as in a DGX H100, beside links of that generation
LARGEST = 16_384  # GPUs that are considered: the cluster of Llama 3 405B (arXiv 2407.21783)
BUSY_TOKENS = 4096  # in a micro-batch: what keeps the matrix units busy
ENOUGH_TOKENS = 16_384  # in a micro-batch: more gains nothing
BUBBLE = 0.25  # idle over working time that a pipeline may have
NEAR, FAR = 4 / 3, 2  # times the global batch that was asked for: rounding of the accumulation; the most
MFU = (0.35, 0.5)  # assumed for a well-tuned run without full recomputation


class Wish(NamedTuple):
    """What is fixed beforehand; None: to be chosen."""

    zero: int | None = None
    recompute: Recompute | None = None
    tensor: int | None = None
    pipeline: int | None = None
    sequence: bool | None = None
    micro_batch: int | None = None


FREE = Wish()


class Plan(NamedTuple):
    """A layout, what it holds, and the rule that found it."""

    layout: Layout
    held: Held
    room: float  # bytes of a GPU that may be filled
    rule: int  # 1 to 5 as above; 0: nothing fits, and this comes nearest

    @property
    def fits(self) -> bool:
        """Whether its own arithmetic lets it run."""
        return self.held.total <= self.room


@dataclass(frozen=True)
class Planner:
    """A job, the kind of GPU, sequences in a global batch, and what is fixed."""

    job: Job
    gpu: Gpu
    batch: int
    wish: Wish = FREE
    mfu: float = sum(MFU) / 2  # for what can be hidden behind arithmetic

    @cached_property
    def room(self) -> float:
        """Bytes that may be filled: 10% are kept for fragmentation, 1 GB for the CUDA context."""
        return self.gpu.usable()

    @property
    def network(self) -> float:
        """Bytes/s of a GPU to other nodes."""
        return NEW_NETWORK if (self.gpu.link or 0) >= NEW_LINK else NETWORK

    def plan(self, gpus: int) -> Plan:
        """The first layout of the ladder that fits on so many GPUs; if none does, the one that lacks least."""
        any_batch = replace(self, batch=max(self.batch, gpus))  # a sequence for every replica, and a full pipeline
        found = next(self.ranked(gpus), None) or next(any_batch.ranked(gpus), None)
        return found or min((self._tried(layout) for _, layout in self._all(gpus)), key=lambda p: p.held.total)

    def fewest(self) -> int | None:
        """The smallest number of GPUs, up to 8 or whole nodes, on which any layout fits; None beyond `LARGEST`."""
        best = LARGEST + 1
        for recompute in self._policies():
            for tensor, pipeline in self._splits():
                for zero in self._stages((0, 1, 2, 3) if pipeline == 1 else (0, 1)):
                    layout = self._layout(recompute, tensor, pipeline, zero)
                    best = min(best, self._fewest(layout, below=best))
        return best if best <= LARGEST else None

    def _fewest(self, layout: Layout, below: int) -> int:
        """The fewest GPUs on which this split fits; `below` or more if it needs as many.

        Bytes on a GPU only fall with more data-parallel ranks, once there are two, so bisection finds the number.
        """
        replica = layout.gpus
        sizes = [d for d in range(1, NODE // replica + 1) if replica * d < below]
        step = NODE // gcd(NODE, replica)
        sizes += range((NODE // replica // step + 1) * step, (below - 1) // replica + 1, step)
        if sizes[:1] == [1] and self._runs(layout):
            return replica
        if layout.zero == 0 or not sizes or not self._runs(layout._replace(data=sizes[-1])):
            return below
        several = sizes[sizes[0] == 1 :]
        return replica * several[bisect_left(several, True, key=lambda d: self._runs(layout._replace(data=d)))]

    def _runs(self, layout: Layout) -> bool:
        """Whether it fits with the smallest micro-batch and a full pipeline."""
        smallest = layout._replace(micro_batch=self.wish.micro_batch or 1, accumulation=layout.pipeline)
        return hold(self.job, smallest).total <= self.room

    def _growth(self, layout: Layout) -> float:
        """The global batch over what is asked for."""
        return layout.data * layout.micro_batch * layout.accumulation / self.batch

    def _sensible(self, layout: Layout) -> bool:
        """Whether the batch suffices for every replica and every pipeline stage, unless that pipeline is wished for."""
        fills = layout.accumulation >= layout.pipeline or self.wish.pipeline is not None
        return fills and self._growth(layout) <= FAR

    def ranked(self, gpus: int) -> Iterator[Plan]:
        """Plans that fit on so many GPUs, best first."""
        ladder = list(self._all(gpus))
        for recompute in ("none", "selective", "full"):
            for rule in (1, 2, 3, 4):
                tier = (layout for r, layout in ladder if r == rule and layout.recompute == recompute)
                fitting = [plan for plan in map(self._largest_micro_batch, tier) if plan]
                if rule < 4:
                    fitting = [plan for plan in fitting if self._growth(plan.layout) <= NEAR]
                if rule == 1:
                    fitting = [plan for plan in fitting if self.hides(plan.layout)]
                    if gpus <= NODE:
                        fitting.sort(key=lambda plan: plan.layout.micro_batch * self.job.seq_len < BUSY_TOKENS)
                elif rule == 3:
                    fitting = [plan for plan in fitting if plan.layout.bubble <= BUBBLE]
                elif rule == 4:
                    fitting.sort(key=lambda plan: self._growth(plan.layout) > NEAR)
                number = 5 if recompute == "full" and self.wish.recompute is None else rule
                yield from (plan._replace(rule=number) for plan in fitting)

    def _all(self, gpus: int) -> Iterator[tuple[int, Layout]]:
        """(rule, layout) in the order of the ladder, with micro-batches still to be settled."""
        splits = [(t, p) for t, p in self._splits() if gpus % (t * p) == 0]
        for recompute in self._policies():
            for rule, stages in ((1, (0, 1, 2, 3)), (2, (0, 1)), (3, (0, 1)), (4, (0, 1, 2, 3))):
                for t, p in splits:
                    mine = {1: t == p == 1, 2: t > 1 and p == 1, 3: p > 1, 4: True}[rule]
                    for zero in self._stages(stages if rule < 4 or p == 1 else (0, 1)) if mine else ():
                        yield rule, self._layout(recompute, t, p, zero)._replace(data=gpus // (t * p))

    def _layout(self, recompute: Recompute, tensor: int, pipeline: int, zero: int) -> Layout:
        sequence = tensor > 1 and self.wish.sequence is not False
        return Layout(tensor=tensor, pipeline=pipeline, zero=zero, recompute=recompute, sequence=sequence)

    def _policies(self) -> tuple[Recompute, ...]:
        return (self.wish.recompute,) if self.wish.recompute else ("selective", "full")

    def _stages(self, usual: tuple[int, ...]) -> tuple[int, ...]:
        return usual if self.wish.zero is None else (self.wish.zero,)

    def _splits(self) -> list[tuple[int, int]]:
        """(tensor, pipeline) worth trying, few pipeline stages first."""
        shape, wish = self.job.shape, self.wish
        widths = [t for t in (1, 2, 4, 8) if t == 1 or (divides(self.job, t) and (self.gpu.link or 0) >= FAST_LINK)]
        tensors = [wish.tensor] if wish.tensor else widths
        simple = not shape.encoder and not any(stack.shared for stack in shape.stacks)
        depths = [2**i for i in range(8) if simple and 2**i <= shape.n_layers] or [1]
        pipelines = [wish.pipeline] if wish.pipeline else depths
        return [(t, p) for p in pipelines for t in tensors]

    def _settle(self, layout: Layout, micro_batch: int) -> Layout:
        """With the accumulation that comes nearest to the global batch; a pipeline's is at least its stages."""
        replicas = layout.data * micro_batch
        accumulation = max(1, round(self.batch / replicas))
        if layout.pipeline * replicas <= FAR * self.batch:
            accumulation = max(accumulation, layout.pipeline)
        return layout._replace(micro_batch=micro_batch, accumulation=accumulation)

    def _largest_micro_batch(self, layout: Layout) -> Plan | None:
        """The largest power of two that fits, and is of use; None if not even one sequence does."""
        best = None
        micro = self.wish.micro_batch or 1
        while True:
            settled = self._settle(layout, micro)
            held = hold(self.job, settled)
            if held.total > self.room or not self._sensible(settled):
                return best
            best = Plan(settled, held, self.room, 1)
            micro *= 2
            wider = self._settle(layout, micro)
            enough = micro * self.job.seq_len > ENOUGH_TOKENS or micro * layout.data > self.batch
            if self.wish.micro_batch or enough or wider.bubble > BUBBLE / 2:
                return best

    def _tried(self, layout: Layout) -> Plan:
        """As it would run with the smallest micro-batch and a full pipeline."""
        settled = self._settle(layout, self.wish.micro_batch or 1)
        filled = settled._replace(accumulation=max(settled.accumulation, settled.pipeline))
        return Plan(filled, hold(self.job, filled), self.room, 0)

    def hides(self, layout: Layout) -> bool:
        """Whether a micro-batch computes for longer than its data-parallel traffic takes."""
        fast = self.gpu.link if layout.gpus <= NODE else None
        sending = sent(self.job, layout).data_each / (fast or self.network)
        flops = self.job.flops * layout.micro_batch * self.job.seq_len / (layout.tensor * layout.pipeline)
        return sending <= flops / (self.gpu.peak(("bf16",))[1] * self.mfu)


def divides(job: Job, tensor: int, *, repeat: bool = False) -> bool:
    """Whether t divides the heads and those of K and V; with `repeat`, or is a multiple of those."""
    for stack in (*job.shape.encoder, *job.shape.stacks):
        mixer = stack.layer.mixer
        if isinstance(mixer, Attention | Latent | Mamba2):
            heads = mixer.n_heads
        else:
            heads = mixer.n_key_heads if isinstance(mixer, DeltaNet) else mixer.d_inner
        keys = mixer.n_kv_heads if isinstance(mixer, Attention) else heads
        if heads % tensor or (keys % tensor and not (repeat and tensor % keys == 0)):
            return False
    return True
