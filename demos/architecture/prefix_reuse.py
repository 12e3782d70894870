"""Which part of a read text can be kept when it goes on?

With a causal mask, all of it: a token's vectors depend on what stands before it, so a chat adds its new turn to the
cache, and requests that begin alike share their beginning. An encoder that sees both sides must read everything again:
one more token changes every vector from the first layer's output on. The machine lets a small network read a chat turn
by turn and counts which tokens it has to run again, by comparing each token's vectors with those of the turn before.

Legend: B batch, T tokens.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from llmprep.demos.architecture.causal_mask import TinyGPT
from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def formula_tokens_run(n_turns: int, turn_tokens: int, attention: str) -> int:
    """Causal: each token once, K·m. Both sides: turn k reads k·m tokens, m·K(K+1)/2 in all."""
    return turn_tokens * (n_turns if attention == "causal" else n_turns * (n_turns + 1) // 2)


def vectors(model: TinyGPT, text: Tensor, *, causal: bool) -> Tensor:
    """The output of every layer for every token: (T, layers · d_model)."""
    outputs: list[Tensor] = []

    def keep(_module: torch.nn.Module, _args: object, output: Tensor) -> None:
        outputs.append(output[0])

    handles = [block.register_forward_hook(keep) for block in model.blocks]
    model(text, causal=causal)
    for handle in handles:
        handle.remove()
    return torch.cat(outputs, dim=1)


def tokens_to_run(before: Tensor, after: Tensor) -> int:
    """Tokens of the longer text whose vectors are not those that were kept: new ones, and changed ones."""
    kept = ((after[: len(before)] - before).abs().amax(dim=1) < 1e-9).sum() if len(before) else 0
    return len(after) - int(kept)


@dataclass(frozen=True)
class Params:
    attention: Literal["causal", "both sides"] = "causal"
    n_turns: int = 10
    turn_tokens: int = 20  # tokens of a turn
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_turns < 1 or self.turn_tokens < 1 or self.n_turns * self.turn_tokens > 512:
            raise ValueError("n_turns and turn_tokens must be at least 1, and their product at most 512: it is run")


def run(p: Params) -> Result:
    K, m = p.n_turns, p.turn_tokens
    per_turn = {}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(p.seed)
        model = TinyGPT(16, K * m).double()
        text = torch.randint(16, (1, K * m))
        for attention in ("causal", "both sides"):
            states = [torch.empty(0)]
            states += [vectors(model, text[:, : k * m], causal=attention == "causal") for k in range(1, K + 1)]
            per_turn[attention] = [tokens_to_run(a, b) for a, b in pairwise(states)]
    tokens_run = sum(per_turn[p.attention])
    last = per_turn[p.attention][-1]

    turns = list(range(1, K + 1))
    name_zh = "因果" if p.attention == "causal" else "双向"
    return Result(
        takeaway=Text(
            en=f"A chat of {K} turns of {m} tokens, attention {p.attention}: the last turn has {last} tokens to run, "
            f"the whole chat {tokens_run:,}.",
            zh=f"{K} 轮、每轮 {m} 个 token 的对话，{name_zh}注意力：最后一轮要计算 {last} 个 token，整段对话共 "
            f"{tokens_run:,} 个。",
        ),
        facts=[
            Fact("tokens_run", "tokens", tokens_run, predicted=formula_tokens_run(K, m, p.attention)),
            Fact("last_turn", "tokens", last, predicted=m if p.attention == "causal" else K * m),
            Fact("over_causal", "×", tokens_run / sum(per_turn["causal"])),
        ],
        table=Table(
            ("turn", "causal: tokens to run", "both sides: tokens to run"),
            list(zip(turns, per_turn["causal"], per_turn["both sides"], strict=True)),
        ),
        plot=Plot(
            "Tokens to run in each turn",
            "turn",
            "tokens",
            [Series(name, turns, values) for name, values in per_turn.items()],
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
