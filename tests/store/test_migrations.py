"""From the oldest file up: nothing is lost, and a copy of what was is kept."""

import sqlite3
import threading
from contextlib import closing

import pytest

from llmprep.errors import UserError
from llmprep.srs.sm2 import State
from llmprep.store import migrations
from llmprep.store.log import ReviewLog

# Version 1 as it was first released, written out once more: schema.sql must go on making exactly these columns.
COLUMNS_1 = {
    "events": "id at day device seq kind card way grade points asked seconds undoes data",
    "cards": "card ef repetition interval drill due last_day reviews lapses missed suspended last_grade",
    "meta": "key value",
}
EVENT_1 = (
    "0123456789abcdef0123456789abcdef", "2026-08-01T09:30:00.123Z", "2026-08-01", "d1", 1, "answer", "kv-cache",
    "whole", 3, '["a"]', '["a", "b"]', 12.5, None, "{}",
)  # fmt: skip
CARD_1 = ("kv-cache", 236, 1, 1, 1, "2026-08-02", "2026-08-01", 1, 0, '["b"]', 0, 3)


def version_2(connection):
    connection.execute("ALTER TABLE events ADD COLUMN mood TEXT NOT NULL DEFAULT ''")


def version_3(connection):
    connection.execute("CREATE TABLE moods (mood TEXT)")


def broken(connection):
    connection.execute("CREATE TABLE half_done (x)")
    connection.execute("INSERT INTO no_such_table VALUES (1)")


@pytest.fixture
def version_1(path):
    """A file of version 1, made by hand from the tables as released."""
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrations.version_1(connection)
        connection.execute("UPDATE meta SET value = 'd1' WHERE key = 'device'")
        connection.execute(f"INSERT INTO events VALUES ({', '.join('?' * 14)})", EVENT_1)
        connection.execute(f"INSERT INTO cards VALUES ({', '.join('?' * 12)})", CARD_1)
        connection.execute("PRAGMA user_version = 1")
    return path


def version_in(path):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA user_version").fetchone()[0]


def test_a_new_file_is_of_the_known_version(path):
    ReviewLog.open(path).close()
    assert version_in(path) == migrations.known_version() == 1
    with closing(sqlite3.connect(path)) as connection:
        for table, columns in COLUMNS_1.items():
            found = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            assert found == columns.split()


def test_a_database_without_tables_is_version_0(path):
    path.parent.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("VACUUM")  # a header and nothing else
    assert path.stat().st_size > 0
    ReviewLog.open(path).close()
    assert version_in(path) == 1
    assert [file.name for file in path.parent.iterdir()] == ["reviews.db"]  # nothing was worth a copy


def test_version_1_opens_as_it_is(version_1):
    with ReviewLog.open(version_1) as log:
        assert log.device == "d1"
        assert log.state("kv-cache").sm2 == State(236, 1, 1, drill=True)
        table = log.states()
        log.rebuild()
        assert log.states() == table
    assert not list(version_1.parent.glob("*.before-*"))


def test_a_copy_is_kept_before_each_step(version_1, monkeypatch, answer):
    before = ReviewLog.open(version_1)
    before.append(answer("in the write-ahead log only"))
    monkeypatch.setattr(migrations, "MIGRATIONS", [migrations.version_1, version_2, version_3])
    with ReviewLog.open(version_1) as log:
        assert len(log.events()) == 2
        assert log.append(answer("rope")).seq == 3
    before.close()
    assert version_in(version_1) == 3
    names = sorted(file.name for file in version_1.parent.iterdir())
    assert names == ["reviews.db", "reviews.db.before-v2", "reviews.db.before-v3"]
    assert version_in(version_1.with_name("reviews.db.before-v2")) == 1
    assert version_in(version_1.with_name("reviews.db.before-v3")) == 2
    monkeypatch.undo()
    with ReviewLog.open(version_1.with_name("reviews.db.before-v2")) as copy:
        assert set(copy.states()) == {"kv-cache", "in the write-ahead log only"}


def test_a_migration_that_fails_leaves_the_old_version(version_1, monkeypatch):
    with ReviewLog.open(version_1) as log:
        states = log.states()
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "MIGRATIONS", [migrations.version_1, version_2, broken])
        with pytest.raises(UserError, match="no_such_table"):
            ReviewLog.open(version_1)
    assert version_in(version_1) == 2
    assert version_in(version_1.with_name("reviews.db.before-v3")) == 2
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "MIGRATIONS", [migrations.version_1, version_2])
        with ReviewLog.open(version_1) as log:
            assert log.states() == states
            tables = {name for (name,) in log._connection.execute("SELECT name FROM sqlite_master")}
            assert "half_done" not in tables


def test_no_copy_no_migration(version_1, monkeypatch):
    """If the copy can't be written, nothing is changed."""
    version_1.with_name("reviews.db.before-v2").mkdir()
    before = version_1.read_bytes()
    monkeypatch.setattr(migrations, "MIGRATIONS", [migrations.version_1, version_2])
    with pytest.raises(UserError, match="cannot use the review log"):
        ReviewLog.open(version_1)
    assert version_in(version_1) == 1
    with closing(sqlite3.connect(version_1)) as connection:
        assert "mood" not in {row[1] for row in connection.execute("PRAGMA table_info(events)")}
    assert len(before) == version_1.stat().st_size


def test_two_openings_at_once_migrate_once(version_1, monkeypatch):
    ran = []

    def slow_version_2(connection):
        ran.append(1)
        version_2(connection)

    monkeypatch.setattr(migrations, "MIGRATIONS", [migrations.version_1, slow_version_2])
    ready, failures = threading.Barrier(4), []

    def open_it():
        ready.wait()
        try:
            ReviewLog.open(version_1).close()
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert ran == [1]
    assert version_in(version_1) == 2


def test_merging_an_older_file_leaves_it_alone(version_1, tmp_path, monkeypatch, answer):
    monkeypatch.setattr(migrations, "MIGRATIONS", [migrations.version_1, version_2])
    before = version_1.read_bytes()
    with ReviewLog.open(tmp_path / "mine.db") as log:
        log.append(answer("rope"))
        assert log.merge(version_1) == 1
        assert set(log.states()) == {"rope", "kv-cache"}
    assert version_1.read_bytes() == before
    assert [file.name for file in version_1.parent.iterdir()] == ["reviews.db"]
