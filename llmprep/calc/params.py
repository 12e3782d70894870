"""How many parameters a model has, term by term. Exact: data/models.json holds the same totals."""

from typing import NamedTuple

from llmprep.calc.shapes import PARTS, Shape


class Active(NamedTuple):
    """Parameters that a token passes through, by the three conventions in use for what counts of the embeddings."""

    with_embeddings: int  # everything but the experts that are not chosen
    without_input_embedding: int  # a look-up is no work; a head, tied or not, is: gpt-oss's convention
    without_embedding_and_head: int  # neither, as Kaplan et al. (arXiv 2001.08361, section 2.1) count


def terms(shape: Shape) -> dict[str, int]:
    """The bill, over all layers; its sum is the number of parameters."""
    bill = dict.fromkeys(PARTS, 0)
    for stored, _, weight in shape.weights():
        bill[weight.part] += stored * weight.copies * weight.size
    return {part: n for part, n in bill.items() if n}


def total(shape: Shape) -> int:
    """Every parameter, a tied head counted once: Llama-3-8B has 8,030,261,248."""
    return sum(stored * weight.copies * weight.size for stored, _, weight in shape.weights())


def head(shape: Shape) -> int:
    """The weights of the output head, tied or not; 0 for an encoder."""
    return shape.vocab_size * (shape.embedding_dim or shape.d_model) if shape.head else 0


def active(shape: Shape) -> Active:
    """What a token uses: of the experts only those that are chosen. A dense model uses all."""
    used = [(stored * weight.used * weight.size, weight) for stored, _, weight in shape.weights()]
    everything = sum(n for n, _ in used)
    multiplied = sum(n for n, weight in used if weight.kind != "table") + (head(shape) if shape.tied else 0)
    inside = sum(n for n, weight in used if weight.kind != "table" and weight.part != "output head")
    return Active(everything, multiplied, inside)


def vocabulary_share(shape: Shape) -> float:
    """The part of all parameters that grows with the vocabulary: embedding and untied head."""
    bill = terms(shape)
    return (bill["token embedding"] + bill.get("output head", 0)) / total(shape)


def in_matmuls(shape: Shape) -> int:
    """Weights that every token is multiplied with: no look-up tables, norms or biases, but the head, tied or not.

    This is the N for which a forward pass costs 2N FLOPs a token plus attention. Layers that share their weights
    count as often as they run, experts as often as they are chosen.
    """
    inside = sum(
        runs * weight.used * weight.size
        for _, runs, weight in shape.weights()
        if weight.kind == "matrix" and weight.part != "output head"
    )
    return inside + head(shape)
