"""Does an ability that appears suddenly with size have to mean that the model changed suddenly?

Not if the score is all or nothing. Let the loss per token of an answer fall smoothly with the number of parameters,
by a power law. A token is then right with probability e^(−loss), and an answer of k tokens, every one of which must
be right, with probability e^(−k·loss). Between a model and one a hundred times larger the share of right tokens
creeps up, while the share of right answers leaps from nearly nothing (Schaeffer et al. 2023). Same models, same
answers, two curves: "emergent" is also a word about the metric. The machine draws the answers token by token and
grades them.

Legend: N parameters, k tokens of an answer.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from llmprep.lab import Fact, Plot, Result, Series, Table, Text

N_ANSWERS = 100_000


def scaled_loss(loss: float, alpha: float, times_smaller: float) -> float:
    """Loss per token of a smaller model, where loss ∝ N^(−alpha): nats."""
    return loss * times_smaller**alpha


def formula_exact_match(loss: float, answer_len: int) -> float:
    """e^(−k·loss). At 0.05 nats per token: 95% of the tokens, but 37% of the answers of 20 tokens."""
    return math.exp(-answer_len * loss)


def draw_answers(loss: float, answer_len: int, generator: torch.Generator) -> Tensor:
    """Which tokens are right: (N_ANSWERS, k), each on its own, with the probability that the loss stands for."""
    return torch.rand(N_ANSWERS, answer_len, generator=generator) < math.exp(-loss)


def grade(right: Tensor) -> tuple[float, float]:
    """Share of right tokens (partial credit), and of answers without a single error (exact match)."""
    return right.double().mean().item(), right.all(dim=1).double().mean().item()


@dataclass(frozen=True)
class Params:
    loss: float = 0.05  # nats per token of the answer, of the large model
    alpha: float = 0.4  # exponent of the power law of the loss, assumed
    times_smaller: float = 100.0  # parameters of the large model over those of the small one
    answer_len: int = 20  # tokens that must all be right
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.loss <= 5 or not 0 < self.alpha <= 1:
            raise ValueError("loss must be between 0 and 5 nats, alpha between 0 and 1")
        if not 1 <= self.times_smaller <= 1e6 or not 1 <= self.answer_len <= 100:
            raise ValueError("times_smaller must be between 1 and 1,000,000, answer_len between 1 and 100")


def run(p: Params) -> Result:
    generator = torch.Generator().manual_seed(p.seed)
    ratios = sorted({1.0, *(10 ** (i / 2) for i in range(1, 9)), p.times_smaller}, reverse=True)
    losses = {ratio: scaled_loss(p.loss, p.alpha, ratio) for ratio in ratios}
    grades = {ratio: grade(draw_answers(loss, p.answer_len, generator)) for ratio, loss in losses.items()}

    facts = []
    noise = 5 * 0.5 / math.sqrt(N_ANSWERS)  # five standard deviations of a share, at most
    for name, ratio in (("small", p.times_smaller), ("large", 1.0)):
        tokens, answers = grades[ratio]
        facts += [
            Fact(f"token_accuracy_{name}", "", tokens, math.exp(-losses[ratio]), atol=noise),
            Fact(f"exact_match_{name}", "", answers, formula_exact_match(losses[ratio], p.answer_len), atol=noise),
        ]
    (token_small, exact_small), (token_large, exact_large) = grades[p.times_smaller], grades[1.0]
    sizes = [1 / ratio for ratio in ratios]
    return Result(
        takeaway=Text(
            en=f"A model {p.times_smaller:g} times larger gets {token_large:.0%} of the tokens right instead of "
            f"{token_small:.0%}, but {exact_large:.1%} instead of {exact_small:.1%} of the answers of {p.answer_len} "
            f"tokens: smooth by one metric, sudden by the other.",
            zh=f"模型放大 {p.times_smaller:g} 倍，token 正确率从 {token_small:.0%} 升到 {token_large:.0%}，而长 "
            f"{p.answer_len} 个 token 的答案，完全正确的比例从 {exact_small:.1%} 跳到 {exact_large:.1%}："
            f"一个指标看是渐变，另一个看是突变。",
        ),
        facts=facts,
        table=Table(
            ("size, of the large model", "loss per token (nats)", "tokens right (%)", "answers right (%)"),
            [(1 / ratio, losses[ratio], *(100 * g for g in grades[ratio])) for ratio in ratios],
        ),
        plot=Plot(
            f"Answers of {p.answer_len} tokens",
            "parameters, of the large model",
            "right",
            [
                Series("tokens", sizes, [grades[ratio][0] for ratio in ratios]),
                Series("whole answers", sizes, [grades[ratio][1] for ratio in ratios]),
            ],
            log_x=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
