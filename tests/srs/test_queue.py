"""The day's queue and the order in which new cards come."""

import random
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmprep.srs.fold import CardState, role_of
from llmprep.srs.queue import QueueItem, introduction_order, plan_day
from llmprep.srs.sm2 import State

TODAY = date(2026, 8, 1)


def state(due_in=0, *, interval=6, drill=False, last_day=None, reviews=2, suspended=False):
    """A card due so many days from today."""
    due = TODAY + timedelta(days=due_in)
    reviewed = due - timedelta(days=interval)
    return CardState(State(250, 2, interval, drill), due, last_day or reviewed, reviews, suspended=suspended)


def introduced(days_ago=0):
    day = TODAY - timedelta(days=days_ago)
    return CardState(State(250, 1, 1), day + timedelta(days=1), day, reviews=1)


ORDERS = {
    "most asked first": ([("a", 1, []), ("b", 3, []), ("c", 2, [])], "b c a"),
    "equals keep their order": ([("a", 1, []), ("b", 1, []), ("c", 1, [])], "a b c"),
    "needs first": ([("mha", 9, ["softmax"]), ("rope", 5, []), ("softmax", 1, [])], "softmax mha rope"),
    "needs of needs": ([("a", 9, ["b"]), ("b", 1, ["c"]), ("c", 0, []), ("d", 5, [])], "c b a d"),
    "two needs, the most asked first": ([("a", 9, ["x", "y"]), ("x", 1, []), ("y", 2, [])], "y x a"),
    "shared need": ([("a", 9, ["x"]), ("b", 8, ["x"]), ("x", 0, [])], "x a b"),
    "diamond": ([("a", 9, ["b", "c"]), ("b", 2, ["d"]), ("c", 3, ["d"]), ("d", 1, [])], "d c b a"),
    "unknown need": ([("a", 1, ["gone"]), ("b", 2, [])], "b a"),
    "cycle": ([("a", 3, ["b"]), ("b", 2, ["c"]), ("c", 1, ["a"]), ("d", 9, [])], "d c b a"),
    "needs itself": ([("a", 1, ["a"])], "a"),
    "nothing": ([], ""),
}


@pytest.mark.parametrize(("items", "expected"), ORDERS.values(), ids=ORDERS)
def test_introduction_order(items, expected):
    assert introduction_order(items) == expected.split()


graphs = st.integers(0, 12).flatmap(
    lambda n: st.lists(
        st.tuples(st.integers(0, 4), st.lists(st.integers(0, n + 1), max_size=4)), min_size=n, max_size=n
    )
)


def items_of(graph):
    return [(f"q{i}", asked, [f"q{need}" for need in needs]) for i, (asked, needs) in enumerate(graph)]


def reachable(key, needs):
    found, todo = set(), [key]
    while todo:
        for need in needs.get(todo.pop(), []):
            if need in needs and need not in found:
                found.add(need)
                todo.append(need)
    return found


@given(graphs)
def test_every_card_once_and_needs_first_where_no_cycle_is(graph):
    items = items_of(graph)
    order = introduction_order(items)
    assert sorted(order) == sorted(key for key, _, _ in items)
    needs = {key: needed for key, _, needed in items}
    place = {key: n for n, key in enumerate(order)}
    on_a_cycle = {key for key in needs if key in reachable(key, needs)}
    for key in needs:
        below = reachable(key, needs)
        if not on_a_cycle & {key, *below}:
            assert all(place[need] < place[key] for need in below)


@given(graphs)
def test_a_card_comes_early_only_for_one_that_is_asked_more(graph):
    """Whatever stands before a more asked card is needed by something at least as often asked as that card."""
    items = items_of(graph)
    asked, needs = {key: n for key, n, _ in items}, {key: needed for key, _, needed in items}
    order = introduction_order(items)
    wanted = {key: max([asked[key], *(asked[k] for k in needs if key in reachable(k, needs))]) for key in asked}
    best = [wanted[key] for key in order]
    assert best == sorted(best, reverse=True)


def test_a_long_chain_of_needs_does_not_recurse():
    n = 20_000
    items = [(f"q{i}", n - i, [f"q{i + 1}"]) for i in range(n)]
    assert introduction_order(items) == [f"q{i}" for i in reversed(range(n))]


def test_due_then_new_then_drills():
    states = {
        "due today": state(0),
        "due long ago": state(-9),
        "not due": state(3),
        "drill today": state(1, interval=1, drill=True, last_day=TODAY),
        "drill of yesterday": state(5, drill=True, last_day=TODAY - timedelta(days=1)),
        "suspended": state(-99, suspended=True),
        "suspended, never asked": CardState(State(), TODAY, TODAY, suspended=True),
        "removed question": state(-50),
    }
    order = ["new one", "drill today", *[k for k in states if k not in ("drill today", "removed question")], "new two"]
    assert plan_day(states, order, TODAY, new_limit=10) == [
        QueueItem("due long ago", "review"),
        QueueItem("due today", "review"),
        QueueItem("new one", "new"),
        QueueItem("new two", "new"),
        QueueItem("drill today", "drill"),
    ]


def test_equally_overdue_cards_keep_the_order():
    states = {key: state(-1) for key in "dcba"}
    assert [item.key for item in plan_day(states, list("badc"), TODAY, 0)] == list("badc")


@pytest.mark.parametrize(("limit", "already", "expected"), [(3, 0, 3), (3, 2, 1), (3, 3, 0), (3, 5, 0), (0, 0, 0)])
def test_new_cards_of_this_morning_count(limit, already, expected):
    states = {f"seen {i}": introduced() for i in range(already)} | {"yesterday's": introduced(days_ago=1)}
    queue = plan_day(states, [f"new {i}" for i in range(9)], TODAY, limit)
    assert [item.key for item in queue] == [f"new {i}" for i in range(expected)]


def test_a_card_of_yesterday_drilled_today_is_not_introduced_today():
    late_drill = CardState(State(250, 0, 1, drill=True), TODAY, TODAY, reviews=1)
    assert len(plan_day({"x": late_drill}, ["a", "b"], TODAY, new_limit=2)) == 2


def test_limit_cuts_the_whole_queue():
    states = {"due": state(-1), "drill": state(1, interval=1, drill=True, last_day=TODAY)}
    order = ["due", "drill", "n1", "n2"]
    assert [i.key for i in plan_day(states, order, TODAY, 2, limit=2)] == ["due", "n1"]
    assert [i.key for i in plan_day(states, order, TODAY, 2)] == ["due", "n1", "n2", "drill"]
    assert plan_day(states, order, TODAY, 2, limit=0) == []


any_state = st.one_of(
    st.none(),
    st.builds(
        state,
        st.integers(-5, 5),
        interval=st.integers(1, 9),
        drill=st.booleans(),
        last_day=st.sampled_from([TODAY, TODAY - timedelta(days=1)]),
        reviews=st.integers(0, 3),
        suspended=st.booleans(),
    ),
)


@given(st.lists(any_state, max_size=15), st.integers(0, 5), st.none() | st.integers(0, 8))
def test_laws_of_the_queue(cards, new_limit, limit):
    order = [f"q{i}" for i in range(len(cards))]
    states = {key: card for key, card in zip(order, cards, strict=True) if card}
    queue = plan_day(states, order, TODAY, new_limit, limit)
    keys = [item.key for item in queue]
    assert len(keys) == len(set(keys))
    assert limit is None or len(queue) <= limit
    assert sum(item.role == "new" for item in queue) <= new_limit
    for item in queue:
        card = states.get(item.key)
        assert not (card and card.suspended)
        assert role_of(card, TODAY) == item.role
    roles = [item.role for item in queue]
    assert roles == sorted(roles, key=["review", "new", "drill"].index)
    if limit is None:
        due = {k for k, c in states.items() if c.reviews and c.due <= TODAY and not c.suspended}
        assert {item.key for item in queue if item.role == "review"} == due


def test_twenty_thousand_cards():
    """Both are far below a second; a quadratic slip would take minutes."""
    rng = random.Random(0)
    n = 20_000
    items = [(f"q{i}", rng.randrange(30), [f"q{rng.randrange(n)}" for _ in range(3)]) for i in range(n)]
    order = introduction_order(items)
    states = {key: state(rng.randrange(-9, 9)) for key in order[: n // 2]}
    queue = plan_day(states, order, TODAY, new_limit=10)
    assert len(order) == n
    assert [item.role for item in queue][-10:] == ["new"] * 10
