"""What are the 780 GB that QLoRA is compared with, and what does QLoRA need instead?

780 GB is 65 billion times 12 B. The paper lists no parts; what adds up to 12 is a BF16 weight (2), a BF16 gradient (2)
and two FP32 Adam moments (8), without the FP32 master copy that would make it 16. LoRA leaves 2 B for each frozen
weight and pays the 12 B for its adapter only. QLoRA brings the 2 B down to about half a byte in the linear layers;
embeddings, output head and norms stay in BF16. Activations come on top of every number here.

Legend: W (d, k) one layer, r rank of the adapter, L layers.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from llmprep import content
from llmprep.demos.training.lora import formula_trainable
from llmprep.demos.training.lora_savings import TARGETS, model_shapes
from llmprep.demos.training.qlora import MatmulNF4, NF4Weight, formula_bits
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

RECIPES = ("full", "lora", "qlora")


def formula_gb(recipe: str, n_linear: int, n_other: int, n_adapter: int, per_trained: int, bits: float) -> float:
    """Weights, gradients and Adam moments. LLaMA-65B in full: 65.3e9 · 12 B = 783 GB, the paper's "more than 780"."""
    if recipe == "full":
        return (n_linear + n_other) * per_trained / 1e9
    per_frozen = bits / 8 if recipe == "qlora" else 2
    return (n_linear * per_frozen + n_other * 2 + n_adapter * per_trained) / 1e9


class Layer(torch.nn.Module):
    """One linear layer as a recipe holds it: trained whole, or frozen (BF16 or NF4) beside a BF16 adapter."""

    def __init__(self, weight: Tensor, recipe: str, rank: int, *, double_quant: bool) -> None:
        super().__init__()
        self.nf4 = NF4Weight(weight, double_quant=double_quant) if recipe == "qlora" else None
        self.weight = None if self.nf4 else torch.nn.Parameter(weight.bfloat16(), requires_grad=recipe == "full")
        self.A = torch.nn.Parameter(weight[:rank].bfloat16()) if recipe != "full" else None
        self.B = torch.nn.Parameter(torch.zeros(len(weight), rank, dtype=torch.bfloat16)) if recipe != "full" else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, k) → (N, d)."""
        h = F.linear(x, self.weight) if self.nf4 is None else MatmulNF4.apply(x, self.nf4)
        return h if self.A is None else h + F.linear(F.linear(x, self.A), self.B)

    def frozen(self) -> list[Tensor]:
        """What no optimiser touches."""
        return [p for p in self.parameters() if not p.requires_grad] + (self.nf4.stored if self.nf4 else [])


def adam_step(layer: Layer, x: Tensor, *, master_weights: bool) -> list[Tensor]:
    """One real step of mixed-precision Adam; returns every tensor that must live on until the next step."""
    layer(x).float().square().mean().backward()
    alive: list[Tensor] = []
    for p in layer.parameters():
        if p.grad is not None:
            m, v = 0.1 * p.grad.float(), 0.001 * p.grad.float().square()
            master = p.detach().float() - 1e-4 * (m / 0.1) / ((v / 0.001).sqrt() + 1e-8)
            p.data.copy_(master)
            alive += [p, p.grad, m, v, master] if master_weights else [p, p.grad, m, v]
    return alive


@dataclass(frozen=True)
class Params:
    model: str = "llama-65b"  # a dense decoder in data/models.json
    recipe: Literal["full", "lora", "qlora"] = "qlora"
    double_quant: bool = True
    rank: int = 64  # of the adapter
    targets: Literal["qv", "attention", "all-linear"] = "all-linear"
    master_weights: bool = False  # keep an FP32 copy of what is trained: 16 B instead of 12
    hardware: str = "l40s"  # a name in data/hardware.yaml; 48 GB
    d_layer: int = 512  # side of the layer that is really trained
    seed: int = 0

    def __post_init__(self) -> None:
        shapes, _, _ = model_shapes(self.model)
        content.hardware(self.hardware)
        if not 1 <= self.rank <= min(128, *(min(shape) for shape in shapes.values())):
            raise ValueError("rank must be between 1 and 128, and at most the smallest side of a matrix")
        if self.d_layer % 128 or not 128 <= self.d_layer <= 2048:
            raise ValueError("d_layer must be a multiple of 128 between 128 and 2048: whole super-blocks of scales")


def run(p: Params) -> Result:
    generator = torch.Generator().manual_seed(p.seed)
    W, x = torch.randn(p.d_layer, p.d_layer, generator=generator), torch.ones(4, p.d_layer, dtype=torch.bfloat16)
    shapes, n_layers, total = model_shapes(p.model)
    n_linear = n_layers * sum(d * k for d, k in shapes.values())
    n_adapter = n_layers * sum(formula_trainable(*shapes[t], p.rank) for t in TARGETS[p.targets] if t in shapes)

    frozen_gb, trained_gb, per_trained = {}, {}, 0.0
    for recipe in RECIPES:
        layer = Layer(W, recipe, p.rank, double_quant=p.double_quant)
        alive = adam_step(layer, x, master_weights=p.master_weights)
        n_trained = sum(t.numel() for t in layer.parameters() if t.requires_grad)
        per_trained = sum(t.nbytes for t in alive) / n_trained
        per_frozen = sum(t.nbytes for t in layer.frozen()) / W.numel()
        frozen_gb[recipe] = 0.0 if recipe == "full" else (n_linear * per_frozen + (total - n_linear) * 2) / 1e9
        trained_gb[recipe] = (total if recipe == "full" else n_adapter) * per_trained / 1e9
    totals = {recipe: frozen_gb[recipe] + trained_gb[recipe] for recipe in RECIPES}

    wanted = 16 if p.master_weights else 12
    bits = formula_bits(64, double_quant=p.double_quant)
    formula = {r: formula_gb(r, n_linear, total - n_linear, n_adapter, wanted, bits) for r in RECIPES}
    frozen, trained = frozen_gb[p.recipe], trained_gb[p.recipe]
    memory_gb = content.hardware(p.hardware)["memory"] / 1e9
    facts = [
        Fact("bytes_per_trained", "B", per_trained, wanted),
        Fact("full_gb", "GB", totals["full"], formula["full"], rtol=1e-9),
        Fact("frozen_gb", "GB", frozen),
        Fact("trained_gb", "GB", trained),
        Fact("total_gb", "GB", totals[p.recipe], formula[p.recipe], rtol=1e-3),
        Fact("saving", "×", totals["full"] / totals[p.recipe], formula["full"] / formula[p.recipe], rtol=1e-3),
        Fact("left_for_activations_gb", "GB", memory_gb - totals[p.recipe]),
    ]
    rows = [(r, *(round(gb, 1) for gb in (frozen_gb[r], trained_gb[r], totals[r]))) for r in RECIPES]
    return Result(
        takeaway=Text(
            en=f"{p.model} with {p.recipe} holds {frozen:.1f} GB frozen and {trained:.1f} GB for what is trained, "
            f"before activations; full fine-tuning at {per_trained:.0f} B per parameter holds {totals['full']:.0f} GB.",
            zh=f"{p.model} 用 {p.recipe}：冻结部分 {frozen:.1f} GB，可训练部分 {trained:.1f} GB，均不含激活值；"
            f"全参微调每个参数 {per_trained:.0f} B，共 {totals['full']:.0f} GB。",
        ),
        facts=facts,
        table=Table(("recipe", "frozen (GB)", "trained: weights, gradients, Adam (GB)", "together (GB)"), rows),
        plot=Plot(
            f"Memory before activations, {p.model}",
            "recipe",
            "GB",
            [
                Series("frozen", RECIPES, list(frozen_gb.values())),
                Series("trained", RECIPES, list(trained_gb.values())),
            ],
            kind="bar",
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
