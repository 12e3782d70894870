"""What is written comes back, the log only grows, and the cards are always the fold of their events."""

import random
import sqlite3
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.srs.event import Event
from llmprep.srs.fold import fold_card
from llmprep.store.log import ReviewLog

DAY = date(2026, 8, 1)
NOW = datetime(2026, 8, 1, 9, 30, 0, 123_000, tzinfo=UTC)


def test_an_answer_comes_back_as_it_was_stored(log, path, answer):
    sent = answer("自注意力", 3, points=("什么", "b"), asked=("什么", "b", "c"), data={"guess": [1, 2.5], "词": "猜"})
    stored = log.append(sent)
    assert stored == replace(sent, id=stored.id, device=log.device, seq=1)
    assert (len(stored.id), len(log.device)) == (32, 32)
    log.close()
    with ReviewLog.open(path) as again:
        assert again.events() == again.events("自注意力") == [stored]
        assert again.device == stored.device
        assert again.state("自注意力") == fold_card([stored])
        assert again.state("自注意力").missed == ("c",)
        assert again.states() == {"自注意力": fold_card([stored])}


def test_times_are_utc_to_the_millisecond(log, answer):
    tokyo = datetime(2026, 8, 2, 1, 0, 0, 123_999, tzinfo=timezone(timedelta(hours=9)))
    stored = log.append(replace(answer(), at=tokyo))
    assert stored.at == datetime(2026, 8, 1, 16, 0, 0, 123_000, tzinfo=UTC)
    (text,) = log._connection.execute("SELECT at FROM events").fetchone()
    assert text == "2026-08-01T16:00:00.123Z"
    with pytest.raises(ValueError, match="no time zone"):
        log.append(replace(answer(), at=datetime(2026, 8, 1, 9)))  # noqa: DTZ001
    assert len(log.events()) == 1


def test_sequence_and_ids(log, answer):
    stored = [log.append(answer(minute=n)) for n in range(5)]
    assert [event.seq for event in stored] == [1, 2, 3, 4, 5]
    assert len({event.id for event in stored}) == 5
    assert {event.device for event in stored} == {log.device}


@pytest.mark.parametrize(
    "wrong",
    [{"grade": None}, {"grade": 6}, {"grade": -1}, {"card": ""}, {"kind": "undo"}],
    ids=["no grade", "grade 6", "grade -1", "no card", "undo of nothing"],
)
def test_nonsense_is_not_written(log, answer, wrong):
    with pytest.raises(ValueError, match=r"an answer has|an undo names"):
        log.append(replace(answer(), **wrong))
    assert log.events() == []


def test_events_that_are_about_no_card(log):
    plan = log.append(Event("plan", DAY, NOW, data={"interview": "2026-09-01"}))
    assert log.events() == [plan]
    assert log.states() == {}


def test_unknown_kinds_are_kept_and_change_no_card(log, answer):
    log.append(answer())
    before = log.states()
    log.append(answer(kind="dream", grade=None, minute=1))
    assert log.states() == before
    assert [event.kind for event in log.events()] == ["answer", "dream"]


def test_undo_last_walks_back_over_cards(log, answer):
    first, second = log.append(answer("a", 4)), log.append(answer("b", 2, minute=1))
    log.append(answer(kind="suspend", card="a", grade=None, minute=2))
    assert log.undo_last(NOW, DAY) == second
    assert log.state("b") is None
    assert log.undo_last(NOW, DAY) == first
    assert log.state("a").reviews == 0  # suspended it still is
    assert log.undo_last(NOW, DAY) is None
    assert [event.kind for event in log.events()].count("undo") == 2


def test_undo_by_id(log, answer):
    first, away = log.append(answer()), log.append(answer(kind="suspend", grade=None, minute=1))
    assert log.state("kv-cache").suspended
    back = log.undo(away.id, NOW, DAY)
    assert (back.kind, back.undoes, back.card, back.seq) == ("undo", away.id, "kv-cache", 3)
    assert log.state("kv-cache") == fold_card([first])
    log.append(Event("undo", DAY, NOW, undoes=first.id))  # the same, through append; the card is looked up
    assert log.state("kv-cache") is None
    with pytest.raises(KeyError):
        log.undo("no such id", NOW, DAY)


def test_undo_last_leaves_other_devices_alone(log, tmp_path, answer):
    with ReviewLog.open(tmp_path / "other.db") as other:
        other.append(answer("theirs", minute=30))
    mine = log.append(answer("mine"))
    log.merge(tmp_path / "other.db")
    assert log.undo_last(NOW, DAY) == mine
    assert log.undo_last(NOW, DAY) is None
    assert set(log.states()) == {"theirs"}


def test_answers_by_day_without_those_taken_back(log, answer):
    for n, day in enumerate((0, 0, 2, 3)):
        log.append(answer(f"card {n}", day=day))
    log.undo_last(NOW, DAY)
    log.append(answer(kind="suspend", grade=None, day=9))
    assert log.answers_by_day() == {DAY: 2, DAY + timedelta(days=2): 1}


def test_recent_seconds(log, answer):
    for n, way in enumerate(("whole", "points", "whole")):
        log.append(answer(f"card {n}", minute=n, way=way, seconds=float(n)))
    log.append(answer("untimed", seconds=None, minute=5))
    log.append(answer("taken back", seconds=99.0, minute=6))
    log.undo_last(NOW, DAY)
    assert log.recent_seconds() == [("whole", 2.0), ("points", 1.0), ("whole", 0.0)]
    assert log.recent_seconds(limit=1) == [("whole", 2.0)]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET grade = 5",
        "UPDATE events SET day = '2020-01-01' WHERE kind = 'answer'",
        "DELETE FROM events",
        "INSERT OR REPLACE INTO events SELECT * FROM events",
        "REPLACE INTO events SELECT * FROM events",
    ],
)
def test_the_log_is_append_only(log, path, answer, statement):
    """Even for a program that knows nothing of llmprep."""
    stored = log.append(answer())
    foreign = sqlite3.connect(path, isolation_level=None)
    try:
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            foreign.execute(statement)
    finally:
        foreign.close()
    assert log.events() == [stored]


def test_commits_are_durable(log):
    assert log._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert log._connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    (milliseconds,) = log._connection.execute("PRAGMA busy_timeout").fetchone()
    assert milliseconds >= 5_000


def test_probe_writes(log, path):
    log.probe(NOW)
    log.probe(NOW + timedelta(days=1))
    log.close()
    reader = sqlite3.connect(path)
    try:
        meta = dict(reader.execute("SELECT key, value FROM meta"))
    finally:
        reader.close()
    assert set(meta) == {"device", "created", "probed"}
    assert meta["created"] == "2026-08-01T09:30:00.123Z"
    assert meta["probed"] == "2026-08-02T09:30:00.123Z"


def test_only_reading_creates_nothing(path):
    with ReviewLog.open(path, create=False) as log:
        assert (log.states(), log.events(), log.state("x"), log.answers_by_day()) == ({}, [], None, {})
        assert log.recent_seconds() == []
        assert log.undo_last(NOW, DAY) is None
        with pytest.raises(RuntimeError, match="create=False"):
            log.append(Event("plan", DAY, NOW))
        with pytest.raises(RuntimeError, match="create=False"):
            log.probe(NOW)
    assert not path.parent.exists()


def test_reading_an_existing_log_without_create(log, path, answer):
    stored = log.append(answer())
    with ReviewLog.open(path, create=False) as reader:
        assert reader.events() == [stored]
        assert reader.undo_last(NOW, DAY) == stored


def test_closing_leaves_one_file(path, answer):
    with ReviewLog.open(path) as log:
        log.append(answer())
    assert [file.name for file in path.parent.iterdir()] == ["reviews.db"]


def test_a_path_with_odd_characters(tmp_path, answer):
    path = tmp_path / "面试 50% #1?" / "re views.db"
    with ReviewLog.open(path) as log:
        log.append(answer())
    with ReviewLog.open(path, create=False) as log:
        assert len(log.events()) == 1


def test_rebuild_repairs_the_table(log, path, answer):
    for n in range(4):
        log.append(answer(f"card {n % 2}", grade=n, day=n))
    expected = log.states()
    foreign = sqlite3.connect(path, isolation_level=None)
    foreign.execute("UPDATE cards SET ef = 999 WHERE card = 'card 0'")
    foreign.execute("CREATE TEMP TABLE ghost AS SELECT * FROM cards LIMIT 1")
    foreign.execute("UPDATE ghost SET card = 'ghost'")
    foreign.execute("INSERT INTO cards SELECT * FROM ghost")
    foreign.close()
    assert log.states() != expected
    assert log.rebuild() == 2
    assert log.states() == expected


moves = st.lists(
    st.tuples(
        st.sampled_from(["answer"] * 6 + ["undo", "undo last", "suspend", "unsuspend", "dream"]),
        st.sampled_from(["a", "b"]),
        st.integers(0, 5),
        st.integers(-1, 4),  # days since the event before: a clock may go back
    ),
    max_size=15,
)


def play(log, moves):
    """Random moves, an undo taking back any earlier event."""
    day, ids = DAY, []
    for n, (kind, card, grade, gap) in enumerate(moves):
        day += timedelta(days=gap)
        at = datetime(day.year, day.month, day.day, 12, tzinfo=UTC) + timedelta(minutes=n)
        if kind == "undo last":
            log.undo_last(at, day)
        elif kind != "undo":
            asked = ("p", "q", "r")[:grade]
            fields = {"grade": grade, "asked": asked, "points": asked[1:]} if kind == "answer" else {}
            ids.append(log.append(Event(kind, day, at, card=card, **fields)).id)
        elif ids:
            log.undo(ids[(grade * 7) % len(ids)], at, day)


@settings(max_examples=30)
@given(moves)
def test_the_table_is_the_fold_of_the_log(moves):
    with TemporaryDirectory() as folder, ReviewLog.open(Path(folder) / "reviews.db") as log:
        play(log, moves)
        table = log.states()
        by_card = {card: fold_card([e for e in log.events() if e.card == card]) for card in "ab"}
        assert table == {card: state for card, state in by_card.items() if state}
        assert all(log.state(card) == state for card, state in by_card.items())
        assert log.rebuild() == len(table)
        assert log.states() == table


def test_what_a_day_is_about(log, answer):
    """Due by then, or answered on it; a card that waits for another day is left out."""
    log.append(answer("yesterday", 5))
    log.append(replace(answer("today", 5), day=DAY + timedelta(days=1)))
    log.append(replace(answer("suspended", None, minute=1), kind="suspend"))
    assert set(log.waiting(DAY + timedelta(days=1))) == {"yesterday", "today", "suspended"}
    assert set(log.waiting(DAY)) == {"yesterday", "suspended"}
    states = log.states()
    assert log.waiting(DAY) == {key: states[key] for key in ("yesterday", "suspended")}
    assert log.last_grades() == {"yesterday": 5, "today": 5, "suspended": None}


def test_appending_step_by_step_is_folding_everything(tmp_path):
    rng = random.Random(5)
    with ReviewLog.open(tmp_path / "reviews.db") as log:
        for _ in range(600):
            day = date(2026, 8, 1) + timedelta(days=rng.randrange(40))  # clocks also go back
            at = datetime(day.year, day.month, day.day, rng.randrange(24), tzinfo=UTC)
            kind = rng.choices(["answer", "suspend", "unsuspend", "predict", "undo"], [8, 1, 1, 1, 2])[0]
            known = log.events()
            if kind == "undo" and known:
                log.undo(rng.choice(known).id, at, day)
            elif kind != "undo":
                grade = rng.randrange(6) if kind == "answer" else None
                log.append(Event(kind, day, at, rng.choice("abc"), "whole", grade, ("x",), ("x", "y")))
        kept = log.states()
        log.rebuild()
        assert log.states() == kept
