"""How much does LoRA save: in parameters, in memory and in FLOPs?

The three answers differ by orders of magnitude. Trainable parameters fall by d·k / (r(d + k)), hundreds of times.
Gradients and Adam states follow them down, but the frozen weights stay in memory, so training memory falls by less
than 8 (16 B per trained weight against 2 B per frozen one), before activations. The forward pass and the gradient of
the input remain, so FLOPs fall by less than 1.5. What really becomes tiny is the file: one adapter per task.

Legend: d outputs, k inputs of a linear layer, r rank, L layers.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from llmprep import content
from llmprep.demos.training.lora import LoRALinear, formula_trainable
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

TARGETS = {
    "qv": ("q", "v"),
    "attention": ("q", "k", "v", "o"),
    "all-linear": ("q", "k", "v", "o", "gate", "up", "down"),
}


def formula_memory_saving(d: int, k: int, rank: int) -> float:
    """16 B per trained weight (FP32 weight, gradient, two Adam moments), 2 B per frozen BF16 one; at most 8."""
    return 16 * d * k / (2 * d * k + 16 * formula_trainable(d, k, rank))


def formula_flop_saving(d: int, k: int, rank: int) -> float:
    """Per token and weight: 2 FLOPs forward, 2 for the input's gradient, 2 for its own. LoRA skips the last."""
    return 6 * d * k / (4 * d * k + 6 * formula_trainable(d, k, rank))


def training_step(layer: torch.nn.Module, d_in: int) -> tuple[int, int]:
    """One real Adam step: (bytes of weights, gradients and moments that are alive, FLOPs of both passes)."""
    x = torch.ones(2, d_in, requires_grad=True)  # the layers below need the gradient of the input
    optimizer = torch.optim.Adam([p for p in layer.parameters() if p.requires_grad])
    with FlopCounterMode(display=False) as counter:
        layer(x).square().mean().backward()
    optimizer.step()
    alive = [t for p in layer.parameters() for t in (p, p.grad) if t is not None]
    alive += [t for state in optimizer.state.values() for t in state.values() if t.ndim]
    return sum(t.nbytes for t in alive), counter.get_total_flops()


def linear_shapes(config: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """(d, k) of each linear layer in one decoder block, from a config.json of the Llama or GPT family."""
    d = config.get("hidden_size") or config["n_embd"]
    if "n_embd" in config:
        return {**dict.fromkeys("qkvo", (d, d)), "up": (4 * d, d), "down": (d, 4 * d)}
    n_heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or d // n_heads
    q, kv, ffn = n_heads * head_dim, config.get("num_key_value_heads", n_heads) * head_dim, config["intermediate_size"]
    return {"q": (q, d), "k": (kv, d), "v": (kv, d), "o": (d, q), "gate": (ffn, d), "up": (ffn, d), "down": (d, ffn)}


def model_shapes(name: str) -> tuple[dict[str, tuple[int, int]], int, int]:
    """(shapes of one block, n_layers, all parameters); ValueError if such blocks do not add up to the model."""
    entry = content.model(name)
    config = entry["config"]
    n_layers = config.get("num_hidden_layers") or config.get("n_layer", 0)
    shapes = linear_shapes(config) if "intermediate_size" in config or "n_embd" in config else {}
    expected = n_layers * sum(d * k for d, k in shapes.values())
    expected += entry["params_embedding"] * (1 if config.get("tie_word_embeddings") else 2)
    if abs(expected / entry["params_total"] - 1) > 0.01:
        raise ValueError(f"model must be a dense decoder of the Llama or GPT family, and {name} is not")
    return shapes, n_layers, entry["params_total"]


def allocate_adapter(shapes: dict[str, tuple[int, int]], targets: str, rank: int) -> list[Tensor]:
    """A and B for the targeted layers of one block, really allocated in BF16."""
    chosen = [shapes[name] for name in TARGETS[targets] if name in shapes]
    return [torch.empty(size, dtype=torch.bfloat16) for d, k in chosen for size in ((rank, k), (d, rank))]


@dataclass(frozen=True)
class Params:
    model: str = "llama-3-8b"  # a name in data/models.json
    targets: Literal["qv", "attention", "all-linear"] = "all-linear"
    rank: int = 16
    d_model: int = 1024  # side of the square layer whose training step is weighed

    def __post_init__(self) -> None:
        shapes, _, _ = model_shapes(self.model)
        if not 1 <= self.rank <= min(256, *(min(shape) for shape in shapes.values())):
            raise ValueError("rank must be between 1 and 256, and at most the smallest side of a matrix")
        if not self.rank <= self.d_model <= 4096:
            raise ValueError("d_model must be between the rank and 4096: that layer is really trained")


def run(p: Params) -> Result:
    d = p.d_model
    with torch.random.fork_rng(devices=[]):
        lora = LoRALinear(torch.ones(d, d, dtype=torch.bfloat16), p.rank, alpha=2 * p.rank)
        full = torch.nn.Linear(d, d, bias=False)
    lora_bytes, lora_flops = training_step(lora, d)
    full_bytes, full_flops = training_step(full, d)
    in_matrix = lora.A.numel() + lora.B.numel()

    shapes, n_layers, total = model_shapes(p.model)
    adapter = allocate_adapter(shapes, p.targets, p.rank)
    trainable = n_layers * sum(t.numel() for t in adapter)
    formula = n_layers * sum(formula_trainable(*shapes[name], p.rank) for name in TARGETS[p.targets] if name in shapes)
    facts = [
        Fact("matrix_reduction", "×", d * d / in_matrix, d * d / formula_trainable(d, d, p.rank), rtol=1e-9),
        Fact("memory_saving", "×", full_bytes / lora_bytes, formula_memory_saving(d, d, p.rank), rtol=1e-9),
        Fact("flop_saving", "×", full_flops / lora_flops, formula_flop_saving(d, d, p.rank), rtol=1e-9),
        Fact("trainable_params", "parameters", trainable, formula),
        Fact("trainable_share", "of the model", trainable / total),
        Fact("model_reduction", "×", total / trainable),
        Fact("adapter_mb", "MB", n_layers * sum(t.nbytes for t in adapter) / 1e6, 2 * formula / 1e6, rtol=1e-9),
        Fact("base_gb", "GB", 2 * total / 1e9),
    ]
    rows = []
    for targets in TARGETS:
        for rank in sorted({4, 8, 16, 64, p.rank}):
            count = n_layers * sum(t.numel() for t in allocate_adapter(shapes, targets, rank))
            rows.append((targets, rank, count, round(100 * count / total, 4), round(total / count), 2 * count / 1e6))
    ranks = [2**i for i in range(9) if 2**i <= d]
    curves = [
        Series("trainable numbers", ranks, [d * d / formula_trainable(d, d, r) for r in ranks]),
        Series("weights + gradients + Adam", ranks, [formula_memory_saving(d, d, r) for r in ranks]),
        Series("FLOPs", ranks, [formula_flop_saving(d, d, r) for r in ranks]),
    ]
    return Result(
        takeaway=Text(
            en=f"Rank {p.rank} on a {d} × {d} layer: {d * d / in_matrix:.0f}× fewer trainable numbers, but "
            f"{full_bytes / lora_bytes:.1f}× less memory for weights, gradients and Adam, and "
            f"{full_flops / lora_flops:.2f}× fewer FLOPs. On {p.model} ({p.targets}) it trains {trainable / total:.3%} "
            f"of the parameters.",
            zh=f"{d} × {d} 的层用 rank {p.rank}：可训练参数降到 1/{d * d / in_matrix:.0f}，权重、梯度与 Adam 状态合计"
            f"只降到 1/{full_bytes / lora_bytes:.1f}，FLOPs 只降到 1/{full_flops / lora_flops:.2f}。"
            f"用在 {p.model}（{p.targets}）上，训练 {trainable / total:.3%} 的参数。",
        ),
        facts=facts,
        table=Table(("targets", "rank", "trainable", "share (%)", "reduction (×)", "adapter, BF16 (MB)"), rows),
        plot=Plot(f"What LoRA saves on a {d} × {d} layer", "rank", "times less", curves, log_x=True, log_y=True),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
