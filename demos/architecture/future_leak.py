"""What happens to a language model that is trained without its causal mask?

Position t has to predict the token that stands at position t + 1 of its own input. Without the mask it can look there,
so the loss falls towards 0 even on random tokens, whose entropy is ln V. It has learned to copy, not to predict: when
it generates, the next token is not there yet, and it does no better than chance. A loss below what the data allows
is how a leak shows. The model is really trained, on fresh uniform random tokens.

Legend: B batch, T tokens, V vocabulary.
"""

import math
from dataclasses import dataclass

import torch

from llmprep.demos.architecture.causal_mask import TinyGPT, token_log_probs, token_log_probs_by_prefix
from llmprep.demos.architecture.one_head_limit import one_thread
from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def formula_loss(vocab: int, seq_len: int, *, causal: bool) -> float:
    """Nats per token on uniform random text: ln V; with the leak only the last token, not in the input, costs ln V."""
    return math.log(vocab) if causal else math.log(vocab) / seq_len


def train(model: TinyGPT, vocab: int, seq_len: int, steps: int, *, causal: bool) -> list[float]:
    """Next-token training on texts (64, T) that are never seen twice; the loss in nats at each step."""
    optimiser = torch.optim.Adam(model.parameters(), lr=0.005)
    losses = []
    for _ in range(steps):
        text = torch.randint(vocab, (64, seq_len))
        loss = -token_log_probs(model, text, causal=causal).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


@dataclass(frozen=True)
class Params:
    causal: bool = False  # the mask, in training and after
    vocab: int = 16
    seq_len: int = 8  # tokens
    steps: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        if not 8 <= self.vocab <= 64 or not 4 <= self.seq_len <= 16:
            raise ValueError("vocab must be between 8 and 64, seq_len between 4 and 16: small enough to train at once")
        if not 200 <= self.steps <= 1000:
            raise ValueError("steps must be between 200 and 1,000")


def run(p: Params) -> Result:
    rows, curves = [], []
    with torch.random.fork_rng(devices=[]), one_thread():
        for causal in (True, False):
            torch.manual_seed(p.seed)
            model = TinyGPT(p.vocab, p.seq_len, n_layers=1)
            losses = train(model, p.vocab, p.seq_len, p.steps, causal=causal)
            with torch.no_grad():
                text = torch.randint(p.vocab, (512, p.seq_len))
                loss = -token_log_probs(model, text, causal=causal).mean().item()
                generating = -token_log_probs_by_prefix(model, text, causal=causal).mean().item()
            rows.append(("causal" if causal else "none", loss, generating))
            every = range(0, p.steps, p.steps // 50)
            curves.append(Series("causal mask" if causal else "no mask", list(every), [losses[i] for i in every]))
    _, loss, generating = rows[0 if p.causal else 1]

    entropy = math.log(p.vocab)
    mask_en, mask_zh = ("with the causal mask", "有因果掩码") if p.causal else ("without a mask", "没有掩码")
    facts = [
        Fact("loss", "nats", loss, formula_loss(p.vocab, p.seq_len, causal=p.causal), rtol=0.02, atol=0.08),
        Fact("loss_when_generating", "nats", generating),
        Fact("entropy", "nats", entropy),  # of the text: no honest model can do better
        Fact("loss_below_entropy", "nats", entropy - loss),
    ]
    return Result(
        takeaway=Text(
            en=f"On random tokens of {entropy:.2f} nats each, a model trained {mask_en} reaches a loss of {loss:.2f}; "
            f"when it generates, its loss is {generating:.2f} (seed {p.seed}).",
            zh=f"随机 token 的熵是每个 token {entropy:.2f} nats，{mask_zh}时 loss 训练到 {loss:.2f}；真正逐步生成时，"
            f"同一个模型的 loss 是 {generating:.2f}（seed = {p.seed}）。",
        ),
        facts=facts,
        table=Table(("mask", "loss (nats per token)", "when generating (nats per token)"), rows),
        plot=Plot("Training on random tokens", "step", "loss (nats per token)", curves),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
