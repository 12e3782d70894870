"""The review log: every answer on disk before the next card is shown."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

from llmprep.srs.event import Event
from llmprep.srs.fold import CardState, fold_card, step
from llmprep.store.database import connect, transaction, user_errors
from llmprep.store.inspection import check
from llmprep.store.merge import new_rows, unmergeable
from llmprep.store.migrations import migrate
from llmprep.store.rows import (
    CARD,
    CARD_COLUMNS,
    EVENT_COLUMNS,
    INSERT_EVENT,
    PUT_CARD,
    card_of,
    card_row,
    event_of,
    event_row,
    utc_text,
)

EVENTS = f"SELECT {EVENT_COLUMNS} FROM events"  # noqa: S608
CARDS = f"SELECT {CARD_COLUMNS} FROM cards"  # noqa: S608
IN_ORDER = "ORDER BY day, at, device, seq, id"
LATER = "SELECT 1 FROM events WHERE card = ? AND (day, at, device, seq) > (?, ?, ?, ?) LIMIT 1"
NOT_UNDONE = "NOT EXISTS (SELECT 1 FROM events AS u WHERE u.kind = 'undo' AND u.undoes = e.id)"


class ReviewLog:
    """An open log. Close it, or use it in a `with` statement."""

    def __init__(self, connection: sqlite3.Connection, path: Path, *, writable: bool) -> None:
        self._connection, self.path, self._writable = connection, path, writable
        (self.device,) = connection.execute("SELECT value FROM meta WHERE key = 'device'").fetchone()

    @classmethod
    def open(cls, path: Path, *, create: bool = True) -> Self:
        """Open the log, with folder and file created if absent.

        With `create=False`, for a command that only reads, an absent log is an empty one in memory. A file that is
        damaged or comes from a newer version is a UserError, and not one byte of it has changed.
        """
        with user_errors(path):
            exists = check(path, pages=create)
            if not exists and not create:
                return cls._prepared(sqlite3.connect(":memory:", isolation_level=None), path, writable=False)
            path.parent.mkdir(parents=True, exist_ok=True)
            return cls._prepared(connect(path), path, writable=True)

    @classmethod
    def _prepared(cls, connection: sqlite3.Connection, path: Path, *, writable: bool) -> Self:
        try:
            migrate(connection, path)
            return cls(connection, path, writable=writable)
        except BaseException:
            connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def probe(self, now: datetime) -> None:
        """Write for real, so that a full disk or a read-only folder shows before the first card, not after it.

        One answer writes some 16 KiB to the disk; this asks for room for four.
        """
        with self._writing() as connection:
            connection.execute("INSERT OR IGNORE INTO meta (key, value) VALUES ('created', ?)", (utc_text(now),))
            connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('probed', ?)", (utc_text(now),))
            connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('room', zeroblob(65536))")
        with self._writing() as connection:
            connection.execute("DELETE FROM meta WHERE key = 'room'")

    def append(self, event: Event) -> Event:
        """Write an event, which is on disk when this returns; the result has its id, device and sequence."""
        _check(event)
        if event.kind == "undo" and event.undoes is not None:
            return self.undo(event.undoes, event.at, event.day)
        with self._writing() as connection:
            return self._append(connection, event)

    def undo(self, event_id: str, now: datetime, day: date) -> Event:
        """Take back one event by its id; the result is the undo itself. KeyError for an unknown id."""
        with self._writing() as connection:
            row = connection.execute("SELECT card FROM events WHERE id = ?", (event_id,)).fetchone()
            if row is None:
                raise KeyError(event_id)
            return self._append(connection, Event("undo", day, now, card=row[0], undoes=event_id))

    def undo_last(self, now: datetime, day: date) -> Event | None:
        """Take back the last answer given on this device; the result is that answer, or None if there is none left."""
        if not self._writable:
            return None
        with self._writing() as connection:
            row = connection.execute(
                f"{EVENTS} AS e WHERE device = ? AND kind = 'answer' AND {NOT_UNDONE} ORDER BY seq DESC LIMIT 1",
                (self.device,),
            ).fetchone()
            if row is None:
                return None
            answer = event_of(row)
            self._append(connection, Event("undo", day, now, card=answer.card, undoes=answer.id))
            return answer

    def state(self, card: str) -> CardState | None:
        """Where one card stands; None if it was never asked."""
        with user_errors(self.path):
            row = self._connection.execute(f"{CARDS} WHERE card = ?", (card,)).fetchone()
        return row and card_of(row)

    def states(self) -> dict[str, CardState]:
        """Where every card stands that was ever asked or suspended."""
        with user_errors(self.path):
            return {row[0]: card_of(row) for row in self._connection.execute(CARDS)}

    def waiting(self, day: date) -> dict[str, CardState]:
        """The cards that a day is about: due by then, or answered on it."""
        query = f"{CARDS} WHERE due <= ? OR last_day = ?"
        with user_errors(self.path):
            rows = self._connection.execute(query, (day.isoformat(), day.isoformat()))
            return {row[0]: card_of(row) for row in rows}

    def last_grades(self) -> dict[str, int | None]:
        """The last grade of every card that has a state, None for one suspended before it was ever asked."""
        with user_errors(self.path):
            return dict(self._connection.execute("SELECT card, last_grade FROM cards"))

    def events(self, card: str | None = None) -> list[Event]:
        """The events of one card, or all of them, in the one order of the log; undone ones and undos included."""
        with user_errors(self.path):
            if card is None:
                return [event_of(row) for row in self._connection.execute(f"{EVENTS} {IN_ORDER}")]
            return _events_of(self._connection, card)

    def answers_by_day(self) -> dict[date, int]:
        """Answers on each of the person's days, without those taken back: what a streak is made of."""
        query = f"SELECT day, count(*) FROM events AS e WHERE kind = 'answer' AND {NOT_UNDONE} GROUP BY day"  # noqa: S608
        with user_errors(self.path):
            return {date.fromisoformat(day): count for day, count in self._connection.execute(query)}

    def recent_seconds(self, limit: int = 200) -> list[tuple[str, float]]:
        """Way of asking and seconds of the last answers on this device, newest first."""
        query = f"SELECT way, seconds FROM events AS e WHERE device = ? AND kind = 'answer' AND {NOT_UNDONE}"  # noqa: S608
        with user_errors(self.path):
            rows = self._connection.execute(
                f"{query} AND seconds IS NOT NULL ORDER BY seq DESC LIMIT ?", (self.device, limit)
            )
            return [(way, seconds) for way, seconds in rows]

    def rebuild(self) -> int:
        """Fold every card again from its events; the result is how many cards there are."""
        with self._writing() as connection:
            connection.execute("DELETE FROM cards")
            cards = [card for (card,) in connection.execute("SELECT DISTINCT card FROM events WHERE card <> ''")]
            for card in cards:
                _refold(connection, card)
            (count,) = connection.execute("SELECT count(*) FROM cards").fetchone()
        return int(count)

    def merge(self, other: Path) -> int:
        """Take over the events of another log that this one lacks, and say how many; the other file is only read.

        A union by id: merging a file twice, or a log with itself, changes nothing, and two logs merged either way
        agree on every card.
        """
        with self._writing() as connection:
            new = new_rows(other, known={id_ for (id_,) in connection.execute("SELECT id FROM events")})
            try:
                connection.executemany(INSERT_EVENT, new)
            except sqlite3.IntegrityError as error:
                raise unmergeable(other, error) from error
            for card in {row[CARD] for row in new} - {""}:
                _refold(connection, card)
        return len(new)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        if not self._writable:
            raise RuntimeError(f"{self.path} was opened with create=False and does not exist: nothing can be kept")
        with user_errors(self.path), transaction(self._connection):
            yield self._connection

    def _append(self, connection: sqlite3.Connection, event: Event) -> Event:
        (last,) = connection.execute("SELECT max(seq) FROM events WHERE device = ?", (self.device,)).fetchone()
        row = event_row(replace(event, id=uuid4().hex, device=self.device, seq=(last or 0) + 1))
        event = event_of(row)
        _, at, day, device, seq, *_ = row
        later = connection.execute(LATER, (event.card, day, at, device, seq)).fetchone()
        connection.execute(INSERT_EVENT, row)
        if event.card and (later or event.kind == "undo"):
            _refold(connection, event.card)
        elif event.card:
            before = connection.execute(f"{CARDS} WHERE card = ?", (event.card,)).fetchone()
            _put(connection, event.card, step(before and card_of(before), event))
        return event


def _events_of(connection: sqlite3.Connection, card: str) -> list[Event]:
    return [event_of(row) for row in connection.execute(f"{EVENTS} WHERE card = ? {IN_ORDER}", (card,))]


def _refold(connection: sqlite3.Connection, card: str) -> None:
    """Put the fold of a card's events into the table, inside the transaction that changed them."""
    _put(connection, card, fold_card(_events_of(connection, card)))


def _put(connection: sqlite3.Connection, card: str, state: CardState | None) -> None:
    if state is None:
        connection.execute("DELETE FROM cards WHERE card = ?", (card,))
    else:
        connection.execute(PUT_CARD, card_row(card, state))


def _check(event: Event) -> None:
    if event.kind == "answer" and (not event.card or event.grade not in range(6)):
        raise ValueError(f"an answer has a card and a grade of 0–5: {event}")
    if event.kind == "undo" and event.undoes is None:
        raise ValueError(f"an undo names the event that it takes back: {event}")
