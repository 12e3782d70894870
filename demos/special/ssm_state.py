"""How much memory does Mamba need per request, compared with a KV cache?

A Mamba layer remembers two things, whatever the length of the text: the state, d_inner · state_size numbers, and the
last conv_kernel inputs of its short convolution, d_inner each. Attention remembers keys and values of every token. So
there is a length at which the two are equal, and it is short. Below, both are allocated and weighed, with the shapes
of real models; the recurrent state in float32, as the implementation of transformers keeps it.

Legend: T tokens, L layers.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from llmprep import content
from llmprep.demos.inference.kv_cache import allocated_bytes_per_token, attention_shape
from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def mamba_shape(model: str) -> tuple[int, int, int, int]:
    """(n_layers, d_inner, state_size, conv_kernel) of a Mamba in data/models.json."""
    entry = content.model(model)
    c = entry["config"]
    if entry["model_type"] != "mamba":
        raise ValueError(f"model must be a Mamba, not {model}")
    return c["num_hidden_layers"], c["expand"] * c["hidden_size"], c["state_size"], c["conv_kernel"]


def formula_state_bytes(n_layers: int, d_inner: int, state_size: int, conv_kernel: int, state_itemsize: int) -> int:
    """Mamba-2.8B: 64 layers · 5,120 channels · (16 · 4 B + 4 · 2 B) = 23,592,960 B, at any length."""
    return n_layers * d_inner * (state_size * state_itemsize + conv_kernel * torch.bfloat16.itemsize)


def allocate_state(n_layers: int, d_inner: int, state_size: int, conv_kernel: int, dtype: torch.dtype) -> list[Tensor]:
    """The state and the window of inputs, for every layer."""
    states = [torch.zeros(d_inner, state_size, dtype=dtype) for _ in range(n_layers)]
    return states + [torch.zeros(d_inner, conv_kernel, dtype=torch.bfloat16) for _ in range(n_layers)]


@dataclass(frozen=True)
class Params:
    model: str = "mamba-2.8b"  # a Mamba in data/models.json
    compared_with: str = "stablelm-3b-4e1t"  # a Transformer with a KV cache in BF16
    seq_len: int = 8192  # tokens in the cache
    state_dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        mamba_shape(self.model)
        attention_shape(self.compared_with)
        if not 1 <= self.seq_len <= 2**20:
            raise ValueError("seq_len must be between 1 and 1,048,576")


def run(p: Params) -> Result:
    shape = mamba_shape(p.model)
    dtype = getattr(torch, p.state_dtype)
    state_bytes = sum(t.nbytes for t in allocate_state(*shape, dtype))
    with torch.random.fork_rng(devices=[]):  # it initialises small layers
        per_token = allocated_bytes_per_token(*attention_shape(p.compared_with), torch.bfloat16)
    lengths = [2**i for i in range(4, 18)]
    rows = [(n, state_bytes / 2**20, per_token * n / 2**20) for n in (128, 1024, 8192, 32768, 131072)]
    return Result(
        takeaway=Text(
            en=f"{p.model} keeps {state_bytes:,} B per request at any length, as much as the KV cache of "
            f"{state_bytes / per_token:.0f} tokens in {p.compared_with}; at {p.seq_len:,} tokens that cache is "
            f"{per_token * p.seq_len / state_bytes:,.0f}× larger.",
            zh=f"{p.model} 每条请求固定占 {state_bytes:,} B，与长度无关，相当于 {p.compared_with} 缓存 "
            f"{state_bytes / per_token:.0f} 个 token；到 {p.seq_len:,} 个 token 时，"
            f"后者的 KV Cache 是它的 {per_token * p.seq_len / state_bytes:,.0f} 倍。",
        ),
        facts=[
            Fact("state_bytes", "B", state_bytes, formula_state_bytes(*shape, dtype.itemsize)),
            Fact("state_mb", "MB", state_bytes / 1e6),
            Fact("kv_bytes_per_token", "B", per_token),
            Fact("break_even_tokens", "tokens", state_bytes / per_token),
            Fact("kv_over_state", "×", per_token * p.seq_len / state_bytes),
        ],
        table=Table(("tokens", f"{p.model} (MiB)", f"{p.compared_with} (MiB)"), rows),
        plot=Plot(
            "Memory of one request",
            "tokens",
            "MiB",
            [
                Series(p.model, lengths, [state_bytes / 2**20] * len(lengths)),
                Series(p.compared_with, lengths, [per_token * n / 2**20 for n in lengths]),
            ],
            log_x=True,
            log_y=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
