"""How well does a RoPE model read four times the length it was trained on, before and after a little fine-tuning?

A tiny decoder is really trained on texts of T tokens (the rule of `length_generalisation`: the next token follows from
the last two), its frequencies are rescaled, and it is tested on 4·T. As it is, it knows the trained range and fails
beyond it. Interpolation (linear) squeezes neighbours together, and the model no longer tells the last token from the
one before: it fails everywhere at once, but evenly, and a few steps of training mend much of it. NTK-aware scaling
spares the trained range and still overshoots beyond it. YaRN's choice pair by pair (without its factor on the scores)
loses least beyond the trained range, and a little inside it. In each case the new length is cheap but not free: it
takes some training on long texts.

Legend: B batch, T tokens.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from llmprep.demos.architecture.length_generalisation import (
    BATCH,
    D_MODEL,
    LONGER,
    N_HEADS,
    Decoder,
    formula_entropy,
    next_token_losses,
    random_source,
    sample,
    surprise,
    train,
)
from llmprep.demos.architecture.one_head_limit import one_thread
from llmprep.demos.architecture.rope import frequencies
from llmprep.demos.architecture.rope_scaling import METHODS, Method, linear, ntk, yarn
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

HEAD_DIM, BASE = D_MODEL // N_HEADS, 10_000.0


def rescaled(method: Method, trained_len: int) -> Tensor:
    """The four pairs of a tiny head: one turns several times in a training text, the others not once."""
    if method == "linear":
        return linear(HEAD_DIM, BASE, LONGER)
    if method == "ntk":
        return ntk(HEAD_DIM, BASE, LONGER)
    if method == "yarn":
        return yarn(HEAD_DIM, BASE, LONGER, trained_len, fast_turns=4)  # 32 turns would take 200 tokens
    return frequencies(HEAD_DIM, BASE)


def with_frequencies(model: Decoder, theta: Tensor) -> Decoder:
    """The same weights, turned at another pace."""
    model = copy.deepcopy(model)
    model.theta = theta
    return model


@torch.no_grad()
def excess(model: Decoder, source: Tensor, test: Tensor) -> Tensor:
    """Loss above that of the source itself at each place from the third on, (4·T − 2,) nats."""
    return (next_token_losses(model, test) - surprise(source, test)).mean(dim=0)


@dataclass(frozen=True)
class Params:
    method: Method = "yarn"
    trained_len: int = 32  # tokens
    steps: int = 150  # of training
    tuning_steps: int = 40  # on the long texts, after rescaling
    n_seeds: int = 2  # models, each trained on a source of its own
    seed: int = 0  # of the first

    def __post_init__(self) -> None:
        if not 26 <= self.trained_len <= 40:
            raise ValueError("trained_len must be between 26 and 40: short, but four turns of the fastest pair")
        if not 150 <= self.steps <= 400 or not 1 <= self.tuning_steps <= 100 or not 1 <= self.n_seeds <= 3:
            raise ValueError("steps must be between 150 and 400, tuning_steps 1 to 100, n_seeds 1 to 3")


def run(p: Params) -> Result:
    T = p.trained_len
    at_once: dict[str, list[Tensor]] = {m: [] for m in METHODS}
    tuned: list[Tensor] = []
    floors: list[float] = []
    for seed in range(p.seed, p.seed + p.n_seeds):
        with torch.random.fork_rng(devices=[]), one_thread():
            torch.manual_seed(seed)
            source = random_source()
            short, long = sample(source, 2048, T), sample(source, 512, LONGER * T)
            test = sample(source, 64, LONGER * T)
            torch.manual_seed(seed)
            model = Decoder("rope", LONGER * T)
            train(model, short, p.steps)
            for method in METHODS:
                at_once[method].append(excess(with_frequencies(model, rescaled(method, T)), source, test))
            candidate = with_frequencies(model, rescaled(p.method, T))
            train(candidate, long, p.tuning_steps, lr=0.003, batch=BATCH // LONGER)  # as many tokens a step
            tuned.append(excess(candidate, source, test))
            floors.append(surprise(source, test).mean().item())

    def within(curves: list[Tensor]) -> float:
        return torch.stack(curves)[:, : T - 2].mean().item()

    def beyond(curves: list[Tensor]) -> float:
        return torch.stack(curves)[:, T - 2 :].mean().item()

    each = [x[T - 2 :].mean().item() for x in tuned]
    rows = [(m, within(at_once[m]), beyond(at_once[m])) for m in METHODS]
    places = list(range(3, LONGER * T + 1))
    return Result(
        takeaway=Text(
            en=f"{p.method}: at {LONGER} times the trained {T} tokens the loss is {beyond(at_once[p.method]):.2f} nats "
            f"above the entropy at once and {beyond(tuned):.2f} after {p.tuning_steps} steps ({p.n_seeds} seeds).",
            zh=f"{p.method}：扩到训练长度 {T} 的 {LONGER} 倍，loss 起初比熵高 {beyond(at_once[p.method]):.2f} nats，"
            f"微调 {p.tuning_steps} 步后高 {beyond(tuned):.2f} nats（{p.n_seeds} 个 seed）。",
        ),
        facts=[
            Fact("inside_at_once", "nats", within(at_once[p.method])),  # above the entropy, at the trained places
            Fact("beyond_at_once", "nats", beyond(at_once[p.method])),
            Fact("inside_tuned", "nats", within(tuned)),
            Fact("beyond_tuned", "nats", beyond(tuned)),
            Fact("beyond_tuned_lowest", "nats", min(each)),
            Fact("beyond_tuned_highest", "nats", max(each)),
            Fact("long_len", "tokens", LONGER * T),
            Fact("entropy", "nats", sum(floors) / len(floors), predicted=formula_entropy(), atol=0.05),
        ],
        table=Table(
            ("frequencies, no tuning", "trained places (nats above entropy)", "beyond (nats above entropy)"), rows
        ),
        plot=Plot(
            f"{p.method}, trained on {T} tokens",
            "place in the text",
            "loss above the entropy (nats)",
            [
                Series("at once", places, torch.stack(at_once[p.method]).mean(dim=0).tolist()),
                Series(f"after {p.tuning_steps} steps", places, torch.stack(tuned).mean(dim=0).tolist()),
            ],
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
