"""How much does an RWKV keep per request, compared with the KV cache of a Transformer of the same width and depth?

RWKV-4 carries five vectors per layer: the last input of time mixing and of channel mixing (in the model's dtype), and
numerator, denominator and running maximum of WKV (in float32). RWKV-5 to 7 replace the last three by a matrix of
64 × 64 numbers per head. None of that depends on the length of the text; keys and values of all tokens do. Both are
allocated and weighed below, RWKV in the width and depth of a real Transformer.

Legend: L layers, d_model channels.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from llmprep import content
from llmprep.demos.inference.kv_cache import allocated_bytes_per_token, attention_shape
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

HEAD = 64  # head size of RWKV-5 to 7


def allocate_rwkv4(n_layers: int, d_model: int) -> list[Tensor]:
    """Two shifted inputs in BF16 and three sums in float32, for every layer."""
    dtypes = (torch.bfloat16, torch.bfloat16, torch.float32, torch.float32, torch.float32)
    return [torch.zeros(d_model, dtype=dtype) for _ in range(n_layers) for dtype in dtypes]


def allocate_rwkv7(n_layers: int, d_model: int) -> list[Tensor]:
    """Two shifted inputs in BF16 and a matrix per head in float32, for every layer."""
    shifts = [torch.zeros(d_model, dtype=torch.bfloat16) for _ in range(2 * n_layers)]
    return shifts + [torch.zeros(d_model // HEAD, HEAD, HEAD) for _ in range(n_layers)]


def formula_state_bytes(version: str, n_layers: int, d_model: int) -> int:
    """Per layer and channel 2 · 2 B + 3 · 4 B = 16 B in RWKV-4, 2 · 2 B + 64 · 4 B = 260 B from RWKV-5 on."""
    return n_layers * d_model * (2 * 2 + (3 if version == "rwkv-4" else HEAD) * 4)


@dataclass(frozen=True)
class Params:
    version: Literal["rwkv-4", "rwkv-7"] = "rwkv-4"
    like: str = "llama-3-8b"  # width and depth of this Transformer, whose KV cache is compared, in BF16
    seq_len: int = 32768  # tokens in the cache

    def __post_init__(self) -> None:
        attention_shape(self.like)
        if content.model(self.like)["config"].get("hidden_size", 0) % HEAD or not 1 <= self.seq_len <= 2**20:
            raise ValueError("hidden_size of the model must be a multiple of 64, seq_len between 1 and 1,048,576")


def run(p: Params) -> Result:
    n_layers, d_model = attention_shape(p.like)[0], content.model(p.like)["config"]["hidden_size"]
    allocate = {"rwkv-4": allocate_rwkv4, "rwkv-7": allocate_rwkv7}
    bytes_of = {name: sum(t.nbytes for t in make(n_layers, d_model)) for name, make in allocate.items()}
    state_bytes = bytes_of[p.version]
    with torch.random.fork_rng(devices=[]):  # it initialises small layers
        per_token = allocated_bytes_per_token(*attention_shape(p.like), torch.bfloat16)
    cache_bytes = per_token * p.seq_len
    lengths = [2**i for i in range(2, 18)]
    curves = [Series(name, lengths, [b / 2**20] * len(lengths)) for name, b in bytes_of.items()]
    return Result(
        takeaway=Text(
            en=f"An {p.version} as wide and deep as {p.like} keeps {state_bytes / 2**20:.2f} MiB per request at any "
            f"length; the KV cache takes {cache_bytes / 2**30:.1f} GiB at {p.seq_len:,} tokens.",
            zh=f"与 {p.like} 同宽同深的 {p.version}，每条请求固定占 {state_bytes / 2**20:.2f} MiB；"
            f"而 KV Cache 在 {p.seq_len:,} 个 token 时占 {cache_bytes / 2**30:.1f} GiB。",
        ),
        facts=[
            Fact("state_bytes", "B", state_bytes, formula_state_bytes(p.version, n_layers, d_model)),
            Fact("state_mib", "MiB", state_bytes / 2**20),
            Fact("cache_gib", "GiB", cache_bytes / 2**30),
            Fact("break_even_tokens", "tokens", state_bytes / per_token),
            Fact("cache_over_state", "×", cache_bytes / state_bytes),
        ],
        table=Table(
            ("memory", "MiB", "equal to a KV cache of (tokens)"),
            [(name, b / 2**20, b / per_token) for name, b in bytes_of.items()],
        ),
        plot=Plot(
            f"Memory of one request, shape of {p.like}",
            "tokens",
            "MiB",
            [*curves, Series("KV cache", lengths, [per_token * n / 2**20 for n in lengths])],
            log_x=True,
            log_y=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
