"""A study session: which card comes next, what each grade would do, and one durable write for each answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from llmprep.bank.index import Bank
from llmprep.bank.types import KeyPoint, Question
from llmprep.srs import sm2
from llmprep.srs.event import Event
from llmprep.srs.fold import CardState, Role, replay, role_of
from llmprep.srs.queue import QueueItem
from llmprep.store.log import ReviewLog
from llmprep.study.today import SECONDS


class Outcome(NamedTuple):
    """Where a grade leads: the next due day, and whether the card comes back today."""

    due: date
    again_today: bool


class Turn(NamedTuple):
    """One card to ask. `points` are the key points asked for: all, or those missed before."""

    key: str
    question: Question
    role: Role
    state: CardState | None
    points: tuple[KeyPoint, ...]
    position: int
    total: int
    seconds_left: float

    @property
    def days_overdue(self) -> int:
        """Days since the card was due, 0 for one that is due today."""
        return (self.today - self.state.due).days if self.state and self.role == "review" else 0

    today: date = date.min


class Done(NamedTuple):
    """One answer of this session, and as what it counted (practice, if another terminal was first)."""

    turn: Turn
    event: Event
    state: CardState | None
    role: Role


@dataclass
class Session:
    """Holds the queue; the log holds everything else."""

    bank: Bank
    log: ReviewLog
    today: date
    queue: list[QueueItem]
    pace: Mapping[str, float] = field(default_factory=lambda: SECONDS)
    done: list[Done] = field(default_factory=list)
    _before: list[tuple[list[QueueItem], Done | None]] = field(default_factory=list)
    _cards: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._cards = {item.key for item in self.queue}

    def turn(self) -> Turn | None:
        """The card to ask now, or None when nothing is left."""
        while self.queue:
            item = self.queue[0]
            question_id = self.bank.id_of(item.key)
            state = self.log.state(item.key)
            role = role_of(state, self.today)
            if role == "practice" and item.role != "practice":
                self.queue.pop(0)  # another terminal has answered it meanwhile
                continue
            question = self.bank.question(question_id or item.key)
            answered = {d.turn.key for d in self.done}
            return Turn(
                key=item.key,
                question=question,
                role=role,
                state=state,
                points=_points(question, state, role),
                position=len(answered | {item.key}),
                total=len(self._cards),
                seconds_left=sum(self.pace.get(i.role, 60.0) for i in self.queue),
                today=self.today,
            )
        return None

    def outcomes(self, turn: Turn) -> dict[int, Outcome]:
        """Where each grade would lead."""
        state = turn.state.sm2 if turn.state else sm2.State()
        if turn.role in ("drill", "practice"):
            due = turn.state.due if turn.state else self.today
            return {q: Outcome(due, again_today=turn.role == "drill" and q < 4) for q in range(6)}
        return {
            q: Outcome(self.today + timedelta(days=after.interval), again_today=after.drill)
            for q, after in sm2.preview(state).items()
        }

    def answer(
        self,
        turn: Turn,
        grade: int,
        *,
        ticked: Sequence[str],
        seconds: float,
        at: datetime,
        data: Mapping[str, Any] | None = None,
    ) -> Done:
        """Store an answer; it is on disk when this returns. A card below 4 goes to the end of the queue."""
        asked = tuple(point.id for point in turn.points)
        event = self.log.append(
            Event(
                kind="answer",
                day=self.today,
                at=at,
                card=turn.key,
                way="points" if turn.role == "drill" else "whole",
                grade=grade,
                points=tuple(p for p in asked if p in ticked),
                asked=asked,
                seconds=round(seconds, 1),
                data=data or {},
            )
        )
        *_, step = replay(self.log.events(turn.key))
        role = step.role or "practice"
        done = Done(turn, event, step.state, role)
        self._before.append((list(self.queue), done))
        self.queue.pop(0)
        if role != "practice" and step.state and step.state.sm2.drill:
            self.queue.append(QueueItem(turn.key, "drill"))
        self.done.append(done)
        return done

    def note(self, kind: str, turn: Turn, at: datetime, data: Mapping[str, Any]) -> None:
        """Log a guess or a numeric drill; neither moves the schedule."""
        self.log.append(Event(kind=kind, day=self.today, at=at, card=turn.key, data=data))

    def skip(self) -> None:
        """Put the card aside for this session."""
        self._before.append((list(self.queue), None))
        self.queue.pop(0)

    def undo(self, at: datetime) -> str | None:
        """Take back the last answer or skip of this session; the key of its card, which shows again."""
        if not self._before:
            return None
        self.queue, done = self._before.pop()
        if done:
            self.done.remove(done)
            self.log.append(Event(kind="undo", day=self.today, at=at, card=done.turn.key, undoes=done.event.id))
        return self.queue[0].key


def _points(question: Question, state: CardState | None, role: Role) -> tuple[KeyPoint, ...]:
    if role == "drill" and state and state.missed:
        missed = tuple(p for p in question.key_points if p.id in state.missed)
        return missed or question.key_points
    return question.key_points
