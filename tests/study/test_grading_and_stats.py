from datetime import UTC, date, datetime, timedelta

import pytest

from llmprep.bank.types import Drill, KeyPoint
from llmprep.content import Text
from llmprep.study.grading import is_right, off_by, suggest
from llmprep.study.stats import compute
from llmprep.study.today import streak

TODAY = date(2026, 11, 21)
POINTS = [KeyPoint(i, Text("x"), must=i in "ab") for i in "abcd"]


@pytest.mark.parametrize(
    ("ticked", "hints", "seconds", "grade"),
    [
        ("", 0, 10, 0),
        ("c", 0, 10, 1),
        ("a", 0, 10, 1),
        ("cd", 0, 10, 2),
        ("acd", 0, 10, 2),
        ("ab", 0, 10, 3),
        ("abc", 0, 10, 4),
        ("abcd", 0, 10, 5),
        ("abcd", 0, 91, 4),
        ("abcd", 1, 10, 4),
        ("abcd", 4, 10, 3),
        ("ab", 4, 10, 3),
    ],
)
def test_suggested_grade(ticked, hints, seconds, grade):
    assert suggest(POINTS, set(ticked), hints=hints, seconds=seconds) == grade


def test_without_points_there_is_nothing_to_judge():
    assert suggest([], set()) == 3


@pytest.mark.parametrize(
    ("said", "measured", "text"),
    [
        (4, 4, ""),
        (5, 4, "+25.0%"),
        (3, 4, "-25.0%"),
        (8, 4, "2×"),
        (1, 4, "1/4×"),
        (-4, 4, "-8"),
        (1, 0, "+1"),
        (5.9, 5.907, ""),
        (1, 26214, "1/26,214×"),
    ],
)
def test_how_far_off(said, measured, text):
    assert off_by(said, measured) == text


@pytest.mark.parametrize(
    ("said", "right"), [(100, True), (104.9, True), (95.1, True), (106, False), (94, False), (-100, False)]
)
def test_drills_have_a_tolerance(said, right):
    drill = Drill(Text("x"), "d", "f", {"a": (1,)}, rtol=0.05)
    assert is_right(drill, said, 100) is right


@pytest.mark.parametrize(
    ("ago", "days"),
    [([], 0), ([0], 1), ([1], 1), ([0, 1, 2], 3), ([1, 2], 2), ([0, 2], 1), ([2], 0)],
)
def test_streak(ago, days):
    assert streak({TODAY - timedelta(days=i): 1 for i in ago}, TODAY) == days


def at(day):
    return datetime(day.year, day.month, day.day, 9, tzinfo=UTC)


def answer(session, grade, day):
    turn = session.turn()
    session.answer(turn, grade, ticked=[], seconds=30, at=at(day))


def test_statistics_of_a_history(session, bank, log):
    chosen = session(new_limit=2)
    answer(chosen, 5, TODAY)  # a
    answer(chosen, 2, TODAY)  # b
    answer(chosen, 4, TODAY)  # b again, a drill
    tomorrow = TODAY + timedelta(days=1)
    chosen = session(tomorrow, new_limit=0)
    answer(chosen, 5, tomorrow)  # a, due
    answer(chosen, 1, tomorrow)  # b, due: forgotten again
    log.undo_last(at(tomorrow), tomorrow)
    stats = compute(bank, log.states(), log.events(), tomorrow)
    assert (stats.total, stats.seen, stats.new_left) == (4, 2, 2)
    assert stats.reviews == 4, "what was taken back does not count"
    assert stats.due == 1, "b is due again after the undo"
    assert stats.retention == 1.0
    assert stats.days == {TODAY: 3, tomorrow: 1}
    assert stats.grades == {0: 0, 1: 0, 2: 1, 3: 0, 4: 1, 5: 2}
    assert stats.minutes == 2.0
    assert stats.forecast[tomorrow] == 1
    assert stats.forecast[tomorrow + timedelta(days=6)] == 1
    assert sum(stats.forecast.values()) == 2
    assert [c.cluster for c in stats.clusters] == ["training", "inference"]
    assert stats.clusters[1].seen == 2


def test_new_cards_do_not_count_as_retention(session, bank, log):
    answer(session(), 0, TODAY)
    assert compute(bank, log.states(), log.events(), TODAY).retention is None


def test_failures_make_a_card_hard(session, bank, log):
    day = TODAY
    for grade in (5, 5, 1):
        chosen = session(day, new_limit=1, limit=1)
        answer(chosen, grade, day)
        day = log.state("drafts/a").due
    (hard,) = compute(bank, log.states(), log.events(), day).hardest
    assert (hard.id, hard.failures, hard.last_grade) == ("a", 1, 1)


def test_cards_of_another_bank_do_not_count(session, bank, log):
    from llmprep.srs.event import Event

    log.append(Event(kind="answer", day=TODAY, at=at(TODAY), card="kv-cache", grade=5))
    stats = compute(bank, log.states(), log.events(), TODAY)
    assert (stats.seen, stats.reviews) == (0, 0)
