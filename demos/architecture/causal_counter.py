"""How can a decoder without any position encoding know where a token stands?

By counting what it can see. Let a head pay equal attention to all visible tokens, and let its values be 1 for the
start token and 0 for every other. Under a causal mask position t sees t tokens, one of them the start, so the head
outputs 1/t: a different number at each position, from which t can be read off. Without the mask every position sees
all T tokens and outputs the same 1/T. This is why decoders without positions (NoPE) can be trained at all (arXiv
2203.16634; arXiv 2305.19466, theorem 1), and why a causal model is never blind to order.

Legend: T tokens.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from llmprep.demos.architecture.attention import attention
from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def start_share(T: int, *, causal: bool) -> Tensor:
    """One head with all scores 0 and the value 1 for the start token only: (T,) outputs."""
    scores_are_zero = torch.zeros(1, 1, T, 1, dtype=torch.float64)
    is_start = torch.zeros(1, 1, T, 1, dtype=torch.float64)
    is_start[..., 0, :] = 1
    return attention(scores_are_zero, scores_are_zero, is_start, causal=causal)[0, 0, :, 0]


def read_positions(outputs: Tensor) -> Tensor:
    """The whole numbers nearest to 1/output: where each token takes itself to be, counted from 1."""
    return (1 / outputs).round().long()


@dataclass(frozen=True)
class Params:
    causal: bool = True
    seq_len: int = 1024  # tokens

    def __post_init__(self) -> None:
        if not 2 <= self.seq_len <= 4096:
            raise ValueError("seq_len must be between 2 and 4,096: the T × T table is really built")


def run(p: Params) -> Result:
    T = p.seq_len
    true = torch.arange(1, T + 1)
    masked, unmasked = start_share(T, causal=True), start_share(T, causal=False)
    outputs = masked if p.causal else unmasked
    recovered = int((read_positions(outputs) == true).sum())
    distinct = len(set(read_positions(outputs).tolist()))
    shown = [t for t in (1, 2, 3, 4, 8, 16, 64, 256, 1024, 4096) if t < T] + [T]
    return Result(
        takeaway=Text(
            en=f"{'With' if p.causal else 'Without'} a causal mask and no position encoding, {recovered:,} of {T:,} "
            f"positions can be read off the output of one head.",
            zh=f"{'有' if p.causal else '没有'}因果掩码、不加任何位置编码时，从一个 head 的输出就能读出 {T:,} 个"
            f"位置中的 {recovered:,} 个。",
        ),
        facts=[
            Fact("positions_recovered", "positions", recovered, predicted=T if p.causal else 1),
            Fact("distinct_outputs", "outputs", distinct, predicted=T if p.causal else 1),
            Fact("last_output", "", outputs[-1].item(), predicted=1 / T, rtol=1e-9),
            Fact("middle_output", "", outputs[T // 2 - 1].item(), 1 / (T // 2) if p.causal else 1 / T, rtol=1e-9),
        ],
        table=Table(
            ("position", "output with the mask", "output without", "position read off"),
            [(t, masked[t - 1].item(), unmasked[t - 1].item(), int(read_positions(outputs)[t - 1])) for t in shown],
        ),
        plot=Plot(
            "What the counting head says",
            "position",
            "output",
            [
                Series("causal mask", shown, [masked[t - 1].item() for t in shown]),
                Series("no mask", shown, [unmasked[t - 1].item() for t in shown]),
            ],
            log_x=True,
            log_y=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
