"""Quantities that an interviewer asks for with fresh numbers: what a `calc:` drill is graded against.

Every function takes the numbers that the question states and returns the answer in the unit of its entry.
"""

from collections.abc import Callable, Mapping
from inspect import signature
from typing import NamedTuple

from llmprep import content
from llmprep.calc import compute, memory
from llmprep.errors import UserError, did_you_mean

Setting = int | float | str


class Quantity(NamedTuple):
    """What is asked for, and its unit."""

    unit: str
    function: Callable[..., float]

    @property
    def names(self) -> tuple[str, ...]:
        """The settings that the question must state."""
        return tuple(signature(self.function).parameters)


def weights_gb(params_billion: float, bits: float) -> float:
    """A billion parameters of a byte are a GB."""
    return params_billion * bits / 8


def kv_gb(n_layers: int, n_kv_heads: int, head_dim: int, bits: int, seq_len: int, batch: int) -> float:
    """K and V of every layer, all sequences at full length."""
    return 2 * n_layers * n_kv_heads * head_dim * bits / 8 * seq_len * batch / 1e9


def states_gb_per_gpu(params_billion: float, stage: int, gpus: int) -> float:
    """Mixed precision with AdamW, 16 bytes a parameter, sharded as the ZeRO stage says."""
    return memory.state_bytes(params_billion, memory.RECIPES["mixed"], stage, gpus)


def training_days(params_billion: float, tokens_billion: float, gpus: int, gpu: str, mfu_percent: float) -> float:
    """6·N·D over what the GPUs deliver in BF16."""
    flops = compute.training_flops(params_billion * 1e9, tokens_billion * 1e9)
    return compute.training_days(flops, gpus, content.hardware(gpu)["flops"]["bf16"], mfu_percent / 100)


def decode_ms(params_billion: float, bits: float, gpu: str) -> float:
    """A step of one request reads all weights once; the cache is left out."""
    return 1e3 * weights_gb(params_billion, bits) * 1e9 / float(content.hardware(gpu)["bandwidth"])


QUANTITIES = {
    "weights_gb": Quantity("GB", weights_gb),
    "kv_gb": Quantity("GB", kv_gb),
    "states_gb_per_gpu": Quantity("GB", states_gb_per_gpu),
    "training_days": Quantity("days", training_days),
    "decode_ms": Quantity("ms", decode_ms),
}


def find(name: str) -> Quantity:
    """A quantity by name. Raises UserError for an unknown one."""
    if name not in QUANTITIES:
        raise UserError(
            f"the calculator has no {name!r}{did_you_mean(name, QUANTITIES)} (known: {', '.join(QUANTITIES)})"
        )
    return QUANTITIES[name]


def answer(name: str, settings: Mapping[str, Setting]) -> float:
    """The answer to a question that states these settings."""
    return find(name).function(**settings)
