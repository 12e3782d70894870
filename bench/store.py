"""Storing an answer beside the least that a durable commit costs: one row into SQLite, write-ahead log, full sync.

Both files are opened anew for each sitting, as a quiz does: their write-ahead logs grow alike.
"""

import json
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from measure import NOW, Row, Spent, folder, main, medians, over, rounds
from synthetic import POINTS, write_history

from llmprep.srs.event import Event
from llmprep.store.log import ReviewLog

ANSWERS = 40  # of a sitting


def store(quick: bool) -> Iterator[Row]:
    """Answers to any of 2,000 cards with a history of four months."""
    keys = [f"card-{n:05d}" for n in range(2_000)]
    rng = random.Random(3)
    now = datetime.fromisoformat(NOW).replace(tzinfo=UTC)

    def answer() -> Event:
        return Event("answer", now.date(), now, rng.choice(keys), "whole", rng.randrange(6), POINTS[:2], POINTS, 42.0)

    found: list[list[Spent]] = []
    with folder() as work:
        write_history(work / "reviews.db", keys, now.date())
        for _ in range(3 if quick else 25):
            with closing(_bare(work / "bare.db")) as bare, ReviewLog.open(work / "reviews.db") as log:
                found += rounds(ANSWERS, lambda: _timed(_commit, bare, answer()), lambda: _timed(log.append, answer()))
    commit, stored = medians(found)
    name = f"storing an answer ({stored.wall * 1e3:.2f} ms, a commit {commit.wall * 1e3:.2f} ms)"
    yield Row(name, over(stored, commit), target=1.5, by="wall")


def _bare(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE IF NOT EXISTS line (id INTEGER PRIMARY KEY, text TEXT)")
    return connection


def _commit(connection: sqlite3.Connection, event: Event) -> None:
    text = json.dumps([event.card, event.grade, event.points, event.asked, event.at.isoformat()])
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("INSERT INTO line (text) VALUES (?)", (text,))
    connection.execute("COMMIT")


def _timed(work: Callable[..., object], *arguments: object) -> Spent:
    wall, cpu = time.perf_counter(), time.process_time()
    work(*arguments)
    return Spent(time.perf_counter() - wall, time.process_time() - cpu)


if __name__ == "__main__":
    main(store, __doc__ or "")
