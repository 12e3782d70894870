"""A model, a card, a budget of tokens: how many cards does training need, and for how many days?

Three sums. States: 16 bytes a parameter, sharded over the cards as the ZeRO stage says. Activations: sbh(34 + 5as/h)
bytes a layer for each micro-batch, less with recomputation, and sharding does not touch them. Compute: 6 FLOPs a
parameter and token over what the cards deliver. The machine looks for the smallest cluster card by card: it lays the
shards out on the meta device (shapes without memory), runs a layer of full size there to see what autograd saves,
and counts the FLOPs of the built model, forward and backward.

Legend: s tokens in a sequence, b sequences in a micro-batch, h width, a heads.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.utils.flop_counter import FlopCounterMode

from llmprep import content
from llmprep.calc import compute, families, memory, params
from llmprep.demos.architecture.parameter_count import BUILT, Decoder
from llmprep.demos.training.memory_estimator import GPTLayer, Recompute, saved_bytes
from llmprep.lab import Fact, Plot, Result, Series, Table, Text

POLICIES: tuple[Recompute, ...] = ("none", "selective", "full")
MOST_CARDS = 4096


def cards_by_hand(n_params: int, stage: int, card_bytes: float, activations: float) -> int:
    """Smallest N with whole + sharded/N + activations ≤ card; 0 if no cluster up to MOST_CARDS will do.

    13B at stage 3 on cards of 80 GB, activations aside: 16 · 13e9 / 80e9 = 2.6, so 3 cards.
    """
    sharded = n_params * (0, 12, 14, 16)[stage]
    room = card_bytes - activations - (16 * n_params - sharded)
    cards = 1 if room >= sharded else math.ceil(sharded / room) if room > 0 and sharded else 0
    return cards if cards <= MOST_CARDS else 0


def bytes_on_a_card(n_params: int, stage: int, cards: int) -> int:
    """Lay the model states out on the meta device, as one flat buffer of each kind, and weigh a card's part."""
    kinds = [(torch.bfloat16, 3), (torch.bfloat16, 2), *[(torch.float32, 1)] * 3]  # dtype, first stage to shard it
    sizes = [(-(-n_params // cards) if stage >= first else n_params, dtype) for dtype, first in kinds]
    return sum(torch.empty(size, dtype=dtype, device="meta").nbytes for size, dtype in sizes)


def cards_by_search(n_params: int, stage: int, card_bytes: float, activations: float) -> int:
    """Try 1, 2, 3, … cards until the states of one and the activations fit; 0 if they never do."""
    for cards in range(1, MOST_CARDS + 1):
        if bytes_on_a_card(n_params, stage, cards) + activations <= card_bytes:
            return cards
    return 0


def saved_by_a_layer(s: int, b: int, h: int, a: int, recompute: Recompute) -> int:
    """Bytes that autograd keeps of one GPT layer of full size, in BF16 on the meta device."""
    with torch.device("meta"):
        layer, x = GPTLayer(h, a).bfloat16(), torch.empty(b, s, h, dtype=torch.bfloat16, requires_grad=True)
        return saved_bytes(layer, x, lambda: layer(x, recompute))[0]


def counted_flops_per_token(config: dict[str, Any], family: str, s: int) -> float:
    """Matmul FLOPs of the built model, forward and backward over s tokens; its layers are equal, so two are built."""
    layers = "n_layer" if family == "gpt2" else "num_hidden_layers"

    def count(n_layers: int) -> int:
        with torch.device("meta"), FlopCounterMode(display=False) as counter:
            model = Decoder(config | {layers: n_layers}, family)
            model(torch.zeros(1, s, dtype=torch.long)).sum().backward()
        return counter.get_total_flops()

    one = count(1)
    return (one + (count(2) - one) * (config[layers] - 1)) / s


@dataclass(frozen=True)
class Params:
    model: str = "llama-13b"  # a name in data/models.json
    card: str = "a100-80gb"  # a name in data/hardware.yaml
    stage: Literal[0, 1, 2, 3] = 3  # of ZeRO
    recompute: Literal["states-only", "none", "selective", "full"] = "selective"  # "states-only": no activations
    seq_len: int = 2048  # tokens
    micro_batch: int = 1  # sequences on a card at a time
    cards: int = 64  # of the cluster
    tokens_billion: float = 260.0
    mfu: float = 0.45  # model FLOPs over peak FLOPs

    def __post_init__(self) -> None:
        if families.of(self.model).family not in BUILT:
            raise ValueError(f"model must be one of {BUILT}")
        if "bf16" not in content.hardware(self.card)["flops"]:
            raise ValueError("card must have a BF16 peak in data/hardware.yaml")
        if min(self.seq_len, self.micro_batch, self.cards) < 1 or self.tokens_billion <= 0:
            raise ValueError("seq_len, micro_batch, cards and tokens_billion must be positive")
        if not 0 < self.mfu <= 1:
            raise ValueError("mfu must be above 0 and at most 1")


def run(p: Params) -> Result:
    entry, shape, card = content.model(p.model), families.of(p.model), content.hardware(p.card)
    n_params, L, sizes = (
        entry["params_total"],
        shape.n_layers,
        (p.seq_len, p.micro_batch, shape.d_model, shape.attention.n_heads),
    )
    saved: dict[str, float] = {policy: L * saved_by_a_layer(*sizes, policy) for policy in POLICIES} | {"states-only": 0}
    smallest = {
        (policy, stage): cards_by_search(n_params, stage, card["memory"], saved[policy])
        for policy in saved
        for stage in range(4)
    }
    on_a_card = bytes_on_a_card(n_params, p.stage, p.cards)
    per_token = counted_flops_per_token(entry["config"], entry["model_type"], p.seq_len)
    tokens, peak = p.tokens_billion * 1e9, card["flops"]["bf16"]
    days = compute.training_days(per_token * tokens, p.cards, peak, p.mfu)
    days_6nd = compute.training_days(compute.training_flops(n_params, tokens), p.cards, peak, p.mfu)

    expected = {policy: L * memory.activation_bytes_per_layer(*sizes, policy) for policy in POLICIES}
    mixed, N = memory.RECIPES["mixed"], params.total(shape)
    share = memory.state_bytes(N, mixed, p.stage, p.cards)
    by_hand = cards_by_hand(N, p.stage, card["memory"], expected.get(p.recompute, 0))
    facts = [
        Fact("states_gb", "GB", bytes_on_a_card(n_params, 0, 1) / 1e9, memory.state_bytes(N, mixed) / 1e9),
        Fact("states_gb_per_card", "GB", on_a_card / 1e9, share / 1e9, atol=16e-9),  # shards are rounded up
        *(
            Fact(f"activations_{each}_gb", "GB", saved[each] / 1e9, expected[each] / 1e9, rtol=1e-12)
            for each in POLICIES
        ),
        Fact("gb_per_card", "GB", (on_a_card + saved[p.recompute]) / 1e9),
        Fact("smallest_cluster", "cards", smallest[p.recompute, p.stage], by_hand),
        Fact("flops_per_token", "FLOP", per_token, compute.training_flops_per_token(shape, p.seq_len), rtol=1e-9),
        Fact("six_n_error", "", 6 * n_params / per_token - 1),
        Fact("days", "days", days),
        Fact("days_6nd", "days", days_6nd),
        Fact("card_hours_6nd", "h", days_6nd * 24 * p.cards),
    ]
    cells = {policy: [smallest[policy, stage] or None for stage in range(4)] for policy in saved}
    rows = [(policy, saved[policy] / 1e9, *cells[policy]) for policy in saved]
    ladder = [2**i for i in range(11)]
    curves = [
        Series(
            f"stage {stage}", ladder, [(bytes_on_a_card(n_params, stage, n) + saved[p.recompute]) / 1e9 for n in ladder]
        )
        for stage in range(4)
    ]
    curves.append(Series(p.card, ladder, [card["memory"] / 1e9] * len(ladder)))
    answer = smallest[p.recompute, p.stage]
    return Result(
        takeaway=Text(
            en=f"{p.model}, ZeRO-{p.stage}, recompute={p.recompute}: "
            f"{f'fits on {answer} or more' if answer else f'does not fit on {MOST_CARDS:,}'} {p.card} cards; on "
            f"{p.cards} of them {p.tokens_billion:g}B tokens take {days:.1f} days at an MFU of {p.mfu:.0%}.",
            zh=f"{p.model}，ZeRO-{p.stage}，重计算策略 {p.recompute}："
            f"{f'至少 {answer} 张 {p.card} 放得下' if answer else f'{MOST_CARDS:,} 张 {p.card} 也放不下'}；"
            f"用 {p.cards} 张、MFU {p.mfu:.0%} 训练 {p.tokens_billion:g}B token 需要 {days:.1f} 天。",
        ),
        facts=facts,
        table=Table(("recompute", "activations (GB)", *(f"cards, stage {i}" for i in range(4))), rows),
        plot=Plot(f"Training {p.model}: memory on a card", "cards", "GB", curves, log_x=True, log_y=True),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
