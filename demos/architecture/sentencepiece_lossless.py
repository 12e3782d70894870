"""Is SentencePiece lossless once byte_fallback is on?

Byte fallback settles what can be *written*: no token is unknown any more. But SentencePiece first rewrites its input,
by a rule called nmt_nfkc unless one says otherwise, collapses runs of spaces and puts one in front. All of this happens
before the model sees the text, and what the rule and the collapse took away does not come back. Only with the rule
`identity` and both whitespace options off does every string come back, and even then not U+2581 itself, the sign that
stands for a space inside.

A BPE model is trained here on English within a fraction of a second. Needs the package sentencepiece.
"""

import io
from dataclasses import dataclass
from typing import Any, Literal

from llmprep.demos.architecture.byte_fallback import EVERYDAY
from llmprep.demos.architecture.byte_pair_encoding import random_strings, read_corpus
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

Rule = Literal["nmt_nfkc", "nfkc", "identity"]


def train(*, byte_fallback: bool, rule: Rule, keep_spaces: bool) -> Any:
    """A SentencePiece model of the English corpus, without files; two options keep spaces as they are."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(read_corpus("tokens-en").splitlines()),
        model_writer=model,
        model_type="bpe",
        vocab_size=700,
        byte_fallback=byte_fallback,
        normalization_rule_name=rule,
        remove_extra_whitespaces=not keep_spaces,
        add_dummy_prefix=not keep_spaces,
        num_threads=1,
        minloglevel=2,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


@dataclass(frozen=True)
class Params:
    byte_fallback: bool = True
    rule: Rule = "nmt_nfkc"  # what SentencePiece does to the text first; its default
    keep_spaces: bool = False  # switch remove_extra_whitespaces and add_dummy_prefix off
    n_strings: int = 1000  # random Unicode strings
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.n_strings <= 20_000:
            raise ValueError("n_strings must be between 1 and 20,000")


def run(p: Params) -> Result:
    strings = random_strings(p.n_strings, p.seed)

    def come_back(model: Any) -> int:
        return sum(model.decode(model.encode(s)) == s for s in strings)

    model = train(byte_fallback=p.byte_fallback, rule=p.rule, keep_spaces=p.keep_spaces)
    lossless = come_back(model)
    unknown = sum(i == model.unk_id() for s in strings for i in model.encode(s))
    everyday = sum(model.decode(model.encode(s)) == s for s in EVERYDAY)
    strict = p.byte_fallback and p.rule == "identity" and p.keep_spaces
    facts = [
        Fact("lossless", "strings", lossless, predicted=p.n_strings if strict else None),
        Fact("unknown", "tokens", unknown, predicted=0 if p.byte_fallback else None),
        Fact("lossless_everyday", "strings", everyday),
        Fact("everyday", "strings", len(EVERYDAY)),
    ]
    rules: list[Rule] = ["nmt_nfkc", "nfkc", "identity"]
    models = {(r, k): train(byte_fallback=p.byte_fallback, rule=r, keep_spaces=k) for r in rules for k in (False, True)}
    counts = {setting: come_back(m) for setting, m in models.items()}
    samples = ["①", "ﬁ", "a  b", " a"]
    rows = [
        (r, "kept" if k else "as by default", counts[r, k], *(repr(m.decode(m.encode(s))) for s in samples))
        for (r, k), m in models.items()
    ]
    return Result(
        takeaway=Text(
            en=f"byte_fallback={p.byte_fallback}, {p.rule}, spaces {'kept' if p.keep_spaces else 'as by default'}: "
            f"{lossless:,} of {p.n_strings:,} random strings come back, with {unknown:,} unknown tokens.",
            zh=f"byte_fallback={p.byte_fallback}、{p.rule}、空格{'保留' if p.keep_spaces else '按默认处理'}："
            f"{p.n_strings:,} 个随机字符串还原 {lossless:,} 个，未知符 {unknown:,} 个。",
        ),
        facts=facts,
        table=Table(("rule", "spaces", "strings that come back", *map(repr, samples)), rows),
        plot=Plot(
            "Strings that come back",
            "normalisation rule",
            "strings",
            [
                Series("spaces as by default", list(rules), [counts[r, False] for r in rules]),
                Series("spaces kept", list(rules), [counts[r, True] for r in rules]),
            ],
            kind="bar",
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
