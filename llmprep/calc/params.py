"""How many parameters a decoder has, term by term. Exact: data/models.json holds the same totals."""

from llmprep.calc.shapes import Shape


def attention(shape: Shape) -> int:
    """One layer: W_q and W_o are d × H·D, W_k and W_v are d × H_kv·D; with H·D = d that is 2d²(1 + H_kv/H)."""
    d, q, kv = shape.d_model, shape.n_heads * shape.head_dim, shape.n_kv_heads * shape.head_dim
    biases = shape.qkv_bias * (q + 2 * kv) + shape.out_bias * d
    return 2 * d * (q + kv) + biases + shape.qk_norm * 2 * shape.head_dim


def feed_forward(shape: Shape) -> int:
    """One layer: 3·d·d_ff with a gate (SwiGLU), 2·d·d_ff without, which is 8d² at d_ff = 4d."""
    inner = 2 if shape.gated else 1  # matrices of d_ff columns; one more leads back to d
    biases = shape.ffn_bias * (inner * shape.d_ff + shape.d_model)
    return (inner + 1) * shape.d_model * shape.d_ff + biases


def norm(shape: Shape) -> int:
    """One norm; a decoder has two a layer and one at the end."""
    return 2 * shape.d_model if shape.layer_norm else shape.d_model


def terms(shape: Shape) -> dict[str, int]:
    """The bill, over all layers; its sum is the number of parameters."""
    table = shape.vocab_size * shape.d_model
    return {
        "token embedding": table,
        "position embedding": shape.n_positions * shape.d_model,
        "attention": shape.n_layers * attention(shape),
        "feed-forward": shape.n_layers * feed_forward(shape),
        "norms": (2 * shape.n_layers + 1) * norm(shape),
        "output head": 0 if shape.tied else table,
    }


def total(shape: Shape) -> int:
    """Every parameter, a tied head counted once: Llama-3-8B has 8,030,261,248."""
    return sum(terms(shape).values())


def vocabulary_share(shape: Shape) -> float:
    """The part of all parameters that grows with the vocabulary: embedding and untied head."""
    bill = terms(shape)
    return (bill["token embedding"] + bill["output head"]) / total(shape)


def in_matmuls(shape: Shape) -> int:
    """Weights that every token is multiplied with: no look-up tables, norms or biases, but the head, tied or not.

    This is the N for which a forward pass costs 2N FLOPs a token plus attention. Kaplan et al. (arXiv 2001.08361,
    section 2.1) leave out the head as well.
    """
    d, q, kv = shape.d_model, shape.n_heads * shape.head_dim, shape.n_kv_heads * shape.head_dim
    per_layer = 2 * d * (q + kv) + (3 if shape.gated else 2) * d * shape.d_ff
    return shape.n_layers * per_layer + shape.vocab_size * d
