"""The versions of the review log, in order; `PRAGMA user_version` says which one a file has.

To add a version, append a function that changes the tables and, if the meaning of events changed, refolds the cards.
It runs inside a transaction, after the file was copied to `reviews.db.before-v2`.
"""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

from llmprep.store.database import read_only, transaction


def version_1(connection: sqlite3.Connection) -> None:
    """The first tables, and the name of this device."""
    from importlib.resources import files

    for statement in _statements(files("llmprep.store").joinpath("schema.sql").read_text(encoding="utf-8")):
        connection.execute(statement)
    connection.execute("INSERT INTO meta (key, value) VALUES ('device', ?)", (uuid4().hex,))


MIGRATIONS: list[Callable[[sqlite3.Connection], None]] = [version_1]


def known_version() -> int:
    """The newest version that this program can read."""
    return len(MIGRATIONS)


def version_of(connection: sqlite3.Connection) -> int:
    """The version of a file; 0 before its tables exist."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def migrate(connection: sqlite3.Connection, path: Path | None = None) -> None:
    """Bring a file to the known version, one transaction a step, with a copy before each change of existing tables.

    Two processes may open an old file at once: the version is read again once the other has let go of the lock.
    """
    while version_of(connection) < known_version():
        with transaction(connection):
            version = version_of(connection)
            if version < known_version():
                if version > 0 and path is not None:
                    _keep_copy(path, path.with_name(f"{path.name}.before-v{version + 1}"))
                MIGRATIONS[version](connection)
                connection.execute(f"PRAGMA user_version = {version + 1}")


def _keep_copy(path: Path, copy: Path) -> None:
    """Copy the last committed state, write-ahead log included, while the caller holds the write lock."""
    unfinished = copy.with_name(copy.name + ".unfinished")
    unfinished.unlink(missing_ok=True)
    source, target = read_only(path), sqlite3.connect(unfinished)
    try:
        source.backup(target)
    finally:
        source.close()
        target.close()
    unfinished.replace(copy)


def _statements(script: str) -> Iterator[str]:
    """The statements of a script one by one, since `executescript` would commit the transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
