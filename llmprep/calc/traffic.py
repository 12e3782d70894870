"""Bytes that a GPU sends in a training step: gradients and weights of data parallelism, activations of the rest."""

from math import ceil
from typing import NamedTuple

from llmprep.calc.job import Job
from llmprep.calc.parallel import Layout, hold

PASSES = (2, 2, 2, 3)  # times Ψ, the number of parameters, that each ZeRO stage sends in a step of one micro-batch


def elements_sent(n_params: float, stage: int, n_devices: int) -> float:
    """Per GPU and step of one micro-batch: 2Ψ, 2Ψ, 2Ψ, 3Ψ, of which a ring sends (N − 1)/N.

    ZeRO, arXiv 1910.02054, section 7. An all-reduce is a reduce-scatter and an all-gather; stages 1 and 2 put the
    optimiser between the two; stage 3 gathers the weights for the forward and for the backward pass.
    """
    return PASSES[stage] * n_params * (n_devices - 1) / n_devices


class Sent(NamedTuple):
    """Bytes on the wire, sent by one GPU."""

    data_once: float  # of data parallelism, once a step
    data_each: float  # and for every micro-batch
    tensor_each: float
    pipeline_each: float

    def in_a_step(self, micro_batches: int) -> float:
        """Everything."""
        return self.data_once + micro_batches * (self.data_each + self.tensor_each + self.pipeline_each)


def sent(job: Job, layout: Layout) -> Sent:
    """Ring collectives: reduce-scatter and all-gather send (N − 1)/N of the whole each, an all-reduce both.

    With accumulation, stages 0 and 1 reduce gradients once a step; stage 2 scatters them and stage 3 also gathers the
    weights twice for every micro-batch. A tensor-parallel layer has 4 all-reduces of s·b·d values, two in each
    direction; sequence parallelism sends the same in another order (arXiv 2205.05198, section 4.2.2).
    """
    whole, d, t = hold(job, layout._replace(data=1, zero=0)), layout.data, layout.tensor
    ring = (d - 1) / d
    gradients, weights, base = ring * whole.gradients, ring * whole.weights, ring * whole.frozen
    once, each = (
        (2 * gradients, 0.0),
        (gradients + weights, 0.0),
        (weights, gradients),
        (0.0, 2 * (weights + base) + gradients),
    )[layout.zero]
    block = layout.micro_batch * job.seq_len * job.shape.d_model * job.recipe.itemsize
    n_layers = ceil(sum(s.n for s in (*job.shape.encoder, *job.shape.stacks)) / layout.pipeline)
    tensor = n_layers * 4 * 2 * (t - 1) / t * block
    return Sent(once, each, tensor, 2 * block * (layout.pipeline > 1))
