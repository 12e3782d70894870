"""Today at a glance: what is waiting, how it went lately, where it is weakest."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from llmprep.bank.index import Bank
from llmprep.srs.fold import CardState
from llmprep.store.log import ReviewLog
from llmprep.study.session import start
from llmprep.study.stats import streak

NEW_A_DAY = 10
ENOUGH_CARDS = 5


@dataclass(frozen=True)
class Today:
    """`weakest` is a cluster and the share of its cards that were last graded 3 or better."""

    today: date
    total: int
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
    session = start(bank, log, today, new_limit=NEW_A_DAY)
    roles = [item.role for item in session.queue]
    seconds = sum(session.pace.get(role, 60.0) for role in roles)
    return Today(
        today=today,
        total=len(bank),
        first_day=not days,
        due=sum(role != "new" for role in roles),
        new=sum(role == "new" for role in roles),
        minutes=max(1, round(seconds / 60)),
        streak=streak(days, today),
        days=days,
        weakest=_weakest(log.states(), {bank.key(i): c for i, c in bank.clusters().items()}),
    )


def _weakest(states: Mapping[str, CardState], cluster_of: Mapping[str, str]) -> tuple[str, float] | None:
    grades: dict[str, list[int]] = {}
    for key, state in states.items():
        if key in cluster_of and state.last_grade is not None:
            grades.setdefault(cluster_of[key], []).append(state.last_grade)
    shares = {c: sum(g >= 3 for g in found) / len(found) for c, found in grades.items() if len(found) >= ENOUGH_CARDS}
    weakest = min(shares, key=lambda c: shares[c], default=None)
    return (weakest, shares[weakest]) if weakest else None
