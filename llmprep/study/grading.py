"""From what was said to a grade: the suggestion that Enter accepts."""

from collections.abc import Collection, Sequence

from llmprep.bank.types import Drill, KeyPoint
from llmprep.lab.contract import Number

FLUENT_SECONDS = 90.0


def suggest(points: Sequence[KeyPoint], ticked: Collection[str], *, hints: int = 0, seconds: float = 0.0) -> int:
    """A grade 0–5 from the key points that were said.

    A pass (3 and more) takes every `must` point. 5 is everything, unaided and fluent; a hint costs the 5, a hint for
    every point leaves a 3. Without a pass: 2 for half of the points, 1 for any, 0 for none.
    """
    if not points:
        return 3
    said = sum(point.id in ticked for point in points)
    if not all(point.id in ticked for point in points if point.must) or said == 0:
        return 0 if said == 0 else 2 if 2 * said >= len(points) else 1
    grade = 5 if seconds <= FLUENT_SECONDS else 4
    if said < len(points):
        grade = 4 if 4 * said >= 3 * len(points) else 3
    return min(grade, 5 if hints == 0 else 4 if hints < len(points) else 3)


def is_right(drill: Drill, said: Number, measured: Number) -> bool:
    """Whether a number is within the drill's tolerance of what was measured."""
    return abs(said - measured) <= drill.atol + drill.rtol * abs(measured)


def off_by(said: Number, measured: Number) -> str:
    """How far off a guess was, in words of arithmetic: "+25%", "4×", "1/4×"; "" for a hit."""
    if said == measured:
        return ""
    if measured == 0 or said * measured <= 0:
        return f"{said - measured:+,.4g}"
    ratio = said / measured
    if abs(ratio - 1) < 0.005:  # what a rounded reading of the right number differs by
        return ""
    if ratio >= 2:
        return f"{_short(ratio)}×"
    if ratio <= 0.5:
        return f"1/{_short(1 / ratio)}×"
    return f"{ratio - 1:+.1%}"


def _short(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
