"""FLOPs and time: what a pass or a training run costs, and whether a kernel waits for memory."""

from collections.abc import Iterable
from typing import NamedTuple

from llmprep.calc import params
from llmprep.calc.shapes import Attention, DeltaNet, Latent, Layer, Mamba2, Mixer, Shape, Stack, StateSpace

SECONDS_PER_DAY = 86_400


class Forward(NamedTuple):
    """FLOPs of a forward pass of one sequence; a multiplication and an addition are two."""

    linear: int  # weights of the layers (of the experts only those chosen) and of projections beside them
    attention: int  # QKᵀ and the sum over V
    state: int  # recurrences and short convolutions, element by element: not matrix products
    head: int  # logits

    @property
    def total(self) -> int:
        """All of it."""
        return sum(self)


def training_flops(n_params: float, tokens: float) -> float:
    """C = 6·N·D: 2 a parameter and token forward, 4 backward (Kaplan et al., arXiv 2001.08361, section 2.1)."""
    return 6 * n_params * tokens


def training_flops_per_token(shape: Shape, seq_len: int) -> int:
    """6N + 12·L·H·D·T with N the parameters in matmuls (PaLM, arXiv 2204.02311, appendix B).

    The second term is attention over the full square; a causal kernel that skips the upper half does less.
    """
    attention = 3 * seq_len * sum(stack.n * stack.layer.mixer.flops_per_pair for stack in shape.stacks)
    return 6 * params.in_matmuls(shape) + attention


def training_days(flops: float, n_devices: int, peak_flops: float, mfu: float) -> float:
    """Days on `n_devices` of `peak_flops` each, of which the run turns the share `mfu` into model FLOPs."""
    return flops / (n_devices * peak_flops * mfu) / SECONDS_PER_DAY


def model_flops_utilization(flops_per_token: float, tokens_per_second: float, peak_flops: float) -> float:
    """MFU: the FLOPs that the model needs, over those the device could do (PaLM, appendix B)."""
    return flops_per_token * tokens_per_second / peak_flops


def ridge(peak_flops: float, bandwidth: float) -> float:
    """FLOPs per byte above which a kernel is compute-bound (roofline model): 153 for an A100 80GB in BF16."""
    return peak_flops / bandwidth


def pairs(tokens: int, past: int = 0, window: int | None = None) -> int:
    """(query, key) pairs that a causal mask lets through: T(T + 1)/2 without a past or a window.

    A query sees itself, what is before it in the pass and the `past` cached tokens, at most `window` in all.
    """
    growing = tokens if window is None else max(0, min(tokens, window - past))
    return growing * past + growing * (growing + 1) // 2 + (tokens - growing) * (window or 0)


def local_pairs(tokens: int, window: int) -> int:
    """Pairs of an encoder whose tokens see `window // 2` neighbours on each side."""
    half = min(window // 2, tokens - 1)
    return tokens * (2 * half + 1) - half * (half + 1)


def pair_flops(mixer: Mixer, *, absorbed: bool = False) -> int:
    """FLOPs of one query with one key, over all heads.

    4·H·D for multi-head attention, grouped or not: GQA saves bytes, not FLOPs. MLA with keys and values spelt out:
    2·H·(D_nope + D_rope + D_v); absorbed, the latent is both key and value: 2·H·(2·r_kv + D_rope)
    (DeepSeek-V2, arXiv 2405.04434, section 2.1.2).
    """
    if absorbed and isinstance(mixer, Latent):
        return 2 * mixer.n_heads * (2 * mixer.kv_rank + mixer.rope_dim)
    return mixer.flops_per_pair


def state_flops(mixer: Mixer) -> int:
    """FLOPs a token of a recurrent mixer beside its matrices, in the step-by-step form.

    Short convolution: 2·k a channel. Mamba: h ← exp(Δ·A)·h + Δ·B·x and y = C·h, 8 a number of the state. DeltaNet:
    decay, Sᵀk, the rank-one update, Sᵀq: 7 a number. Chunked kernels for training do more.
    """
    if isinstance(mixer, StateSpace):
        return mixer.d_inner * (2 * mixer.d_conv + 8 * mixer.d_state)
    if isinstance(mixer, Mamba2):
        return 2 * mixer.d_conv * mixer.d_short + 8 * mixer.d_inner * mixer.d_state
    if isinstance(mixer, DeltaNet):
        channels = 2 * mixer.n_key_heads * mixer.key_dim + mixer.n_value_heads * mixer.value_dim
        return 2 * mixer.d_conv * channels + 7 * mixer.n_value_heads * mixer.key_dim * mixer.value_dim
    return 0


def forward(
    shape: Shape,
    tokens: int,
    *,
    past: int = 0,
    square: bool = False,
    logits: int | None = None,
    encoder_tokens: int | None = None,
    absorbed: bool = False,
) -> Forward:
    """One sequence: `tokens` new ones after `past` cached ones.

    `square`: attention computes every pair and masks afterwards, as eager code does, windows included; otherwise only
    the pairs that a causal mask or a window lets through. `logits`: how many tokens get them; None: all. An
    encoder-decoder reads `encoder_tokens` (as many as `tokens` unless told; 0: encoded before).
    """
    read = (tokens if encoder_tokens is None else encoder_tokens) if shape.encoder else 0
    linear = attention = state = 0
    for stack, n, causal in (
        *((stack, read, False) for stack in shape.encoder if read),
        *((stack, tokens, shape.causal) for stack in shape.stacks),
    ):
        own, of_encoder = _linear_weights(shape, stack.layer)
        linear += 2 * stack.n * (own * n + of_encoder * read)
        attention += stack.n * _attention_flops(stack.layer.mixer, n, past, causal, square=square, absorbed=absorbed)
        state += stack.n * state_flops(stack.layer.mixer) * n
        if stack.layer.cross:
            attention += stack.n * stack.layer.cross.flops_per_pair * n * (read or tokens + past)
    for weight in shape.extra:
        if weight.kind == "matrix" and weight.part != "output head":
            linear += 2 * weight.size * weight.used * (1 if weight.part == "pooler" else tokens)
    return Forward(linear, attention, state, 2 * params.head(shape) * (tokens if logits is None else logits))


def _linear_weights(shape: Shape, layer: Layer) -> tuple[int, int]:
    """Weights of a layer that each of its tokens is multiplied with, and that each of the encoder's tokens is."""
    own = of_encoder = 0
    for weight in layer.weights(shape.d_model, shape.norm_size):
        if weight.kind == "matrix":
            if weight.part == "cross-attention" and weight.name in ("W_k", "W_v"):
                of_encoder += weight.used * weight.size
            else:
                own += weight.used * weight.size
    return own, of_encoder


def _attention_flops(mixer: Mixer, tokens: int, past: int, causal: bool, *, square: bool, absorbed: bool) -> int:
    window = mixer.window if isinstance(mixer, Attention) else None
    if square or (not causal and window is None):
        n = tokens * (past + tokens)
    else:
        n = pairs(tokens, past, window) if causal else local_pairs(tokens, window or tokens)
    return n * pair_flops(mixer, absorbed=absorbed)


def decode(shape: Shape, context: int, *, encoder_tokens: int | None = None) -> Forward:
    """One new token that sees `context` tokens, itself included, in the form that serves best: MLA absorbed.

    The absorbed form multiplies with W_uk and W_uv as often as the plain one; only its scores and sums are wider.
    """
    new = forward(shape, 1, past=context - 1, absorbed=True, encoder_tokens=0)
    if not shape.encoder or encoder_tokens is None:
        return new
    spare = context - encoder_tokens
    return new._replace(attention=new.attention - spare * _cross_flops(shape.stacks))


def _cross_flops(stacks: Iterable[Stack]) -> int:
    return sum(stack.n * stack.layer.cross.flops_per_pair for stack in stacks if stack.layer.cross)


def decompression_flops(shape: Shape, context: int) -> int:
    """What a decode step of MLA adds without absorption: keys and values of all tokens from their latents again."""
    total = 0
    for stack in shape.stacks:
        mixer = stack.layer.mixer
        if isinstance(mixer, Latent):
            total += stack.n * 2 * context * mixer.kv_rank * mixer.n_heads * (mixer.nope_dim + mixer.v_dim)
    return total


def training_step(shape: Shape, tokens: int, *, square: bool = True) -> int:
    """FLOPs of a step on one sequence: the backward pass does twice the forward pass's (2N, 4N, 6N a token).

    `square` counts attention over all pairs, as PaLM's MFU does; a causal kernel does about half of it.
    """
    return 3 * forward(shape, tokens, square=square).total


def experts_touched(n: int, top_k: int, tokens: int) -> float:
    """Distinct experts of a layer that so many tokens choose, if each chooses evenly: n·(1 − (1 − k/n)^B)."""
    return n * (1 - (1 - top_k / n) ** tokens)
