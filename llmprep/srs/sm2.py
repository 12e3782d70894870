"""SM-2 in exact integers: easiness in hundredths, intervals in days.

P. A. Woźniak, "Optimization of learning" (master's thesis, Poznań University of Technology, 1990), chapter 3.2,
algorithm SM-2. Binary floats would be wrong: after five perfect answers the easiness is 3.00 and the interval 50 · 3.00
= 150 days; floats arrive at 3.0000000000000004, and rounding up turns that dust into day 151.
"""

from typing import NamedTuple

EF_START = 250
EF_MIN = 130
INTERVAL_MAX = 36_500


class State(NamedTuple):
    """What SM-2 remembers of a card.

    `ef` is the easiness factor in hundredths, `repetition` the successes in a row, `interval` the days from the last
    review to the next one; `drill` asks for the card again on the same day.
    """

    ef: int = EF_START
    repetition: int = 0
    interval: int = 0
    drill: bool = False


def review(state: State, quality: int) -> State:
    """A scheduled repetition, graded 0–5: 1 day, 6 days, then the last interval times the easiness, rounded up.

    The easiness is the one that this grade has already changed: 6 days at 2.50, graded 3, give 2.36 and ⌈14.16⌉ = 15
    days. Below 3 the card starts again at 1 day and keeps its easiness; below 4 it comes back today.
    """
    _check(quality)
    if quality < 3:
        return State(state.ef, repetition=0, interval=1, drill=True)
    ef = next_ef(state.ef, quality)
    repetition = state.repetition + 1
    interval = {1: 1, 2: 6}.get(repetition) or min(_ceil_div(state.interval * ef, 100), INTERVAL_MAX)
    return State(ef, repetition, interval, drill=quality < 4)


def drill_review(state: State, quality: int) -> State:
    """A repetition of the same day: 4 or 5 ends them; easiness and interval stay (thesis, step 7 of SM-2)."""
    _check(quality)
    return State(state.ef, state.repetition, state.interval, drill=quality < 4)


def preview(state: State) -> dict[int, State]:
    """Where each grade would lead, so that a screen can show "6 d" under a button before it is pressed."""
    return {quality: review(state, quality) for quality in range(6)}


def next_ef(ef: int, quality: int) -> int:
    """EF + 0.1 − (5 − q)(0.08 + (5 − q) · 0.02), at least 1.3, all in hundredths: 5 adds 10, 4 nothing, 3 takes 14."""
    short = 5 - quality
    return max(EF_MIN, ef + 10 - short * (8 + short * 2))


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def _check(quality: int) -> None:
    if quality not in range(6):
        raise ValueError(f"a grade is 0, 1, 2, 3, 4 or 5, not {quality!r}")
