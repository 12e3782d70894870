"""Two logs become one by union: in any order, any number of times."""

import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.errors import UserError
from llmprep.srs.event import Event
from llmprep.store.log import ReviewLog
from llmprep.store.rows import EVENT_COLUMNS, INSERT_EVENT, event_row

DAY = date(2026, 8, 1)
NOW = datetime(2026, 8, 1, 9, 30, tzinfo=UTC)


@pytest.fixture
def other(tmp_path):
    with ReviewLog.open(tmp_path / "other" / "reviews.db") as log:
        yield log


def test_merge_brings_events_and_cards(log, other, answer):
    here, there = log.append(answer("a")), other.append(answer("b", minute=1))
    assert log.merge(other.path) == 1
    assert log.events() == [here, there]
    assert log.states() == {"a": log.state("a"), "b": other.state("b")}


def test_merging_twice_changes_nothing(log, other, answer):
    other.append(answer())
    assert log.merge(other.path) == 1
    events, states = log.events(), log.states()
    assert log.merge(other.path) == 0
    assert (log.events(), log.states()) == (events, states)


def test_merging_with_itself(log, answer):
    log.append(answer())
    assert log.merge(log.path) == 0
    assert len(log.events()) == 1


def test_the_later_review_of_the_same_day_becomes_practice(log, other, answer):
    first = log.append(answer(day=0))
    assert other.merge(log.path) == 1
    log.append(answer(grade=4, day=1, minute=0))
    other.append(answer(grade=2, day=1, minute=30))
    assert other.state("kv-cache").lapses == 1
    other.merge(log.path)
    log.merge(other.path)
    assert log.states() == other.states()
    assert log.state("kv-cache").sm2.interval == 6
    assert log.events()[0] == first


def test_an_undo_travels(log, other, answer):
    log.append(answer())
    other.merge(log.path)
    log.undo_last(NOW, DAY)
    assert other.state("kv-cache") is not None
    assert other.merge(log.path) == 1
    assert other.state("kv-cache") is None


def test_an_open_log_with_answers_in_its_write_ahead_log(log, other, answer):
    for n in range(5):
        other.append(answer(f"card {n}"))
    before = other.path.read_bytes()
    assert log.merge(other.path) == 5
    assert other.path.read_bytes() == before


def test_a_log_copied_by_hand_goes_on_under_the_same_device(path, tmp_path, answer):
    """Both copies count 3, 4, … for different answers; none of them may be lost."""
    copy = tmp_path / "copy.db"
    with ReviewLog.open(path) as log:
        log.append(answer("a"))
        log.append(answer("b"))
    shutil.copy(path, copy)
    with ReviewLog.open(path) as log, ReviewLog.open(copy) as twin:
        assert log.device == twin.device
        assert log.append(answer("c", minute=1)).seq == twin.append(answer("d", minute=1)).seq == 3
        assert (log.merge(copy), twin.merge(path)) == (1, 1)
        assert log.events() == twin.events()
        assert log.states() == twin.states()
        assert set(log.states()) == set("abcd")


def test_closed_files_are_only_read(log, tmp_path, answer):
    path = tmp_path / "elsewhere" / "reviews.db"
    with ReviewLog.open(path) as other:
        other.append(answer())
    before = path.read_bytes()
    assert log.merge(path) == 1
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["reviews.db"]


def test_no_such_file(log, tmp_path):
    with pytest.raises(UserError, match=r"there is no review log at .*nowhere\.db"):
        log.merge(tmp_path / "nowhere.db")
    assert not (tmp_path / "nowhere.db").exists()


def test_an_empty_file_has_nothing_to_give(log, tmp_path):
    (tmp_path / "empty.db").touch()
    assert log.merge(tmp_path / "empty.db") == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"day": "yesterday"},
        {"at": "2026-08-01T09:00:00"},
        {"points": "[1"},
        {"grade": 9},
        {"undoes": None, "kind": "undo"},
    ],
    ids=["day", "time without zone", "points", "grade", "undo of nothing"],
)
def test_an_event_that_makes_no_sense_stops_the_whole_merge(log, other, answer, wrong):
    log.append(answer("mine"))
    other.append(answer("good"))
    bad = Event("answer", DAY, NOW, card="bad", grade=4, id="f" * 32, device="d", seq=9)
    row = dict(zip(EVENT_COLUMNS.split(", "), event_row(bad), strict=True)) | wrong
    path = other.path
    other.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as foreign:
        foreign.execute("PRAGMA ignore_check_constraints = ON")
        foreign.execute(INSERT_EVENT, tuple(row.values()))
    before = log.events()
    with pytest.raises(UserError, match=r"reviews\.db (holds an event that cannot|is not a readable review log)"):
        log.merge(path)
    assert log.events() == before
    assert set(log.states()) == {"mine"}


histories = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        st.sampled_from(["answer"] * 4 + ["undo", "suspend"]),
        st.integers(0, 5),
        st.integers(0, 3),
    ),
    max_size=8,
)


def play(log, history):
    day = DAY
    for n, (card, kind, grade, gap) in enumerate(history):
        day += timedelta(days=gap)
        at = datetime(day.year, day.month, day.day, 12, n, tzinfo=UTC)
        if kind == "undo":
            log.undo_last(at, day)
        else:
            log.append(Event(kind, day, at, card=card, grade=grade if kind == "answer" else None))


@settings(max_examples=20)
@given(histories, histories, histories)
def test_laws_of_merging(common, mine, yours):
    """Same events and cards whichever way the union is made; doing it again changes nothing; a rebuild agrees."""
    with TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("a.db", "b.db", "c.db")]
        with ReviewLog.open(paths[0]) as a, ReviewLog.open(paths[1]) as b, ReviewLog.open(paths[2]) as c:
            for log in (a, b, c):
                log._connection.execute("PRAGMA synchronous = OFF")
            play(a, common)
            b.merge(a.path)
            play(a, mine)
            play(b, yours)
            c.merge(b.path)
            c.merge(a.path)
            a.merge(b.path)
            b.merge(a.path)
            assert a.states() == b.states() == c.states()
            assert a.events() == b.events() == c.events()
            assert a.merge(b.path) == b.merge(c.path) == c.merge(a.path) == 0
            table = a.states()
            a.rebuild()
            assert a.states() == table
