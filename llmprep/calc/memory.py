"""Bytes of training: model states by recipe and ZeRO stage, activations of a GPT layer by recomputation policy."""

from dataclasses import dataclass
from typing import Literal

Recompute = Literal["none", "selective", "full"]


@dataclass(frozen=True)
class Recipe:
    """Bytes that each trained parameter keeps between two steps."""

    weights: float
    gradients: float
    optimizer: float
    itemsize: int = 2  # of activations, and of weights that are frozen

    @property
    def total(self) -> float:
        """Bytes per parameter on one device that shards nothing."""
        return self.weights + self.gradients + self.optimizer


RECIPES = {
    "fp32": Recipe(4, 4, 8, itemsize=4),  # AdamW: two FP32 moments; torch.autocast keeps the states like this too
    "mixed": Recipe(2, 2, 12),  # BF16 weights and gradients, FP32 copy of the weights and two moments
    "mixed-fp32-grads": Recipe(2, 4, 12),  # FP32 gradients, as Megatron-LM keeps with BF16 and DeepSpeed's estimator
    "bf16": Recipe(2, 2, 4),  # everything in BF16, no master copy: small updates round away
}
LEAN = {  # what fine-tuning saves on
    "mixed-adam8bit": Recipe(2, 2, 4 + 2 * (1 + 4 / 256)),  # bitsandbytes: a byte a moment, FP32 scale per 256
    "bf16-adam32": Recipe(2, 2, 8),  # FP32 moments but no master copy: the 12 B behind QLoRA's 780 GB for 65B
}
EVERY = RECIPES | LEAN


def state_bytes(n_params: float, recipe: Recipe, stage: int = 0, n_devices: int = 1) -> float:
    """Weights, gradients and optimiser states on each device (ZeRO, arXiv 1910.02054, figure 1 and table 1).

    Stage 1 shards the optimiser, 2 the gradients too, 3 the weights too. With the mixed recipe and N devices, a
    parameter costs 16, 4 + 12/N, 2 + 14/N, 16/N bytes at stages 0 to 3.
    """
    if stage not in range(4) or n_devices < 1:
        raise ValueError("stage must be 0 to 3, and n_devices at least 1")
    parts = (recipe.optimizer, recipe.gradients, recipe.weights)  # in the order in which the stages shard them
    return n_params * (sum(parts[:stage]) / n_devices + sum(parts[stage:]))


def activation_bytes_per_layer(
    seq_len: int,
    batch: int,
    d_model: int,
    n_heads: int,
    recompute: Recompute = "none",
    *,
    itemsize: int = 2,
    tensor_parallel: int = 1,
    sequence_parallel: bool = False,
) -> float:
    """What one GPT layer keeps for its backward pass (Korthikanti et al., arXiv 2205.05198, table 2).

    sbh(34 + 5as/h) in 16 bits with one-byte dropout masks: 11 of the 34 belong to attention, 19 to the MLP, 4 to
    the LayerNorms. Selective recomputation drops the 5as/h of the attention scores, full keeps only the layer's
    input. Tensor parallelism t divides 24 of the 34, sequence parallelism the other 10. `activations.of_layer` does
    the same sum for any layer, tensor by tensor.
    """
    s, b, h, a, t = seq_len, batch, d_model, n_heads, tensor_parallel
    if recompute == "full":
        return itemsize * s * b * h
    split, whole = 12 * itemsize, 4 * itemsize + 2  # whole: norm inputs and outputs, the masks of two dropouts
    linear = (split + whole) / t if sequence_parallel else split / t + whole
    scores = 0.0 if recompute == "selective" else (2 * itemsize + 1) * a * s / h / t
    return s * b * h * (linear + scores)
