"""What are the values and slopes of ReLU, GELU and SiLU, exactly?

All three pass large positive numbers and stop large negative ones. ReLU decides by the sign; GELU weighs x by Φ(x), the
probability that a standard normal number lies below it; SiLU weighs it by the sigmoid σ(x). Both dip below zero and
turn back, so they are not monotone, and their slope is above 1 for some positive x. A sigmoid's own slope is at most a
quarter, which is what makes it a poor hidden activation. Slopes by hand are held against differences of the values.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from llmprep.lab import Fact, Plot, Result, Series, Table, Text

Function = Callable[[float], float]


def normal_cdf(x: float) -> float:
    """Φ(x) = (1 + erf(x/√2)) / 2; Φ(1) = 0.8413."""
    return (1 + math.erf(x / math.sqrt(2))) / 2


def normal_pdf(x: float) -> float:
    """φ(x), the derivative of Φ."""
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def sigmoid(x: float) -> float:
    """1 / (1 + e^−x), written so that no exponential overflows."""
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def relu(x: float) -> float:
    """max(0, x)."""
    return max(0.0, x)


def gelu(x: float) -> float:
    """x·Φ(x): arXiv 1606.08415, section 2."""
    return x * normal_cdf(x)


def gelu_tanh(x: float) -> float:
    """The approximation of the same section, as used by GPT-2: a function of its own, with other values."""
    return x / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def gelu_sigmoid(x: float) -> float:
    """The rougher one of the same section, x·σ(1.702x), called QuickGELU in CLIP."""
    return x * sigmoid(1.702 * x)


def silu(x: float) -> float:
    """x·σ(x), also called Swish with β = 1."""
    return x * sigmoid(x)


def slope_by_hand(name: str, x: float) -> float:
    """The derivative; ReLU's at 0 is taken as 0."""
    s = sigmoid(x)
    return {
        "relu": float(x > 0),
        "gelu": normal_cdf(x) + x * normal_pdf(x),
        "silu": s + x * s * (1 - s),
        "sigmoid": s * (1 - s),
    }[name]


def slope_by_difference(f: Function, x: float, h: float = 1e-5) -> float:
    """(f(x + h) − f(x − h)) / 2h: good to about 1e-10 where f is smooth."""
    return (f(x + h) - f(x - h)) / (2 * h)


def minimise(f: Function, low: float, high: float) -> float:
    """Where f, with one minimum between low and high, has it: cut off a third of the interval until it is tiny."""
    while high - low > 1e-9:
        a, b = low + (high - low) / 3, high - (high - low) / 3
        low, high = (low, b) if f(a) <= f(b) else (a, high)
    return (low + high) / 2


FUNCTIONS: dict[str, Function] = {"relu": relu, "gelu": gelu, "silu": silu, "sigmoid": sigmoid}
GRID = [i / 200 for i in range(-1600, 1601)]  # from −8 to 8


@dataclass(frozen=True)
class Params:
    function: Literal["relu", "gelu", "silu", "sigmoid"] = "gelu"
    x: float = 1.0  # where value and slope are asked
    approximation: Literal["tanh", "sigmoid"] = "tanh"  # of GELU

    def __post_init__(self) -> None:
        if not -8 <= self.x <= 8:
            raise ValueError("x must be between −8 and 8")


def run(p: Params) -> Result:
    f = FUNCTIONS[p.function]
    smooth = [x for x in GRID if p.function != "relu" or x != 0]
    off = sum(abs(slope_by_difference(f, x) - slope_by_hand(p.function, x)) > 1e-8 for x in smooth)
    minimum_at = minimise(f, -8, 8)
    steepest = max(GRID, key=lambda x: slope_by_hand(p.function, x))
    approximate = gelu_tanh if p.approximation == "tanh" else gelu_sigmoid
    gap_at = max(GRID, key=lambda x: abs(gelu(x) - approximate(x)))
    has_dip = p.function in ("gelu", "silu")
    facts = [
        Fact("value", "", f(p.x)),
        Fact("slope", "", slope_by_hand(p.function, p.x)),
        Fact("slope_mismatches", "points", off, predicted=0),
        Fact("largest_slope", "", slope_by_hand(p.function, steepest)),
        Fact("steepest_at", "", steepest),
        Fact("gelu_gap", "", abs(gelu(gap_at) - approximate(gap_at))),  # exact form against the approximation
        Fact("gelu_gap_at", "", abs(gap_at)),
    ]
    if has_dip:
        facts += [
            Fact("minimum", "", f(minimum_at)),
            Fact("minimum_at", "", minimum_at),
            Fact("slope_at_minimum", "", slope_by_hand(p.function, minimum_at), predicted=0, atol=1e-6),
        ]
    points = (-3.0, -1.0, 0.0, 1.0, 3.0)
    rows = [(x, *(g(x) for g in FUNCTIONS.values())) for x in points]
    shown = GRID[600:2601:50]
    return Result(
        takeaway=Text(
            en=f"{p.function}({p.x:g}) = {f(p.x):.4f} with slope {slope_by_hand(p.function, p.x):.4f}; its slope is at "
            f"most {slope_by_hand(p.function, steepest):.3f}. The {p.approximation} form of GELU is off by at most "
            f"{facts[5].measured:.5f}.",
            zh=f"{p.function}({p.x:g}) = {f(p.x):.4f}，斜率 {slope_by_hand(p.function, p.x):.4f}；"
            f"斜率最大为 {slope_by_hand(p.function, steepest):.3f}。"
            f"GELU 的 {p.approximation} 近似最多差 {facts[5].measured:.5f}。",
        ),
        facts=facts,
        table=Table(("x", *FUNCTIONS), rows),
        plot=Plot(
            "Activations",
            "x",
            "value",
            [Series(name, shown, [g(x) for x in shown]) for name, g in FUNCTIONS.items() if name != "sigmoid"],
        ),
    )


if __name__ == "__main__":
    from llmprep.lab.script import main

    main(__file__)
