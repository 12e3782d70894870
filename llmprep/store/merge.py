"""What another log has that this one lacks; the other file is only read."""

import sqlite3
from collections.abc import Container
from contextlib import closing
from pathlib import Path

from llmprep.errors import UserError
from llmprep.store.database import read_only, user_errors
from llmprep.store.inspection import check
from llmprep.store.migrations import migrate
from llmprep.store.rows import EVENT_COLUMNS, Row, event_of, event_row


def new_rows(path: Path, known: Container[str]) -> list[Row]:
    """The events of the file whose ids are not known here, as rows. An older version is brought up to date in memory.

    Each is read and written again, so that nothing that cannot be folded gets in. They come sorted by id, which is
    how the table is stored: a large merge is several times faster that way.
    """
    with user_errors(path), closing(sqlite3.connect(":memory:", isolation_level=None)) as copy:
        if check(path):
            with closing(read_only(path)) as source:
                source.backup(copy)
        elif not path.exists():
            raise UserError(f"there is no review log at {path}")
        migrate(copy)
        rows = copy.execute(f"SELECT {EVENT_COLUMNS} FROM events ORDER BY id")  # noqa: S608
        try:
            return [event_row(event_of(row)) for row in rows if row[0] not in known]
        except (ValueError, TypeError, AttributeError) as error:
            raise unmergeable(path, error) from error


def unmergeable(path: Path, cause: Exception) -> UserError:
    """The sentence for a log with a line that no version of llmprep has written."""
    return UserError(f"{path} holds an event that cannot be read ({cause}); nothing was merged")
