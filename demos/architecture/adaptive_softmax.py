"""What does adaptive softmax save, and how large was that cost to begin with?

A full softmax multiplies every state with all V rows of the head. Adaptive softmax keeps the frequent words in a short
head and puts the rare ones into clusters, each reached through one head entry and computed only if the target lies
in it, with a narrower projection as it gets rarer. Word frequencies follow Zipf's law, so clusters are seldom
entered. The saving holds for training, where the target is known. It matters where the head is most of the model:
for word-level models of the past; in a large LLM the head is a small part.

Legend: V words by falling frequency, d width, N targets; cutoffs divide V; cluster i has width d / div^(i+1).
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from llmprep import content
from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def zipf(V: int, exponent: float) -> Tensor:
    """(V,) probabilities ∝ 1 / rank^exponent."""
    weights = torch.arange(1, V + 1, dtype=torch.float64) ** -exponent
    return weights / weights.sum()


def formula_flops(d: int, cutoffs: list[int], V: int, p: Tensor, div: float) -> float:
    """Expected FLOPs a target: the head with an entry per cluster, then each cluster as often as it is entered."""
    flops = 2.0 * d * (cutoffs[0] + len(cutoffs))
    for i, (low, high) in enumerate(pairwise([*cutoffs, V])):
        width = int(d // div ** (i + 1))
        flops += 2 * p[low:high].sum().item() * (d * width + width * (high - low))
    return flops


def two_step_log_prob(layer: torch.nn.AdaptiveLogSoftmaxWithLoss, h: Tensor, word: int) -> Tensor:
    """The logarithm of p(word), (N,), by definition p(word) = p(cluster) · p(word | cluster)."""
    head = layer.head(h).log_softmax(-1)  # (N, cutoffs[0] + clusters)
    if word < layer.cutoffs[0]:
        return head[:, word]
    cluster = sum(word >= edge for edge in layer.cutoffs) - 1
    inside = layer.tail[cluster](h).log_softmax(-1)
    return head[:, layer.cutoffs[0] + cluster] + inside[:, word - layer.cutoffs[cluster]]


@dataclass(frozen=True)
class Params:
    model: str = "gpt2"  # a name in data/models.json, for the share of its head
    vocab_size: int = 50_257
    d: int = 768
    cutoff_1: int = 2000  # words in the head
    cutoff_2: int = 10_000  # where the second cluster begins
    exponent: float = 1.0  # of Zipf's law
    div_value: float = 4.0  # how much narrower each further cluster is; 1: as wide as the head
    n_targets: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.cutoff_1 < self.cutoff_2 < self.vocab_size <= 100_000:
            raise ValueError("cutoffs must rise and stay below vocab_size, at most 100,000")
        config = content.model(self.model)["config"]
        if not {"n_embd", "hidden_size"} & config.keys():
            raise ValueError("model must be one whose config gives n_embd or hidden_size")
        if not 1 <= self.div_value**2 <= self.d:
            raise ValueError("div_value must be at least 1 and leave the second cluster a width")
        if not 16 <= self.d <= 1024 or not 0 <= self.exponent <= 2 or not 64 <= self.n_targets <= 1024:
            raise ValueError("d must be 16 to 1,024, exponent 0 to 2, n_targets 64 to 1,024")


def run(p: Params) -> Result:
    cutoffs = [p.cutoff_1, p.cutoff_2]
    probs = zipf(p.vocab_size, p.exponent)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(p.seed)
        layer = torch.nn.AdaptiveLogSoftmaxWithLoss(p.d, p.vocab_size, cutoffs, div_value=p.div_value)
        h = torch.randn(p.n_targets, p.d)
        targets = torch.multinomial(probs, p.n_targets, replacement=True)
        with FlopCounterMode(display=False) as adaptive:
            output = layer(h, targets).output
        full = torch.nn.Linear(p.d, p.vocab_size, bias=False)
        with FlopCounterMode(display=False) as dense:
            full(h[:8])
        with FlopCounterMode(display=False) as everything:
            log_probs = layer.log_prob(h[:8])
        words = [0, p.cutoff_1 - 1, p.cutoff_1, p.cutoff_2 - 1, p.cutoff_2, p.vocab_size - 1]
        wrong = sum(int((two_step_log_prob(layer, h[:8], w) - log_probs[:, w]).abs().gt(1e-4).sum()) for w in words)
        wrong += int((layer.log_prob(h[:8]).gather(1, targets[:8, None])[:, 0] - output[:8]).abs().gt(1e-4).sum())
        off_one = int((log_probs.double().exp().sum(1) - 1).abs().gt(1e-4).sum())

    counted = adaptive.get_total_flops() / p.n_targets
    of_full = dense.get_total_flops() / 8
    expected = formula_flops(p.d, cutoffs, p.vocab_size, probs, p.div_value)
    seen = torch.bincount(targets, minlength=p.vocab_size).double() / p.n_targets
    entry = content.model(p.model)
    config = entry["config"]
    head = config["vocab_size"] * (config.get("n_embd") or config["hidden_size"])
    facts = [
        Fact("full_flops", "FLOP", of_full, predicted=2 * p.d * p.vocab_size),
        Fact(
            "adaptive_flops", "FLOP", counted, formula_flops(p.d, cutoffs, p.vocab_size, seen, p.div_value), rtol=1e-6
        ),
        Fact("expected_flops", "FLOP", expected),  # under Zipf's law, for ever so many targets
        Fact("saving", "×", of_full / expected),
        Fact("saving_counted", "×", of_full / counted),
        Fact("saving_all_words", "×", of_full / (everything.get_total_flops() / 8)),  # when no target is known
        Fact("probability_mismatches", "", wrong, predicted=0),
        Fact("rows_not_summing_to_one", "", off_one, predicted=0),
        Fact("head_parameters", "parameters", head),
        Fact("head_share", "", head / entry["params_total"]),  # of the model's parameters
    ]
    exponents = [0.0, 0.5, 0.8, 1.0, 1.2, 1.5]
    curves = []
    for div in (1.0, p.div_value):
        costs = [formula_flops(p.d, cutoffs, p.vocab_size, zipf(p.vocab_size, e), div) for e in exponents]
        curves.append(Series(f"clusters narrower by {div:g}", exponents, [of_full / cost for cost in costs]))
    widths = [p.d, *(int(p.d // p.div_value**i) for i in (1, 2))]
    rows = [
        (f"words {a:,} to {b:,}", b - a, width, 100 * probs[a:b].sum().item())
        for (a, b), width in zip(pairwise([0, *cutoffs, p.vocab_size]), widths, strict=True)
    ]
    return Result(
        takeaway=Text(
            en=f"With Zipf's law the head costs {of_full / expected:.1f} times less; but in {p.model} the head is "
            f"{head / entry['params_total']:.2%} of the parameters.",
            zh=f"按 Zipf 分布，输出层的计算量降到 1/{of_full / expected:.1f}；而 {p.model} 的输出层占参数的 "
            f"{head / entry['params_total']:.2%}。",
        ),
        facts=facts,
        table=Table(("part", "words", "width", "share of the targets (%)"), rows),
        plot=Plot("Saving by how uneven words are", "exponent of Zipf's law", "× fewer FLOPs", curves),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
