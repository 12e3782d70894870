"""How are inputs and labels of masked language modelling made?

Select 15% of the tokens; they alone have a label. Of the selected, 80% become [MASK], 10% a random token, 10% stay as
they are. The model does not know which visible tokens are selected, so it must keep a useful vector for each of them,
and meets real tokens to predict, as it will in fine-tuning, where [MASK] never occurs. Two draws do it: 80% of the
selected, then *half* of the rest, since 10% of the whole is half of the 20% left; a second draw of 10% is a popular
bug. The machine corrupts tokens and recounts from input, output and labels alone.

Legend: B texts, T tokens, V vocabulary.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from llmprep.lab import Fact, Plot, Result, Series, Table, Text

PAD, MASK, FIRST_WORD = 0, 1, 2  # special tokens stand before the words
IGNORED = -100  # no label: left out of the loss
TEXT_TOKENS = 500  # tokens of a text, the first and the last of them special


def formula_shares(mask_rate: float, mask_of_selected: float, random_of_rest: float) -> tuple[float, float, float]:
    """Shares of all tokens that become [MASK], random, or stay but are scored. BERT: 12%, 1.5%, 1.5%."""
    rest = 1 - mask_of_selected
    return mask_rate * mask_of_selected, mask_rate * rest * random_of_rest, mask_rate * rest * (1 - random_of_rest)


def mask_tokens(
    tokens: Tensor, vocab: int, mask_rate: float = 0.15, mask_of_selected: float = 0.8, random_of_rest: float = 0.5
) -> tuple[Tensor, Tensor]:
    """Inputs and labels (B, T) from tokens (B, T): arXiv 1810.04805, section 3.1, Task #1, and appendix A.1."""
    special = tokens < FIRST_WORD
    selected = torch.bernoulli(torch.full(tokens.shape, float(mask_rate)).masked_fill(special, 0)).bool()
    labels = tokens.masked_fill(~selected, IGNORED)
    hidden = torch.bernoulli(torch.full(tokens.shape, float(mask_of_selected))).bool() & selected
    swapped = torch.bernoulli(torch.full(tokens.shape, float(random_of_rest))).bool() & selected & ~hidden
    random_tokens = torch.randint(vocab, tokens.shape)
    return torch.where(swapped, random_tokens, tokens.masked_fill(hidden, MASK)), labels


def recount(tokens: Tensor, inputs: Tensor, labels: Tensor) -> dict[str, int]:
    """What happened to the tokens, from the three tensors alone; a random token may hit the old one, and is kept."""
    scored, same = labels != IGNORED, inputs == tokens
    return {
        "selected": int(scored.sum()),
        "mask": int((scored & (inputs == MASK)).sum()),
        "random": int((scored & ~same & (inputs != MASK)).sum()),
        "kept": int((scored & same).sum()),
        "wrong_labels": int((scored & (labels != tokens)).sum()),
        "changed_without_label": int((~scored & ~same).sum()),
    }


@dataclass(frozen=True)
class Params:
    mask_rate: float = 0.15  # share of the tokens that is selected
    mask_of_selected: float = 0.8  # share of the selected that becomes [MASK]
    random_of_rest: float = 0.5  # share of the other selected ones that becomes random; 0.1: the bug
    vocab: int = 30522
    n_texts: int = 400  # of 500 tokens
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.mask_rate <= 1 or min(self.mask_of_selected, self.random_of_rest) < 0:
            raise ValueError("mask_rate must be above 0 and at most 1, the other shares between 0 and 1")
        if max(self.mask_of_selected, self.random_of_rest) > 1:
            raise ValueError("mask_of_selected and random_of_rest must be at most 1")
        if not 100 <= self.vocab <= 1_000_000 or not 100 <= self.n_texts <= 2000:
            raise ValueError("vocab must be between 100 and 1,000,000, n_texts between 100 and 2,000")


def run(p: Params) -> Result:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(p.seed)
        tokens = torch.randint(FIRST_WORD, p.vocab, (p.n_texts, TEXT_TOKENS))
        tokens[:, 0] = tokens[:, -1] = PAD
        inputs, labels = mask_tokens(tokens, p.vocab, p.mask_rate, p.mask_of_selected, p.random_of_rest)
    counts = recount(tokens, inputs, labels)
    words = int((tokens >= FIRST_WORD).sum())
    mask, random, kept = formula_shares(p.mask_rate, p.mask_of_selected, p.random_of_rest)

    def share(name: str, predicted: float) -> Fact:
        noise = 5 * (predicted * (1 - predicted) / words) ** 0.5  # five standard deviations of a share
        return Fact(f"{name}_share", "", counts[name] / words, predicted, atol=noise + 2 / p.vocab)

    facts = [
        share("selected", p.mask_rate),
        share("mask", mask),
        share("random", random),
        share("kept", kept),
        Fact("mask_of_selected_share", "", counts["mask"] / counts["selected"]),
        Fact("random_of_selected_share", "", counts["random"] / counts["selected"]),
        Fact("kept_of_selected_share", "", counts["kept"] / counts["selected"]),
        Fact("changed_without_label", "tokens", counts["changed_without_label"], predicted=0),
        Fact("wrong_labels", "tokens", counts["wrong_labels"], predicted=0),
        Fact("words", "tokens", words),
    ]
    rows = [(name, counts[name], 100 * counts[name] / words) for name in ("selected", "mask", "random", "kept")]
    return Result(
        takeaway=Text(
            en=f"Of {words:,} tokens {facts[0].measured:.1%} are scored: {facts[1].measured:.1%} became [MASK], "
            f"{facts[2].measured:.2%} another token, {facts[3].measured:.2%} stayed (seed {p.seed}).",
            zh=f"{words:,} 个 token 中有 {facts[0].measured:.1%} 参与计算 loss：{facts[1].measured:.1%} 变成 [MASK]，"
            f"{facts[2].measured:.2%} 换成别的 token，{facts[3].measured:.2%} 保持不变（seed = {p.seed}）。",
        ),
        facts=facts,
        table=Table(("tokens", "count", "share of all (%)"), rows),
        plot=Plot(
            "What happens to the selected tokens",
            "",
            "share of all tokens (%)",
            [Series("share", [r[0] for r in rows[1:]], [r[2] for r in rows[1:]])],
            kind="bar",
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
