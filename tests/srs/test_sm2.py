"""SM-2 against histories worked out by hand, and against a slow transcription of the 1990 text in fractions."""

import math
from dataclasses import dataclass
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmprep.srs.sm2 import EF_MIN, EF_START, INTERVAL_MAX, State, drill_review, preview, review

grades = st.integers(0, 5)
histories = st.lists(grades, max_size=40)
states = st.builds(
    State,
    ef=st.integers(EF_MIN, 400),
    repetition=st.integers(2, 30),
    interval=st.integers(6, INTERVAL_MAX),
    drill=st.booleans(),
)


def after(history):
    state = State()
    for quality in history:
        state = review(state, quality)
    return state


def intervals(history):
    return [after(history[: n + 1]).interval for n in range(len(history))]


# Each product in the comments is exact: the easiness in hundredths after the grade times the interval before it.
BY_HAND = {
    "all good": ([4, 4, 4, 4, 4], [1, 6, 15, 38, 95], 250),  # 6·2.5 = 15, 15·2.5 = 37.5, 38·2.5 = 95
    "all perfect": ([5, 5, 5, 5, 5], [1, 6, 17, 50, 150], 300),  # 6·2.8 = 16.8, 17·2.9 = 49.3, 50·3.0 = 150
    "hard at the third": ([4, 4, 3], [1, 6, 15], 236),  # 6·2.36 = 14.16
    "down to the floor": (
        [3] * 10,  # 2.36 2.22 2.08 1.94 1.80 1.66 1.52 1.38, then 1.24 is below 1.30
        # 6·2.08 = 12.48, 13·1.94 = 25.22, 26·1.80 = 46.8, 47·1.66 = 78.02, 79·1.52 = 120.08, 121·1.38 = 166.98,
        # 167·1.30 = 217.1, 218·1.30 = 283.4
        [1, 6, 13, 26, 47, 79, 121, 167, 218, 284],
        130,
    ),
    "a failure starts again": ([4, 4, 4, 2, 4, 4, 4], [1, 6, 15, 1, 1, 6, 15], 250),
    "a failure keeps the easiness": ([5, 5, 1, 5, 5, 5], [1, 6, 1, 1, 6, 18], 300),  # 6·3.0 = 18
    "blank at first sight": ([0, 0, 4, 5], [1, 1, 1, 6], 260),
    "up and down": ([5, 3, 4, 5, 3], [1, 6, 15, 39, 95], 242),  # 2.46: 14.76; 2.56: 38.4; 2.42: 94.38
}


@pytest.mark.parametrize(("history", "days", "ef"), BY_HAND.values(), ids=BY_HAND)
def test_histories_by_hand(history, days, ef):
    assert intervals(history) == days
    assert after(history).ef == ef


@pytest.mark.parametrize(("quality", "change"), [(0, 0), (1, 0), (2, 0), (3, -14), (4, 0), (5, 10)])
def test_change_of_easiness(quality, change):
    assert review(State(), quality).ef == EF_START + change


@pytest.mark.parametrize("quality", range(6))
def test_below_four_comes_back_today(quality):
    assert review(State(), quality).drill is (quality < 4)
    assert drill_review(State(drill=True), quality).drill is (quality < 4)


def test_exact_products_are_not_rounded_up():
    """Floats reach an easiness of 3.0000000000000004 here, and day 151."""
    ef = 2.5
    for _ in range(5):
        ef += 0.1 - 0 * (0.08 + 0 * 0.02)
    assert math.ceil(50 * ef) == 151
    assert after([5] * 5).interval == 150


@dataclass(frozen=True)
class Slow:
    """Steps 3 to 6 of SM-2 (Woźniak 1990, 3.2), word by word, with the cap of this program."""

    ef: Fraction = Fraction(5, 2)
    n: int = 0
    days: Fraction = Fraction(0)

    def answer(self, q):
        if q < 3:
            return Slow(self.ef, 0, Fraction(1))
        ef = self.ef + (Fraction(1, 10) - (5 - q) * (Fraction(8, 100) + (5 - q) * Fraction(2, 100)))
        ef = max(ef, Fraction(13, 10))
        n = self.n + 1
        days = Fraction(1) if n == 1 else Fraction(6) if n == 2 else self.days * ef
        return Slow(ef, n, min(Fraction(math.ceil(days)), Fraction(36_500)))


@given(histories)
def test_agrees_with_the_text_in_fractions(history):
    fast, slow = State(), Slow()
    for quality in history:
        fast, slow = review(fast, quality), slow.answer(quality)
        assert (Fraction(fast.ef, 100), fast.repetition, fast.interval) == (slow.ef, slow.n, slow.days)


@given(histories)
def test_bounds(history):
    state = after(history)
    assert state.ef >= EF_MIN
    assert 0 <= state.interval <= INTERVAL_MAX


@given(states)
def test_better_grades_never_come_back_sooner(state):
    """From the second success on; before, 1 and 6 days are fixed."""
    days = [review(state, quality).interval for quality in range(6)]
    assert days == sorted(days)
    assert days[:3] == [1, 1, 1]


@given(states, st.integers(3, 5))
def test_success_never_shortens_an_interval(state, quality):
    assert review(state, quality).interval >= state.interval


@given(states)
def test_preview_is_review_for_each_grade(state):
    assert preview(state) == {quality: review(state, quality) for quality in (0, 1, 2, 3, 4, 5)}


@given(states, grades)
def test_drills_touch_nothing_but_the_drill(state, quality):
    done = drill_review(state, quality)
    assert (done.ef, done.repetition, done.interval) == (state.ef, state.repetition, state.interval)


def test_interval_is_capped_at_a_hundred_years():
    assert review(State(ef=250, repetition=9, interval=14_600), 4).interval == 36_500  # 14,600·2.5 exactly
    assert review(State(ef=250, repetition=9, interval=14_601), 4).interval == 36_500
    assert after([5] * 30).interval == 36_500


@pytest.mark.parametrize("quality", [-1, 6, 2.5, None, "4"])
@pytest.mark.parametrize("act", [review, drill_review])
def test_other_grades_are_refused(act, quality):
    with pytest.raises(ValueError, match="a grade is 0, 1, 2, 3, 4 or 5"):
        act(State(), quality)
