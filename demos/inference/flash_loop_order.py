"""Which loop of FlashAttention belongs outside, the one over keys or the one over queries?

FlashAttention-1 holds a block of K and V and sends every query past it. Each query meets every block, and each time its
unfinished output travels in and out of HBM: 3ND a block. FlashAttention-2 holds a block of queries instead. Its output
stays on the chip until it is done, only K and V travel, 2ND a block, and the blocks of queries no longer write to the
same rows, so that they can run on different cores.

Legend: N tokens, D head_dim. One head, forward pass, no causal mask.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from llmprep.demos.inference.flash_attention import Chip, flash_attention, formula_standard, tile_sizes
from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def tile_sizes_keys_outside(sram: int, head_dim: int) -> tuple[int, int]:
    """Rows of K and V that stay on the chip; rows of Q, O and two statistics for which there is room beside them."""
    block_kv = sram // (4 * head_dim)
    return block_kv, (sram - block_kv * 2 * head_dim) // (2 * head_dim + 2 + block_kv)


def keys_outside(chip: Chip, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """FlashAttention (arXiv 2205.14135), algorithm 1. (N, D) → (N, D)."""
    N, D = q.shape
    block_kv, block_q = tile_sizes_keys_outside(chip.sram, D)
    out, m, total = chip.allocate((N, D), q), chip.allocate((N,), q), chip.allocate((N,), q)
    for buffer, value in ((out, 0.0), (m, float("-inf")), (total, 0.0)):
        chip.store(buffer, torch.full_like(buffer, value))
    for j in range(0, N, block_kv):
        k_j, v_j = chip.load(k[j : j + block_kv]), chip.load(v[j : j + block_kv])  # (Bkv, D)
        for i in range(0, N, block_q):
            rows = slice(i, i + block_q)
            q_i, o, m_i, total_i = (chip.load(t[rows]) for t in (q, out, m, total))  # (Bq, D) twice, (Bq,) twice
            s = chip.matmul(q_i, k_j.T) * D**-0.5  # (Bq, Bkv)
            chip.must_fit(k_j, v_j, q_i, o, s, m_i, total_i)
            m_new = torch.maximum(m_i, s.amax(-1))
            p, rescale = torch.exp(s - m_new[:, None]), torch.exp(m_i - m_new)
            total_new = total_i * rescale + p.sum(-1)
            o = (o * (total_i * rescale)[:, None] + chip.matmul(p, v_j)) / total_new[:, None]
            for buffer, tile in ((out, o), (m, m_new), (total, total_new)):
                chip.store(buffer[rows], tile)
    return out


def formula_keys_outside(N: int, D: int, block_kv: int) -> int:
    """K and V once; Q in, O in and out, two statistics in and out for each block of keys; O and statistics zeroed."""
    return 2 * N * D + -(-N // block_kv) * (3 * N * D + 4 * N) + N * D + 2 * N


def formula_queries_outside(N: int, D: int, block_q: int) -> int:
    """Q, O and logsumexp once; K and V for each block of queries."""
    return 2 * N * D + -(-N // block_q) * 2 * N * D + N


@dataclass(frozen=True)
class Params:
    seq_len: int = 1024  # tokens
    head_dim: int = 64
    sram_elements: int = 51_200  # 100 KiB of FP16
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.seq_len <= 4096 or not 1 <= self.head_dim <= 512:
            raise ValueError("seq_len must be between 1 and 4096, and head_dim between 1 and 512")
        tiles = [sizes(self.sram_elements, self.head_dim) for sizes in (tile_sizes, tile_sizes_keys_outside)]
        if any(min(t) < 1 or self.seq_len**2 > 5_000 * t[0] * t[1] for t in tiles):
            raise ValueError("sram_elements must be large enough to cut the scores into at most 5,000 tiles")


def run(p: Params) -> Result:
    N, D = p.seq_len, p.head_dim
    q, k, v = torch.randn(3, N, D, generator=torch.Generator().manual_seed(p.seed))
    block, _ = tile_sizes(p.sram_elements, D)
    by_keys, by_queries = Chip(p.sram_elements), Chip(p.sram_elements)
    difference = keys_outside(by_keys, q, k, v) - flash_attention(by_queries, q, k, v)
    mismatches = int(difference.abs().gt(1e-4).sum())
    savings = [formula_standard(N, D) / chip.traffic for chip in (by_keys, by_queries)]
    facts = [
        Fact("mismatches", "outputs", mismatches, predicted=0),
        Fact("keys_outside_traffic", "elements", by_keys.traffic, formula_keys_outside(N, D, block)),
        Fact("queries_outside_traffic", "elements", by_queries.traffic, formula_queries_outside(N, D, block)),
        Fact("keys_outside_saving", "×", savings[0]),
        Fact("queries_outside_saving", "×", savings[1]),
        Fact("traffic_ratio", "×", by_keys.traffic / by_queries.traffic),
    ]
    lengths = [2**i for i in range(8, 15)]
    curves = [
        Series("keys outside", lengths, [formula_keys_outside(n, D, block) for n in lengths]),
        Series("queries outside", lengths, [formula_queries_outside(n, D, block) for n in lengths]),
    ]
    return Result(
        takeaway=Text(
            en=f"At N={N:,}, D={D} standard attention moves {savings[0]:.1f}× as many elements as the loop over keys "
            f"outside, {savings[1]:.1f}× as many as the loop over queries outside; {mismatches} outputs differ.",
            zh=f"N={N:,}、D={D} 时，标准注意力的访存是“外层循环 key”的 {savings[0]:.1f} 倍，"
            f"是“外层循环 query”的 {savings[1]:.1f} 倍；{mismatches} 个输出不一致。",
        ),
        facts=facts,
        table=Table(
            ("outer loop", "HBM traffic (elements)", "less than standard (×)", "can run in parallel"),
            [
                ("keys (FlashAttention-1)", by_keys.traffic, savings[0], "heads"),
                ("queries (FlashAttention-2)", by_queries.traffic, savings[1], "heads and blocks of queries"),
            ],
        ),
        plot=Plot(f"HBM traffic of one head, D = {D}", "tokens", "elements", curves, log_x=True, log_y=True),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
