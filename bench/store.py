"""Storing an answer beside the least that a durable commit costs: one row into SQLite, write-ahead log, full sync."""

import json
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from measure import NOW, Row, Spent, folder, main, ratios
from synthetic import POINTS, write_history

from llmprep.srs.event import Event
from llmprep.store.log import ReviewLog


def store(quick: bool) -> Iterator[Row]:
    """A log of 2,000 cards, in which every answer makes one card anew from its history."""
    keys = [f"card-{n:05d}" for n in range(200 if quick else 2_000)]
    rng = random.Random(3)
    now = datetime.fromisoformat(NOW).replace(tzinfo=UTC)
    with folder() as work:
        write_history(work / "reviews.db", keys, now.date())
        bare = _bare(work / "bare.db")
        with ReviewLog.open(work / "reviews.db") as log:

            def answer() -> Event:
                card, grade = rng.choice(keys), rng.randrange(6)
                return Event("answer", now.date(), now, card, "whole", grade, POINTS[:2], POINTS, 42.0)

            def plain() -> None:
                event = answer()
                text = json.dumps([event.card, event.grade, event.points, event.asked, event.at.isoformat()])
                bare.execute("BEGIN IMMEDIATE")
                bare.execute("INSERT INTO line (text) VALUES (?)", (text,))
                bare.execute("COMMIT")

            runs = 101 if quick else 1_001
            (spent,) = ratios(runs, lambda: _timed(plain), lambda: _timed(lambda: log.append(answer())))
        bare.close()
    yield Row("storing an answer", spent, target=1.5, by="wall")


def _bare(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE line (id INTEGER PRIMARY KEY, text TEXT)")
    return connection


def _timed(work: Callable[[], object]) -> Spent:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Spent(time.perf_counter() - wall, time.process_time() - cpu)


if __name__ == "__main__":
    main(store, __doc__ or "")
