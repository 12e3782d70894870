"""What does self-attention compute, and what grows with the square of the length?

Every token sends out a query, shows a key and holds a value. A score is the dot product of a query with a key,
softmax turns each row of scores into weights, and the output is the weighted mean of the values:
softmax(QKᵀ/√D)·V. The causal mask puts −∞ on later tokens *before* the softmax, so that their weight is an exact 0.
The T × T table of scores makes the work quadratic; the memory is quadratic only where that table is kept.
Below, attention is written from scratch, broken in the three usual ways, and held against torch's own kernel.

Legend: B batch, H heads, T tokens, D head_dim.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from llmprep.lab import Fact, Plot, Result, Series, Table, Text

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


def future(T: int, device: torch.device) -> Tensor:
    """(T, T), true where a key comes later than the query."""
    return torch.ones(T, T, dtype=torch.bool, device=device).triu(diagonal=1)


def attention(q: Tensor, k: Tensor, v: Tensor, *, causal: bool = True) -> Tensor:
    """softmax(QKᵀ/√D)·V for (B, H, T, D) each: arXiv 1706.03762, equation 1; the mask is in its section 3.2.3."""
    T, D = q.shape[-2:]
    scores = q @ k.mT / math.sqrt(D)  # (B, H, T, T), a row for each query
    if causal:
        scores = scores.masked_fill(future(T, q.device), -torch.inf)
    weights = scores.softmax(dim=-1)  # each row sums to 1
    return weights @ v  # (B, H, T, D)


def forgot_scale(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Bug 1: without √D most rows put nearly all their weight on one key."""
    scores = (q @ k.mT).masked_fill(future(q.shape[-2], q.device), -torch.inf)
    return scores.softmax(dim=-1) @ v


def masked_after_softmax(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Bug 2: later tokens get weight 0, but their scores are still in every denominator."""
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    return scores.softmax(dim=-1).tril() @ v


def softmax_over_queries(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Bug 3: the wrong axis; the columns sum to 1 and the rows do not."""
    scores = (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(future(q.shape[-2], q.device), -torch.inf)
    return scores.softmax(dim=-2) @ v


def torch_kernel(name: str) -> Attend:
    """Torch's own causal attention: "flash" works block by block, "math" builds the T × T table."""
    backend = {"flash": SDPBackend.FLASH_ATTENTION, "math": SDPBackend.MATH}[name]

    def kernel(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with sdpa_kernel(backend):
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    return kernel


def output_and_gradients(attend: Attend, q: Tensor, k: Tensor, v: Tensor, upstream: Tensor) -> tuple[Tensor, Tensor]:
    """The output (B, H, T, D), and dLoss/dq, dk, dv stacked (3, B, H, T, D) where dLoss/dOutput = `upstream`."""
    leaves = [t.detach().clone().requires_grad_() for t in (q, k, v)]
    out = attend(*leaves)
    return out.detach(), torch.stack(torch.autograd.grad(out, leaves, upstream))


def mismatches(a: Tensor, b: Tensor) -> int:
    """How many elements differ by more than 1e-8: far above the noise of float64, far below any bug."""
    return int(((a - b).abs() > 1e-8).sum())


def changed_earlier_outputs(attend: Attend, q: Tensor, k: Tensor, v: Tensor, t: int) -> int:
    """Replace the tokens from t on, and count the output elements before t that change in any bit."""
    before = attend(q, k, v)[..., :t, :]
    q, k, v = (torch.cat([x[..., :t, :], torch.randn_like(x[..., t:, :])], dim=-2) for x in (q, k, v))
    return int((attend(q, k, v)[..., :t, :] != before).sum())


def count_flops(attend: Attend, n_heads: int, T: int, head_dim: int) -> int:
    """FLOPs of the matrix products that really run, counted by torch on tensors without storage."""
    q = torch.empty(1, n_heads, T, head_dim, device="meta")
    with FlopCounterMode(display=False) as counter:
        attend(q, q, q)
    return counter.get_total_flops()


def bytes_kept(attend: Attend, n_heads: int, T: int, head_dim: int) -> int:
    """Bytes that autograd holds from the forward to the backward pass, in float32, each storage counted once."""
    sizes = {}

    def note(t: Tensor) -> Tensor:
        sizes[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    q, k, v = (torch.randn(1, n_heads, T, head_dim, requires_grad=True) for _ in range(3))
    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        out = attend(q, k, v)
    total = sum(sizes.values())
    del out  # until here the graph kept every storage alive, so that no address was used twice
    return total


@dataclass(frozen=True)
class Params:
    version: Literal["attention", "forgot_scale", "masked_after_softmax", "softmax_over_queries"] = "attention"
    kernel: Literal["flash", "math"] = "flash"  # torch's implementation to compare with
    seq_len: int = 512  # tokens
    n_heads: int = 8
    head_dim: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if not 8 <= self.seq_len <= 1024 or self.seq_len % 4:
            raise ValueError("seq_len must be a multiple of 4 between 8 and 1024: the T × T table is really built")
        if not 1 <= self.n_heads <= 16 or not 2 <= self.head_dim <= 128:
            raise ValueError("n_heads must be between 1 and 16, head_dim between 2 and 128")


def run(p: Params) -> Result:
    T, H, D = p.seq_len, p.n_heads, p.head_dim
    versions = (attention, forgot_scale, masked_after_softmax, softmax_over_queries)
    attend: Attend = {f.__name__: f for f in versions}[p.version]
    kernel = torch_kernel(p.kernel)
    lengths = [T // 4, T // 2, T]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(p.seed)
        q, k, v, upstream = torch.randn(4, 1, H, T, D, dtype=torch.float64)
        ours, our_gradients = output_and_gradients(attend, q, k, v, upstream)
        theirs, their_gradients = output_and_gradients(kernel, q, k, v, upstream)
        changed = changed_earlier_outputs(attend, q, k, v, T // 2)
        kept = [bytes_kept(attend, H, n, D) / 2**20 for n in lengths]
        kernel_kept = [bytes_kept(kernel, H, n, D) / 2**20 for n in lengths]
    flops = [count_flops(attend, H, n, D) for n in lengths]
    wrong, wrong_gradients = mismatches(ours, theirs), mismatches(our_gradients, their_gradients)

    correct = p.version == "attention"
    causal = p.version in ("attention", "forgot_scale")
    facts = [
        Fact("outputs", "outputs", ours.numel()),
        Fact("mismatches", "outputs", wrong, predicted=0 if correct else None),
        Fact("gradients", "gradients", our_gradients.numel()),
        Fact("gradient_mismatches", "gradients", wrong_gradients, predicted=0 if correct else None),
        Fact("changed_earlier_outputs", "outputs", changed, predicted=0 if causal else None),
        Fact("flops", "FLOP", flops[-1], predicted=2 * (2 * H * T * T * D)),  # QKᵀ, and weights times V
        Fact("flops_growth", "×", flops[-1] / flops[-2], predicted=4),
        Fact("kept_mib", "MiB", kept[-1]),
        Fact("kept_growth", "×", kept[-1] / kept[-2]),
        Fact("kernel_kept_mib", "MiB", kernel_kept[-1]),
        Fact("kernel_kept_growth", "×", kernel_kept[-1] / kernel_kept[-2]),
    ]
    return Result(
        takeaway=Text(
            en=f"{wrong:,} of {ours.numel():,} outputs and {wrong_gradients:,} of {our_gradients.numel():,} gradients "
            f"differ from torch's {p.kernel} kernel; other later tokens change {changed:,} earlier outputs. Twice the "
            f"length costs {flops[-1] / flops[-2]:.0f}× the FLOPs and {kept[-1] / kept[-2]:.1f}× the memory, "
            f"in the kernel {kernel_kept[-1] / kernel_kept[-2]:.1f}×.",
            zh=f"与 torch 的 {p.kernel} kernel 相比，{ours.numel():,} 个输出中有 {wrong:,} 个不同，"
            f"{our_gradients.numel():,} 个梯度中有 {wrong_gradients:,} 个不同；换掉后面的 token，前面的输出有 "
            f"{changed:,} 个改变。长度翻倍，FLOPs 变为 {flops[-1] / flops[-2]:.0f} 倍，"
            f"内存变为 {kept[-1] / kept[-2]:.1f} 倍，用 kernel 则为 {kernel_kept[-1] / kernel_kept[-2]:.1f} 倍。",
        ),
        facts=facts,
        table=Table(
            ("tokens", "GFLOP", "kept for backward (MiB)", f"the same in torch's {p.kernel} kernel (MiB)"),
            [(n, f / 1e9, a, b) for n, f, a, b in zip(lengths, flops, kept, kernel_kept, strict=True)],
        ),
        plot=Plot(
            "Kept for the backward pass by one layer, float32",
            "tokens",
            "MiB",
            [Series("from scratch", lengths, kept), Series(f"torch {p.kernel}", lengths, kernel_kept)],
            log_x=True,
            log_y=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
