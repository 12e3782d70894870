"""How it is going: due and forecast, retention, the calendar, progress by cluster, the hardest cards."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from llmprep.bank.index import Bank
from llmprep.content import CLUSTERS
from llmprep.srs.event import Event
from llmprep.srs.fold import CardState, replay, role_of
from llmprep.study.today import streak

MATURE_DAYS = 21


@dataclass(frozen=True)
class ClusterProgress:
    """The cards of one cluster: never seen, still young, known for good (an interval of three weeks or more)."""

    cluster: str
    total: int
    seen: int
    mature: int
    due: int
    retention: float | None


@dataclass(frozen=True)
class Hard:
    """A card that keeps being failed when it is due or new."""

    id: str
    failures: int
    ef: float
    last_grade: int | None


@dataclass(frozen=True)
class Stats:
    """Everything that `llmprep stats` shows; `--json` prints it as it is."""

    today: date
    total: int
    seen: int
    mature: int
    due: int
    overdue: int
    again_today: int
    new_left: int
    streak: int
    reviews: int
    minutes: float
    retention: float | None
    retention_30: float | None
    days: Mapping[date, int]
    grades: Mapping[int, int]
    forecast: Mapping[date, int]
    clusters: tuple[ClusterProgress, ...]
    hardest: tuple[Hard, ...]


def compute(bank: Bank, states: Mapping[str, CardState], events: Iterable[Event], today: date) -> Stats:
    """Statistics of the cards of one bank. Retention is the share of scheduled repetitions graded 3 or better."""
    ids = {bank.key(i): i for i in bank.ids()}
    cluster_of = bank.clusters()
    mine = {key: state for key, state in states.items() if key in ids and state.reviews}
    active = {key: state for key, state in mine.items() if not state.suspended}
    days: Counter[date] = Counter()
    grades: Counter[int] = Counter()
    passed: dict[str, list[bool]] = {}
    recent: list[bool] = []
    failures: Counter[str] = Counter()
    seconds = 0.0
    by_card: dict[str, list[Event]] = {}
    for event in events:
        by_card.setdefault(event.card, []).append(event)
    for key, history in by_card.items():
        if key not in ids:
            continue
        for step in replay(history):
            if step.event.kind != "answer" or step.event.grade is None:
                continue
            days[step.event.day] += 1
            grades[step.event.grade] += 1
            seconds += step.event.seconds or 0.0
            if step.role in ("new", "review") and step.event.grade < 3:
                failures[key] += 1
            if step.role == "review":
                ok = step.event.grade >= 3
                passed.setdefault(cluster_of[ids[key]], []).append(ok)
                if (today - step.event.day).days < 30:
                    recent.append(ok)
    forecast = {today + timedelta(days=i): 0 for i in range(14)}
    for state in active.values():
        day = max(state.due, today)
        if day in forecast:
            forecast[day] += 1
    everything = [ok for values in passed.values() for ok in values]
    return Stats(
        today=today,
        total=len(ids),
        seen=len(mine),
        mature=sum(s.sm2.interval >= MATURE_DAYS for s in mine.values()),
        due=sum(role_of(s, today) == "review" for s in active.values()),
        overdue=sum(s.due < today for s in active.values()),
        again_today=sum(role_of(s, today) == "drill" and s.last_day == today for s in active.values()),
        new_left=len(ids) - len(mine),
        streak=streak(days, today),
        reviews=sum(days.values()),
        minutes=seconds / 60,
        retention=_share(everything),
        retention_30=_share(recent),
        days=dict(sorted(days.items())),
        grades={q: grades[q] for q in range(6)},
        forecast=forecast,
        clusters=tuple(_clusters(bank, mine, passed, today)),
        hardest=tuple(_hardest(ids, mine, failures)),
    )


def _share(values: list[bool]) -> float | None:
    return sum(values) / len(values) if values else None


def _clusters(
    bank: Bank, states: Mapping[str, CardState], passed: Mapping[str, list[bool]], today: date
) -> Iterable[ClusterProgress]:
    cluster_of = bank.clusters()
    for cluster in CLUSTERS:
        ids = [i for i, c in cluster_of.items() if c == cluster]
        if not ids:
            continue
        seen = [states[bank.key(i)] for i in ids if bank.key(i) in states]
        yield ClusterProgress(
            cluster=cluster,
            total=len(ids),
            seen=len(seen),
            mature=sum(s.sm2.interval >= MATURE_DAYS for s in seen),
            due=sum(role_of(s, today) == "review" and not s.suspended for s in seen),
            retention=_share(passed.get(cluster, [])),
        )


def _hardest(ids: Mapping[str, str], states: Mapping[str, CardState], failures: Mapping[str, int]) -> list[Hard]:
    hard = [Hard(ids[key], failures[key], s.sm2.ef / 100, s.last_grade) for key, s in states.items() if key in failures]
    return sorted(hard, key=lambda h: (-h.failures, h.ef, h.id))[:5]
