"""Why does a sliding window cap the KV cache, and what must stay in it?

A query at position t sees the keys t − W + 1 … t, so W slots per layer are enough: position t goes to slot t mod W and
overwrites the one key that no later query may see. The slots are then out of order, which does no harm: softmax runs
over a set, and RoPE has already written its absolute position into each key. Decoding from such a ring gives the same
outputs as masked attention over the whole text. One slot too few, and every step beyond the window is wrong.

Legend: T tokens, W window, D head_dim.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from llmprep import content
from llmprep.demos.architecture.rope import frequencies, rotate
from llmprep.demos.architecture.sliding_window import sliding_mask
from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def decode_with_ring(q: Tensor, k: Tensor, v: Tensor, slots: int) -> tuple[Tensor, int]:
    """One token at a time from a ring of `slots` keys and values: outputs (T, D), and the numbers the ring holds."""
    T, D = q.shape
    ring = torch.zeros(2, slots, D, dtype=q.dtype)
    theta = frequencies(D)
    outputs = []
    for t in range(T):
        here = torch.tensor([t])
        ring[0, t % slots], ring[1, t % slots] = rotate(k[t : t + 1], here, theta)[0], v[t]
        filled = ring[:, : min(t + 1, slots)]
        query = rotate(q[t : t + 1], here, theta)
        outputs.append(F.scaled_dot_product_attention(query[None], filled[:1], filled[1:])[0])
    return torch.cat(outputs), ring.numel()


def masked_at_once(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    """The reference: all positions in one call under a (T, T) mask, (T, D)."""
    positions, theta = torch.arange(len(q)), frequencies(q.shape[1])
    q, k = rotate(q, positions, theta), rotate(k, positions, theta)
    return F.scaled_dot_product_attention(q[None], k[None], v[None], attn_mask=sliding_mask(len(q), window))[0]


def windows(config: dict) -> list[int]:
    """The window of each layer of a model, 0 for full attention: in Gemma 3 every 6th layer, in Mistral none."""
    every = config.get("sliding_window_pattern", 0)
    layers = range(1, config["num_hidden_layers"] + 1)
    return [0 if every and i % every == 0 else config["sliding_window"] for i in layers]


def cache_bytes(model: str, T: int, *, windowed: bool = True) -> int:
    """BF16 bytes of one request: allocate the K and V of each layer (without storage) and add them up."""
    config = content.model(model)["config"]
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    total = 0
    for window in windows(config):
        tokens = min(T, window) if window and windowed else T
        shape = (2, config["num_key_value_heads"], tokens, head_dim)
        total += torch.empty(shape, dtype=torch.bfloat16, device="meta").nbytes
    return total


@dataclass(frozen=True)
class Params:
    window: int = 16  # W, of the small layer that really decodes
    slots: int = 0  # of its ring; 0: as many as the window
    seq_len: int = 100  # tokens really decoded
    model: str = "mistral-7b-v0.1"
    context: int = 32_768  # tokens in the cache of the model
    seed: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.window <= 256 or not 0 <= self.slots <= 512:
            raise ValueError("window must be between 2 and 256, slots at most 512")
        if not 2 <= self.seq_len <= 512 or self.context < 1:
            raise ValueError("seq_len must be between 2 and 512, context at least 1")
        config, kv = content.model(self.model)["config"], content.model(self.model)["kv_bf16"]
        if "sliding_window" not in config or windows(config).count(0) != kv["full_layers"]:
            raise ValueError("model must have sliding windows in a pattern that its config names")


def run(p: Params) -> Result:
    D, slots = 16, p.slots or p.window
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(p.seed)
        q, k, v = torch.randn(3, p.seq_len, D, dtype=torch.float64)
    expected = masked_at_once(q, k, v, p.window)
    ring, held = decode_with_ring(q, k, v, slots)
    mismatches = int(((ring - expected).abs().amax(dim=-1) > 1e-9).sum())
    wrong_from = min(p.window, slots)  # the first step that sees too little or too much
    info = content.model(p.model)
    capped, full = cache_bytes(p.model, p.context), cache_bytes(p.model, p.context, windowed=False)
    kv = info["kv_bf16"]
    per_layer = kv["elements_per_token_per_layer"] * torch.bfloat16.itemsize
    predicted = per_layer * (kv["full_layers"] * p.context + kv["sliding_layers"] * min(p.context, kv["window"]))
    lengths = [2**i for i in range(10, 18)]
    return Result(
        takeaway=Text(
            en=f"A ring of {slots} slots for a window of {p.window}: {mismatches} of {p.seq_len} steps differ. "
            f"{p.model} at {p.context:,} tokens: {capped / 2**30:.2f} GiB instead of {full / 2**30:.2f} GiB.",
            zh=f"窗口 {p.window}，环形缓存 {slots} 个槽位：{p.seq_len} 步中有 {mismatches} 步不一致。"
            f"{p.model} 在 {p.context:,} 个 token 时占 {capped / 2**30:.2f} GiB，不封顶要 {full / 2**30:.2f} GiB。",
        ),
        facts=[
            Fact("mismatches", "steps", mismatches, 0 if slots == p.window else max(p.seq_len - wrong_from, 0)),
            Fact("tokens_held", "tokens", held // (2 * D), predicted=slots),
            Fact("cache_gib", "GiB", capped / 2**30, predicted=predicted / 2**30),
            Fact("full_cache_gib", "GiB", full / 2**30),
            Fact("saving", "×", full / capped),
            Fact("full_layers", "layers", windows(info["config"]).count(0), predicted=kv["full_layers"]),
            Fact("sliding_layers", "layers", kv["sliding_layers"]),
        ],
        table=Table(
            ("tokens", "with windows (GiB)", "full attention (GiB)"),
            [(n, cache_bytes(p.model, n) / 2**30, cache_bytes(p.model, n, windowed=False) / 2**30) for n in lengths],
        ),
        plot=Plot(
            f"KV cache of one request, {p.model}",
            "tokens",
            "GiB",
            [
                Series("with windows", lengths, [cache_bytes(p.model, n) / 2**30 for n in lengths]),
                Series("full attention", lengths, [cache_bytes(p.model, n, windowed=False) / 2**30 for n in lengths]),
            ],
            log_x=True,
            log_y=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
