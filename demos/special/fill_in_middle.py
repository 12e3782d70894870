"""How does a left-to-right model learn to fill a gap, and is the training text still the same text?

Nothing changes in the model. Some documents are cut at two random places and reordered, so that the middle comes last:
prefix, suffix, middle (PSM), with sentinel tokens between them. Next-token prediction then learns to write the middle
given both sides. The sentinels are what makes it work: they say where a part ends, so that the document can be put
together again. Without them nobody, and no model, can tell a reordered file from a strange one. Sentinels are ids of
their own outside the text, so a file that spells out "<PRE>" does no harm.

Legend: a document is a list of character codes; sentinels are negative ids.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from llmprep.lab import Fact, Plot, Result, Series, Table, Text

PRE, SUF, MID, EOT = -1, -2, -3, -4
Tokens = list[int]


def cut(document: Tokens, rng: random.Random) -> tuple[Tokens, Tokens, Tokens]:
    """(prefix, middle, suffix) at two places drawn evenly, in characters, before tokenisation (arXiv 2207.14255, 3)."""
    first, second = sorted(rng.choices(range(len(document) + 1), k=2))
    return document[:first], document[first:second], document[second:]


def arrange(prefix: Tokens, middle: Tokens, suffix: Tokens, order: str) -> Tokens:
    """PSM, or SPM, which puts the suffix first so that prefix and middle are one running text (section 3.1)."""
    if order == "psm":
        return [PRE, *prefix, SUF, *suffix, MID, *middle, EOT]
    if order == "spm":
        return [PRE, SUF, *suffix, MID, *prefix, *middle, EOT]
    return [*prefix, *suffix, *middle, EOT]  # no sentinels


def restore(sample: Tokens) -> Tokens:
    """The document that a training sample was made of, from the sample alone."""
    body = sample[:-1]
    if PRE not in body:
        return body
    suf, mid = body.index(SUF), body.index(MID)
    return body[1:suf] + body[mid + 1 :] + body[suf + 1 : mid]  # prefix (empty in SPM), then what the end holds, suffix


def random_file(rng: random.Random) -> Tokens:
    """Some lines that look like code, some of which spell out a sentinel."""
    words = ["def", "return", "x", "(", ")", ":", "\n", "    ", "=", "1", "<PRE>", "<MID>", "# 中间"]
    return [ord(c) for c in " ".join(rng.choices(words, k=rng.randint(0, 40)))]


@dataclass(frozen=True)
class Params:
    order: Literal["psm", "spm", "no sentinels"] = "psm"
    fim_rate: float = 0.5  # share of the documents that are reordered
    n_documents: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.fim_rate <= 1 or not 500 <= self.n_documents <= 5000:
            raise ValueError("fim_rate must be between 0 and 1, n_documents between 500 and 5,000")


def training_samples(documents: Sequence[Tokens], order: str, rate: float, rng: random.Random) -> list[Tokens]:
    """Each document as it is, or reordered with probability `rate`."""
    return [arrange(*cut(d, rng), order) if rng.random() < rate else [*d, EOT] for d in documents]


def run(p: Params) -> Result:
    rng = random.Random(p.seed)
    documents = [random_file(rng) for _ in range(p.n_documents)]
    samples = training_samples(documents, p.order, p.fim_rate, rng)
    lost = sum(restore(s) != d for s, d in zip(samples, documents, strict=True))
    reordered = sum(PRE in s for s in samples)
    extra = sum(len(s) for s in samples) - sum(len(d) + 1 for d in documents)
    marked = p.order != "no sentinels"
    rates = [i / 10 for i in range(11)]
    rows = []
    for order in ("psm", "spm", "no sentinels"):
        again = random.Random(p.seed)
        made = training_samples(documents, order, p.fim_rate, again)
        rows.append((order, sum(restore(s) != d for s, d in zip(made, documents, strict=True))))
    return Result(
        takeaway=Text(
            en=f"{p.order} at rate {p.fim_rate:g}: {reordered:,} of {p.n_documents:,} files carry sentinels, {extra:,} "
            f"tokens longer in all, and {lost} of the files can't be put together again.",
            zh=f"{p.order}，比例 {p.fim_rate:g}：{p.n_documents:,} 个文件中有 {reordered:,} 个带哨兵 token，"
            f"一共多出 {extra:,} 个 token，其中 {lost} 个文件无法还原。",
        ),
        facts=[
            Fact("lost", "files", lost, predicted=0 if marked or p.fim_rate == 0 else None),
            Fact("reordered_share", "", reordered / p.n_documents, p.fim_rate if marked else 0.0, atol=0.06),
            Fact("extra_tokens", "tokens", extra, predicted=3 * reordered),
        ],
        table=Table(("order", "files that can't be restored"), rows),
        plot=Plot(
            "Files seen left to right, and files seen with the middle last",
            "FIM rate",
            "share of files",
            [Series("left to right", rates, [1 - r for r in rates]), Series("middle last", rates, rates)],
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
