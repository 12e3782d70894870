"""Can every text be written without an unknown token, and does it come back unchanged?

A vocabulary of characters must give up on what it has not seen (symbols=characters). Two ways out: keep the characters
and spell all others as their UTF-8 bytes (byte fallback, as in Llama 2), or begin with bytes at once (byte-level, as
in GPT-2). Merges play no part in this: they shorten what the base symbols can write anyway, so there are none here.
Whether the text comes back is a second question. Normalisers run before the symbols are looked up, and one that
maps two texts to one cannot be undone: NFKC makes "①" a "1", and no byte brings it back.

Legend: a base symbol is a byte string; the characters known are those of one English text.
"""

import unicodedata
from collections.abc import Container
from dataclasses import dataclass
from typing import Literal

from llmprep.demos.architecture.byte_pair_encoding import UNKNOWN, random_strings, read_corpus
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

Symbols = Literal["characters", "fallback", "bytes"]
Normaliser = Literal["none", "NFC", "NFKC"]

# Things that people type: circled, ligature, superscript, full-width, fraction, unit, ellipsis, e and accent apart.
EVERYDAY = ["①", "ﬁ", "x²", "ＡＩ", "½", "㎏", "…", "e\u0301"]


def spell(text: str, known: Container[str], symbols: Symbols) -> list[bytes]:
    """Base symbols: "n中" is [n, unknown], [n, e4, b8, ad] with fallback, and the same four as bytes."""
    if symbols == "bytes":
        return [bytes([b]) for b in text.encode()]
    out: list[bytes] = []
    for c in text:
        if c in known:
            out.append(c.encode())
        elif symbols == "fallback":
            out += [bytes([b]) for b in c.encode()]
        else:
            out.append(UNKNOWN)
    return out


def normalise(text: str, normaliser: Normaliser) -> str:
    """NFC composes what looks the same; NFKC also replaces what means the same (Unicode annex 15)."""
    return text if normaliser == "none" else unicodedata.normalize(normaliser, text)


def there_and_back(text: str, known: Container[str], symbols: Symbols, normaliser: Normaliser) -> str:
    """What decoding gives after encoding."""
    return b"".join(spell(normalise(text, normaliser), known, symbols)).decode()


@dataclass(frozen=True)
class Params:
    symbols: Symbols = "fallback"
    normaliser: Normaliser = "none"  # applied before encoding
    n_strings: int = 1000  # random Unicode strings
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.n_strings <= 20_000:
            raise ValueError("n_strings must be between 1 and 20,000")


def run(p: Params) -> Result:
    known = frozenset(read_corpus("alice"))
    strings = random_strings(p.n_strings, p.seed)
    lossless = sum(there_and_back(s, known, p.symbols, p.normaliser) == s for s in strings)
    everyday = sum(there_and_back(s, known, p.symbols, p.normaliser) == s for s in EVERYDAY)

    chinese = [c for c in read_corpus("tokens-zh") if "\u4e00" <= c <= "\u9fff"]
    spelt = spell(normalise("".join(chinese), p.normaliser), known, p.symbols)
    unchanged = p.n_strings
    if p.normaliser != "none":
        unchanged = sum(unicodedata.is_normalized(p.normaliser, s) for s in strings)
    facts = [
        Fact("known_characters", "characters", len(known)),
        Fact("lossless", "strings", lossless, predicted=None if p.symbols == "characters" else unchanged),
        Fact("lossless_share", "", lossless / p.n_strings),
        Fact("lossless_everyday", "strings", everyday),
        Fact("everyday", "strings", len(EVERYDAY)),
        Fact("unknown", "tokens", spelt.count(UNKNOWN), predicted=len(chinese) if p.symbols == "characters" else 0),
        Fact("symbols_per_character", "symbols", len(spelt) / len(chinese), 1 if p.symbols == "characters" else 3),
    ]
    ways: list[Symbols] = ["characters", "fallback", "bytes"]
    shares = [100 * sum(there_and_back(s, known, w, p.normaliser) == s for s in strings) / p.n_strings for w in ways]
    rows = [
        (
            s,
            there_and_back(s, known, p.symbols, "none"),
            there_and_back(s, known, p.symbols, "NFC"),
            there_and_back(s, known, p.symbols, "NFKC"),
        )
        for s in EVERYDAY
    ]
    return Result(
        takeaway=Text(
            en=f"With {p.symbols} and normaliser {p.normaliser}, {lossless:,} of {p.n_strings:,} random strings and "
            f"{everyday} of {len(EVERYDAY)} everyday ones come back unchanged; {spelt.count(UNKNOWN):,} of "
            f"{len(chinese):,} Chinese characters are unknown.",
            zh=f"基础符号为 {p.symbols}、归一化为 {p.normaliser} 时，{p.n_strings:,} 个随机字符串中有 {lossless:,} 个、"
            f"{len(EVERYDAY)} 个日常写法中有 {everyday} 个能原样还原；{len(chinese):,} 个汉字里有 "
            f"{spelt.count(UNKNOWN):,} 个成为未知符。",
        ),
        facts=facts,
        table=Table(("text", "back without normaliser", "back after NFC", "back after NFKC"), rows),
        plot=Plot(
            f"Random strings that come back (normaliser: {p.normaliser})",
            "base symbols",
            "unchanged (%)",
            [Series("1 to 20 characters", list(ways), shares)],
            kind="bar",
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
