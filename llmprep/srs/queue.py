"""Which cards today, and in which order."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import NamedTuple

from llmprep.srs.fold import CardState, Role, role_of


class QueueItem(NamedTuple):
    """A card to ask today, and as what."""

    key: str
    role: Role


def introduction_order(items: Iterable[tuple[str, int, Sequence[str]]]) -> list[str]:
    """New cards from `(key, asked, needs)`: the most asked first, but whatever a card needs comes before it.

    `[("mha", 9, ["softmax"]), ("rope", 5, []), ("softmax", 1, [])]` gives softmax, mha, rope. Equals keep the order
    given; a need that is not among the items is ignored; of a cycle each card still comes once.
    """
    asked, needs = {}, {}
    for key, times, needed in items:
        asked[key], needs[key] = times, needed
    by_asked = sorted(asked, key=lambda key: -asked[key])
    rank = {key: n for n, key in enumerate(by_asked)}

    order: dict[str, None] = {}
    begun: set[str] = set()
    for start in by_asked:
        path = [start]  # a chain of needs, the card that waits for the rest at the bottom
        while path:
            key = path[-1]
            if key in begun:
                path.pop()
                order.setdefault(key)
                continue
            begun.add(key)
            waiting = [need for need in needs[key] if need in rank and need not in begun]
            path.extend(sorted(waiting, key=lambda key: -rank[key]))
    return list(order)


def plan_day(
    states: Mapping[str, CardState], order: Sequence[str], today: date, new_limit: int, limit: int | None = None
) -> list[QueueItem]:
    """Today's queue: due reviews, the longest overdue first; then new cards; then drills that today still owes.

    `order` says which cards exist, in order of introduction; a state without a question (it was removed) is left out,
    as are suspended cards. Of `new_limit` 10, three introduced this morning leave 7. `limit` cuts the whole queue.
    """
    due: list[tuple[date, str]] = []
    new: list[str] = []
    drills: list[str] = []
    for key in order:
        state = states.get(key)
        if state is not None and state.suspended:
            continue
        role = role_of(state, today)
        if role == "new":
            new.append(key)
        elif state is not None and role == "review":
            due.append((state.due, key))
        elif state is not None and role == "drill" and state.last_day == today:
            drills.append(key)
    due.sort(key=lambda pair: pair[0])
    room = max(0, new_limit - _introduced_on(states, today))
    queue = [QueueItem(key, "review") for _, key in due]
    queue += [QueueItem(key, "new") for key in new[:room]]
    queue += [QueueItem(key, "drill") for key in drills]
    return queue[:limit]


def _introduced_on(states: Mapping[str, CardState], day: date) -> int:
    return sum(state.reviews == 1 and state.last_review == day for state in states.values())
