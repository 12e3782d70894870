"""Opening a SQLite file with care, and saying in a sentence what went wrong."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from llmprep.errors import UserError

BUSY_SECONDS = 10.0
MAGIC = b"SQLite format 3\x00"

ADVICE = {
    sqlite3.SQLITE_FULL: "free some space, then start again",
    sqlite3.SQLITE_IOERR: "is the disk full, or gone?",
    sqlite3.SQLITE_READONLY: "make the file and its folder writable",
    sqlite3.SQLITE_CANTOPEN: "check that its folder exists and is writable",
    sqlite3.SQLITE_BUSY: "another program holds it; close that one, then start again",
}


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing, holding the write lock from the start; durable once the block has been left."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # a full disk has already rolled it back
            connection.execute("ROLLBACK")
        raise


@contextmanager
def user_errors(path: Path) -> Iterator[None]:
    """What the file system or SQLite refuses becomes a UserError that names the file, the cause and what to do."""
    try:
        yield
    except sqlite3.IntegrityError:
        raise  # a defect of the program, not of the file
    except sqlite3.DatabaseError as error:
        raise explained(path, error) from error
    except OSError as error:
        raise UserError(f"cannot use the review log {path}: {error.strerror} ({error.filename})") from error


def explained(path: Path, error: sqlite3.Error) -> UserError:
    """The sentence for an error of SQLite."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return unreadable(path, str(error))
    advice = f"; {ADVICE[code]}" if code in ADVICE else ""
    return UserError(f"cannot use the review log {path}: {error}{advice}")


def unreadable(path: Path, cause: str) -> UserError:
    """The sentence for a file that is damaged or is something else."""
    return UserError(
        f"{path} is not a readable review log ({cause}). It is left as it is: "
        "move it away or restore a copy, then start again."
    )


def connect(path: Path) -> sqlite3.Connection:
    """A connection for reading and writing, each commit on disk before it returns; the file is created if absent."""
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        _use_wal(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cache_size = -65536")  # KiB, at most: a merge touches pages all over the file
    except BaseException:
        connection.close()
        raise
    return connection


def read_only(path: Path) -> sqlite3.Connection:
    """A connection that changes no byte and leaves no file behind.

    Without a write-ahead log beside it the file is complete in itself, and `immutable` also keeps SQLite from
    creating one (as it would even for reading).
    """
    mode = "mode=ro" if wal_size(path) else "mode=ro&immutable=1"
    return sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, timeout=BUSY_SECONDS, isolation_level=None)


def wal_size(path: Path) -> int:
    """Bytes in the write-ahead log beside the file: what is committed and not yet in the file itself."""
    real = path.resolve()  # SQLite puts it beside the file that a link leads to
    wal = real.with_name(real.name + "-wal")
    try:
        return wal.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return 0


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to write-ahead logging. The file remembers it; only its creation can meet another process here.

    SQLite reports that meeting at once instead of waiting, so wait by taking the write lock, then ask again.
    """
    for attempt in range(20):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or attempt == 19:
                raise
            with transaction(connection):
                pass
        else:
            return
