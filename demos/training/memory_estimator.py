"""What fills the memory of a GPU that trains this model?

States: a parameter keeps its weight, its gradient and what AdamW remembers. In FP32 that is 4+4+8 = 16 bytes, and in
mixed precision 2+2+12 = 16, because the FP32 weights do not vanish, they move into the optimiser. Activations: what
the forward pass leaves for the backward pass, sbh(34 + 5as/h) bytes a layer in 16 bits. Serving keeps a KV cache
instead. The machine trains one GPT layer for a step, `shrink` times narrower and shorter than the model's, and weighs
what AdamW allocates and autograd saves; activations grow with s·h, so shrink² scales them back.

Legend: s tokens in a sequence, b sequences in a micro-batch, h width, a heads.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from llmprep import content
from llmprep.calc import families, kv, memory, params
from llmprep.demos.architecture.parameter_count import BUILT, Decoder
from llmprep.demos.inference.kv_cache import allocated_bytes_per_token
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

Recompute = Literal["none", "selective", "flash", "full"]


def bytes_per_sbh(s: int, h: int, a: int, recompute: Recompute, itemsize: int) -> float:
    """Bytes that a layer saves, in units of s·b·h (arXiv 2205.05198, section 4.1): 34 + 5as/h in 16 bits.

    16 values and two one-byte dropout masks per channel, two values and one mask per attention score.
    """
    channels, scores = 16 * itemsize + 2, (2 * itemsize + 1) * a * s / h
    return {"none": channels + scores, "selective": channels, "flash": channels, "full": itemsize}[recompute]


def drop(x: Tensor) -> Tensor:
    """Dropout that keeps a one-byte mask, as the fused kernels on GPUs do."""
    return torch.native_dropout(x, 0.1, train=True)[0]


def attention_core(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(QKᵀ/√d)·V over (b, a, s, d), with every score in memory."""
    future = torch.full((q.shape[2], q.shape[2]), -math.inf, dtype=q.dtype, device=q.device).triu(1)
    weights = (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]) + future).softmax(-1)  # (b, a, s, s)
    return drop(weights) @ v


class GPTLayer(nn.Module):
    """The layer that arXiv 2205.05198 counts (figure 2): LayerNorm, biases, dropout, an MLP of width 4h."""

    def __init__(self, h: int, a: int) -> None:
        super().__init__()
        self.a = a
        self.norm1, self.qkv, self.out = nn.LayerNorm(h), nn.Linear(h, 3 * h), nn.Linear(h, h)
        self.norm2, self.up, self.down = nn.LayerNorm(h), nn.Linear(h, 4 * h), nn.Linear(4 * h, h)

    def forward(self, x: Tensor, recompute: Recompute = "none") -> Tensor:
        """(b, s, h) → the same shape."""
        if recompute == "full":  # keep x alone; run the layer once more when its gradients are asked for
            return checkpoint(self, x, "none", use_reentrant=False)
        q, k, v = (t.unflatten(-1, (self.a, -1)).transpose(1, 2) for t in self.qkv(self.norm1(x)).chunk(3, -1))
        if recompute == "flash":
            core = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # never holds all scores
        else:
            again = recompute == "selective"
            core = checkpoint(attention_core, q, k, v, use_reentrant=False) if again else attention_core(q, k, v)
        x = x + drop(self.out(core.transpose(1, 2).flatten(2)))  # (b, a, s, d) → (b, s, h)
        return x + drop(self.down(F.gelu(self.up(self.norm2(x)))))


def saved_bytes(layer: GPTLayer, x: Tensor, forward: Callable[[], Tensor]) -> tuple[int, Tensor]:
    """What autograd keeps of `forward()`, and its output. Each storage counts once; the weights do not count.

    Statistics are left out: a few numbers per token or head (of LayerNorm, of the flash kernel), none per channel.
    """
    seen = {StorageWeakRef(w.untyped_storage()).cdata for w in layer.parameters()}
    total = 0

    def weigh(tensor: Tensor) -> Tensor:
        nonlocal total
        storage = tensor.untyped_storage()
        identity = StorageWeakRef(storage).cdata
        if identity not in seen and tensor.numel() > x.shape[0] * x.shape[1] * layer.a:
            total += storage.nbytes()
        seen.add(identity)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(weigh, lambda tensor: tensor):
        out = forward()
    return total, out


@torch.no_grad()
def step_and_weigh(layer: nn.Module, recipe: str) -> dict[str, int]:
    """One AdamW step on the gradients that are there; then the bytes of every tensor that lives on."""
    weights = list(layer.parameters())
    masters, gradients = weights, [w.grad for w in weights]
    if recipe.startswith("mixed"):  # AdamW works on FP32 copies; the 16-bit weights are cast from them
        masters = [w.float() for w in weights]
        for master, gradient in zip(masters, gradients, strict=True):
            master.grad = gradient.float()
    optimizer = torch.optim.AdamW(masters)
    optimizer.step()
    kept = [t for state in optimizer.state.values() for t in state.values() if t.dim()]  # not the step counters
    if masters is not weights:
        kept += masters
        for weight, master in zip(weights, masters, strict=True):
            weight.copy_(master)
        gradients = [m.grad for m in masters] if recipe == "mixed-fp32-grads" else gradients
    parts = {"weights": weights, "gradients": gradients, "optimizer": kept}
    return {name: sum(t.nbytes for t in tensors) for name, tensors in parts.items()}


@dataclass(frozen=True)
class Params:
    model: str = "llama-2-7b"  # a name in data/models.json
    recipe: Literal["fp32", "mixed", "mixed-fp32-grads", "bf16"] = "mixed"
    recompute: Recompute = "none"
    seq_len: int = 2048  # tokens
    micro_batch: int = 1  # sequences on the device at a time
    card: str = "a100-80gb"  # a name in data/hardware.yaml
    shrink: int = 16  # the layer that runs is this many times narrower and shorter
    seed: int = 0

    def __post_init__(self) -> None:
        shape, _ = families.of(self.model), content.hardware(self.card)
        if shape.family not in BUILT:
            raise ValueError(f"model must be one of {BUILT}")
        if min(self.seq_len, self.micro_batch, self.shrink) < 1:
            raise ValueError("seq_len, micro_batch and shrink must be at least 1")
        if self.seq_len % self.shrink or shape.d_model % (self.shrink * shape.attention.n_heads):
            raise ValueError("shrink must divide both seq_len and d_model / n_heads")
        if shape.d_model < 2 * self.shrink * shape.attention.n_heads:
            raise ValueError("shrink must leave a head at least two channels")
        if self.micro_batch * shape.attention.n_heads * (self.seq_len // self.shrink) ** 2 > 2**24:
            raise ValueError("the layer that runs must have at most 2^24 attention scores: take a larger shrink")


def run(p: Params) -> Result:
    shape, entry = families.of(p.model), content.model(p.model)
    heads = shape.attention
    s, b, h, a = p.seq_len // p.shrink, p.micro_batch, shape.d_model // p.shrink, heads.n_heads
    dtype = torch.float32 if p.recipe == "fp32" else torch.bfloat16
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(p.seed)
        layer = GPTLayer(h, a).to(dtype)
        x = torch.randn(b, s, h, dtype=dtype, requires_grad=True)
        with FlopCounterMode(display=False) as flops:
            layer_bytes, out = saved_bytes(layer, x, lambda: layer(x, p.recompute))
            out.float().square().mean().backward()
        states = step_and_weigh(layer, p.recipe)
        kv_bytes = allocated_bytes_per_token(shape.n_layers, a, heads.n_kv_heads, heads.head_dim, torch.bfloat16)
    with torch.device("meta"):
        n_params = sum(w.numel() for w in Decoder(entry["config"], entry["model_type"]).parameters())

    recipe, by_formula = memory.RECIPES[p.recipe], bytes_per_sbh(s, h, a, p.recompute, dtype.itemsize)
    each = {name: total / sum(w.numel() for w in layer.parameters()) for name, total in states.items()}
    gb = {name: per_param * n_params / 1e9 for name, per_param in each.items()}
    states_gb, kv_gb = sum(gb.values()), kv_bytes * p.seq_len * b / 1e9
    gb["activations"] = shape.n_layers * layer_bytes * p.shrink**2 / 1e9
    activations = shape.n_layers * p.seq_len * b * shape.d_model * by_formula
    facts = [
        Fact("params_total", "parameters", n_params, params.total(shape)),
        Fact("bytes_per_param", "B", sum(each.values()), recipe.total),
        *(Fact(f"{name}_gb", "GB", gb[name], getattr(recipe, name) * n_params / 1e9, rtol=1e-12) for name in states),
        Fact("states_gb", "GB", states_gb),
        Fact("cards_for_states", "cards", math.ceil(states_gb * 1e9 / content.hardware(p.card)["memory"])),
        Fact("bytes_per_sbh", "B", layer_bytes / (s * b * h), by_formula, rtol=1e-12),
        Fact("activations_gb", "GB", gb["activations"], activations / 1e9, rtol=1e-12),
        Fact("kv_bytes_per_token", "B", kv_bytes, kv.bytes_per_token(shape)),
        Fact("kv_cache_gb", "GB", kv_gb),
    ]
    if p.recompute != "flash":  # the counter does not know the flash kernel of CPUs
        ratio = flops.get_total_flops() / (72 * s * b * h * h + 12 * s * s * b * h)
        facts.append(Fact("flops_ratio", "×", ratio, {"none": 1, "full": 4 / 3}.get(p.recompute), rtol=1e-12))
    rows: list[tuple[str, float | None, float]] = [(name, each.get(name), total) for name, total in gb.items()]
    rows += [("training", None, sum(gb.values())), ("KV cache, serving", None, kv_gb)]
    return Result(
        takeaway=Text(
            en=f"{p.model} in {p.recipe}: {sum(each.values()):g} B a parameter make {states_gb:,.1f} GB of states; "
            f"{b} × {p.seq_len:,} tokens leave {gb['activations']:.1f} GB of activations (recompute: {p.recompute}).",
            zh=f"{p.model}（{p.recipe}）：每个参数 {sum(each.values()):g} B，模型状态共 {states_gb:,.1f} GB；"
            f"{b} × {p.seq_len:,} 个 token 留下 {gb['activations']:.1f} GB 激活值（重计算：{p.recompute}）。",
        ),
        facts=facts,
        table=Table(("part", "per parameter (B)", "all (GB)"), rows),
        plot=Plot("Memory of training", "part", "GB", [Series(p.model, list(gb), list(gb.values()))], kind="bar"),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
