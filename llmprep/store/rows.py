"""Events and card states as table rows, and back."""

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any

from llmprep.srs.event import Event
from llmprep.srs.fold import CardState
from llmprep.srs.sm2 import State

EVENT_COLUMNS = "id, at, day, device, seq, kind, card, way, grade, points, asked, seconds, undoes, data"
CARD_COLUMNS = "card, ef, repetition, interval, drill, due, last_day, reviews, lapses, missed, suspended, last_grade"
INSERT_EVENT = f"INSERT INTO events ({EVENT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
PUT_CARD = f"INSERT OR REPLACE INTO cards ({CARD_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608

Row = tuple[Any, ...]
CARD = EVENT_COLUMNS.split(", ").index("card")


def event_row(event: Event) -> Row:
    """The values of EVENT_COLUMNS."""
    return (
        event.id,
        utc_text(event.at),
        event.day.isoformat(),
        event.device,
        event.seq,
        event.kind,
        event.card,
        event.way,
        event.grade,
        _json(event.points),
        _json(event.asked),
        event.seconds,
        event.undoes,
        json.dumps(dict(event.data), ensure_ascii=False, sort_keys=True) if event.data else "{}",
    )


def event_of(row: Row) -> Event:
    """The event of a row of EVENT_COLUMNS. ValueError or TypeError if the row isn't one."""
    id_, at, day, device, seq, kind, card, way, grade, points, asked, seconds, undoes, data = row
    return Event(
        kind=kind,
        day=date.fromisoformat(day),
        at=datetime.fromisoformat(at),
        card=card,
        way=way,
        grade=grade,
        points=_ids(points),
        asked=_ids(asked),
        seconds=seconds,
        undoes=undoes,
        data={} if data == "{}" else json.loads(data),
        id=id_,
        device=device,
        seq=seq,
    )


def card_row(card: str, state: CardState) -> Row:
    """The values of CARD_COLUMNS."""
    sm2 = state.sm2
    return (
        card,
        sm2.ef,
        sm2.repetition,
        sm2.interval,
        sm2.drill,
        state.due.isoformat(),
        state.last_day.isoformat(),
        state.reviews,
        state.lapses,
        _json(state.missed),
        state.suspended,
        state.last_grade,
    )


def card_of(row: Row) -> CardState:
    """The state of a row of CARD_COLUMNS."""
    _, ef, repetition, interval, drill, due, last_day, reviews, lapses, missed, suspended, last_grade = row
    return CardState(
        State(ef, repetition, interval, bool(drill)),
        date.fromisoformat(due),
        date.fromisoformat(last_day),
        reviews,
        lapses,
        _ids(missed),
        bool(suspended),
        last_grade,
    )


def utc_text(at: datetime) -> str:
    """UTC to the millisecond, so that text sorts as time does: `2026-08-01T09:30:00.123Z`."""
    if at.tzinfo is None:
        raise ValueError(f"{at} has no time zone; the log keeps UTC")
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _json(ids: Sequence[str]) -> str:
    return json.dumps(ids, ensure_ascii=False) if ids else "[]"


@lru_cache(maxsize=4096)
def _ids(text: str) -> tuple[str, ...]:
    """Cached, since the answers to a card name the same few points again and again."""
    return tuple(json.loads(text))
