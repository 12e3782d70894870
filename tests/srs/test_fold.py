"""The fold: when an answer is a review, a drill or practice, and what undo and suspension do."""

from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmprep.srs.event import Event
from llmprep.srs.fold import CardState, fold_card, replay, role_of
from llmprep.srs.sm2 import State

START = date(2026, 8, 1)
sequence = count(1)


def event(kind, day, minute=0, **fields):
    """An event `day` days after 1 August 2026, with an id of its own."""
    seq = next(sequence)
    at = datetime(2026, 8, 1, 9, tzinfo=UTC) + timedelta(days=day, minutes=minute)
    fields = {"id": f"event-{seq}", "device": "laptop", "seq": seq} | fields
    return Event(kind, START + timedelta(days=day), at, card="kv-cache", **fields)


def answer(day, grade, minute=0, **fields):
    return event("answer", day, minute, grade=grade, **fields)


def undo(target, day=0, minute=59):
    return event("undo", day, minute, undoes=target.id)


def day(n):
    return START + timedelta(days=n)


HISTORIES = {
    # name: (answers as (day, grade), roles, ef, repetition, interval, drill, due day)
    "first answer": ([(0, 4)], ["new"], 250, 1, 1, False, 1),
    "on the days": ([(0, 4), (1, 4), (7, 4)], ["new", "review", "review"], 250, 3, 15, False, 22),
    "late counts from the day of the answer": ([(0, 4), (5, 4)], ["new", "review"], 250, 2, 6, False, 11),
    "ahead of time is practice": ([(0, 4), (1, 5), (3, 0)], ["new", "review", "practice"], 260, 2, 6, False, 7),
    "drilled until good": (
        [(0, 2), (0, 3), (0, 4), (0, 1)],
        ["new", "drill", "drill", "practice"],
        250,
        0,
        1,
        False,
        1,
    ),
    "drill left over": ([(0, 4), (1, 3), (3, 5)], ["new", "review", "drill"], 236, 2, 6, False, 7),
    "drill left over until due": ([(0, 3), (1, 4)], ["new", "review"], 236, 2, 6, False, 7),
    "forgotten": ([(0, 4), (1, 4), (7, 1), (8, 4)], ["new", "review", "review", "review"], 250, 1, 1, False, 9),
}


@pytest.mark.parametrize(
    ("answers", "roles", "ef", "repetition", "interval", "drill", "due"), HISTORIES.values(), ids=HISTORIES
)
def test_histories(answers, roles, ef, repetition, interval, drill, due):
    events = [answer(d, grade, minute) for minute, (d, grade) in enumerate(answers)]
    state = fold_card(events)
    assert [step.role for step in replay(events)] == roles
    assert state.sm2 == State(ef, repetition, interval, drill)
    assert state.due == day(due)
    assert state.reviews == sum(role in ("new", "review") for role in roles)


def test_nothing_happened():
    assert fold_card([]) is None
    assert role_of(None, START) == "new"


def test_missed_points_of_the_review_then_of_the_drill():
    first = answer(0, 2, 0, asked=("variance", "saturation", "scale"), points=("variance",))
    assert fold_card([first]).missed == ("saturation", "scale")
    drill = answer(0, 3, 1, asked=("saturation", "scale"), points=("scale",))
    assert fold_card([first, drill]).missed == ("saturation",)
    practised = answer(0, 0, 2, asked=("variance",))
    done = answer(0, 4, 1, asked=("saturation", "scale"), points=("saturation", "scale"))
    assert fold_card([first, done, practised]).missed == ()


def test_last_day_includes_drills_and_the_last_grade_is_that_of_the_review():
    events = [answer(0, 4), answer(1, 3), answer(3, 5), answer(4, 0)]  # new, review, drill, practice
    state = fold_card(events)
    assert (state.last_day, state.last_grade, state.last_review) == (day(3), 3, day(1))


def test_a_lapse_is_forgetting_what_was_remembered():
    assert fold_card([answer(0, 0)]).lapses == 0
    assert fold_card([answer(0, 4), answer(1, 2)]).lapses == 1
    assert fold_card([answer(0, 4), answer(1, 2), answer(2, 2)]).lapses == 1  # it was not remembered in between
    assert fold_card([answer(0, 4), answer(1, 2, 0), answer(1, 0, 1)]).lapses == 1  # the second is a drill


def test_undo_takes_back_one_answer_for_good():
    first, second = answer(0, 4), answer(1, 2)
    only_first = fold_card([first])
    assert fold_card([first, second, undo(second, 1)]) == only_first
    assert fold_card([first, second, undo(second, 1), undo(second, 2)]) == only_first
    assert fold_card([first, undo(first)]) is None


def test_undoing_an_undo_changes_nothing():
    first = answer(0, 4)
    back = undo(first)
    assert fold_card([first, back, undo(back, 1)]) is None


def test_a_history_shows_neither_the_undone_nor_the_undo():
    first, second, away = answer(0, 4), answer(1, 2), event("suspend", 2)
    steps = list(replay([first, second, undo(second, 1), away]))
    assert [(step.event, step.role) for step in steps] == [(first, "new"), (away, None)]
    assert steps[-1].state == fold_card([first, away])


def test_undo_of_an_early_answer_changes_what_the_later_ones_were():
    first, second = answer(0, 4, 0), answer(0, 2, 1)
    assert fold_card([first, second]) == fold_card([first])  # practice
    assert fold_card([first, second, undo(first)]) == fold_card([second])  # now the first answer


def test_undo_with_a_clock_that_went_back():
    first = answer(5, 4)
    assert fold_card([first, undo(first, day=2)]) is None


def test_suspension():
    first, away, back = answer(0, 4), event("suspend", 1), event("unsuspend", 2)
    assert fold_card([first, away]).suspended
    assert not fold_card([first, away, back]).suspended
    assert fold_card([first, away, back]) == fold_card([first])
    assert fold_card([first, away, undo(away, 2)]) == fold_card([first])
    assert fold_card([first, away, answer(1, 4, 5)]).suspended


def test_suspended_before_it_was_ever_asked():
    away = event("suspend", 0)
    state = fold_card([away])
    assert (state.suspended, state.reviews, role_of(state, day(3))) == (True, 0, "new")
    assert fold_card([away, event("unsuspend", 1)]) is None
    assert fold_card([away, answer(2, 4)]).sm2 == fold_card([answer(2, 4)]).sm2
    assert fold_card([event("unsuspend", 1)]) is None


def test_unknown_kinds_are_left_to_newer_versions():
    events = [answer(0, 4), event("dream", 1, grade=0, data={"of": "sheep"}), answer(1, 4)]
    assert fold_card(events) == fold_card([events[0], events[2]])
    assert fold_card([event("dream", 0)]) is None


def test_two_devices_reviewed_the_same_card_while_apart():
    first = answer(0, 4)
    here, there = answer(1, 4, 0, device="laptop"), answer(1, 2, 30, device="desktop")
    assert fold_card([first, here, there]) == fold_card([first, here])
    assert [step.role for step in replay([first, there, here])] == ["new", "review", "practice"]


def test_events_sort_by_day_time_device_sequence_and_id():
    expected = [
        answer(0, 0, 30, device="b", seq=9, id="z"),
        answer(1, 1, 0, device="a", seq=2, id="y"),
        answer(1, 2, 0, device="b", seq=1, id="x"),
        answer(1, 3, 0, device="b", seq=2, id="v"),
        answer(1, 4, 0, device="b", seq=2, id="w"),
        answer(1, 5, 1, device="a", seq=1, id="a"),
    ]
    assert [step.event for step in replay(reversed(expected))] == expected


# --- laws ---------------------------------------------------------------------------------------------------------

moves = st.lists(
    st.tuples(
        st.sampled_from(["answer"] * 6 + ["suspend", "unsuspend", "undo", "dream"]),
        st.integers(0, 3),  # days since the event before
        st.integers(0, 5),
        st.integers(0, 99),
    ),
    max_size=25,
)


def build(moves):
    """A history from random moves: days grow, an undo takes back any earlier event (another undo included)."""
    events, today = [], 0
    for minute, (kind, gap, grade, pick) in enumerate(moves):
        today += gap
        if kind == "answer":
            asked = ("a", "b", "c")[: 1 + pick % 3]
            events.append(answer(today, grade, minute, asked=asked, points=asked[: pick % 2]))
        elif kind == "undo" and events:
            events.append(undo(events[pick % len(events)], today, minute))
        elif kind != "undo":
            events.append(event(kind, today, minute))
    return events


def slow_fold(events):
    """The rules of DESIGN.md once more, with days as numbers, fractions for easiness and no shared code."""
    undone = {e.undoes for e in events if e.kind == "undo"}
    seen, suspended = False, False
    ef, n, interval, drill, due = Fraction(5, 2), 0, Fraction(0), False, None
    for e in sorted(events, key=lambda e: (e.day, e.at, e.device, e.seq)):
        if e.kind in ("suspend", "unsuspend") and e.id not in undone:
            suspended = e.kind == "suspend"
        if e.kind != "answer" or e.id in undone:
            continue
        q = e.grade
        if not seen or e.day >= due:
            seen, drill = True, q < 4
            if q < 3:
                n, interval = 0, 1
            else:
                n += 1
                ef = max(
                    Fraction(13, 10), ef + Fraction(1, 10) - (5 - q) * (Fraction(2, 25) + (5 - q) * Fraction(1, 50))
                )
                interval = 1 if n == 1 else 6 if n == 2 else min(36_500, -((-interval * ef) // 1))
            due = e.day + timedelta(days=int(interval))
        elif drill:
            drill = q < 4
    if not seen:
        return ("suspended",) if suspended else None
    return (ef, n, interval, drill, due, suspended)


@given(moves)
def test_agrees_with_a_slow_fold(moves):
    events = build(moves)
    state = fold_card(events)
    if state is None:
        fast = None
    elif not state.reviews:
        fast = ("suspended",)
    else:
        sm2 = state.sm2
        fast = (Fraction(sm2.ef, 100), sm2.repetition, sm2.interval, sm2.drill, state.due, state.suspended)
    assert fast == slow_fold(events)


@given(moves, st.randoms(use_true_random=False))
def test_the_order_of_the_list_does_not_matter(moves, rng):
    events = build(moves)
    shuffled = rng.sample(events, len(events))
    assert fold_card(shuffled) == fold_card(events)


@given(moves, st.integers(0, 5))
def test_practice_changes_nothing(moves, grade):
    events = build(moves)
    state = fold_card(events)
    last = max((e.day for e in events), default=START)
    if role_of(state, last) == "practice":
        practice = answer((last - START).days, grade, 1_000, asked=("a", "b"))
        assert fold_card([*events, practice]) == state


@given(moves, st.integers(0, 5), st.integers(0, 9))
def test_an_answer_taken_back_was_never_given(moves, grade, gap):
    events = build(moves)
    last = max(((e.day - START).days for e in events), default=0)
    given_ = answer(last + gap, grade, 1_000)
    assert fold_card([*events, given_, undo(given_, last + gap, 1_001)]) == fold_card(events)


@given(moves)
def test_the_due_day_is_the_interval_after_the_last_review(moves):
    events = build(moves)
    state = fold_card(events)
    if state is not None and state.reviews:
        scheduled = [s.event.day for s in replay(events) if s.role in ("new", "review")]
        assert state.last_review == scheduled[-1]
        assert state.reviews == len(scheduled)
        assert state.lapses <= state.reviews
        assert state.last_day >= state.last_review


def test_a_state_says_what_it_is():
    state = CardState(State(250, 2, 6), due=date(2026, 5, 7), last_day=date(2026, 5, 1), reviews=2)
    assert state.last_review == date(2026, 5, 1)
