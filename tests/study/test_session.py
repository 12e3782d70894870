from datetime import UTC, date, datetime, timedelta

import pytest

from llmprep.errors import UserError
from llmprep.store.log import ReviewLog
from llmprep.study.session import Session
from llmprep.study.today import at_a_glance, pace, queue

TODAY = date(2026, 11, 21)
NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


def play(session, grades, ticked=("one",)):
    """Answer with these grades until they or the cards run out; what was asked, in order."""
    asked = []
    grades = iter(grades)
    while (turn := session.turn()) is not None:
        grade = next(grades, None)
        if grade is None:
            break
        asked.append((turn.question.id, turn.role))
        session.answer(turn, grade, ticked=ticked, seconds=10, at=NOW)
    return asked


def test_new_cards_come_most_asked_first(session):
    assert play(session(), [5] * 9) == [("a", "new"), ("b", "new"), ("c", "new"), ("d", "new")]


def test_cards_below_four_come_back_until_they_reach_four(session):
    asked = play(session(new_limit=2), [2, 5, 3, 0, 4])
    assert asked == [("a", "new"), ("b", "new"), ("a", "drill"), ("a", "drill"), ("a", "drill")]


def test_a_drill_asks_only_what_was_missed(session):
    chosen = session(new_limit=1)
    play(chosen, [2], ticked=("one",))
    turn = chosen.turn()
    assert turn is not None
    assert [p.id for p in turn.points] == ["two"]
    chosen.answer(turn, 5, ticked=["two"], seconds=1, at=NOW)
    assert chosen.turn() is None


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"new_limit": 2}, ["a", "b"]),
        ({"new_limit": 0}, []),
        ({"limit": 3}, ["a", "b", "c"]),
        ({"cluster": "training"}, ["d"]),
        ({"only": ["c", "a", "c"]}, ["c", "a"]),
    ],
)
def test_what_a_session_holds(session, options, expected):
    assert [i for i, _ in play(session(**options), [5] * 9)] == expected


def test_an_unknown_id_is_a_clear_error(session):
    with pytest.raises(UserError, match="no question called"):
        session(only=["nope"])


def test_outcomes_are_where_answers_then_lead(session, log):
    for grade in range(6):
        chosen = session(new_limit=9, limit=1)
        turn = chosen.turn()
        outcome = chosen.outcomes(turn)[grade]
        done = chosen.answer(turn, grade, ticked=[], seconds=1, at=NOW)
        assert (done.state.due, done.state.sm2.drill) == (outcome.due, outcome.again_today)
        log.undo_last(NOW, TODAY)


def test_due_dates_follow_sm2(session, log):
    day = TODAY
    for expected in (1, 6, 17):  # EF 2.6, 2.7, 2.8: 1, 6, ceil(6·2.8)
        chosen = session(day, new_limit=1, cluster="training")
        assert play(chosen, [5]) != []
        state = log.state("drafts/d")
        assert (state.due - day).days == expected
        day = state.due


def test_studying_ahead_changes_nothing_but_is_kept(session, log):
    play(session(new_limit=1), [5])
    before = log.state("drafts/a")
    assert play(session(only=["a"]), [0]) == [("a", "practice")]
    assert log.state("drafts/a") == before
    assert len(log.events("drafts/a")) == 2


def test_undo_brings_the_card_back_and_forgets_the_answer(session, log):
    chosen = session(new_limit=2)
    first = chosen.turn()
    chosen.answer(first, 2, ticked=[], seconds=1, at=NOW)
    undone = chosen.undo(NOW)
    assert undone == first.key
    assert log.state(first.key) is None
    assert chosen.turn().key == first.key
    assert play(chosen, [5, 5, 5]) == [("a", "new"), ("b", "new")], "the repetition is gone with the answer"
    assert chosen.undo(NOW) == "drafts/b"
    assert chosen.undo(NOW) == "drafts/a"
    assert chosen.undo(NOW) is None


def test_skip_leaves_the_card_for_another_session(session):
    chosen = session(new_limit=2)
    chosen.skip()
    assert play(chosen, [5, 5]) == [("b", "new")]
    assert [i for i, _ in play(session(new_limit=2), [5, 5])] == ["a"]


def test_a_card_answered_in_another_terminal_is_passed_over(session, bank, log, tmp_path):
    chosen = session(new_limit=2)
    with ReviewLog.open(tmp_path / "reviews.db") as second:
        other = Session(bank, second, TODAY, queue(bank, second, TODAY, limit=1))
        other.answer(other.turn(), 5, ticked=[], seconds=1, at=NOW)
    assert chosen.turn().question.id == "b"


def test_an_answer_is_on_disk_before_the_next_card(session, tmp_path):
    chosen = session()
    chosen.answer(chosen.turn(), 4, ticked=["one"], seconds=7, at=NOW)
    with ReviewLog.open(tmp_path / "reviews.db") as second:
        (event,) = second.events()
    assert (event.grade, event.points, event.asked, event.seconds) == (4, ("one",), ("one", "two"), 7)


def test_positions_count_cards_not_repetitions(session):
    chosen = session(new_limit=2)
    seen = []
    for grade in (2, 5, 4):
        turn = chosen.turn()
        seen.append((turn.position, turn.total))
        chosen.answer(turn, grade, ticked=[], seconds=1, at=NOW)
    assert seen == [(1, 2), (2, 2), (2, 2)]


def test_days_overdue(session, log):
    play(session(new_limit=1), [5])
    turn = session(TODAY + timedelta(days=4), new_limit=0).turn()
    assert (turn.role, turn.days_overdue) == ("review", 3)


def test_pace_follows_the_person_once_there_is_enough(session, log):
    assert pace(log)["review"] == 60
    for day in range(6):
        chosen = session(TODAY + timedelta(days=day * 40))
        while (turn := chosen.turn()) is not None:
            chosen.answer(turn, 5, ticked=["one", "two"], seconds=20, at=NOW + timedelta(days=day * 40))
    assert pace(log)["review"] == 20


def test_today_at_a_glance(session, bank, log):
    fresh = at_a_glance(bank, log, TODAY)
    assert (fresh.first_day, fresh.due, fresh.new, fresh.streak) == (True, 0, 4, 0)
    play(session(new_limit=2), [5, 2])
    later = at_a_glance(bank, log, TODAY)
    assert (later.first_day, later.due, later.new, later.streak) == (False, 1, 2, 1)
    assert later.days == {TODAY: 2}


def test_undo_takes_back_a_skip_before_the_answer_before_it(session, log):
    chosen = session(new_limit=2)
    chosen.answer(chosen.turn(), 5, ticked=[], seconds=1, at=NOW)
    chosen.skip()
    assert chosen.turn() is None
    assert chosen.undo(NOW) == "drafts/b"
    assert chosen.turn().question.id == "b"
    assert log.state("drafts/a") is not None


def test_an_answer_knows_that_another_terminal_was_first(session, bank, tmp_path):
    one, two = session(new_limit=1), session(new_limit=1)
    turns = one.turn(), two.turn()
    roles = [s.answer(t, 5, ticked=[], seconds=1, at=NOW).role for s, t in zip((one, two), turns, strict=True)]
    assert roles == ["new", "practice"]


def test_the_last_grade_is_that_of_the_review_not_of_the_drill(session, log):
    play(session(new_limit=1), [1, 5])
    assert log.state("drafts/a").last_grade == 1


def test_new_cards_of_another_bank_leave_todays_alone(session, log):
    from llmprep.srs.event import Event

    for n in range(3):
        log.append(Event("answer", TODAY, NOW, f"other/{n}", "whole", 5))
    assert [i for i, _ in play(session(new_limit=2), [5] * 4)] == ["a", "b"]
