"""What does a language model say after a context that it never saw?

A table of counts has nothing to say: each context is a row of its own, so it backs off to a shorter one. A network
reads the context through embeddings. Words that behave alike come to lie together, and what was learned after "the cat
sat" holds after "a dog sat", which never stood in the text (Bengio et al. 2003). The toy language makes this exact.
Its V words fall into K classes, the class of the next word is the sum of the classes of the last two, mod K, and within
its class every word is equally likely. One word of context alone says nothing. Half of the V² contexts are never
shown. On those, a trigram falls back to perplexity V or worse; who has found the classes gets V / K.

Legend: V vocabulary, K classes, B batch of contexts.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from llmprep.demos.architecture.ngram import Context, back_off, discounted
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

STEPS = 400  # each shown context is drawn once in each of them


def true_rows(contexts: Tensor, n_classes: int, vocab: int) -> Tensor:
    """The language itself: contexts (B, 2) → probabilities of the next word (B, V)."""
    next_class = contexts.sum(dim=-1) % n_classes  # word i belongs to class i mod K
    allowed = torch.arange(vocab) % n_classes == next_class[:, None]  # (B, V)
    return allowed / allowed.sum(dim=-1, keepdim=True)


class NeuralLM(nn.Module):
    """Bengio et al. 2003: embed each word of the context, concatenate, one hidden layer, softmax over V."""

    def __init__(self, vocab: int, d_model: int = 16, hidden: int = 64) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab, d_model)
        self.mlp = nn.Sequential(nn.Linear(2 * d_model, hidden), nn.Tanh(), nn.Linear(hidden, vocab))

    def forward(self, contexts: Tensor) -> Tensor:
        """(B, 2) word ids → (B, V) logits."""
        return self.mlp(self.embedding(contexts).flatten(1))


def train(model: NeuralLM, contexts: Tensor, texts: Tensor) -> None:
    """Next-word cross-entropy; step i learns from texts[i], one drawn next word for each shown context."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for next_words in texts:
        optimizer.zero_grad()
        F.cross_entropy(model(contexts), next_words).backward()
        optimizer.step()


def trigram(contexts: Tensor, texts: Tensor, vocab: int) -> Callable[[Tensor], Tensor]:
    """Interpolated Kneser-Ney (demo ngram) counted from the same draws: contexts (B, 2) → probabilities (B, V)."""
    tables: list[defaultdict[Context, Counter[str]]] = [defaultdict(Counter) for _ in range(3)]
    for (a, b), next_words in zip(contexts.tolist(), texts.T.tolist(), strict=True):
        tables[2][str(a), str(b)] = Counter(map(str, next_words))
        tables[1][str(b),].update(set(map(str, next_words)))  # lower orders count in how many contexts w was seen
    for followers in tables[1].values():
        tables[0][()].update(set(followers))
    row_of = back_off(tables, [str(i) for i in range(vocab)], partial(discounted, discount=0.75))
    return lambda asked: torch.tensor([list(row_of((str(a), str(b))).values()) for a, b in asked.tolist()])


def perplexity(rows: Tensor, truth: Tensor) -> float:
    """The exponential of the expected −log p, over contexts that weigh the same; exact, nothing is drawn."""
    return math.exp(-(truth * rows.clamp_min(1e-30).log()).sum(dim=-1).mean().item())


@dataclass(frozen=True)
class Params:
    model: Literal["neural", "trigram"] = "neural"
    n_classes: int = 4  # K
    words_per_class: int = 8  # V / K
    shown: float = 0.5  # share of the contexts that stand in the training text
    seed: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.n_classes <= 6 or not 2 <= self.words_per_class <= 10:
            raise ValueError("n_classes must be between 2 and 6, words_per_class between 2 and 10")
        if not 0.1 <= self.shown <= 0.9:
            raise ValueError("shown must be between 0.1 and 0.9")


def run(p: Params) -> Result:
    V = p.n_classes * p.words_per_class
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(p.seed)
        contexts = torch.cartesian_prod(torch.arange(V), torch.arange(V))[torch.randperm(V * V)]
        n_shown = round(p.shown * V * V)
        shown, unseen = contexts[:n_shown], contexts[n_shown:]
        texts = torch.multinomial(true_rows(shown, p.n_classes, V), STEPS, replacement=True).T  # (STEPS, B)
        network = NeuralLM(V)
        train(network, shown, texts)
    with torch.no_grad():
        rows_of = {"neural": lambda asked: network(asked).softmax(dim=-1), "trigram": trigram(shown, texts, V)}
        scores = {
            (name, place): perplexity(rows(asked), true_rows(asked, p.n_classes, V))
            for name, rows in rows_of.items()
            for place, asked in (("shown", shown), ("unseen", unseen))
        }
    truth = true_rows(unseen, p.n_classes, V)
    facts = [
        Fact("unseen_perplexity", "", scores[p.model, "unseen"]),
        Fact("shown_perplexity", "", scores[p.model, "shown"]),
        Fact("floor", "", perplexity(truth, truth), predicted=p.words_per_class, rtol=1e-5),
        Fact("vocab", "words", V),
        Fact("unseen", "contexts", len(unseen), predicted=V * V - n_shown),
    ]
    name_zh = {"neural": "神经网络", "trigram": "三元（trigram）"}[p.model]
    places = ["shown", "unseen"]
    return Result(
        takeaway=Text(
            en=f"After {len(unseen):,} contexts that never stood in the text, the {p.model} model has a perplexity of "
            f"{scores[p.model, 'unseen']:.1f} ({scores[p.model, 'shown']:.1f} after those that did); the language "
            f"itself has {p.words_per_class}, blind guessing {V}.",
            zh=f"在训练文本中从未出现的 {len(unseen):,} 种上下文之后，{name_zh}模型的困惑度是 "
            f"{scores[p.model, 'unseen']:.1f}（出现过的是 {scores[p.model, 'shown']:.1f}）；语言本身的困惑度是 "
            f"{p.words_per_class}，瞎猜是 {V}。",
        ),
        facts=facts,
        table=Table(
            ("model", "perplexity, shown contexts", "perplexity, unseen contexts"),
            [(name, scores[name, "shown"], scores[name, "unseen"]) for name in rows_of],
        ),
        plot=Plot(
            f"Perplexity over {V} words",
            "context",
            "perplexity",
            [Series(name, places, [scores[name, place] for place in places]) for name in rows_of],
            kind="bar",
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
