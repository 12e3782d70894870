"""A model cut for tensor parallelism: what one of t GPUs holds of each kind of layer and of what stands around them."""

from functools import lru_cache
from typing import NamedTuple

from llmprep.calc import activations
from llmprep.calc.adapters import Adapters
from llmprep.calc.job import BASE, Job
from llmprep.calc.shapes import Attention, Layer, Stack, Weight

REPEATED = ("W_router", "W_gate_shared", "W_dq", "W_dkv")  # whole on every GPU of a tensor-parallel group


class Slice(NamedTuple):
    """One kind of layer, as far as it lies on a GPU of a tensor-parallel group."""

    n: int  # times a token passes through such a layer
    stored: int  # sets of weights
    trained: float  # parameters
    frozen: float  # bytes
    matrix: float  # largest matrix, in parameters
    scores: float  # bytes a token of the s × s attention probabilities
    rest: float  # bytes a token of everything else
    input: float  # bytes a token of what full recomputation keeps


class Cut(NamedTuple):
    """A model on one of t GPUs: its layers and what stands around them."""

    layers: tuple[Slice, ...]
    table: float  # parameters of the token embedding
    before: float  # other parameters before the layers
    after: float  # parameters after the layers, the head apart
    head: float  # parameters of an untied head
    logits: float  # bytes a token after the last layer


@lru_cache(maxsize=64)
def cut(job: Job, tensor: int, *, sequence: bool) -> Cut:
    """Cut a model into t pieces."""
    shape, size = job.shape, job.recipe.itemsize
    width = shape.embedding_dim or shape.d_model
    return Cut(
        tuple(_slice(job, stack, tensor, sequence=sequence) for stack in (*shape.encoder, *shape.stacks)),
        table=shape.vocab_size * width / tensor,
        before=sum(w.copies * w.size for w in shape.extra if w.kind == "table"),
        after=shape.last_norms * shape.norm_size + sum(w.copies * w.size for w in shape.extra if w.kind != "table"),
        head=shape.vocab_size * width / tensor if shape.head and not shape.tied else 0,
        logits=sum(saved.on_a_gpu(tensor, sequence=sequence) for saved in activations.of_head(shape, size)),
    )


def _slice(job: Job, stack: Stack, tensor: int, *, sequence: bool) -> Slice:
    """One kind of layer."""
    shape, size, layer = job.shape, job.recipe.itemsize, stack.layer

    def kept(*, scores: bool) -> float:
        saved = activations.of_layer(
            shape, layer, job.seq_len, itemsize=size, scores=scores, dropout=job.dropout, adapters=job.adapters
        )
        return sum(each.on_a_gpu(tensor, sequence=sequence) for each in saved)

    weights = [(w, w.copies / _ways(w, layer, tensor)) for w in layer.weights(shape.d_model, shape.norm_size)]
    adapted = _adapters(weights, job.adapters) if job.adapters else sum(n * w.size for w, n in weights)
    rest = kept(scores=False)
    return Slice(
        stack.n,
        stack.stored,
        trained=adapted,
        frozen=sum(n * _frozen_bytes(w, job) for w, n in weights),
        matrix=max((w.size / _ways(w, layer, tensor) for w, _ in weights if w.kind == "matrix"), default=0),
        scores=kept(scores=True) - rest,
        rest=rest,
        input=size * shape.d_model / (tensor if sequence else 1),
    )


def _ways(weight: Weight, layer: Layer, tensor: int) -> int:
    """Over how many GPUs a tensor is divided. Keys and values are repeated once there are more GPUs than heads."""
    if weight.kind == "vector" or weight.name in REPEATED:
        return 1
    if weight.name in ("W_k", "W_v"):
        heads = [m.n_kv_heads for m in (layer.mixer, layer.cross) if isinstance(m, Attention) and m.part == weight.part]
        return min([tensor, *heads])
    return tensor


def _adapters(weights: list[tuple[Weight, float]], adapters: Adapters) -> float:
    """Adapter parameters on a GPU: the side of A or B that meets the divided side of the matrix is divided too."""
    trained = 0.0
    for weight, n in weights:
        if adapters.size(weight):
            rows, cols = weight.shape
            ways = weight.copies / n
            across, along = (rows, cols) if weight.name in ("W_o", "W_down", "W_out") else (cols, rows)
            trained += weight.copies * adapters.rank * (across / ways + along)
    return trained


def _frozen_bytes(weight: Weight, job: Job) -> float:
    """Bytes of one copy in the base under adapters."""
    if not job.adapters:
        return 0
    if job.method == "qlora":
        from llmprep.calc import quant

        nf4 = quant.FORMATS[BASE]
        if nf4.quantises(weight, sparse=False):
            return nf4.codes(weight) + nf4.scales(weight)
    return job.recipe.itemsize * weight.size
