"""How does attention read a KV cache whose blocks lie anywhere in memory?

The block table of a sequence says where its keys and values are (arXiv 2309.06180, section 4.1). The kernel goes
through the table block by block with a running softmax, and the result is that of attention over a contiguous cache.
Samples of one prompt share its blocks, so before one of them writes into a shared, half-full block it must copy it;
without copy-on-write the samples overwrite each other, and all but the last writer attend to foreign tokens.

Legend: B block size, T tokens of a sequence, D head_dim; one head of one layer.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from llmprep.demos.inference.block_allocator import BlockPool, BlockTable
from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def paged_attention(q: Tensor, k_blocks: Tensor, v_blocks: Tensor, seq: BlockTable) -> Tensor:
    """One query (D,) against a paged cache (n_blocks, B, D): block after block, with a running softmax."""
    B, D = k_blocks.shape[1:]
    top, total, out = torch.tensor(-torch.inf, dtype=q.dtype), torch.zeros((), dtype=q.dtype), torch.zeros_like(q)
    for i, block in enumerate(seq.blocks):
        filled = min(B, seq.length - i * B)
        scores = k_blocks[block, :filled] @ q / D**0.5  # (filled,)
        new_top = torch.maximum(top, scores.max())
        weights, shrink = (scores - new_top).exp(), (top - new_top).exp()
        top, total, out = new_top, total * shrink + weights.sum(), out * shrink + weights @ v_blocks[block, :filled]
    return out / total


def write(pool: BlockPool, seq: BlockTable, cache: Tensor, token: Tensor, *, copy_on_write: bool) -> None:
    """Store the key and value of one token, (2, D), in the cache (2, n_blocks, B, D)."""
    block, slot, copy_from = pool.append(seq, copy_on_write=copy_on_write)
    if copy_from is not None:
        cache[:, block] = cache[:, copy_from]
    cache[:, block, slot] = token


@dataclass(frozen=True)
class Params:
    prompt_tokens: int = 100
    new_tokens: int = 60  # of each sample
    n_samples: int = 4
    block_size: int = 16  # slots
    copy_on_write: bool = True  # false: the bug
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.prompt_tokens, self.new_tokens, self.n_samples, self.block_size) < 1:
            raise ValueError("prompt_tokens, new_tokens, n_samples and block_size must be at least 1")
        if self.n_samples * (self.prompt_tokens + self.new_tokens) > 4096 or self.block_size > 1024:
            raise ValueError("n_samples · (prompt_tokens + new_tokens) must be at most 4096, block_size 1024")


def run(p: Params) -> Result:
    P, T, n, B, D = p.prompt_tokens, p.prompt_tokens + p.new_tokens, p.n_samples, p.block_size, 8
    pool = BlockPool(n * math.ceil(T / B), B)
    cache = torch.zeros(2, len(pool.refs), B, D, dtype=torch.float64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(p.seed)
        kv = torch.randn(n, 2, T, D, dtype=torch.float64)
        queries = torch.randn(n, D, dtype=torch.float64)
    kv[1:, :, :P] = kv[0, :, :P]  # the samples differ only after the prompt

    samples = [BlockTable()]
    for t in range(P):
        write(pool, samples[0], cache, kv[0, :, t], copy_on_write=p.copy_on_write)
    samples += [pool.fork(samples[0]) for _ in range(n - 1)]
    for t in range(P, T):
        for i, seq in enumerate(samples):
            write(pool, seq, cache, kv[i, :, t], copy_on_write=p.copy_on_write)

    errors = []
    for q, (k, v), seq in zip(queries, kv, samples, strict=True):
        contiguous = (k @ q / D**0.5).softmax(dim=0) @ v
        errors.append((paged_attention(q, *cache, seq) - contiguous).abs().max().item())
    wrong = sum(e > 1e-9 for e in errors)
    gaps = sum(b != a + 1 for seq in samples for a, b in zip(seq.blocks, seq.blocks[1:], strict=False))
    rows = [
        (i, " ".join(map(str, seq.blocks)), "yes" if e > 1e-9 else "no")
        for i, (seq, e) in enumerate(zip(samples, errors, strict=True))
    ]
    return Result(
        takeaway=Text(
            en=f"Read through their block tables, with {gaps} jumps in memory, {n - wrong} of {n} samples get the "
            f"attention that a contiguous cache gives.",
            zh=f"通过块表读取（物理地址跳转 {gaps} 次），{n} 个样本中有 {n - wrong} 个与连续缓存的注意力结果一致。",
        ),
        facts=[
            # without copy-on-write the last writer of the shared block wins
            Fact("wrong_samples", "samples", wrong, predicted=n - 1 if P % B and not p.copy_on_write else 0),
            Fact("jumps", "times", gaps),
        ],
        table=Table(("sample", "block table", "reads foreign tokens"), rows),
        plot=Plot(
            "Where the blocks of each sample lie",
            "logical block",
            "physical block",
            [Series(f"sample {i}", list(range(len(s.blocks))), s.blocks) for i, s in enumerate(samples[:8])],
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
