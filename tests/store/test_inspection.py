"""Files that must not be touched: damaged ones, those of other programs, those of a newer llmprep."""

import random
import shutil
import sqlite3

import pytest

from llmprep.errors import UserError
from llmprep.store.log import ReviewLog

UNREADABLE = r"reviews\.db is not a readable review log \(.+\)\. It is left as it is: move it away or restore a copy"


def refused(path, match):
    """Whoever opens or merges the file gets the sentence; no byte changes and no file appears."""
    before = {file: file.read_bytes() for file in path.parent.iterdir()}
    for create in (True, False):
        with pytest.raises(UserError, match=match):
            ReviewLog.open(path, create=create)
        assert {file: file.read_bytes() for file in path.parent.iterdir()} == before
    with ReviewLog.open(path.parent.parent / "mine" / "own.db") as log, pytest.raises(UserError, match=match):
        log.merge(path)
    assert {file: file.read_bytes() for file in path.parent.iterdir()} == before


@pytest.fixture
def full(path, answer):
    """A closed log of a few hundred answers; its bytes."""
    with ReviewLog.open(path) as log:
        log._connection.execute("PRAGMA synchronous = OFF")
        for n in range(300):
            log.append(answer(f"card {n}", minute=n))
    return path.read_bytes()


def test_not_a_database(path):
    path.parent.mkdir()
    path.write_text("dear diary, today I learned about attention\n" * 100)
    refused(path, r"reviews\.db is not a readable review log \(file is not a database\)\. It is left as it is")


@pytest.mark.parametrize("kept", [10, 50, 100, 4_096, 5_000, 20_000, -4_096, -1])
def test_truncated(path, full, kept):
    path.write_bytes(full[:kept])
    refused(path, UNREADABLE)


def test_garbage_in_the_middle(path, full):
    """Met at once by a session; a command that only reads meets it where the damage is."""
    rng = random.Random(0)
    damaged = full[:8_192] + rng.randbytes(len(full) - 16_384) + full[-8_192:]
    path.write_bytes(damaged)
    with pytest.raises(UserError, match=UNREADABLE):
        ReviewLog.open(path)
    with pytest.raises(UserError, match=UNREADABLE), ReviewLog.open(path, create=False) as log:
        log.events()
    assert path.read_bytes() == damaged


def test_newer_version(path, full):
    foreign = sqlite3.connect(path)
    foreign.execute("PRAGMA user_version = 7")
    foreign.close()
    refused(
        path,
        r"reviews\.db was written by a newer llmprep \(schema 7, this one knows 1\); "
        r"upgrade with: pip install -U llmprep\. The file is untouched\.",
    )


def test_newer_version_still_in_the_write_ahead_log(path, full, tmp_path):
    """A newer llmprep was killed right after its migration: the file itself still says version 1."""
    killed = tmp_path / "killed"
    killed.mkdir()
    foreign = sqlite3.connect(path, isolation_level=None)
    foreign.execute("PRAGMA user_version = 7")
    for name in ("reviews.db", "reviews.db-wal"):
        shutil.copy(path.parent / name, killed / name)
    foreign.close()
    path = killed / "reviews.db"
    before, wal = path.read_bytes(), (killed / "reviews.db-wal").read_bytes()
    with pytest.raises(UserError, match="newer llmprep"):
        ReviewLog.open(path)
    assert path.read_bytes() == before
    assert (killed / "reviews.db-wal").read_bytes() == wal


def test_a_database_of_another_program(path):
    path.parent.mkdir()
    foreign = sqlite3.connect(path)
    foreign.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, flds TEXT)")
    foreign.close()
    refused(path, r"\(it is a database of another program\)")


def test_tables_without_a_version(path, full):
    foreign = sqlite3.connect(path)
    foreign.execute("PRAGMA user_version = 0")
    foreign.close()
    refused(path, r"\(its tables bear no version\)")


@pytest.mark.parametrize("missing", [True, False], ids=["missing", "empty"])
def test_a_write_ahead_log_that_lost_its_file(path, missing):
    """Starting afresh would make SQLite throw away what is only in there."""
    path.parent.mkdir()
    path.with_name("reviews.db-wal").write_bytes(b"answers" * 999)
    if not missing:
        path.write_bytes(b"")
    refused(path, r"\(it is gone or empty, yet reviews\.db-wal beside it holds 6,993 B of it\)")


def test_an_empty_file_becomes_a_log(path, answer):
    path.parent.mkdir()
    path.write_bytes(b"")
    with ReviewLog.open(path) as log:
        log.append(answer())
    with ReviewLog.open(path, create=False) as log:
        assert len(log.events()) == 1


def test_an_empty_file_stays_empty_when_only_read(path):
    path.parent.mkdir()
    path.write_bytes(b"")
    with ReviewLog.open(path, create=False) as log:
        assert log.states() == {}
    assert path.read_bytes() == b""
