"""With one and the same vocabulary, do BPE and WordPiece cut a word the same way?

A tokenizer is a vocabulary and a way to apply it. BPE replays its merges in the order in which they were learnt;
WordPiece forgets how its vocabulary came about and takes, from the left, the longest entry that fits. Here both are
handed one vocabulary, trained by BPE, and another text. They need about the same number of tokens, close to the fewest
possible (which dynamic programming finds), but cut many words in other places: to a model that was trained with the
one, the other writes a different language.

Legend: a cut is a list of byte strings that make up the word; bytes are in every vocabulary, so each word has one.
"""

from collections import Counter
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Literal

from llmprep.demos.architecture.byte_pair_encoding import WORD, Tokenizer, encode, read_corpus, train
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

Cut = list[bytes]


def by_merges(word: str, tok: Tokenizer) -> Cut:
    """BPE: the merges in order of training."""
    return [tok.vocab[i] for i in encode(word, tok)]


def by_longest_match(word: str, vocab: Container[bytes]) -> Cut:
    """WordPiece: the longest entry that the rest begins with, again and again (Song et al. 2021, section 3.1)."""
    rest, cut = word.encode(), []
    while rest:
        piece = next(rest[:n] for n in range(len(rest), 0, -1) if rest[:n] in vocab)
        cut.append(piece)
        rest = rest[len(piece) :]
    return cut


def by_fewest(word: str, vocab: Container[bytes]) -> Cut:
    """The fewest entries that make up the word: best[j] is the shortest cut of the first j bytes."""
    data = word.encode()
    best: list[Cut] = [[]]
    for j in range(1, len(data) + 1):
        options = [[*best[i], data[i:j]] for i in range(j) if data[i:j] in vocab]
        best.append(min(options, key=len))
    return best[-1]


@dataclass(frozen=True)
class Params:
    trained_on: Literal["alice", "tokens-en", "tokens-code"] = "alice"  # a text in data/corpus
    applied_to: Literal["alice", "tokens-en", "tokens-code"] = "tokens-en"
    n_merges: int = 500
    method: Literal["merges", "longest_match", "fewest"] = "longest_match"

    def __post_init__(self) -> None:
        if not 1 <= self.n_merges <= 600:
            raise ValueError("n_merges must be between 1 and 600: the corpora are small")


def run(p: Params) -> Result:
    tok, _, _ = train(read_corpus(p.trained_on), p.n_merges)
    vocab = frozenset(tok.vocab)
    methods: dict[str, Callable[[str], Cut]] = {
        "merges": lambda word: by_merges(word, tok),
        "longest_match": lambda word: by_longest_match(word, vocab),
        "fewest": lambda word: by_fewest(word, vocab),
    }
    words = Counter(WORD.findall(read_corpus(p.applied_to)))
    cuts = {name: {word: cut(word) for word in words} for name, cut in methods.items()}
    tokens = {name: sum(n * len(cuts[name][word]) for word, n in words.items()) for name in methods}

    broken = sum(b"".join(cuts[name][word]).decode() != word for name in methods for word in words)
    beaten = sum(len(cuts[name][word]) < len(cuts["fewest"][word]) for name in methods for word in words)
    chosen, merged = cuts[p.method], cuts["merges"]
    differing = [word for word in words if chosen[word] != merged[word]]
    facts = [
        Fact("words", "words", len(words)),  # distinct
        Fact("broken_words", "words", broken, predicted=0),
        Fact("cuts_below_fewest", "words", beaten, predicted=0),
        Fact("differing_words", "words", len(differing), predicted=0 if p.method == "merges" else None),
        Fact("differing_share", "", len(differing) / len(words)),
        Fact("tokens", "tokens", tokens[p.method]),
        Fact("tokens_by_merges", "tokens", tokens["merges"]),
        Fact("tokens_fewest", "tokens", tokens["fewest"]),
        Fact("saved", "", 1 - tokens[p.method] / tokens["merges"]),
    ]

    def show(cut: Cut) -> str:
        return "|".join(piece.decode("utf-8", "replace") for piece in cut)

    longest = sorted(differing or words, key=lambda word: (-len(word), word))[:10]
    return Result(
        takeaway=Text(
            en=f"With one vocabulary of {len(vocab):,} tokens, {p.method} cuts {len(differing):,} of {len(words):,} "
            f"words differently from BPE's merges, in {tokens[p.method]:,} tokens against {tokens['merges']:,}.",
            zh=f"同一个 {len(vocab):,} 大小的词表，{p.method} 与 BPE 合并相比有 {len(differing):,} 个词切法不同"
            f"（共 {len(words):,} 个），token 数为 {tokens[p.method]:,} 对 {tokens['merges']:,}。",
        ),
        facts=facts,
        table=Table(
            ("merges in order", "longest match", "fewest"),
            [tuple(show(cuts[name][word]) for name in methods) for word in longest],
        ),
        plot=Plot(
            "Tokens for the same text with the same vocabulary",
            "way of cutting",
            "tokens",
            [Series(p.applied_to, list(tokens), list(tokens.values()))],
            kind="bar",
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
