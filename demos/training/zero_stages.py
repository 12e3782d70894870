"""What does each ZeRO stage shard, and what does it cost in traffic?

Data parallelism keeps 16 bytes a parameter on every rank: 2 of BF16 weight, 2 of gradient, 12 of FP32 copy and Adam
moments. ZeRO gives each of N ranks the N-th part of the optimiser (stage 1), of the gradients too (2), of the weights
too (3): 4 + 12/N, 2 + 14/N, 16/N bytes. An all-reduce already is a reduce-scatter followed by an all-gather, so
stages 1 and 2 only move the optimiser step between the two and send no more than before; stage 3 has to gather the
weights twice, forward and backward. The machine lays the shards out, trains a small network on them over rings that
count every element they pass on, and compares the weights with those of plain data parallelism.

Legend: N ranks, P parameters of the small network, d its width.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from llmprep.lab import Fact, Plot, Result, Series, Table, Text

WIDTH, LAYERS, STEPS = 64, 2, 2  # of the small network; P = LAYERS · WIDTH²
Rank = dict[str, list[Tensor]]  # what a rank keeps: a tensor for each layer under each name


def formula_bytes_per_param(stage: int, n: int, gradient: int = 2) -> float:
    """ZeRO (arXiv 1910.02054, figure 1) with K = 12; 7.5B parameters on 64 ranks: 120, 31.4, 16.6, 1.9 GB."""
    sharded = [0, 12, 12 + gradient, 14 + gradient][stage]
    return 14 + gradient - sharded + sharded / n


def formula_elements_sent(stage: int, n: int) -> float:
    """Per rank, parameter and step (section 7): 2 passes of a ring, 3 for stage 3; a pass sends (N − 1)/N."""
    return (3 if stage == 3 else 2) * (n - 1) / n


class Ring:
    """N simulated ranks, each of which can only hand a tensor to the next; `sent` counts elements by rank."""

    def __init__(self, n: int) -> None:
        self.n, self.sent = n, [0] * n

    def pass_on(self, messages: list[Tensor]) -> list[Tensor]:
        """Every rank sends one message to its right; what each then has received from its left."""
        for rank, message in enumerate(messages):
            self.sent[rank] += message.numel()
        return [messages[rank - 1].clone() for rank in range(self.n)]

    def reduce_scatter(self, tensors: list[Tensor]) -> list[Tensor]:
        """One whole (P,) tensor a rank → rank r holds the sum over ranks of chunk r, (P/N,)."""
        chunks = [list(t.clone().chunk(self.n)) for t in tensors]
        for hop in range(self.n - 1):  # chunk c sets out at rank c + 1 and comes home, summed, at rank c
            received = self.pass_on([chunks[r][(r - 1 - hop) % self.n] for r in range(self.n)])
            for r, message in enumerate(received):
                chunks[r][(r - 2 - hop) % self.n] += message
        return [chunks[r][r] for r in range(self.n)]

    def all_gather(self, shards: list[Tensor]) -> list[Tensor]:
        """One (P/N,) shard a rank → the whole (P,) on every rank."""
        chunks: list[dict[int, Tensor]] = [{r: shard} for r, shard in enumerate(shards)]
        for hop in range(self.n - 1):
            received = self.pass_on([chunks[r][(r - hop) % self.n] for r in range(self.n)])
            for r, message in enumerate(received):
                chunks[r][(r - 1 - hop) % self.n] = message
        return [torch.cat([held[c] for c in range(self.n)]) for held in chunks]

    def all_reduce(self, tensors: list[Tensor]) -> list[Tensor]:
        """The sum, everywhere: both of the above in turn."""
        return self.all_gather(self.reduce_scatter(tensors))


def lay_out(initial: list[Tensor], stage: int, n: int, gradient_dtype: torch.dtype) -> list[Rank]:
    """Allocate what each rank keeps between two steps: whole tensors, or its part of what the stage shards."""
    kinds = {"weights": (torch.bfloat16, 3), "gradients": (gradient_dtype, 2)}
    kinds |= dict.fromkeys(("master", "moment1", "moment2"), (torch.float32, 1))
    ranks: list[Rank] = [{} for _ in range(n)]
    for name, (dtype, sharded_from) in kinds.items():
        start = [torch.zeros_like(w) if name not in ("weights", "master") else w for w in initial]
        for r, rank in enumerate(ranks):
            rank[name] = [(w.chunk(n)[r] if stage >= sharded_from else w).to(dtype, copy=True) for w in start]
    return ranks


def backward(ranks: list[Rank], ring: Ring, stage: int, x: Tensor, y: Tensor) -> None:
    """Each rank's mean gradient of ½|net(x) − y|² on its own (N, B, d) batch, averaged over ranks, into `gradients`."""

    def whole(layer: int) -> list[Tensor]:
        held = [rank["weights"][layer] for rank in ranks]
        return [w.view(WIDTH, WIDTH) for w in (ring.all_gather(held) if stage == 3 else held)]

    n, hidden = ring.n, [list(x)]  # hidden[layer][rank]: (B, d)
    for layer in range(LAYERS):
        hidden.append([torch.tanh(h @ w) for h, w in zip(hidden[-1], whole(layer), strict=True)])
    upstream = [(h - target) / len(h) for h, target in zip(hidden[-1], y, strict=True)]
    for layer in reversed(range(LAYERS)):
        inner = [g * (1 - h * h) for g, h in zip(upstream, hidden[layer + 1], strict=True)]
        local = [
            (h.T @ g).flatten().to(ranks[0]["gradients"][0].dtype) for h, g in zip(hidden[layer], inner, strict=True)
        ]
        upstream = [g @ w.T for g, w in zip(inner, whole(layer), strict=True)]
        summed = ring.reduce_scatter(local) if stage else ring.all_reduce(local)
        for r, rank in enumerate(ranks):  # stage 1 reserves a whole gradient, but only its own part is reduced
            own = rank["gradients"][layer].chunk(n)[r] if stage == 1 else rank["gradients"][layer]
            own.copy_(summed[r] / n)


def adam(ranks: list[Rank], ring: Ring, stage: int, step: int) -> None:
    """Adam (lr 0.01) on what each rank owns of the FP32 weights; stages 1 and 2 then share the new weights."""
    for layer in range(LAYERS):
        fresh = []
        for r, rank in enumerate(ranks):
            gradient = rank["gradients"][layer]
            g = (gradient.chunk(ring.n)[r] if stage == 1 else gradient).float()
            m, v = rank["moment1"][layer].lerp_(g, 0.1), rank["moment2"][layer].lerp_(g * g, 0.001)
            rank["master"][layer] -= 0.01 * (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)).sqrt() + 1e-8)
            fresh.append(rank["master"][layer].bfloat16())
        for rank, w in zip(ranks, ring.all_gather(fresh) if stage in (1, 2) else fresh, strict=True):
            rank["weights"][layer].copy_(w)


def train(stage: int, n: int, gradient_dtype: torch.dtype, seed: int) -> tuple[list[Rank], Ring]:
    """A few steps on random batches, the same for every stage."""
    generator = torch.Generator().manual_seed(seed)
    initial = [torch.randn(WIDTH**2, generator=generator) / WIDTH**0.5 for _ in range(LAYERS)]
    ranks, ring = lay_out(initial, stage, n, gradient_dtype), Ring(n)
    for step in range(1, STEPS + 1):
        x, y = torch.randn(2, n, 4, WIDTH, generator=generator).bfloat16()
        backward(ranks, ring, stage, x, y)
        adam(ranks, ring, stage, step)
    return ranks, ring


def kept_bytes(rank: Rank) -> int:
    """The bytes of all the storage that a rank's tensors hold on to."""
    return sum(t.untyped_storage().nbytes() for tensors in rank.values() for t in tensors)


def final_weights(ranks: list[Rank], stage: int) -> Tensor:
    """Every whole copy of the weights: (N, P), or (1, P) put together from the shards of stage 3."""
    copies = [ranks] if stage == 3 else [[rank] for rank in ranks]
    layers = range(LAYERS)
    return torch.stack([torch.cat([rank["weights"][i] for i in layers for rank in holders]) for holders in copies])


@dataclass(frozen=True)
class Params:
    stage: Literal[0, 1, 2, 3] = 3  # 0: plain data parallelism
    n_devices: int = 64
    params_billion: float = 7.5  # size of the model that the table is scaled to
    gradients: Literal["bf16", "fp32"] = "bf16"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_devices not in (2, 4, 8, 16, 32, 64):
            raise ValueError("n_devices must be 2, 4, 8, 16, 32 or 64: each is simulated, and has an equal part")
        if self.params_billion <= 0:
            raise ValueError("params_billion must be above 0")


def run(p: Params) -> Result:
    n, total, dtype = p.n_devices, LAYERS * WIDTH**2, torch.bfloat16 if p.gradients == "bf16" else torch.float32
    each, sent, weights = [], [], []
    for stage in range(4):
        ranks, ring = train(stage, n, dtype, p.seed)
        each.append(max(kept_bytes(rank) for rank in ranks) / total)
        sent.append(max(ring.sent) / (STEPS * total))
        weights.append(final_weights(ranks, stage))
    facts = [
        Fact("bytes_per_param", "B", each[p.stage], formula_bytes_per_param(p.stage, n, dtype.itemsize)),
        Fact("gb_per_device", "GB", each[p.stage] * p.params_billion),
        Fact("elements_sent_per_param", "", sent[p.stage], formula_elements_sent(p.stage, n)),
        Fact("traffic_vs_ddp", "×", sent[p.stage] / sent[0], 1.5 if p.stage == 3 else 1),
        Fact("mismatches", "weights", int((weights[p.stage] != weights[0][:1]).sum()), predicted=0),
    ]
    names = ["data parallel", "stage 1: optimiser", "stage 2: + gradients", "stage 3: + weights"]
    rows = [(names[i], each[i], each[i] * p.params_billion, sent[i]) for i in range(4)]
    sizes = [2**i for i in range(11)]
    curves = [
        Series(names[i], sizes, [p.params_billion * formula_bytes_per_param(i, m, dtype.itemsize) for m in sizes])
        for i in range(4)
    ]
    gb, ratio, differ = f"{facts[1].measured:.1f}", f"{facts[3].measured:g}", facts[4].measured
    return Result(
        takeaway=Text(
            en=f"{p.params_billion:g}B parameters on {n} ranks at stage {p.stage}: {gb} GB of states a rank (stage 0: "
            f"{each[0] * p.params_billion:.1f}), {ratio}× its traffic; {differ} of {total:,} trained weights differ.",
            zh=f"{p.params_billion:g}B 参数、{n} 张卡、Stage {p.stage}：每卡模型状态 {gb} GB（Stage 0 为 "
            f"{each[0] * p.params_billion:.1f} GB），通信量是 Stage 0 的 {ratio} 倍；"
            f"{total:,} 个权重中 {differ} 个不同。",
        ),
        facts=facts,
        table=Table(("", "states (B/param)", "states (GB)", "sent (elements/param)"), rows),
        plot=Plot("States on each device", "devices", "GB", curves, log_x=True, log_y=True),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
