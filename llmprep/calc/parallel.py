"""What each GPU holds when a training job is spread over many: tensor, pipeline and data parallel, ZeRO on top."""

from math import ceil
from typing import NamedTuple

from llmprep.calc import slicing
from llmprep.calc.job import Job
from llmprep.calc.memory import Recompute
from llmprep.calc.slicing import Cut


class Layout(NamedTuple):
    """How a job is spread: tensor · pipeline · data GPUs."""

    data: int = 1
    tensor: int = 1
    pipeline: int = 1
    zero: int = 0  # stage of ZeRO over the data-parallel ranks; 3 is what FSDP does
    recompute: Recompute = "selective"
    sequence: bool = False  # sequence parallelism in the tensor-parallel group
    micro_batch: int = 1  # sequences that a replica runs at a time
    accumulation: int = 1  # micro-batches in a step

    @property
    def gpus(self) -> int:
        """All of them."""
        return self.data * self.tensor * self.pipeline

    @property
    def bubble(self) -> float:
        """Idle time over working time of a pipeline, (p − 1)/m (1F1B; Narayanan et al., arXiv 2104.04473, 2.2)."""
        return bubble(self.pipeline, self.accumulation)

    def in_flight(self, stage: int) -> int:
        """Micro-batches whose activations pipeline stage `stage` keeps at once under 1F1B: min(p − i, m)."""
        return min(self.pipeline - stage, self.accumulation)


def bubble(pipeline: int, micro_batches: int, chunks: int = 1) -> float:
    """(p − 1)/(v·m): each GPU runs v chunks of layers in turn (interleaved schedule, arXiv 2104.04473, 2.2.2)."""
    return (pipeline - 1) / (chunks * micro_batches)


def interleaved(pipeline: int, chunks: int) -> float:
    """How much more the first stage keeps with v chunks: 1 + (p − 1)/(p·v) (arXiv 2205.05198, section 4.2.3)."""
    return 1 + (pipeline - 1) / (pipeline * chunks) if chunks > 1 else 1.0


class Held(NamedTuple):
    """Bytes on the fullest GPU."""

    weights: float  # that are trained, as they are multiplied with
    gradients: float
    optimizer: float
    frozen: float  # the base under adapters
    activations: float  # what the layers keep for the backward pass
    recomputed: float  # one layer's activations while it runs again
    head: float  # last norm and logits
    buffers: float  # gathered layers, gradients on their way, a dequantised matrix

    @property
    def states(self) -> float:
        """What lives from step to step."""
        return self.weights + self.gradients + self.optimizer + self.frozen

    @property
    def total(self) -> float:
        """Everything that is counted here."""
        return self.states + self.activations + self.recomputed + self.head + self.buffers


def hold(job: Job, layout: Layout) -> Held:
    """What the fullest GPU holds: of a pipeline the first stage, with all its micro-batches, or the last, with logits.

    Stages get ⌈L/p⌉ layers; where layers differ, the heaviest are assumed to meet on one stage. Data-parallel ranks
    hold what the ZeRO stage leaves whole and their share of the rest.
    """
    cut = slicing.cut(job, layout.tensor, sequence=layout.sequence)
    first = _stage(job, layout, cut, 0)
    return first if layout.pipeline == 1 else max(first, _stage(job, layout, cut, layout.pipeline - 1), key=_total)


def _total(held: Held) -> float:
    return held.total


def _stage(job: Job, layout: Layout, cut: Cut, stage: int) -> Held:
    recipe, full, alone = job.recipe, not job.adapters, layout.pipeline == 1
    last = stage == layout.pipeline - 1
    n_layers = ceil(sum(layer.n for layer in cut.layers) / layout.pipeline)
    if alone:
        trained = sum(layer.stored * layer.trained for layer in cut.layers)
        frozen = sum(layer.stored * layer.frozen for layer in cut.layers)
    else:
        trained = _heaviest(n_layers, [(layer.n, layer.trained) for layer in cut.layers])
        frozen = _heaviest(n_layers, [(layer.n, layer.frozen) for layer in cut.layers])
    around = (cut.table + cut.before if stage == 0 else 0) + (cut.after if last else 0)
    around += cut.head if alone else cut.table * last * job.shape.head  # a tied head is copied to the last stage
    trained += around * full
    frozen += around * recipe.itemsize * (not full)

    tokens = layout.micro_batch * job.seq_len
    kept = {
        "none": [(layer.n, layer.rest + layer.scores) for layer in cut.layers],
        "selective": [(layer.n, layer.rest) for layer in cut.layers],
        "full": [(layer.n, layer.input) for layer in cut.layers],
    }[layout.recompute]
    again = max(layer.rest for layer in cut.layers) if layout.recompute == "full" else 0
    shards = [layout.data if layout.zero >= first else 1 for first in (3, 2, 1)]
    return Held(
        weights=trained * recipe.weights / shards[0],
        gradients=trained * recipe.gradients / shards[1],
        optimizer=trained * recipe.optimizer / shards[2],
        frozen=frozen / shards[0],
        activations=_heaviest(n_layers, kept) * tokens * layout.in_flight(stage),
        recomputed=again * tokens,
        head=cut.logits * tokens * last,
        buffers=_buffers(job, layout, cut, around),
    )


def _heaviest(n: int, layers: list[tuple[int, float]]) -> float:
    """The sum over the n heaviest of (how many, weight)."""
    total = 0.0
    for many, weight in sorted(layers, key=lambda layer: -layer[1]):
        total += min(n, many) * weight
        n -= min(n, many)
    return total


def _buffers(job: Job, layout: Layout, cut: Cut, around: float) -> float:
    """Stage 3: two layers gathered (one runs, the next arrives) and the tables; stages 2 and 3: a layer's gradients.

    QLoRA: the largest matrix, dequantised.
    """
    recipe, needed = job.recipe, 0.0
    if job.method == "qlora":
        needed += recipe.itemsize * max(layer.matrix for layer in cut.layers)
    if layout.data > 1 and layout.zero == 3:
        needed += 2 * max(layer.trained * recipe.weights + layer.frozen for layer in cut.layers)
        needed += around * (recipe.itemsize if job.adapters else recipe.weights)
    if layout.data > 1 and layout.zero >= 2:
        needed += recipe.gradients * max(layer.trained for layer in cut.layers)
    return needed
