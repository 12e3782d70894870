"""How many tokens of a text does a masked model learn from, and how many a causal one?

A masked model (BERT) hides a share of the tokens and is scored on those alone; a causal model (GPT) is scored on every
token. Sight is traded for signal: the masked model may look at the whole text for each of its few predictions, the
causal one at the left side only, but all of its positions teach. At the usual rate of 15% a causal model gets 1/0.15
times as many losses out of a text. The machine runs both objectives through one small network and asks autograd which
logits receive a gradient, and which inputs a prediction in the middle of the text depends on.

Legend: B batch, T tokens, V vocabulary.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from llmprep.demos.architecture.causal_mask import START, TinyGPT
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

VOCAB = 32
MASK = VOCAB  # one id more than the vocabulary: [MASK] is never a target
IGNORED = -100  # what cross-entropy leaves out, in torch and in transformers


def formula_losses(seq_len: int, mask_rate: float, objective: str) -> int:
    """T for a causal model; of 512 tokens, BERT at 15% is scored on 77 (google-research/bert also rounds)."""
    return seq_len if objective == "causal" else max(1, round(mask_rate * seq_len))


def masked_example(text: Tensor, n_masked: int) -> tuple[Tensor, Tensor]:
    """Input and labels (1, T) of masked language modelling: n_masked random tokens hidden, the rest not scored."""
    chosen = torch.randperm(text.shape[1])[:n_masked]
    tokens, labels = text.clone(), torch.full_like(text, IGNORED)
    tokens[:, chosen], labels[:, chosen] = MASK, text[:, chosen]
    return tokens, labels


def causal_example(text: Tensor) -> tuple[Tensor, Tensor]:
    """Input and labels (1, T) of next-token prediction: START, x_1 … x_(T−1), each scored on the token after it."""
    return torch.cat([torch.full_like(text[:, :1], START), text[:, :-1]], dim=1), text


def positions_with_gradient(model: TinyGPT, tokens: Tensor, labels: Tensor, *, causal: bool) -> Tensor:
    """Indices of the positions whose logits the training loss pulls at, by autograd."""
    logits = model(tokens, causal=causal)  # (1, T, V)
    loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
    (gradient,) = torch.autograd.grad(loss, logits)
    return gradient[0].abs().sum(dim=-1).nonzero().flatten()


def inputs_read(model: TinyGPT, tokens: Tensor, position: int, *, causal: bool) -> int:
    """How many input tokens can change the logits at one position: embeddings that get a gradient from them."""
    seen: list[Tensor] = []

    def keep(_module: torch.nn.Module, _args: object, embedded: Tensor) -> None:
        seen.append(embedded)

    with model.token.register_forward_hook(keep):
        logits = model(tokens, causal=causal)
    (gradient,) = torch.autograd.grad(logits[0, position].square().sum(), seen[0])  # (1, T, d_model)
    return int((gradient[0].abs().sum(dim=-1) > 0).sum())


@dataclass(frozen=True)
class Params:
    objective: Literal["masked", "causal"] = "masked"
    seq_len: int = 512  # tokens of the text
    mask_rate: float = 0.15  # share of the tokens that a masked model is scored on
    seed: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.seq_len <= 1024:
            raise ValueError("seq_len must be between 2 and 1,024: the network is really run")
        if not 0 < self.mask_rate <= 1:
            raise ValueError("mask_rate must be above 0 and at most 1")


def run(p: Params) -> Result:
    T = p.seq_len
    rows = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(p.seed)
        model = TinyGPT(VOCAB + 1, T).double()
        text = torch.randint(1, VOCAB, (1, T))
        for objective in ("masked", "causal"):
            causal = objective == "causal"
            n_masked = formula_losses(T, p.mask_rate, "masked")
            tokens, labels = causal_example(text) if causal else masked_example(text, n_masked)
            scored = positions_with_gradient(model, tokens, labels, causal=causal)
            middle = int(scored[(scored - T // 2).abs().argmin()])  # a scored position next to the middle
            rows.append((objective, len(scored), T / len(scored), inputs_read(model, tokens, middle, causal=causal)))
    _, losses, tokens_per_loss, read = next(row for row in rows if row[0] == p.objective)

    predicted = formula_losses(T, p.mask_rate, p.objective)
    facts = [
        Fact("losses", "losses", losses, predicted=predicted),
        Fact("causal_losses", "losses", rows[1][1], predicted=T),
        Fact("tokens_per_loss", "tokens", tokens_per_loss, predicted=T / predicted, rtol=1e-12),
        Fact("inputs_read", "tokens", read, predicted=T // 2 + 1 if p.objective == "causal" else T),
    ]
    name_zh = {"masked": "掩码", "causal": "因果"}[p.objective]
    return Result(
        takeaway=Text(
            en=f"Of {T} tokens the {p.objective} objective is scored on {losses}, one in {tokens_per_loss:.2f}; "
            f"its prediction in the middle of the text reads {read} input tokens.",
            zh=f"在 {T} 个 token 中，{name_zh}目标在 {losses} 个上算 loss，平均每 {tokens_per_loss:.2f} 个 token 一个；"
            f"文本正中间的预测能看到 {read} 个输入 token。",
        ),
        facts=facts,
        table=Table(("objective", "losses per text", "tokens per loss", "inputs read in the middle"), rows),
        plot=Plot(
            f"A text of {T} tokens",
            "objective",
            "tokens",
            [
                Series("scored", [row[0] for row in rows], [row[1] for row in rows]),
                Series("read by the middle prediction", [row[0] for row in rows], [row[3] for row in rows]),
            ],
            kind="bar",
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
