"""Why does greedy decoding fall into a loop, and what gets it out?

A model with a finite state that always takes the argmax is a map from states to states. There are only so many,
so one comes back, and from there the text repeats for ever. Sampling gets out because it does not take the argmax.
A penalty gets out only if it changes the argmax: taken once per token (presence, θ) it lowers every word of the
loop alike and the loop may stay ahead; taken once per occurrence (frequency) it grows until the loop breaks. It
cannot tell a loop from grammar, though, and lowers commas and articles as well.

The machine: an n-gram model counted from a chapter of "Alice" (data/corpus/alice.txt), decoded for real.
Legend: V words; the state is the last order − 1 words; logits are log-probabilities + logit_shift.
"""

import math
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from llmprep import content
from llmprep.demos.inference.repetition_penalty import Rule, penalise
from llmprep.demos.inference.temperature import softmax
from llmprep.lab import Fact, Plot, Result, Series, Table, Text


class NGram:
    """Word n-grams with Witten-Bell smoothing: each order is mixed with the next lower one, down to uniform."""

    def __init__(self, tokens: Sequence[int], vocab: int, order: int) -> None:
        self.vocab, self.order = vocab, order
        self.followers: dict[tuple[int, ...], Counter[int]] = {}
        for n in range(order):
            for i in range(n, len(tokens)):
                self.followers.setdefault(tuple(tokens[i - n : i]), Counter())[tokens[i]] += 1
        self.known: dict[tuple[int, ...], list[float]] = {}

    def state(self, tokens: Sequence[int]) -> tuple[int, ...]:
        """The last order − 1 tokens: all that the next word depends on."""
        return tuple(tokens[-(self.order - 1) :])

    def log_probs(self, tokens: Sequence[int]) -> list[float]:
        """(V,) for the next word."""
        state = self.state(tokens)
        if state not in self.known:
            probs = [1 / self.vocab] * self.vocab
            for n in range(len(state) + 1):
                counts = self.followers.get(state[len(state) - n :], Counter[int]())
                if counts:
                    kinds, total = len(counts), len(counts) + counts.total()
                    probs = [(kinds * p + counts[token]) / total for token, p in enumerate(probs)]
            self.known[state] = [math.log(p) for p in probs]
        return self.known[state]


def read_words(name: str) -> list[str]:
    """Lower-case words and punctuation marks of a text in data/corpus."""
    text = (content.data_dir() / "corpus" / name).read_text(encoding="utf-8").lower()
    return re.findall(r"[a-z'-]+|[.,!?;:]", text)


def repeated_share(tokens: Sequence[int], n: int = 4) -> float:
    """Share of n-grams that occurred before, 1 − distinct-n (Welleck et al. 2020, seq-rep-4)."""
    grams = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    return 1 - len(set(grams)) / len(grams)


def loop_length(tokens: Sequence[int], times: int = 3) -> int:
    """The shortest phrase that stands `times` times in a row at the end; 0 if there is none."""
    for n in range(1, len(tokens) // times + 1):
        tail = list(tokens[-n * times :])
        if tail == tail[-n:] * times:
            return n
    return 0


def loop_of_states(model: NGram, prompt: Sequence[int]) -> tuple[int, int]:
    """Plain greedy decoding until a state comes back: (where the loop starts, its length). The pigeonhole, run."""
    text = list(prompt)
    visited: dict[tuple[int, ...], int] = {}
    while (state := model.state(text)) not in visited:
        visited[state] = len(text)
        scores = model.log_probs(text)
        text.append(max(range(model.vocab), key=scores.__getitem__))
    return visited[state], len(text) - visited[state]


@dataclass(frozen=True)
class Params:
    decoding: Literal["greedy", "sampling"] = "greedy"
    rule: Rule = "none"  # the penalty on tokens that occurred before
    strength: float = 1.2  # θ for sign_aware and ctrl (1: none), the amount to subtract for presence and frequency
    logit_shift: float = 0.0  # added to every logit; no probability changes
    order: int = 2  # of the n-gram model; 2: the next word depends on the last one only
    n_tokens: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        if not (2 <= self.order <= 4 and 50 <= self.n_tokens <= 1000):
            raise ValueError("order must be 2 to 4, n_tokens 50 to 1000")
        if self.rule in ("ctrl", "sign_aware") and not 1 <= self.strength <= 3:
            raise ValueError("strength must be 1 to 3 for ctrl and sign_aware")
        if not (0 <= self.strength <= 10 and -50 <= self.logit_shift <= 50):
            raise ValueError("strength must be 0 to 10, logit_shift −50 to 50")


def run(p: Params) -> Result:
    words = read_words("alice.txt")
    names = sorted(set(words))
    corpus = [names.index(word) for word in words]
    model = NGram(corpus, len(names), p.order)
    prompt = corpus[:1]

    def decode(decoding: str, rule: Rule, strength: float, shift: float) -> list[int]:
        text, rng = list(prompt), random.Random(p.seed)
        while len(text) < p.n_tokens:
            logits = penalise([lp + shift for lp in model.log_probs(text)], text, rule, strength)
            if decoding == "greedy":
                text.append(max(range(len(logits)), key=logits.__getitem__))
            else:
                text += rng.choices(range(len(logits)), softmax(logits))
        return text

    text = decode(p.decoding, p.rule, p.strength, p.logit_shift)
    start, length = loop_of_states(model, prompt)
    plain = p.decoding == "greedy" and p.rule == "none" and start + 3 * length <= p.n_tokens
    windows = [corpus[i : i + p.n_tokens] for i in range(0, len(corpus) - p.n_tokens, p.n_tokens)]
    human = sum(map(repeated_share, windows)) / len(windows)
    common = {token for token, _ in Counter(corpus).most_common(10)}
    facts = [
        Fact("repeated_share", "", repeated_share(text)),
        Fact("repeated_share_human", "", human),
        Fact("loop_length", "tokens", loop_length(text), length if plain else None),
        Fact("common_share", "", sum(token in common for token in text) / len(text)),
        Fact("common_share_human", "", sum(token in common for token in corpus) / len(corpus)),
    ]
    settings: list[tuple[str, str, Rule, float, float]] = [
        ("greedy", "greedy", "none", 1, 0),
        ("sampling", "sampling", "none", 1, 0),
        ("θ = 1.2", "greedy", "sign_aware", 1.2, 0),
        ("θ = 1.2, logits + 10", "greedy", "sign_aware", 1.2, 10),
        ("presence 1", "greedy", "presence", 1, 0),
        ("frequency 1", "greedy", "frequency", 1, 0),
    ]
    rows = []
    for label, decoding, rule, strength, shift in settings:
        out = decode(decoding, rule, strength, shift)
        rows.append((label, repeated_share(out), loop_length(out), " ".join(names[token] for token in out[-12:])))
    tail = " ".join(names[token] for token in text[-12:])
    return Result(
        takeaway=Text(
            en=f"{facts[0].measured:.0%} of the 4-grams repeat ({human:.1%} in the book), in a loop of "
            f"{facts[2].measured} tokens (0: none); the text ends “… {tail}”.",
            zh=f"{facts[0].measured:.0%} 的 4-gram 是重复的（原书为 {human:.1%}），循环长度为 {facts[2].measured} 个"
            f" token（0 表示没有循环）；文本结尾是“… {tail}”。",
        ),
        facts=facts,
        table=Table(("decoding", "repeated 4-grams", "loop (tokens)", "the last words"), rows),
        plot=Plot(
            f"Repetition in {p.n_tokens} tokens of a {p.order}-gram model",
            "decoding",
            "share of repeated 4-grams",
            [Series("repeated 4-grams", [row[0] for row in rows], [row[1] for row in rows])],
            kind="bar",
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
