"""What does the decoder of an encoder-decoder learn without the encoder?

Train a Transformer of one encoder and one decoder layer to write a string of random digits backwards. The decoder sees
what it has written and, through cross-attention, the encoder's output. Reversal is not in what is written already, so
every correct digit has to come through cross-attention. Blank the encoder's output and the same decoder, trained as
long, is left with the statistics of the target: one digit in V right by chance, a loss of ln V.

Legend: B batch, T digits, V different digits, d width.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmprep.demos.architecture.one_head_limit import one_thread
from llmprep.demos.architecture.transformer_layer import DecoderLayer, EncoderLayer
from llmprep.lab import Fact, Plot, Result, Series, Table, Text


class Seq2Seq(nn.Module):
    """arXiv 1706.03762, figure 1, with one layer a side and learned positions; id V is the start token."""

    def __init__(self, vocab: int, seq_len: int, d_model: int = 32, n_heads: int = 2) -> None:
        super().__init__()
        self.start = vocab
        self.token, self.place = nn.Embedding(vocab + 1, d_model), nn.Embedding(seq_len, d_model)
        self.encoder, self.decoder = (layer(d_model, n_heads, 4 * d_model) for layer in (EncoderLayer, DecoderLayer))
        self.head = nn.Linear(d_model, vocab)

    def embed(self, ids: Tensor) -> Tensor:
        """(B, T) → (B, T, d)."""
        return self.token(ids) + self.place.weight[: ids.shape[1]]

    def encode(self, source: Tensor, *, blank: bool) -> Tensor:
        """(B, T) → what cross-attention reads, (B, T, d): all zeros if blank."""
        memory = self.encoder(self.embed(source))
        return torch.zeros_like(memory) if blank else memory

    def decode(self, written: Tensor, memory: Tensor) -> Tensor:
        """Digits written so far (B, T − 1), read after a start token → logits of the next at each place (B, T, V)."""
        start = torch.full((len(memory), 1), self.start)
        return self.head(self.decoder(self.embed(torch.cat([start, written], dim=1)), memory))


def write(model: Seq2Seq, source: Tensor, *, blank: bool) -> Tensor:
    """Greedy decoding: the encoder runs once, the decoder once per digit. (B, T) → (B, T)."""
    memory, written = model.encode(source, blank=blank), source[:, :0]
    for _ in range(source.shape[1]):
        written = torch.cat([written, model.decode(written, memory)[:, -1:].argmax(dim=-1)], dim=1)
    return written


def train(model: Seq2Seq, vocab: int, seq_len: int, steps: int, *, blank: bool) -> list[float]:
    """Teacher forcing on fresh random digits (64, T); the loss (nats per digit) at each step."""
    optimiser = torch.optim.Adam(model.parameters(), lr=0.005)
    losses = []
    for _ in range(steps):
        source = torch.randint(vocab, (64, seq_len))
        target = source.flip(1)
        logits = model.decode(target[:, :-1], model.encode(source, blank=blank))  # (B, T, V)
        loss = F.cross_entropy(logits.flatten(0, 1), target.flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


@dataclass(frozen=True)
class Params:
    memory: Literal["encoder output", "blank"] = "encoder output"  # what cross-attention reads
    vocab: int = 10  # different digits
    seq_len: int = 8  # digits of a string
    steps: int = 120
    seed: int = 0

    def __post_init__(self) -> None:
        if not 4 <= self.vocab <= 32 or not 4 <= self.seq_len <= 12:
            raise ValueError("vocab must be between 4 and 32, seq_len between 4 and 12: small enough to train at once")
        if not 100 <= self.steps <= 1000:
            raise ValueError("steps must be between 100 and 1,000")


def run(p: Params) -> Result:
    rows, curves = [], []
    with torch.random.fork_rng(devices=[]), one_thread():
        for name in ("encoder output", "blank"):
            torch.manual_seed(p.seed)
            model = Seq2Seq(p.vocab, p.seq_len)
            losses = train(model, p.vocab, p.seq_len, p.steps, blank=name == "blank")
            with torch.no_grad():
                source = torch.randint(p.vocab, (1000, p.seq_len))
                right = write(model, source, blank=name == "blank") == source.flip(1)
            shares = right.float().mean().item(), right.all(dim=1).float().mean().item()
            rows.append((name, sum(losses[-20:]) / 20, *shares))
            every = range(0, p.steps, p.steps // 50)
            curves.append(Series(name, list(every), [losses[i] for i in every]))
    _, loss, digits_right, strings_right = rows[0 if p.memory == "encoder output" else 1]

    chance = 1 / p.vocab
    blank = p.memory == "blank"
    facts = [
        Fact("digits_right", "", digits_right, predicted=chance if blank else None, atol=0.03),
        Fact("strings_right", "", strings_right, predicted=chance**p.seq_len if blank else None, atol=0.01),
        Fact("loss", "nats", loss, predicted=math.log(p.vocab) if blank else None, atol=0.1),
        Fact("digits_right_if_blank", "", rows[1][2], predicted=chance, atol=0.03),
        Fact("chance", "", chance),
    ]
    memory_zh = "全零的 memory" if blank else "编码器输出"
    return Result(
        takeaway=Text(
            en=f"Trained to reverse {p.seq_len} digits with {p.memory!r} behind cross-attention, the model writes "
            f"{digits_right:.1%} of the digits and {strings_right:.1%} of the strings correctly (chance: {chance:.1%} "
            f"of the digits; seed {p.seed}).",
            zh=f"训练模型把 {p.seq_len} 位数字倒写，交叉注意力读取的是{memory_zh}时，数字正确率 {digits_right:.1%}，"
            f"整串正确率 {strings_right:.1%}（随机猜对一位的概率是 {chance:.1%}，seed = {p.seed}）。",
        ),
        facts=facts,
        table=Table(("cross-attention reads", "loss (nats per digit)", "digits right", "strings right"), rows),
        plot=Plot("Learning to reverse", "step", "loss (nats per digit)", curves),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
