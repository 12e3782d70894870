"""From the events of one card to where the card stands: a pure fold, so that the log alone is the truth."""

from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from typing import Literal, NamedTuple

from llmprep.srs import sm2
from llmprep.srs.event import Event

Role = Literal["new", "review", "drill", "practice"]


class CardState(NamedTuple):
    """Where a card stands.

    `due` is the day of the next review, `last_day` that of the last review or drill. `reviews` counts scheduled
    repetitions, `lapses` those that forgot what an earlier one had remembered. `last_grade` is that of the last review,
    since drills end at 4. `missed` are the key points asked but not ticked last time. A card that was suspended before
    it was ever asked has `reviews` 0.
    """

    sm2: sm2.State
    due: date
    last_day: date
    reviews: int = 0
    lapses: int = 0
    missed: tuple[str, ...] = ()
    suspended: bool = False
    last_grade: int | None = None

    @property
    def last_review(self) -> date:
        """The day of the last scheduled review: due on 7 May after an interval of 6 days means 1 May."""
        return self.due - timedelta(days=self.sm2.interval)


class Step(NamedTuple):
    """One event that counts, the role that an answer had (None for other kinds), and the card after it."""

    event: Event
    role: Role | None
    state: CardState | None


def role_of(state: CardState | None, day: date) -> Role:
    """What asking this card on this day would be; "practice" is kept in the log and changes nothing."""
    if state is None or state.reviews == 0:
        return "new"
    if day >= state.due:
        return "review"
    return "drill" if state.sm2.drill else "practice"


def fold_card(events: Iterable[Event]) -> CardState | None:
    """Where the card stands after its events, given in any order; None if nothing that counts has happened."""
    state = None
    for step in replay(events):
        state = step.state
    return state


def step(state: CardState | None, event: Event) -> CardState | None:
    """The card after an event that comes after all its others and is no undo: what `fold_card` would find."""
    return _after(state, event, role_of(state, event.day) if event.kind == "answer" else None)


def replay(events: Iterable[Event]) -> Iterator[Step]:
    """The history of one card, step by step, without what was undone. Undoing the same event twice is undoing it once.

    Two devices may both have reviewed a due card while apart: in the common order the second answer is a drill or
    practice, as it would have been on one device.
    """
    events = list(events)
    undone = {event.undoes for event in events if event.kind == "undo"}
    state: CardState | None = None
    for event in sorted(events, key=lambda event: event.order):
        if event.kind == "undo" or event.id in undone:
            continue
        role = role_of(state, event.day) if event.kind == "answer" else None
        state = _after(state, event, role)
        yield Step(event, role, state)


def _after(state: CardState | None, event: Event, role: Role | None) -> CardState | None:
    """The card after one event; a kind that this version does not know changes nothing."""
    if event.kind == "answer" and event.grade is not None and role != "practice":
        return _answered(state or CardState(sm2.State(), event.day, event.day), event, event.grade, role)
    if event.kind == "suspend":
        return (state or CardState(sm2.State(), event.day, event.day))._replace(suspended=True)
    if event.kind == "unsuspend" and state is not None:
        return state._replace(suspended=False) if state.reviews else None
    return state


def _answered(before: CardState, event: Event, grade: int, role: Role | None) -> CardState:
    drill = role == "drill"
    after = sm2.drill_review(before.sm2, grade) if drill else sm2.review(before.sm2, grade)
    forgot = not drill and before.sm2.repetition > 0 and after.repetition == 0
    return CardState(
        after,
        due=before.due if drill else event.day + timedelta(days=after.interval),
        last_day=event.day,
        reviews=before.reviews + (not drill),
        lapses=before.lapses + forgot,
        missed=tuple([point for point in event.asked if point not in event.points]),
        suspended=before.suspended,
        last_grade=before.last_grade if drill else grade,
    )
