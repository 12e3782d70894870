"""Is LLM inference limited by compute or by memory bandwidth?

A kernel that does F FLOPs on Q bytes needs at least max(F / peak, Q / bandwidth) seconds: it waits for memory while its
intensity F/Q is below the ridge, peak / bandwidth. A weight matrix is read once a step and used once a token, so the
intensity of the dense layers is about the number of tokens in the step: 1 when one request decodes, thousands in
prefill. Batching lifts it. It does not lift attention, where every request brings a KV cache of its own.

Legend: B requests, T new tokens of each, S tokens in the KV cache, H query heads, H_kv key/value heads, D head_dim.
"""

import bisect
import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from llmprep import content
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

MANY = 2**16  # requests: more than any server batches
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp8": torch.float8_e4m3fn}


class Cost(NamedTuple):
    """FLOPs of a kernel, and the bytes of weights, KV cache and activations that it touches."""

    flops: int
    weight_bytes: int
    cache_bytes: int
    activation_bytes: int

    @property
    def bytes(self) -> int:
        """Across the memory bus."""
        return self.weight_bytes + self.cache_bytes + self.activation_bytes

    @property
    def intensity(self) -> float:
        """FLOP per byte."""
        return self.flops / self.bytes

    def seconds(self, peak_flops: float, bandwidth: float) -> float:
        """The roofline (Williams et al., 2009): as slow as the scarcer resource."""
        return max(self.flops / peak_flops, self.bytes / bandwidth)


def add(costs: Iterable[Cost]) -> Cost:
    """Several kernels taken together."""
    return Cost(*(sum(column) for column in zip(*costs, strict=True)))


def launch(kernel: Callable[..., Tensor], x: Tensor, weights: tuple[Tensor, ...], cache: tuple[Tensor, ...]) -> Cost:
    """Run one kernel: FLOPs as torch counts them, bytes of the tensors that really go in and come out."""
    with FlopCounterMode(display=False) as counter:
        out = kernel(x, *weights, *cache)
    return Cost(counter.get_total_flops(), *(sum(t.nbytes for t in ts) for ts in (weights, cache, (x, out))))


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """(B, H_kv, G·T, D) queries on (B, H_kv, S, D) keys: the G = H/H_kv heads of a group share what is read."""
    return (q @ k.transpose(-1, -2)).softmax(-1) @ v


def layer_shapes(config: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """(in, out) of each weight matrix of a layer."""
    d, H, H_kv = (config[k] for k in ("hidden_size", "num_attention_heads", "num_key_value_heads"))
    D, d_ff = config.get("head_dim") or d // H, config["intermediate_size"]
    return {"q, k, v": (d, (H + 2 * H_kv) * D), "output": (H * D, d), "gate, up": (d, 2 * d_ff), "down": (d_ff, d)}


def forward(config: dict[str, Any], B: int, T: int, S: int, dtype: torch.dtype) -> dict[str, Cost]:
    """One pass of a Llama-like decoder in its real size, on the meta device: shapes without memory.

    Norms, RoPE, SwiGLU and residuals count as fused into their neighbours, attention as one fused kernel (its causal
    half is not skipped); prefill asks the LM head only for the last token.
    """
    H, H_kv, L = (config[k] for k in ("num_attention_heads", "num_key_value_heads", "num_hidden_layers"))
    D = config.get("head_dim") or config["hidden_size"] // H
    empty = functools.partial(torch.empty, dtype=dtype, device="meta")

    def linear(tokens: int, d_in: int, d_out: int) -> Cost:
        return launch(torch.matmul, empty(tokens, d_in), (empty(d_in, d_out),), ())

    layer = {name: linear(B * T, *shape) for name, shape in layer_shapes(config).items()}
    layer["attention"] = launch(attend, empty(B, H_kv, H // H_kv * T, D), (), (empty(B, H_kv, S, D),) * 2)
    head = {"LM head": linear(B, config["hidden_size"], config["vocab_size"])}
    return {name: add([cost] * L) for name, cost in layer.items()} | head


def dense(kernels: dict[str, Cost]) -> Cost:
    """The matmuls with weights inside the layers."""
    return add(cost for name, cost in kernels.items() if cost.weight_bytes and name != "LM head")


def formula_dense_intensity(tokens: int, shapes: list[tuple[int, int]], itemsize: int) -> float:
    """2tkn FLOPs on tk + kn + tn numbers a matmul: about `tokens` in BF16 while tokens ≪ k, n."""
    numbers = sum(tokens * k + k * n + tokens * n for k, n in shapes)
    return sum(2 * tokens * k * n for k, n in shapes) / (itemsize * numbers)


def formula_attention_intensity(T: int, S: int, group: int, itemsize: int) -> float:
    """4TSG FLOPs on Q, O (2TG) and K, V (2S), a channel: about the group size H/H_kv in decode, whatever the batch."""
    return 2 * T * S * group / (itemsize * (T * group + S))


def formula_compute_bound_tokens(ridge: float, shapes: list[tuple[int, int]], itemsize: int) -> float:
    """Tokens in a step from which the dense layers are compute bound: a little above ridge · itemsize / 2."""
    weights, activations = sum(k * n for k, n in shapes), sum(k + n for k, n in shapes)
    left = 2 * weights - ridge * itemsize * activations
    return min(MANY, ridge * itemsize * weights / left) if left > 0 else MANY


def is_dense_swiglu(model: dict[str, Any]) -> bool:
    """Whether the shapes above account for the model's parameters: no experts, no latent attention."""
    config = model["config"]
    if not all(config.get(k) for k in ("hidden_size", "intermediate_size", "num_key_value_heads", "vocab_size")):
        return False
    tables = (1 if config.get("tie_word_embeddings") else 2) * model["params_embedding"]
    total = tables + config["num_hidden_layers"] * sum(k * n for k, n in layer_shapes(config).values())
    return abs(total - model["params_total"]) < 0.01 * model["params_total"]


@dataclass(frozen=True)
class Params:
    model: str = "llama-3-8b"  # a dense SwiGLU model of data/models.json
    hardware: str = "h100-sxm"  # a name in data/hardware.yaml
    dtype: Literal["bf16", "fp16", "fp8"] = "bf16"  # of weights, cache and arithmetic
    phase: Literal["decode", "prefill"] = "decode"  # one new token a request, or all of `context` at once
    batch: int = 1  # requests
    context: int = 1024  # tokens in the cache of each request

    def __post_init__(self) -> None:
        if self.batch < 1 or self.context < 1 or self.batch * self.context > 2**31:
            raise ValueError("batch and context must be at least 1, and their product at most 2^31")
        if self.dtype not in content.hardware(self.hardware)["flops"]:
            raise ValueError(f"dtype must be one that {self.hardware} has a peak for")
        if not is_dense_swiglu(content.model(self.model)):
            raise ValueError(f"model must be a dense SwiGLU decoder such as llama-3-8b, which {self.model} is not")


def run(p: Params) -> Result:
    model, chip, dtype = content.model(p.model), content.hardware(p.hardware), DTYPES[p.dtype]
    config, s, peak, bandwidth = model["config"], dtype.itemsize, chip["flops"][p.dtype], chip["bandwidth"]
    T, ridge = 1 if p.phase == "decode" else p.context, peak / bandwidth
    shapes, group = list(layer_shapes(config).values()), config["num_attention_heads"] // config["num_key_value_heads"]

    def seconds(kernels: dict[str, Cost]) -> float:
        return sum(cost.seconds(peak, bandwidth) for cost in kernels.values())

    def dense_intensity(tokens: int) -> float:
        return dense(forward(config, tokens, 1, 1, dtype)).intensity

    kernels = forward(config, p.batch, T, p.context, dtype)
    step, tokens_per_s = add(kernels.values()), p.batch * T / seconds(kernels)
    threshold = 1 + bisect.bisect_left(range(1, MANY), ridge, key=dense_intensity)
    expected_dense = formula_dense_intensity(p.batch * T, shapes, s)
    expected_attention = formula_attention_intensity(T, p.context, group, s)
    room = max(0, chip["memory"] - model["params_total"] * s)
    facts = [
        Fact("tokens_per_s", "tokens/s", tokens_per_s),
        Fact("whiteboard_tokens_per_s", "tokens/s", p.batch * bandwidth / (model["params_total"] * s)),
        Fact("ridge", "FLOP/B", ridge),
        Fact("step_intensity", "FLOP/B", step.intensity),
        Fact("dense_intensity", "FLOP/B", dense(kernels).intensity, expected_dense, rtol=1e-9),
        Fact("attention_intensity", "FLOP/B", kernels["attention"].intensity, expected_attention, rtol=1e-9),
        Fact("compute_bound_tokens", "tokens", threshold, formula_compute_bound_tokens(ridge, shapes, s), atol=1),
        Fact("intensity_ceiling", "FLOP/B", add(forward(config, MANY, T, p.context, dtype).values()).intensity),
        Fact("compute_utilisation", "", step.flops / peak / seconds(kernels)),
        Fact("requests_that_fit", "requests", int(room / (step.cache_bytes / p.batch))),
    ]
    bound = {True: Text("memory", "带宽"), False: Text("compute", "算力")}  # by: is it below the ridge?
    rows = [(n, c.flops / 1e9, c.bytes / 1e9, c.intensity, bound[c.intensity < ridge].en) for n, c in kernels.items()]
    roof, batches = [2.0**i for i in range(13)], [2**i for i in range(11)]
    decodes = [forward(config, batch, 1, p.context, dtype) for batch in batches]
    speeds = [add(d.values()).flops / seconds(d) / 1e12 for d in decodes]
    curves = [
        Series("roof", roof, [min(peak, i * bandwidth) / 1e12 for i in roof]),
        Series("decode", [add(d.values()).intensity for d in decodes], speeds),
    ]
    return Result(
        takeaway=Text(
            en=f"{p.phase} of {p.model} on {p.hardware}, batch {p.batch:,}: {step.intensity:,.1f} FLOP/B, ridge "
            f"{ridge:.0f}: {bound[step.intensity < ridge].en} caps it at {tokens_per_s:,.0f} tokens/s.",
            zh=f"{p.hardware} 上 {p.model} 的 {p.phase}，batch 为 {p.batch:,}：算术强度 {step.intensity:,.1f} FLOP/B，"
            f"拐点 {ridge:.0f}，上限 {tokens_per_s:,.0f} token/s，瓶颈在{bound[step.intensity < ridge].zh}。",
        ),
        facts=facts,
        table=Table(("kernel, all layers", "GFLOP", "GB", "FLOP/B", "bound by"), rows),
        plot=Plot(f"Decode at batch 1 to {batches[-1]:,}", "FLOP/B", "TFLOP/s", curves, log_x=True, log_y=True),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
