"""When does speculative decoding pay, and how fast does a batch eat the gain?

Decoding one sequence waits for the weights to come from memory, so a call that scores γ + 1 tokens takes as long
as one for a single token: that is the free lunch, worth E / (γc + 1). A step over n tokens takes
max(weight bytes / bandwidth, 2 · params · n / FLOP/s). Beyond the ridge n = FLOP/s · itemsize / (2 · bandwidth)
every drafted token costs time, accepted or not, and the worth falls towards E / (γc + γ + 1), less than 1.

An ideal roofline: weights only, both limits reached in full, no KV cache, no overhead.
Legend: α acceptance, γ drafted tokens, c draft step over target step, E tokens per target call, B sequences.
"""

import math
from dataclasses import dataclass

from llmprep import content
from llmprep.demos.inference.speculative_decoding import formula_tokens_per_call
from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def formula_speedup(acceptance: float, gamma: int, draft_cost: float) -> float:
    """E / (γc + 1) (Leviathan et al. 2023, theorem 3.8), when scoring γ + 1 tokens is as fast as scoring one."""
    return formula_tokens_per_call(acceptance, gamma) / (gamma * draft_cost + 1)


def formula_break_even(acceptance: float, gamma: int, draft_cost: float, ridge: float) -> int:
    """The first batch that is slower with drafts than without: B · (γ + 1) / ridge = E − γc. 0 if there is none."""
    worth = formula_tokens_per_call(acceptance, gamma) - gamma * draft_cost
    if worth < 1:
        return 1
    return 0 if worth >= gamma + 1 else math.floor(worth * ridge / (gamma + 1)) + 1


def tokens_by_outcome(acceptance: float, gamma: int) -> float:
    """E by listing what can happen: k accepted and one replaced, or all γ accepted and one more token."""
    outcomes = [(acceptance**k * (1 - acceptance), k + 1) for k in range(gamma)] + [(acceptance**gamma, gamma + 1)]
    return sum(probability * tokens for probability, tokens in outcomes)


def step_seconds(n_tokens: int, params: float, chip: dict[str, float]) -> float:
    """One forward over n_tokens in BF16: the slower of reading the weights once and multiplying n times."""
    return max(2 * params / chip["bandwidth"], 2 * params * n_tokens / chip["flops"])


@dataclass(frozen=True)
class Params:
    acceptance: float = 0.8  # α
    gamma: int = 4  # drafted tokens per target call
    draft_cost: float = 0.05  # c
    batch: int = 1  # sequences decoded together
    model: str = "llama-3-8b"  # a name in data/models.json
    hardware: str = "h100-sxm"  # a name in data/hardware.yaml

    def __post_init__(self) -> None:
        if not (0.01 <= self.acceptance <= 0.999 or self.acceptance == 1) or not 1 <= self.gamma <= 32:
            raise ValueError("acceptance must be 0.01 to 0.999, or 1; gamma must be 1 to 32")
        if not (0 <= self.draft_cost <= 1 and 1 <= self.batch <= 10_000):
            raise ValueError("draft_cost must be 0 to 1, batch 1 to 10000")
        content.model(self.model)
        if "bf16" not in content.hardware(self.hardware)["flops"]:
            raise ValueError("hardware must have a BF16 peak in data/hardware.yaml")


def run(p: Params) -> Result:
    entry, params = content.hardware(p.hardware), content.model(p.model)["params_total"]
    chip = {"bandwidth": entry["bandwidth"], "flops": entry["flops"]["bf16"]}
    ridge = chip["flops"] / chip["bandwidth"]  # tokens; BF16 has 2 bytes, a multiply-add 2 FLOPs
    tokens = tokens_by_outcome(p.acceptance, p.gamma)

    def speedup(batch: int, gamma: int = p.gamma) -> float:
        plain, verify = step_seconds(batch, params, chip), step_seconds(batch * (gamma + 1), params, chip)
        return tokens_by_outcome(p.acceptance, gamma) * plain / (gamma * p.draft_cost * plain + verify)

    break_even = next((b for b in range(1, 10_000) if speedup(b) < 1 - 1e-9), 0)
    best = max(range(1, 33), key=lambda gamma: speedup(1, gamma))
    by_formula = max(range(1, 33), key=lambda gamma: formula_speedup(p.acceptance, gamma, p.draft_cost))
    cost = p.gamma * p.draft_cost + 1
    facts = [
        Fact("tokens_per_call", "tokens", tokens, formula_tokens_per_call(p.acceptance, p.gamma), rtol=1e-6),
        Fact("speedup_alone", "×", speedup(1), formula_speedup(p.acceptance, p.gamma, p.draft_cost), rtol=1e-6),
        Fact("speedup", "×", speedup(p.batch)),
        Fact("speedup_saturated", "×", speedup(10_000), tokens / (cost + p.gamma), rtol=1e-6),
        Fact("best_gamma", "tokens", best),
        Fact("best_speedup", "×", speedup(1, best), formula_speedup(p.acceptance, by_formula, p.draft_cost), rtol=1e-6),
        Fact("ridge", "tokens", ridge),
        Fact(
            "slower_from_batch",
            "sequences",
            break_even,
            formula_break_even(p.acceptance, p.gamma, p.draft_cost, ridge),
        ),
    ]
    batches = [2**i for i in range(11)]
    slower_en = f"slower than plain decoding from batch {break_even}" if break_even else "never slower"
    slower_zh = f"从 batch {break_even} 起比普通解码更慢" if break_even else "任何 batch 都不会更慢"
    return Result(
        takeaway=Text(
            en=f"{p.model} on {p.hardware}, α = {p.acceptance:g}, γ = {p.gamma}: {speedup(1):.2f}× for one sequence, "
            f"{speedup(p.batch):.2f}× at batch {p.batch}, {slower_en}.",
            zh=f"{p.model} 在 {p.hardware} 上，α = {p.acceptance:g}、γ = {p.gamma}：单条序列的加速比为 "
            f"{speedup(1):.2f}，batch 为 {p.batch} 时为 {speedup(p.batch):.2f}，{slower_zh}。",
        ),
        facts=facts,
        table=Table(("batch (sequences)", "speed-up (×)"), [(b, speedup(b)) for b in batches]),
        plot=Plot(
            f"Speed-up on {p.hardware}, α = {p.acceptance:g}, c = {p.draft_cost:g}",
            "sequences in the batch",
            "×",
            [Series(f"γ = {g}", batches, [speedup(b, g) for b in batches]) for g in (2, 4, 8)],
            log_x=True,
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
