"""The KV cache: what a decoder keeps of the tokens that it has seen."""

from dataclasses import dataclass
from math import ceil
from typing import Literal, NamedTuple

from llmprep.calc import options
from llmprep.calc.shapes import Attention, DeltaNet, Latent, Mamba2, Mixer, Shape, StateSpace

Kind = Literal["full", "window", "latent", "cross", "state"]
STATE_BYTES = 4  # a number of a recurrent state: FP32, as transformers keeps it
CONV_BYTES = 2  # a number among the last inputs of a short convolution: 16 bits


@dataclass(frozen=True)
class CacheFormat:
    """Bits of a cached number, and of what a group of them shares."""

    name: str
    bits: int
    group_bits: int = 0  # scale and zero point
    group: int | None = None  # numbers that share them; None: one head's key or value (MLA: the whole latent)

    def bytes_of(self, elements: int, vector: int) -> float:
        """Bytes of `elements` cached numbers that come in vectors of `vector`."""
        groups = elements // vector * ceil(vector / (self.group or vector)) if self.group_bits else 0
        return (elements * self.bits + groups * self.group_bits) / 8


FORMATS = {
    f.name: f
    for f in (
        CacheFormat("bf16", 16),
        CacheFormat("fp16", 16),
        CacheFormat("fp8", 8),  # one scale a layer for K and one for V: nothing a token
        CacheFormat("int8", 8, 16),  # an FP16 scale for each head's key and value
        CacheFormat("int6", 6),  # on average, scales included, as DeepSeek-V2 (arXiv 2405.04434, section 3.2.3) has it
        CacheFormat("int4", 4, 32, 64),  # an FP16 scale and zero point for 64 numbers of a head
        CacheFormat("fp32", 32),
    )
}


class Layers(NamedTuple):
    """What equal layers keep of one sequence."""

    kind: Kind
    n: int
    per_token: int  # elements a layer and token
    vector: int  # elements that are quantised together
    window: int | None  # tokens kept at most
    recurrent: int  # elements whatever the length
    convolution: int
    mixer: Mixer

    def tokens(self, seen: int) -> int:
        """How many tokens such a layer holds after `seen`."""
        return min(seen, self.window) if self.window else seen

    def n_bytes(self, seen: int, fmt: CacheFormat) -> float:
        """Bytes of all these layers after `seen` tokens."""
        cached = fmt.bytes_of(self.per_token, self.vector) * self.tokens(seen) if self.per_token else 0
        return self.n * (cached + STATE_BYTES * self.recurrent + CONV_BYTES * self.convolution)


def find(name: str, option: str = "--kv-dtype") -> CacheFormat:
    """A format by name; UserError that names the option for an unknown one."""
    word = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}.get(name.strip().lower(), name.strip().lower())
    return FORMATS[options.known(option, word, "format of the cache", FORMATS)]


def bytes_per_token(shape: Shape, itemsize: float = 2) -> float:
    """Bytes that one more token adds over all layers, while no window is full.

    MHA, GQA, MQA: 2 (K and V) · H_kv · D a layer; Llama-3-8B in BF16 keeps 131,072 B.
    """
    return itemsize * sum(stack.n * stack.layer.mixer.cached.per_token for stack in shape.stacks)


def layers(shape: Shape, tensor_parallel: int = 1) -> list[Layers]:
    """Layers that cache alike taken together, on one of `tensor_parallel` devices; none for an encoder.

    Key/value heads are divided, at least one stays on each device; MLA's latent serves all heads, so every device
    holds a copy; states are divided.
    """
    found: dict[tuple[bool, Mixer], int] = {}
    for stack in shape.stacks if shape.causal else ():
        for mixer in (stack.layer.mixer, stack.layer.cross):
            if mixer:
                key = (mixer is stack.layer.cross, mixer)
                found[key] = found.get(key, 0) + stack.n
    return [_alike(mixer, n, tensor_parallel, cross=cross) for (cross, mixer), n in found.items()]


def _alike(mixer: Mixer, n: int, devices: int, *, cross: bool) -> Layers:
    cached = mixer.cached
    if isinstance(mixer, Attention):
        kind: Kind = "cross" if cross else "window" if cached.window else "full"
        per_token = 2 * ceil(mixer.n_kv_heads / devices) * mixer.head_dim
        return Layers(kind, n, per_token, mixer.head_dim, cached.window, 0, 0, mixer)
    if isinstance(mixer, Latent):
        return Layers("latent", n, cached.per_token, cached.per_token, cached.window, 0, 0, mixer)
    convolution = conv_elements(mixer)
    return Layers("state", n, 0, 1, None, (cached.state - convolution) // devices, convolution // devices, mixer)


def conv_elements(mixer: Mixer) -> int:
    """Of a mixer's state, the last inputs of its short convolution: k for each channel."""
    if isinstance(mixer, StateSpace):
        return mixer.d_inner * mixer.d_conv
    if isinstance(mixer, Mamba2):
        return mixer.d_short * mixer.d_conv
    if isinstance(mixer, DeltaNet):
        channels = 2 * mixer.n_key_heads * mixer.key_dim + mixer.n_value_heads * mixer.value_dim
        return channels * mixer.d_conv
    return 0


def request_bytes(
    shape: Shape, tokens: int, fmt: str = "bf16", *, encoder_tokens: int | None = None, tensor_parallel: int = 1
) -> float:
    """The cache of one sequence of `tokens`, on one of `tensor_parallel` devices.

    Layers with a window hold `window` tokens at most, layers with a state the same whatever the length. Cross-attention
    caches the encoder's tokens, as many as the decoder's unless told.
    """
    chosen, read = find(fmt), tokens if encoder_tokens is None else encoder_tokens
    held = ((part, read if part.kind == "cross" else tokens) for part in layers(shape, tensor_parallel))
    return sum(part.n_bytes(seen, chosen) for part, seen in held)


def growth(shape: Shape, tokens: int, fmt: str = "bf16") -> float:
    """Bytes that the next token adds to a sequence of `tokens`: full windows and states do not grow."""
    return request_bytes(shape, tokens + 1, fmt, encoder_tokens=0) - request_bytes(shape, tokens, fmt, encoder_tokens=0)


def per_token(shape: Shape, fmt: str = "bf16") -> float:
    """Bytes of one token over all layers while no window is full, scales included; the encoder's are not counted."""
    chosen = find(fmt)
    return sum(p.n * chosen.bytes_of(p.per_token, p.vector) for p in layers(shape) if p.per_token and p.kind != "cross")


def mha_elements(mixer: Mixer) -> int:
    """What a layer would cache a token with a key and a value for each query head."""
    if isinstance(mixer, Attention):
        return 2 * mixer.q_dim
    if isinstance(mixer, Latent):
        return mixer.n_heads * (mixer.nope_dim + mixer.rope_dim + mixer.v_dim)
    return 0


def mha_bytes(shape: Shape, tokens: int, fmt: str = "bf16") -> float:
    """The cache with every query head's key and value, every layer seeing all tokens; states as they are.

    Cross-attention reads as many tokens of the encoder.
    """
    chosen, total = find(fmt), 0.0
    for part in layers(shape):
        elements = mha_elements(part.mixer)
        if part.kind == "state":
            total += part.n_bytes(tokens, chosen)
        else:
            total += part.n * tokens * chosen.bytes_of(elements, min(part.vector, elements))
    return total


def name(shape: Shape) -> str:
    """What the attention is called: MHA, GQA, MQA, MLA, or none."""
    found = []
    for stack in shape.stacks:
        mixer = stack.layer.mixer
        if isinstance(mixer, Latent):
            found.append("MLA")
        elif isinstance(mixer, Attention):
            heads, groups = mixer.n_heads, mixer.n_kv_heads
            found.append("MHA" if groups == heads else "MQA" if groups == 1 else "GQA")
    return "/".join(dict.fromkeys(found)) or "none"
