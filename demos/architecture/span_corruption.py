"""What do the inputs and targets of T5's span corruption look like, and is anything lost?

Hide a share of the tokens in spans. In the input each span becomes one sentinel (<X>, <Y>, …); the target lists each
sentinel and the tokens that it hid. So the encoder reads a shorter text, the decoder writes only what is missing, and
the two together give the text back: nothing is lost. BART hides spans as well, but its decoder writes the whole text
again. Leave the sentinels out of the target and nobody can tell where one span ends and the next begins. The machine
corrupts random texts, counts tokens, and puts every text together again from input and target alone.
"""

import random
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from llmprep.lab import Fact, Plot, Result, Series, Table, Text

EOS = "</s>"
Token = str
Corrupted = tuple[list[Token], list[Token]]


def formula_lengths(seq_len: int, noise_density: float, mean_span: float) -> tuple[int, int]:
    """(input tokens, target tokens): of 568 tokens at 15% and spans of 3, T5 makes 512 and 114, EOS included."""
    hidden, n_spans = noise_and_spans(seq_len, noise_density, mean_span)
    return seq_len - hidden + n_spans + 1, hidden + n_spans + 1


def noise_and_spans(seq_len: int, noise_density: float, mean_span: float) -> tuple[int, int]:
    """How many tokens are hidden, in how many spans: the numbers are fixed, only the places are drawn."""
    hidden = min(max(round(seq_len * noise_density), 1), seq_len - 1)
    return hidden, min(max(round(hidden / mean_span), 1), seq_len - hidden)


def random_lengths(rng: random.Random, total: int, parts: int) -> list[int]:
    """Cut `total` tokens into `parts` pieces of at least one token, all ways equally likely."""
    cuts = [0, *sorted(rng.sample(range(1, total), parts - 1)), total]
    return [b - a for a, b in pairwise(cuts)]


def corrupt(rng: random.Random, text: list[Token], noise_density: float, mean_span: float) -> Corrupted:
    """Input and target: arXiv 1910.10683, section 3.1.4 and figure 2. Kept and hidden pieces take turns, kept first."""
    hidden, n_spans = noise_and_spans(len(text), noise_density, mean_span)
    kept_lengths = random_lengths(rng, len(text) - hidden, n_spans)
    hidden_lengths = random_lengths(rng, hidden, n_spans)
    inputs, target, at = [], [], 0
    for i, (kept, gone) in enumerate(zip(kept_lengths, hidden_lengths, strict=True)):
        sentinel = f"<extra_id_{i}>"
        inputs += [*text[at : at + kept], sentinel]
        target += [sentinel, *text[at + kept : at + kept + gone]]
        at += kept + gone
    return [*inputs, EOS], [*target, EOS]


def is_sentinel(token: Token) -> bool:
    return token.startswith("<extra_id_")


def restore(inputs: list[Token], target: list[Token]) -> list[Token]:
    """Put the tokens of each span back where its sentinel stands."""
    spans: dict[Token, list[Token]] = {}
    sentinel = ""
    for token in target[:-1]:
        if is_sentinel(token):
            sentinel = token
        spans.setdefault(sentinel, []).extend([] if is_sentinel(token) else [token])
    return [x for token in inputs[:-1] for x in (spans.get(token, []) if is_sentinel(token) else [token])]


def restore_without_sentinels(inputs: list[Token], target: list[Token], mean_span: float) -> list[Token]:
    """All that is left to do when the target is the bare hidden tokens: give each gap the average number of them."""
    bare = [token for token in target[:-1] if not is_sentinel(token)]
    gaps = [token for token in inputs if is_sentinel(token)]
    cuts = [round(i * mean_span) for i in range(len(gaps))] + [len(bare)]
    spans = {gap: bare[a:b] for gap, (a, b) in zip(gaps, pairwise(cuts), strict=True)}
    return [x for token in inputs[:-1] for x in spans.get(token, [token])]


@dataclass(frozen=True)
class Params:
    seq_len: int = 568  # tokens of the text
    noise_density: float = 0.15  # share of the tokens that is hidden
    mean_span: float = 3.0  # tokens
    target: Literal["with sentinels", "without"] = "with sentinels"
    n_texts: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.seq_len <= 4096 or not 1 <= self.n_texts <= 1000:
            raise ValueError("seq_len must be between 2 and 4,096, n_texts between 1 and 1,000")
        if not 0 < self.noise_density < 1 or not 1 <= self.mean_span <= self.seq_len:
            raise ValueError("noise_density must be between 0 and 1, mean_span between 1 and seq_len")


def run(p: Params) -> Result:
    rng = random.Random(p.seed)
    texts = [[f"w{rng.randrange(10_000)}" for _ in range(p.seq_len)] for _ in range(p.n_texts)]
    pairs = [corrupt(rng, text, p.noise_density, p.mean_span) for text in texts]
    bare = p.target == "without"
    again = [restore_without_sentinels(i, t, p.mean_span) if bare else restore(i, t) for i, t in pairs]
    restored = sum(a == b for a, b in zip(again, texts, strict=True))
    lengths = {(len(i), len(t)) for i, t in pairs}
    assert len(lengths) == 1, "every text of one length gives the same lengths"
    n_in, n_target = lengths.pop()
    predicted_in, predicted_target = formula_lengths(p.seq_len, p.noise_density, p.mean_span)

    facts = [
        Fact("input_tokens", "tokens", n_in, predicted=predicted_in),
        Fact("target_tokens", "tokens", n_target, predicted=predicted_target),
        Fact("restored", "texts", restored, predicted=None if bare else p.n_texts),
        Fact("rewritten_over_target", "×", (p.seq_len + 1) / n_target),  # if all were written, as by BART
    ]
    rows = [
        (f"{density:.0%}, spans of {span:g}", *formula_lengths(p.seq_len, density, span))
        for density, span in ((0.15, 1.0), (0.15, 3.0), (0.15, 8.0), (0.5, 3.0), (p.noise_density, p.mean_span))
        if span <= p.seq_len
    ]
    return Result(
        takeaway=Text(
            en=f"{p.seq_len} tokens become an input of {n_in} and a target of {n_target}; {restored} of {p.n_texts} "
            f"texts are put together again from the two.",
            zh=f"{p.seq_len} 个 token 变成 {n_in} 个输入 token 和 {n_target} 个目标 token；只凭这两者，"
            f"{p.n_texts} 段文本中有 {restored} 段能完整还原。",
        ),
        facts=facts,
        table=Table(("hidden", "input (tokens)", "target (tokens)"), rows),
        plot=Plot(
            f"Span corruption of {p.seq_len} tokens",
            "hidden",
            "tokens",
            [Series(name, [r[0] for r in rows], [r[i] for r in rows]) for i, name in ((1, "input"), (2, "target"))],
            kind="bar",
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
