"""Why LayerNorm and not BatchNorm in a language model?

LayerNorm takes mean and variance over the channels of one token: its output depends on that token and on nothing else.
BatchNorm takes them, for each channel, over all tokens of the batch. So the same text comes out differently in another
company; later tokens reach earlier ones through the statistics, past every causal mask; padding counts as data; and
when text is generated token by token there is nothing to average over, so running averages from training stand in:
another function than the one that was trained. Below, torch's own modules are asked which outputs change.

Legend: B texts, T tokens, d channels.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def batch_norm_by_hand(x: Tensor, eps: float = 1e-5) -> Tensor:
    """(B, T, d): (x − mean) / √(variance + ε), each channel over all B·T tokens: arXiv 1502.03167, algorithm 1."""
    mean, variance = x.mean(dim=(0, 1)), x.var(dim=(0, 1), correction=0)  # (d)
    return (x - mean) / (variance + eps).sqrt()


def formula_gap(n_tokens: int) -> float:
    """Noise of a batch's mean (variance 1/n) and scale (1/2n), for normal inputs: √(1.5/n). 128 tokens: 0.108."""
    return (1.5 / n_tokens) ** 0.5


def make_norm(name: str, d_model: int) -> nn.Module:
    """A module of torch in training mode, without gain and bias (they would change nothing here)."""
    if name == "batch":
        return nn.BatchNorm1d(d_model, affine=False, dtype=torch.float64)
    if name == "layer":
        return nn.LayerNorm(d_model, elementwise_affine=False, dtype=torch.float64)
    return nn.RMSNorm(d_model, elementwise_affine=False, dtype=torch.float64)


def apply(norm: nn.Module, x: Tensor) -> Tensor:
    """(B, T, d) → the same; BatchNorm1d wants the tokens of all texts in one list."""
    return norm(x.flatten(0, 1)).view_as(x)


def changed(a: Tensor, b: Tensor) -> int:
    """Outputs that differ in any bit."""
    return int((a != b).sum())


@dataclass(frozen=True)
class Params:
    norm: Literal["batch", "layer", "rms"] = "batch"
    batch_size: int = 8  # texts
    seq_len: int = 16  # tokens in each
    padding: int = 8  # tokens of zeros appended to each text
    train_batches: int = 100  # that BatchNorm's running averages have seen
    seed: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.batch_size <= 256 or not 2 <= self.seq_len <= 256:
            raise ValueError("batch_size and seq_len must be between 2 and 256")
        if not 1 <= self.padding <= 256 or not 1 <= self.train_batches <= 1000:
            raise ValueError("padding must be between 1 and 256, train_batches between 1 and 1,000")


def run(p: Params) -> Result:
    d, rows = 32, []
    for name in ("batch", "layer", "rms"):
        generator = torch.Generator().manual_seed(p.seed)

        def texts(n: int, generator: torch.Generator = generator) -> Tensor:
            return torch.randn(n, p.seq_len, d, generator=generator, dtype=torch.float64)

        x, others = texts(p.batch_size), texts(p.batch_size)
        other_mates = torch.cat([x[:1], others[1:]])
        other_ending = x.clone()
        other_ending[:, -1] = others[:, -1]
        padded = torch.cat([x, torch.zeros(p.batch_size, p.padding, d, dtype=torch.float64)], dim=1)

        norm = make_norm(name, d)
        out = apply(norm, x)
        mates = changed(apply(norm, other_mates)[0], out[0])  # the first text is the same in both batches
        leak = changed(apply(norm, other_ending)[:, :-1], out[:, :-1])  # only the last token of each text differs
        pads = changed(apply(norm, padded)[:, : p.seq_len], out)
        for _ in range(p.train_batches):
            apply(norm, texts(p.batch_size))
        gap = (apply(norm.eval(), x) - out).square().mean().sqrt().item()  # running averages against this batch's
        rows.append((name, mates, leak, pads, gap))
    _, mates, leak, pads, gap = next(row for row in rows if row[0] == p.norm)
    own, earlier, all_outputs = p.seq_len * d, p.batch_size * (p.seq_len - 1) * d, p.batch_size * p.seq_len * d
    is_batch = p.norm == "batch"
    settled = p.train_batches >= 50 and p.batch_size * p.seq_len >= 32  # else the running averages are noise as well
    expected_gap = formula_gap(p.batch_size * p.seq_len) if settled else None
    apart = int(((apply(make_norm("batch", d), x) - batch_norm_by_hand(x)).abs() > 1e-9).sum())
    title = {"batch": "BatchNorm", "layer": "LayerNorm", "rms": "RMSNorm"}[p.norm]
    return Result(
        takeaway=Text(
            en=f"{title}: other batch mates change {mates:,} of the {own:,} outputs of a text, another last token "
            f"changes {leak:,} of {earlier:,} earlier outputs; training and evaluation mode differ by {gap:.3f} (RMS).",
            zh=f"{title}：换掉同 batch 的其他文本，一条文本的 {own:,} 个输出有 {mates:,} 个改变；换掉最后一个 token，"
            f"前面的 {earlier:,} 个输出有 {leak:,} 个改变；训练模式与推理模式相差 {gap:.3f}（均方根）。",
        ),
        facts=[
            Fact("changed_by_mates", "outputs", mates, predicted=own if is_batch else 0),
            Fact("outputs_of_a_text", "outputs", own),
            Fact("changed_by_later_token", "outputs", leak, predicted=earlier if is_batch else 0),
            Fact("earlier_outputs", "outputs", earlier),
            Fact("changed_by_padding", "outputs", pads, predicted=all_outputs if is_batch else 0),
            Fact("train_eval_gap", "", gap, expected_gap if is_batch else 0, rtol=0.4),
            Fact("by_hand_mismatches", "outputs", apart, predicted=0),
        ],
        table=Table(
            ("norm", "changed by mates", "changed by a later token", "changed by padding", "train/eval gap"), rows
        ),
        plot=Plot(
            "Outputs that something else in the batch changes",
            "norm",
            "outputs",
            [
                Series(what, [row[0] for row in rows], [row[i] for row in rows])
                for i, what in ((1, "other batch mates"), (2, "a later token"), (3, "padding"))
            ],
            kind="bar",
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
