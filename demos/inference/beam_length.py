"""Why is the most likely text short, and why are beams so much alike?

Every further token multiplies the probability of a text by less than 1. So even where texts end with probability
0.1 per step, and have nine tokens on average, the single most likely text is the empty one: the mode is not
typical. Greedy decoding and narrow beams miss that mode and look better for it; a wider beam finds it. Dividing
log p(y) by |y|^α repairs this only by hand: here α = 0 stops at once and α = 1 hardly ever.

The machine: Markov models that may end at every step, where the best text of each length is known exactly.
Legend: V tokens plus an end token, |y| counts tokens with the end token.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from llmprep.demos.inference.beam_search import Prefix, Step, beam_search, markov, random_rows, viterbi
from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def exact_mode_length(rows: Sequence[Sequence[float]], p_end: float, max_len: int, length_penalty: float) -> int:
    """Tokens before the end in argmax log p(y) / |y|^α: the best text of each length by Viterbi, then compared."""
    scores = []
    for n in range(max_len):
        log_prob = viterbi(rows, n) + n * math.log1p(-p_end) + math.log(p_end)
        scores.append(log_prob / (n + 1) ** length_penalty)
    return max(range(max_len), key=scores.__getitem__)


def sample(step: Step, rng: random.Random, max_len: int, end: int | None = None) -> Prefix:
    """One draw from the model, with the end token if it came."""
    y: Prefix = ()
    while len(y) < max_len and (not y or y[-1] != end):
        log_probs = step(y)
        y += (rng.choices(range(len(log_probs)), [math.exp(x) for x in log_probs])[0],)
    return y


def distinct(n: int, texts: Sequence[Prefix]) -> float:
    """Different n-grams over all n-grams (Li et al. 2016, distinct-n)."""
    grams = [y[i : i + n] for y in texts for i in range(len(y) - n + 1)]
    return len(set(grams)) / len(grams)


@dataclass(frozen=True)
class Params:
    beam_width: int = 8
    length_penalty: float = 0.0  # α of log p(y) / |y|^α; 0: none, 1: the mean per token
    p_end: float = 0.1  # probability of the end token at each step
    max_len: int = 30  # tokens, with the end token
    vocab: int = 20  # tokens
    n_models: int = 20
    n_texts: int = 10  # beams or samples whose diversity is compared
    texts: Literal["beams", "samples"] = "beams"  # which of them `distinct2` reports
    seed: int = 0

    def __post_init__(self) -> None:
        if not (1 <= self.beam_width <= 32 and 2 <= self.vocab <= 30 and 5 <= self.max_len <= 50):
            raise ValueError("beam_width must be 1 to 32, vocab 2 to 30, max_len 5 to 50")
        if not (0.02 <= self.p_end <= 0.9 and 0 <= self.length_penalty <= 4):
            raise ValueError("p_end must be between 0.02 and 0.9, length_penalty between 0 and 4")
        if not (2 <= self.n_texts <= 20 and 5 <= self.n_models <= 50):
            raise ValueError("n_texts must be 2 to 20, n_models 5 to 50")


def run(p: Params) -> Result:
    rng = random.Random(p.seed)
    models = [random_rows(rng, p.vocab) for _ in range(p.n_models)]

    def mean_length(width: int, alpha: float) -> float:
        best = [beam_search(markov(rows, p.p_end), width, p.max_len, p.vocab, alpha)[0][1] for rows in models]
        return sum(len(y) - (y[-1] == p.vocab) for y in best) / p.n_models

    widths = sorted({1, 2, 4, 8, p.beam_width})
    lengths = {w: (mean_length(w, 0.0), mean_length(w, 1.0)) for w in widths}
    modes = [exact_mode_length(rows, p.p_end, p.max_len, p.length_penalty) for rows in models]
    drawn = [len(sample(markov(models[0], p.p_end), rng, 10_000, p.vocab)) - 1 for _ in range(2000)]
    sampled, spread = sum(drawn) / len(drawn), math.sqrt(1 - p.p_end) / p.p_end

    beams = [distinct(2, [y for _, y in beam_search(markov(r), p.n_texts, p.max_len)]) for r in models]
    draws = [distinct(2, [sample(markov(r), rng, p.max_len) for _ in range(p.n_texts)]) for r in models]
    distinct_beams, distinct_draws = sum(beams) / p.n_models, sum(draws) / p.n_models

    facts = [
        Fact("mode_length", "tokens", sum(modes) / p.n_models, 0 if p.length_penalty == 0 else None),
        Fact("sample_length", "tokens", sampled, (1 - p.p_end) / p.p_end, atol=5 * spread / math.sqrt(len(drawn))),
        Fact("beam_length", "tokens", mean_length(p.beam_width, p.length_penalty)),
        Fact("greedy_length", "tokens", lengths[1][0]),
        Fact("distinct2", "", distinct_beams if p.texts == "beams" else distinct_draws),
        Fact("distinct2_samples", "", distinct_draws),
    ]
    return Result(
        takeaway=Text(
            en=f"Samples have {sampled:.1f} tokens, greedy decoding gives {lengths[1][0]:.1f}, width 8 gives "
            f"{lengths[8][0]:.1f} and with α = 1 {lengths[8][1]:.1f}; of {p.n_texts} beams {distinct_beams:.0%} of the "
            f"bigrams are distinct, of {p.n_texts} samples {distinct_draws:.0%}.",
            zh=f"采样平均 {sampled:.1f} 个 token，贪心 {lengths[1][0]:.1f} 个，束宽 8 为 {lengths[8][0]:.1f} 个，"
            f"α = 1 时为 {lengths[8][1]:.1f} 个；{p.n_texts} 条束的 bigram 有 {distinct_beams:.0%} 不重复，"
            f"{p.n_texts} 条采样则有 {distinct_draws:.0%}。",
        ),
        facts=facts,
        table=Table(
            ("width", "output length, α = 0 (tokens)", "output length, α = 1 (tokens)"),
            [(w, *lengths[w]) for w in widths],
        ),
        plot=Plot(
            "The wider the beam, the shorter the text",
            "beam width",
            "tokens before the end",
            [
                Series("log p", widths, [lengths[w][0] for w in widths]),
                Series("log p / |y|", widths, [lengths[w][1] for w in widths]),
                Series("mean of samples", widths, [sampled] * len(widths)),
            ],
            log_x=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
