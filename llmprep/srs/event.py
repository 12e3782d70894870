"""One line of the review log: something that happened, never changed afterwards."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """An answer, an undo, a suspension …, on the person's `day` (which ends at 04:00) and at an exact time.

    `asked` are the ids of the key points that were asked, `points` those of them that were ticked. `undoes` is the id
    of the event that an undo takes back. The log fills in `id`, `device` and `seq`. An event that is about no card
    (a plan, a track) leaves `card` empty; what a later kind needs besides goes into `data`.
    """

    kind: str
    day: date
    at: datetime
    card: str = ""
    way: str = ""
    grade: int | None = None
    points: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()
    seconds: float | None = None
    undoes: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict, hash=False)
    id: str = ""
    device: str = ""
    seq: int = 0

    @property
    def order(self) -> tuple[date, datetime, str, int, str]:
        """The one order of all events: day, time, device, sequence (and id, should a log have been copied by hand)."""
        return (self.day, self.at, self.device, self.seq, self.id)
