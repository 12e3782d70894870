"""What is to be trained, how, and what a token of it costs in FLOPs."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from llmprep.calc import compute, params
from llmprep.calc.adapters import Adapters, in_layers, trainable
from llmprep.calc.memory import EVERY, Recipe, Recompute
from llmprep.calc.shapes import Attention, Latent, Shape

Method = Literal["full", "lora", "qlora"]
METHODS: tuple[Method, ...] = ("full", "lora", "qlora")
BASE = "nf4-dq"  # QLoRA's format of frozen matrices, a key of quant.FORMATS


@dataclass(frozen=True)
class Job:
    """A model, a way to train it, and the length of its sequences in tokens."""

    shape: Shape
    seq_len: int
    method: Method = "full"
    recipe_name: str = "mixed"
    adapters: Adapters | None = None  # of LoRA and QLoRA
    dropout: bool = False

    @property
    def recipe(self) -> Recipe:
        """Bytes of what is trained."""
        return EVERY[self.recipe_name]

    @cached_property
    def total(self) -> int:
        """Parameters of the model."""
        return params.total(self.shape)

    @cached_property
    def trained(self) -> int:
        """Parameters that get gradients: all, or those of the adapters."""
        return trainable(self.shape, self.adapters) if self.adapters else self.total

    @cached_property
    def frozen_bytes(self) -> float:
        """The base under the adapters, on one device: 16 bits a weight; with QLoRA the matrices in NF4."""
        if not self.adapters:
            return 0.0
        if self.method == "lora":
            return self.recipe.itemsize * self.total
        from llmprep.calc import quant

        return quant.weigh(self.shape, BASE).n_bytes

    @property
    def states(self) -> float:
        """Bytes of everything that lives from step to step, if one device held it."""
        return self.recipe.total * self.trained + self.frozen_bytes

    @cached_property
    def active(self) -> int:
        """Parameters that a token uses, the N of 6ND: all of a dense model."""
        return params.active(self.shape).with_embeddings

    @cached_property
    def active_adapters(self) -> int:
        """Adapter parameters that a token passes through."""
        if not self.adapters:
            return 0
        return sum(stored * w.used * self.adapters.size(w) for stored, w in in_layers(self.shape))

    @cached_property
    def forward(self) -> compute.Forward:
        """FLOPs of a forward pass over one sequence, attention over the full square (PaLM, 2204.02311, appendix B)."""
        return compute.forward(self.shape, self.seq_len, square=True)

    @cached_property
    def flops_by_6n(self) -> float:
        """FLOPs a token by the rule of thumb: 6N, or with a frozen base 4N + 6N of the adapters.

        A frozen weight passes the gradient on (2N beside the forward 2N) and skips its own (2N).
        """
        return 4 * self.active + 6 * self.active_adapters if self.adapters else 6 * self.active

    @cached_property
    def flops(self) -> float:
        """FLOPs a token with weights counted as they are multiplied, and attention: what MFU refers to."""
        weights, mixing = self.forward.linear + self.forward.head, self.forward.attention + self.forward.state
        passes = 2 if self.adapters else 3
        return (passes * weights + 3 * mixing) / self.seq_len + 6 * self.active_adapters

    def hardware_flops(self, recompute: Recompute) -> float:
        """FLOPs a token that the GPU executes (HFU): selective computes QKᵀ again, full the layers' forward pass.

        Full: about 4/3 of the model's. Selective: FlashAttention and torch's checkpoint need the scores again, not
        their product with V: s/(36h) more for a GPT, where attention, forward and backward, is s/(6h). arXiv
        2205.05198 (section 6.3 and the HFU of table 5) adds s/(6h).
        """
        if recompute == "full":
            again = (self.forward.linear + self.forward.attention + self.forward.state) / self.seq_len
            return self.flops + again + 2 * self.active_adapters
        return self.flops + (self._scores if recompute == "selective" else 0)

    @cached_property
    def _scores(self) -> int:
        """FLOPs a token of QKᵀ in all layers, over the full square."""
        total = 0
        for stack in (*self.shape.encoder, *self.shape.stacks):
            for mixer in (stack.layer.mixer, stack.layer.cross):
                if isinstance(mixer, Attention):
                    total += 2 * stack.n * mixer.q_dim
                elif isinstance(mixer, Latent):
                    total += 2 * stack.n * mixer.n_heads * (mixer.nope_dim + mixer.rope_dim)
        return total * self.seq_len
