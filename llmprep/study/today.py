"""Today: which cards are waiting, how long they take, how it went lately, where it is weakest."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from itertools import islice
from typing import NamedTuple

from llmprep.bank.index import Bank
from llmprep.srs.queue import QueueItem, plan_day
from llmprep.store.log import ReviewLog

# What a card takes, until the person's own log says better.
SECONDS: Mapping[str, float] = {"new": 150.0, "review": 60.0, "drill": 25.0, "practice": 60.0}
NEW_A_DAY = 10
ENOUGH_CARDS = 5


class Today(NamedTuple):
    """`first` is the question to start with.

    `weakest` is a cluster and the share of its cards that were graded 3 or better when they were last due.
    """

    today: date
    total: int
    first: str
    first_day: bool
    due: int
    new: int
    minutes: int
    streak: int
    days: Mapping[date, int]
    weakest: tuple[str, float] | None


def at_a_glance(bank: Bank, log: ReviewLog, today: date) -> Today:
    """Counts, without reading the whole history."""
    days = log.answers_by_day()
    roles = [item.role for item in queue(bank, log, today)]
    seconds_of = pace(log)
    seconds = sum(seconds_of[role] for role in roles)
    return Today(
        today=today,
        total=len(bank),
        first=next(bank.new_ids(), ""),
        first_day=not days,
        due=sum(role != "new" for role in roles),
        new=sum(role == "new" for role in roles),
        minutes=max(1, round(seconds / 60)),
        streak=streak(days, today),
        days=days,
        weakest=_weakest(bank, log.last_grades()),
    )


def _weakest(bank: Bank, last_grades: Mapping[str, int | None]) -> tuple[str, float] | None:
    known = {i: grade for key, grade in last_grades.items() if grade is not None and (i := bank.id_of(key))}
    grades: dict[str, list[int]] = {}
    for question_id, cluster in bank.clusters(known).items():
        grades.setdefault(cluster, []).append(known[question_id])
    shares = {c: sum(g >= 3 for g in found) / len(found) for c, found in grades.items() if len(found) >= ENOUGH_CARDS}
    weakest = min(shares, key=lambda c: shares[c], default=None)
    return (weakest, shares[weakest]) if weakest and shares[weakest] < 1 else None


def queue(
    bank: Bank,
    log: ReviewLog,
    today: date,
    *,
    cluster: str | None = None,
    new_limit: int = NEW_A_DAY,
    limit: int | None = None,
    only: Sequence[str] = (),
) -> list[QueueItem]:
    """Today's cards; with `only`, those questions in that order, due or not."""
    if only:
        return [QueueItem(bank.key(bank.question(i).id), "practice") for i in dict.fromkeys(only)][:limit]
    waiting = {key: state for key, state in log.waiting(today).items() if bank.id_of(key)}
    seen = log.last_grades()
    here = bank.clusters(i for key in waiting if (i := bank.id_of(key)))
    order = [bank.key(i) for i, of in here.items() if cluster in (None, of)]
    unseen = (key for i in bank.new_ids(cluster) if (key := bank.key(i)) not in seen)
    return plan_day(waiting, [*order, *islice(unseen, new_limit)], today, new_limit, limit)


def pace(log: ReviewLog) -> dict[str, float]:
    """Median seconds of this person's recent answers, by way of asking; defaults until there are five."""
    times: dict[str, list[float]] = {"whole": [], "points": []}
    for way, seconds in log.recent_seconds():
        times.setdefault(way, []).append(seconds)
    out = dict(SECONDS)
    for way, role in (("whole", "review"), ("points", "drill")):
        if len(times[way]) >= 5:
            out[role] = sorted(times[way])[len(times[way]) // 2]
    return out


def streak(days: Mapping[date, int], today: date) -> int:
    """Days in a row with an answer, up to today, or up to yesterday while today has none yet."""
    day = today if days.get(today) else today - timedelta(days=1)
    count = 0
    while days.get(day):
        count += 1
        day -= timedelta(days=1)
    return count
