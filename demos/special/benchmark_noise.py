"""How many points of a benchmark score are noise?

A score is the mean of n problems that are solved or not. Were the problems drawn anew from the same source, it would
spread with a standard deviation of √(p(1 − p)/n), so 95% of the scores lie within ±1.96 of those. HumanEval has 164
problems. Two models that took the very same problems can be told apart somewhat better, by counting only the problems
on which they differ; differences in prompt and harness come on top of both. Here scores are really drawn.

Legend: n problems, p true share that a model solves.
"""

import math
import random
from dataclasses import dataclass

from llmprep.lab import Fact, Plot, Result, Series, Table, Text


def formula_half_width(n_problems: int, score: float) -> float:
    """1.96·√(p(1 − p)/n), in points; 164 problems at 90%: 4.6."""
    return 196 * math.sqrt(score * (1 - score) / n_problems)


def draw_scores(n_problems: int, score: float, n_draws: int, rng: random.Random) -> list[float]:
    """Scores in points of one model on fresh sets of problems, in order of size."""
    return sorted(100 * sum(rng.random() < score for _ in range(n_problems)) / n_problems for _ in range(n_draws))


@dataclass(frozen=True)
class Params:
    n_problems: int = 164  # HumanEval
    score: float = 0.9  # p
    n_draws: int = 4000
    seed: int = 0

    def __post_init__(self) -> None:
        if not 100 <= self.n_problems <= 2000 or not 0.2 <= self.score <= 0.95:
            raise ValueError("n_problems must be between 100 and 2,000, score between 0.2 and 0.95")
        if not 2000 <= self.n_draws <= 10_000 or self.n_problems * self.n_draws > 10**7:
            raise ValueError("n_draws must be between 2,000 and 10,000, and at most ten million problems drawn in all")


def run(p: Params) -> Result:
    scores = draw_scores(p.n_problems, p.score, p.n_draws, random.Random(p.seed))
    mean = sum(scores) / len(scores)
    std = math.sqrt(sum((s - mean) ** 2 for s in scores) / len(scores))
    width = formula_half_width(p.n_problems, p.score)
    inside = sum(abs(s - 100 * p.score) <= width for s in scores) / len(scores)
    sizes = [100, 164, 500, 1000, 2000]
    return Result(
        takeaway=Text(
            en=f"{p.n_problems} problems at {p.score:.0%}: scores spread with {std:.2f} points, a 95% interval of "
            f"±{1.96 * std:.1f}; {inside:.1%} of the drawn scores lie within it.",
            zh=f"{p.n_problems} 道题、真实水平 {p.score:.0%}：得分的标准差为 {std:.2f} 分，"
            f"95% 区间约 ±{1.96 * std:.1f} 分，抽到的得分有 {inside:.1%} 落在其中。",
        ),
        facts=[
            Fact("half_width", "points", 1.96 * std, width, rtol=0.06),
            Fact("inside", "", inside, predicted=0.95, atol=0.03),
            Fact("one_problem", "points", 100 / p.n_problems),
        ],
        table=Table(
            ("problems", "95% half-width (points)", "worth of one problem (points)"),
            [(n, formula_half_width(n, p.score), 100 / n) for n in sizes],
        ),
        plot=Plot(
            f"95% half-width of a score of {p.score:.0%}",
            "problems",
            "points",
            [Series("1.96·√(p(1 − p)/n)", sizes, [formula_half_width(n, p.score) for n in sizes])],
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
