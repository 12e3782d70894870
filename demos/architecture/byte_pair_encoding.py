"""How does byte-level BPE learn its vocabulary, and why does it never meet an unknown symbol?

Begin with the 256 byte values. Count adjacent pairs, give the most frequent one a new id, replace it everywhere, and
repeat: after m merges there are 256 + m tokens, and the ordered list of merges is the whole tokenizer. A new text is
encoded by replaying them, the earliest first. Every text is bytes, so nothing is unknown, and decoding is
concatenation. The original BPE starts from the characters of its corpus instead (alphabet=characters), which cannot
write down what it has not seen. Text is cut into words before, so that no token reaches across two of them.

Legend: an id is an index into `vocab`, whose entries are byte strings; a word is a tuple of ids.
"""

import random
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from llmprep import content
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

Pair, Word = tuple[int, int], tuple[int, ...]
Alphabet = Literal["bytes", "characters"]

# GPT-2's pattern, as far as `re` can say it: letters, digits or other signs, each with the space before it.
WORD = re.compile(r" ?[^\W\d_]+| ?\d+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+")
UNKNOWN = "\N{REPLACEMENT CHARACTER}".encode()


@dataclass(frozen=True)
class Tokenizer:
    """What training leaves behind: the bytes of each id, and the id that each pair merges into, in order."""

    alphabet: Alphabet
    vocab: list[bytes]
    merges: dict[Pair, int]


def base_vocab(text: str, alphabet: Alphabet) -> list[bytes]:
    """All 256 bytes; or an unknown symbol and the characters of the corpus (Sennrich et al. 2016, section 3.2)."""
    return [bytes([b]) for b in range(256)] if alphabet == "bytes" else [UNKNOWN, *sorted({c.encode() for c in text})]


def spell(word: str, base: Mapping[bytes, int], alphabet: Alphabet) -> Word:
    """A word in base symbols: "né" is 3 bytes but 2 characters. Id 0 stands for a character that is not there."""
    symbols = [bytes([b]) for b in word.encode()] if alphabet == "bytes" else [c.encode() for c in word]
    return tuple(base.get(symbol, 0) for symbol in symbols)


def count_pairs(words: Mapping[Word, int]) -> Counter[Pair]:
    """How often each two ids stand side by side, over all words with their frequencies."""
    counts: Counter[Pair] = Counter()
    for word, n in words.items():
        for pair in pairwise(word):
            counts[pair] += n
    return counts


def merge(word: Word, pair: Pair, new: int) -> Word:
    """Replace the pair by the new id, from left to right: (5, 6, 5, 6, 5) with (5, 6) → 9 becomes (9, 9, 5)."""
    out: list[int] = []
    i = 0
    while i < len(word):
        match = word[i : i + 2] == pair
        out.append(new if match else word[i])
        i += 2 if match else 1
    return tuple(out)


def train(text: str, n_merges: int, alphabet: Alphabet = "bytes") -> tuple[Tokenizer, list[int], dict[Word, int]]:
    """The tokenizer, how often each merged pair occurred, and the corpus as the last merge left it."""
    vocab = base_vocab(text, alphabet)
    base = {symbol: i for i, symbol in enumerate(vocab)}
    words = {spell(word, base, alphabet): n for word, n in Counter(WORD.findall(text)).items()}
    merges: dict[Pair, int] = {}
    frequencies: list[int] = []
    for _ in range(n_merges):
        counts = count_pairs(words)
        if not counts:
            break
        pair = max(counts, key=lambda p: (counts[p], -p[0], -p[1]))  # of equals the smallest ids, as `tokenizers` does
        merges[pair] = new = len(vocab)
        vocab.append(vocab[pair[0]] + vocab[pair[1]])
        frequencies.append(counts[pair])
        words = {merge(word, pair, new): n for word, n in words.items()}
    return Tokenizer(alphabet, vocab, merges), frequencies, words


def encode(text: str, tok: Tokenizer) -> list[int]:
    """Within each word, apply the earliest learnt merge that fits until none does."""
    base = {symbol: i for i, symbol in enumerate(tok.vocab[: len(tok.vocab) - len(tok.merges)])}
    ids: list[int] = []
    for chunk in WORD.findall(text):
        word = spell(chunk, base, tok.alphabet)
        while len(word) > 1:
            pair = min(pairwise(word), key=lambda p: tok.merges.get(p, len(tok.vocab)))
            if pair not in tok.merges:
                break
            word = merge(word, pair, tok.merges[pair])
        ids += word
    return ids


def decode(ids: list[int], tok: Tokenizer) -> str:
    """Concatenate bytes. A token may end inside a character: only the whole sequence need be UTF-8."""
    return b"".join(tok.vocab[i] for i in ids).decode("utf-8", errors="replace")


def is_text(token: bytes) -> bool:
    """Whether a token consists of whole characters."""
    try:
        token.decode()
    except UnicodeDecodeError:
        return False
    return True


def random_strings(n: int, seed: int, longest: int = 20) -> list[str]:
    """Strings of 1 to `longest` characters from all of Unicode but the surrogates, which UTF-8 cannot hold."""
    rng = random.Random(seed)
    planes = [(0, 0x7F), (0x80, 0x7FF), (0x800, 0xD7FF), (0xE000, 0xFFFF), (0x10000, 0x10FFFF)]  # 1, 2, 3, 3, 4 bytes
    return ["".join(chr(rng.randint(*rng.choice(planes))) for _ in range(rng.randint(1, longest))) for _ in range(n)]


def read_corpus(name: str) -> str:
    """A text of data/corpus."""
    return (content.data_dir() / "corpus" / f"{name}.txt").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Params:
    corpus: Literal["alice", "tokens-en", "tokens-zh", "tokens-code"] = "alice"  # a text in data/corpus
    n_merges: int = 500
    alphabet: Alphabet = "bytes"  # characters: the original BPE
    n_strings: int = 1000  # random Unicode strings, encoded and decoded again
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.n_merges <= 600:
            raise ValueError("n_merges must be between 1 and 600: the corpora are small")
        if not 1 <= self.n_strings <= 10_000:
            raise ValueError("n_strings must be between 1 and 10,000")


def run(p: Params) -> Result:
    text = read_corpus(p.corpus)
    tok, frequencies, trained = train(text, p.n_merges, p.alphabet)
    base_size = 256 if p.alphabet == "bytes" else 1 + len(set(text))

    strings = random_strings(p.n_strings, p.seed)
    failures = sum(decode(encode(s, tok), tok) != s for s in strings)
    ids = encode(text, tok)
    in_training = Counter(i for word, n in trained.items() for i in word * n)
    n_bytes = len(text.encode())
    learnt = tok.vocab[base_size:]
    facts = [
        Fact("vocab_size", "tokens", len(tok.vocab), predicted=base_size + p.n_merges),
        Fact("roundtrip_failures", "strings", failures, predicted=0 if p.alphabet == "bytes" else None),
        Fact("merges_out_of_order", "merges", sum(b > a for a, b in pairwise(frequencies)), predicted=0),
        Fact("encoding_mismatches", "ids", (Counter(ids) - in_training).total(), predicted=0),
        Fact("partial_tokens", "tokens", sum(not is_text(token) for token in learnt)),  # end inside a character
        Fact("first_pair_count", "", frequencies[0]),
        Fact("last_pair_count", "", frequencies[-1]),
        Fact("corpus_bytes", "B", n_bytes),
        Fact("corpus_tokens", "tokens", len(ids)),
        Fact("bytes_per_token", "B", n_bytes / len(ids)),
    ]
    shown = [repr(token.decode()) if is_text(token) else token.hex(" ") for token in learnt[:16]]
    rows = [(i, token, frequencies[i - 1]) for i, token in enumerate(shown, start=1)]
    return Result(
        takeaway=Text(
            en=f"{p.n_merges} merges make {len(tok.vocab):,} tokens and shorten the corpus from {n_bytes:,} bytes to "
            f"{len(ids):,} tokens; of {p.n_strings:,} random strings {failures:,} do not come back.",
            zh=f"{p.n_merges} 次合并得到 {len(tok.vocab):,} 个 token，语料从 {n_bytes:,} B 缩短到 "
            f"{len(ids):,} 个 token；{p.n_strings:,} 个随机字符串里有 {failures:,} 个无法还原。",
        ),
        facts=facts,
        table=Table(("merge", "new token", "times the pair occurred"), rows),
        plot=Plot(
            "How often the merged pair occurs",
            "merge",
            "occurrences",
            [Series(p.corpus, list(range(1, len(frequencies) + 1)), frequencies)],
            log_x=True,
            log_y=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
