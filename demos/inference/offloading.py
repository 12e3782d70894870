"""When does it pay to keep weights in CPU memory?

A layer that is not on the GPU has two ways to run: send its weights over PCIe and compute on the GPU, or leave them
where they are and compute on the CPU. Over the link a step takes bytes / link bandwidth however many tokens share it:
hopeless for one chat, fair for a large batch or a long prompt. The CPU reads its own memory faster than the link can
carry it, but has few FLOPs: better for a handful of tokens, worse for many.

Weights only: attention, and the KV cache that it reads on the GPU, are left out of the times.
"""

import bisect
import heapq
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from llmprep import content
from llmprep.lab import Fact, Plot, Result, Series, Table, Text


class Layer(NamedTuple):
    """Seconds to bring the weights over (0: they need not come) and seconds to compute."""

    transfer_s: float
    compute_s: float


class Timeline(NamedTuple):
    """What the simulation saw: seconds, in all and busy."""

    step_s: float
    link_s: float
    compute_s: float


def simulate(layers: list[Layer], n_buffers: int) -> Timeline:
    """One step as discrete events: a link fills free buffers, a processor empties them, both in the order of layers."""
    to_send = [i for i, layer in enumerate(layers) if layer.transfer_s > 0]
    here = [layer.transfer_s == 0 for layer in layers]
    free, running, next_layer = n_buffers, None, 0
    sending: int | None = None
    now, link_s, compute_s = 0.0, 0.0, 0.0
    events: list[tuple[float, str, int]] = []
    while next_layer < len(layers) or running is not None:
        if sending is None and to_send and free:
            sending, free = to_send.pop(0), free - 1
            link_s += layers[sending].transfer_s
            heapq.heappush(events, (now + layers[sending].transfer_s, "arrived", sending))
        if running is None and here[next_layer]:
            running, next_layer = next_layer, next_layer + 1
            compute_s += layers[running].compute_s
            heapq.heappush(events, (now + layers[running].compute_s, "computed", running))
        now, event, i = heapq.heappop(events)
        if event == "arrived":
            here[i], sending = True, None
        else:
            running, free = None, free + (layers[i].transfer_s > 0)
    return Timeline(now, link_s, compute_s)


def formula_step(n_layers: int, transfer_s: float, compute_s: float, n_buffers: int) -> float:
    """Equal layers, all of them sent: strictly in turn with a single buffer, else the slower of the two sets the pace.

    Llama-3-70B in BF16 over 25 GB/s, one token: 139 GB / 25 GB/s = 5.6 s, whatever the GPU.
    """
    if n_buffers == 1:
        return n_layers * (transfer_s + compute_s)
    return transfer_s + (n_layers - 1) * max(transfer_s, compute_s) + compute_s


def roofline(params: float, n_bytes: float, tokens: int, flops: float, bandwidth: float) -> float:
    """Seconds for `tokens` tokens through `params` weights: 2 FLOPs a weight and token, or one read of the weights."""
    return max(2 * params * tokens / flops, n_bytes / bandwidth)


@dataclass(frozen=True)
class Params:
    model: str = "llama-3-70b"  # a dense model of data/models.json
    hardware: str = "rtx-4090"  # a name in data/hardware.yaml
    compute_on: Literal["gpu", "cpu"] = "gpu"  # where the layers that are kept in CPU memory are computed
    gpu_layers: int = 0  # layers whose weights stay on the GPU
    tokens: int = 1  # in a step: one a request in decode, the prompt in prefill
    weight_bits: Literal[16, 8, 4] = 16
    link_gb_per_s: float = 25.0  # what PCIe 4.0 x16 carries in practice
    n_buffers: int = 2  # layers that the GPU has room for beside the resident ones; 1: no overlap
    cpu_gb_per_s: float = 80.0  # a desktop with two channels of DDR5
    cpu_tflops: float = 1.0  # what such a CPU reaches in matmuls
    context: int = 2048  # tokens in the KV cache of a request

    def __post_init__(self) -> None:
        model = content.model(self.model)
        if "active" in model or not model["config"].get("num_hidden_layers"):
            raise ValueError(f"model must be dense and have num_hidden_layers, {self.model} does not")
        if not 0 <= self.gpu_layers < model["config"]["num_hidden_layers"]:
            raise ValueError("gpu_layers must leave at least one layer in CPU memory")
        if self.tokens < 1 or self.context < 1 or self.n_buffers < 1:
            raise ValueError("tokens, context and n_buffers must be at least 1")
        chip = content.hardware(self.hardware)
        if not 0 < self.link_gb_per_s * 1e9 < chip["bandwidth"] or self.cpu_gb_per_s <= 0 or self.cpu_tflops <= 0:
            raise ValueError("speeds must be positive, and the link slower than the GPU's memory")
        if free_memory(self) < 0:
            raise ValueError("gpu_layers and n_buffers must fit in the memory of the GPU")


def layer_params(p: Params) -> float:
    """Weights of a layer; the LM head is shared out among the layers, the embedding is looked up where it is."""
    model = content.model(p.model)
    looked_up = 0 if model["config"].get("tie_word_embeddings") else model["params_embedding"]
    return (model["params_total"] - looked_up) / model["config"]["num_hidden_layers"]


def free_memory(p: Params) -> float:
    """Bytes of the GPU that are left for KV cache."""
    return content.hardware(p.hardware)["memory"] - (p.gpu_layers + p.n_buffers) * layer_params(p) * p.weight_bits / 8


def peak_flops(p: Params) -> float:
    """Of the GPU in half precision, 1/s."""
    return max(content.hardware(p.hardware)["flops"].get(dtype, 0) for dtype in ("bf16", "fp16"))


def build(p: Params) -> list[Layer]:
    """The layers of one step, those on the GPU first."""
    params = layer_params(p)
    n_bytes = params * p.weight_bits / 8
    on_gpu = roofline(params, n_bytes, p.tokens, peak_flops(p), content.hardware(p.hardware)["bandwidth"])
    on_cpu = roofline(params, n_bytes, p.tokens, p.cpu_tflops * 1e12, p.cpu_gb_per_s * 1e9)
    away = Layer(n_bytes / (p.link_gb_per_s * 1e9), on_gpu) if p.compute_on == "gpu" else Layer(0.0, on_cpu)
    n_away = content.model(p.model)["config"]["num_hidden_layers"] - p.gpu_layers
    return [Layer(0.0, on_gpu)] * p.gpu_layers + [away] * n_away


MANY = 2**24  # tokens


def smallest(condition: Callable[[int], bool]) -> int:
    """Bisect for the smallest number of tokens that satisfies a monotone condition; MANY if there is none."""
    return 1 + bisect.bisect_left(range(1, MANY), True, key=condition)


def run(p: Params) -> Result:
    layers = build(p)
    away, n_away = layers[-1], len(layers) - p.gpu_layers
    seen = simulate(layers, p.n_buffers)
    if p.compute_on == "cpu":
        expected = p.gpu_layers * layers[0].compute_s + n_away * away.compute_s
    else:
        expected = formula_step(n_away, *away, p.n_buffers) if n_away == len(layers) else None

    def step_s(tokens: int, where: Literal["gpu", "cpu"]) -> float:
        return simulate(build(replace(p, tokens=tokens, compute_on=where)), p.n_buffers).step_s

    def is_hidden(tokens: int) -> bool:
        layer = build(replace(p, tokens=tokens, compute_on="gpu"))[-1]
        return layer.compute_s >= layer.transfer_s

    moved_gb = n_away * away.transfer_s * p.link_gb_per_s
    request_bytes = p.context * content.model(p.model)["kv_bf16"]["per_token_all_layers"]
    break_even = min(MANY, p.weight_bits / 8 * peak_flops(p) / (2e9 * p.link_gb_per_s))
    facts = [
        Fact("step_s", "s", seen.step_s, expected, rtol=1e-9),
        Fact("tokens_per_s", "tokens/s", p.tokens / seen.step_s),
        Fact("moved_gb", "GB", moved_gb),
        Fact("link_busy", "", seen.link_s / seen.step_s),
        Fact("compute_busy", "", seen.compute_s / seen.step_s),
        Fact("hidden_from", "tokens", smallest(is_hidden), break_even, atol=1),
        Fact("link_beats_cpu_from", "tokens", smallest(lambda t: step_s(t, "gpu") <= step_s(t, "cpu"))),
        Fact("requests_that_fit", "requests", int(free_memory(p) / request_bytes) if request_bytes else MANY),
    ]
    counts = [2**i for i in range(15)]
    rows = [(t, step_s(t, "gpu"), t / step_s(t, "gpu"), t / step_s(t, "cpu")) for t in counts[::2]]
    return Result(
        takeaway=Text(
            en=f"{p.model}, {n_away} of {len(layers)} layers in CPU memory, {p.tokens:,} tokens a step: "
            f"{seen.step_s:.2f} s, {p.tokens / seen.step_s:,.2f} tokens/s.",
            zh=f"{p.model} 共 {len(layers)} 层，{n_away} 层放在 CPU 内存，每步 {p.tokens:,} 个 token："
            f"一步 {seen.step_s:.2f} s，{p.tokens / seen.step_s:,.2f} token/s。",
        ),
        facts=facts,
        table=Table(("tokens a step", "step over the link (s)", "tokens/s over the link", "tokens/s on the CPU"), rows),
        plot=Plot(
            f"{p.model} with {n_away} layers in CPU memory",
            "tokens a step",
            "tokens/s",
            [Series(name, counts, [t / step_s(t, w) for t in counts]) for name, w in (("link", "gpu"), ("CPU", "cpu"))],
            log_x=True,
            log_y=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
