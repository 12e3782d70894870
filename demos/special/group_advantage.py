"""Which answers does GRPO learn from, and when does a group teach nothing?

PPO asks a learned critic how good an answer was to be expected. GRPO asks the group: sample G answers to one problem
and score each by (r − mean)/std. With rewards 0 and 1 and c right answers, a right one gets √((G − c)/c) and a wrong
one −√(c/(G − c)), so a rare success counts most. If all are right or all wrong, every advantage is 0 and the G answers
were written in vain: at success rate p that happens with probability p^G + (1 − p)^G. Here groups are really drawn.

Legend: G answers to one problem, p success rate, c right answers in a group.
"""

import math
import random
from dataclasses import dataclass

from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def advantages(rewards: list[float]) -> list[float]:
    """(r − mean)/std within the group (arXiv 2402.03300, section 4.1.2); 0 where all rewards are equal."""
    mean = sum(rewards) / len(rewards)
    std = math.sqrt(sum((r - mean) ** 2 for r in rewards) / len(rewards))
    return [(r - mean) / std if std else 0.0 for r in rewards]


def formula_of_a_right_answer(group: int, right: int) -> float:
    """√((G − c)/c): 2.65 for the only right one of eight, 0.38 for one of seven."""
    return math.sqrt((group - right) / right)


def formula_silent(group: int, success_rate: float) -> float:
    """All right or all wrong: p^G + (1 − p)^G."""
    return success_rate**group + (1 - success_rate) ** group


def draw_groups(group: int, success_rate: float, n_groups: int, rng: random.Random) -> list[list[float]]:
    """Rewards 0 or 1 of independent answers."""
    return [[float(rng.random() < success_rate) for _ in range(group)] for _ in range(n_groups)]


@dataclass(frozen=True)
class Params:
    group: int = 8  # G
    right: int = 1  # c, in the one group that is looked at
    success_rate: float = 0.1  # p, for the groups that are drawn
    n_groups: int = 20_000
    seed: int = 0

    def __post_init__(self) -> None:
        if not 2 <= self.group <= 64 or not 1 <= self.right < self.group:
            raise ValueError("group must be between 2 and 64, right at least 1 and below group")
        if not 0.01 <= self.success_rate <= 0.99 or not 5000 <= self.n_groups <= 40_000:
            raise ValueError("success_rate must be between 0.01 and 0.99, n_groups between 5,000 and 40,000")


def run(p: Params) -> Result:
    scored = advantages([1.0] * p.right + [0.0] * (p.group - p.right))
    groups = draw_groups(p.group, p.success_rate, p.n_groups, random.Random(p.seed))
    all_scored = [advantages(group) for group in groups]
    silent = sum(not any(group) for group in all_scored) / p.n_groups
    unbalanced = sum(abs(sum(group)) > 1e-9 for group in all_scored)
    rates = [i / 20 for i in range(1, 20)]
    return Result(
        takeaway=Text(
            en=f"{p.right} right of {p.group}: its advantage is {scored[0]:.2f}, that of a wrong one {scored[-1]:.2f}. "
            f"At a success rate of {p.success_rate:g}, {silent:.0%} of the groups teach nothing.",
            zh=f"{p.group} 个里对 {p.right} 个：答对的优势为 {scored[0]:.2f}，答错的为 {scored[-1]:.2f}。"
            f"成功率 {p.success_rate:g} 时，{silent:.0%} 的组学不到东西。",
        ),
        facts=[
            Fact("advantage_right", "", scored[0], formula_of_a_right_answer(p.group, p.right), rtol=1e-9),
            Fact("advantage_wrong", "", scored[-1], -formula_of_a_right_answer(p.group, p.group - p.right), rtol=1e-9),
            Fact("silent_share", "", silent, formula_silent(p.group, p.success_rate), atol=0.02),
            Fact("unbalanced", "groups", unbalanced, predicted=0),
        ],
        table=Table(
            ("right answers", "advantage of a right one", "advantage of a wrong one"),
            [
                (c, formula_of_a_right_answer(p.group, c), -formula_of_a_right_answer(p.group, p.group - c))
                for c in range(1, p.group)
            ],
        ),
        plot=Plot(
            "Groups that teach nothing",
            "success rate",
            "share of groups",
            [Series(f"G = {g}", rates, [formula_silent(g, r) for r in rates]) for g in sorted({4, 16, 64} | {p.group})],
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
