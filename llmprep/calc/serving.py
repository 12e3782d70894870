"""A replica that serves: what fits on its devices, how long a prompt and a token take, what a million tokens cost.

Tensor parallelism divides every layer over the devices. Each pass is placed on the roofline (Williams et al., 2009):
it takes as long as its arithmetic or as its reading, whichever is longer, and then the all-reduces. What a device
reaches of its data sheet is an assumption, so times are ranges.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil, floor
from typing import NamedTuple

from llmprep.calc import compute, kv, quant
from llmprep.calc.hardware import MEMORY_SHARE, WORKSPACE, Gpu
from llmprep.calc.shapes import Attention, DeltaNet, Experts, Latent, Mamba2, Shape
from llmprep.errors import UserError

BANDWIDTH_SHARE = (0.5, 0.8)  # of the data sheet, reached in decoding: assumptions, as the next
FLOPS_SHARE = (0.35, 0.6)  # reached in prefill
PRICE = (2.0, 4.0)  # USD for a GPU and hour: an assumption, not a quotation
PRICED = ("a100-80gb", "h100-sxm", "h100-pcie", "h200-sxm", "mi300x")  # the class of device that it is meant for
CHUNK = 8192  # tokens of prompts that an engine computes together in a long run: an assumption
MAX_DEVICES = 1024
ACTIVATION_BYTES = 2  # of a number that all-reduces sum up
NODE = 8  # devices behind one switch of fast links, in most servers

Range = tuple[float, float]  # the better end first


class Work(NamedTuple):
    """What one device does in one pass."""

    flops: float
    weight_bytes: float
    cache_bytes: float
    sent_bytes: float  # to its peers

    def seconds(self, gpu: Gpu, peak_flops: float, flops_share: float, bandwidth_share: float) -> float:
        """The slower of arithmetic and reading, then the all-reduces at the full speed of the links."""
        computing = self.flops / (peak_flops * flops_share)
        reading = (self.weight_bytes + self.cache_bytes) / (gpu.bandwidth * bandwidth_share)
        return max(computing, reading) + (self.sent_bytes / gpu.link if gpu.link else 0)

    def is_compute_bound(self, gpu: Gpu, peak_flops: float, flops_share: float, bandwidth_share: float) -> bool:
        """Whether the arithmetic takes longer than the reading."""
        reading = (self.weight_bytes + self.cache_bytes) / (gpu.bandwidth * bandwidth_share)
        return self.flops / (peak_flops * flops_share) > reading


@dataclass(frozen=True)
class Plan:
    """A model in a format on so many devices, and the requests it is to serve."""

    shape: Shape
    gpu: Gpu
    devices: int
    dtype: str
    kv_dtype: str = "bf16"
    prompt_tokens: int = 1024
    new_tokens: int = 512
    memory_share: float = MEMORY_SHARE
    workspace: float = WORKSPACE
    bandwidth_share: Range = BANDWIDTH_SHARE  # worst first
    flops_share: Range = FLOPS_SHARE

    @cached_property
    def weights(self) -> quant.Weighed:
        """On each device."""
        return quant.weigh(self.shape, self.dtype, tensor_parallel=self.devices)

    @property
    def peak(self) -> tuple[str, float]:
        """The arithmetic and its dense peak on one device."""
        return self.gpu.peak(self.weights.arithmetic)

    def request_bytes(self, generated: int | None = None) -> float:
        """The cache of one request on each device, once `generated` tokens are there; all new ones unless told."""
        new = self.new_tokens if generated is None else generated
        return _cache_bytes(self.shape, self.prompt_tokens, new, self.kv_dtype, self.devices)

    @property
    def room(self) -> float:
        """Bytes for caches on each device; negative where even the weights do not fit."""
        return self.gpu.usable(self.memory_share, self.workspace) - self.weights.n_bytes

    @property
    def requests(self) -> int:
        """How many requests fit at their full length."""
        return max(0, floor(self.room / self.request_bytes()))

    def prefill(self, prompts: int = 1) -> Work:
        """The prompts of so many requests in one pass; logits for their last tokens only."""
        tokens = self.prompt_tokens
        if self.shape.encoder:
            flops = compute.forward(self.shape, 1, encoder_tokens=tokens).total
        else:
            flops = compute.forward(self.shape, tokens, logits=1).total
        read = read_bytes(self.shape, self.weights, prompts * tokens)
        sent = self._sent(prompts * tokens)
        return Work(prompts * flops / self.devices, read, prompts * self.request_bytes(0), sent)

    def decode(self, batch: int) -> Work:
        """A step that gives each of `batch` requests a token, at their mean length."""
        generated = ceil((self.new_tokens + 1) / 2)
        context = generated if self.shape.encoder else self.prompt_tokens + generated
        encoder_tokens = self.prompt_tokens if self.shape.encoder else None
        flops = batch * compute.decode(self.shape, context, encoder_tokens=encoder_tokens).total
        decoder = replace(self.shape, encoder=())
        weights = quant.weigh(decoder, self.dtype, tensor_parallel=self.devices)
        read = read_bytes(decoder, weights, batch)
        return Work(flops / self.devices, read, batch * self.request_bytes(generated), self._sent(batch))

    def _sent(self, tokens: int) -> float:
        """Two ring all-reduces a layer, each of which sends 2·(t − 1)/t of its tokens · d numbers."""
        layers = self.shape.n_layers
        return 2 * layers * 2 * (self.devices - 1) / self.devices * tokens * self.shape.d_model * ACTIVATION_BYTES

    def seconds(self, work: Work) -> Range:
        """Best and worst."""
        peak, (low, high), (slow, fast) = self.peak[1], self.flops_share, self.bandwidth_share
        return work.seconds(self.gpu, peak, high, fast), work.seconds(self.gpu, peak, low, slow)

    def prompt_seconds(self, batch: int) -> Range:
        """Seconds a prompt in a long run, where an engine computes several together and reads the weights once."""
        together = max(1, min(batch, CHUNK // self.prompt_tokens))
        best, worst = self.seconds(self.prefill(together))
        return best / together, worst / together

    def rate(self, batch: int) -> Range:
        """New tokens a second over a long run in which every request's prefill stops the others; best first."""
        prompts, steps = self.prompt_seconds(batch), self.seconds(self.decode(batch))
        best, worst = (
            batch * self.new_tokens / (batch * prompt + self.new_tokens * step)
            for prompt, step in zip(prompts, steps, strict=True)
        )
        return best, worst


def _cache_bytes(shape: Shape, prompt: int, new: int, fmt: str, devices: int) -> float:
    """An encoder-decoder's prompt goes to the encoder and is cached by cross-attention."""
    tokens, encoder_tokens = (new, prompt) if shape.encoder else (prompt + new, None)
    return kv.request_bytes(shape, tokens, fmt, encoder_tokens=encoder_tokens, tensor_parallel=devices)


def read_bytes(shape: Shape, weights: quant.Weighed, tokens: int) -> float:
    """Bytes of weights that a pass over so many tokens reads: no look-up tables, of the experts only those chosen."""
    parts = weights.by_part()
    tables = ("position embedding",) if shape.tied else ("position embedding", "token embedding")
    skipped = sum(parts.get(part, 0) for part in tables)
    return weights.n_bytes - skipped - parts.get("experts", 0) * (1 - share_of_experts(shape, tokens))


def share_of_experts(shape: Shape, tokens: int) -> float:
    """The expected part of the experts that so many tokens choose; 1 for a dense model."""
    sparse = [(stack.n, stack.layer.ffn) for stack in shape.stacks if isinstance(stack.layer.ffn, Experts)]
    if not sparse:
        return 1.0
    touched = sum(n * compute.experts_touched(ffn.n, ffn.top_k, tokens) / ffn.n for n, ffn in sparse)
    return touched / sum(n for n, _ in sparse)


def misfit(shape: Shape, devices: int) -> str:
    """Why so many devices cannot share the layers, or the empty string.

    Heads are dealt out whole; with more devices than key/value heads, each of those is repeated on as many.
    """
    for stack in (*shape.encoder, *shape.stacks):
        mixer = stack.layer.mixer
        if isinstance(mixer, Attention):
            heads, groups = mixer.n_heads, mixer.n_kv_heads
            if heads % devices:
                return f"does not divide the {heads} heads"
            if groups % devices and devices % groups:
                return f"goes neither into the {groups} key/value heads nor the other way round"
        elif isinstance(mixer, Latent | Mamba2) and mixer.n_heads % devices:
            return f"does not divide the {mixer.n_heads} heads"
        elif isinstance(mixer, DeltaNet) and (mixer.n_value_heads % devices or mixer.n_key_heads % devices):
            return f"does not divide the {mixer.n_key_heads} key and {mixer.n_value_heads} value heads"
    return ""


def degrees(shape: Shape) -> Iterator[int]:
    """Numbers of devices to try: powers of two that divide the heads, as servers have them; else any that does."""
    powers = [2**i for i in range(11) if not misfit(shape, 2**i)]
    yield from powers if len(powers) > 1 else (n for n in range(1, MAX_DEVICES + 1) if not misfit(shape, n))


def smallest(plan: Plan, requests: int = 1) -> Plan | None:
    """The plan on the fewest devices that hold the weights and so many requests; None if none do."""
    for devices in degrees(plan.shape):
        candidate = replace(plan, devices=devices)
        if candidate.requests >= requests:
            return candidate
    return None


def check_devices(shape: Shape, devices: int, option: str = "--gpus") -> int:
    """`devices`, if they can share the layers; else UserError with numbers that can."""
    if devices < 1:
        raise UserError(f"{option} must be at least 1, not {devices}")
    if devices > MAX_DEVICES:
        raise UserError(f"{option} must be at most {MAX_DEVICES:,}, not {devices}")
    if reason := misfit(shape, devices):
        possible = [n for n in range(1, max(NODE, devices) + 1) if not misfit(shape, n)]
        raise UserError(f"{option} {devices} {reason} of this model (possible: {', '.join(map(str, possible))})")
    return devices


def gpu_hours(seconds: float, devices: int, tokens: float) -> float:
    """GPU-hours of a million tokens, if `tokens` of them take `seconds` on so many devices."""
    return seconds * devices / 3600 / tokens * 1e6
