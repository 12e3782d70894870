"""The index of a bank: SQLite in the cache folder, refreshed by file times.

It serves the quiz, lists and search, so that a daily quiz parses no YAML and imports no pydantic.
"""

import json
import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from llmprep import __version__, content
from llmprep.content import Text
from llmprep.errors import UserError, did_you_mean

if TYPE_CHECKING:  # at run time only where needed: a start that finds the index up to date parses nothing
    from llmprep.bank.load import Problem
    from llmprep.bank.types import Question

FORMAT = 3  # raise it when the tables below change
MANY = 2_000  # files, from which on a quick start no longer asks for the time of each

Files = dict[str, tuple[int, int]]  # path: time in ns, size

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE file (path TEXT PRIMARY KEY, mtime INTEGER, size INTEGER, problems TEXT);
CREATE TABLE question (
  id TEXT, path TEXT, cluster INTEGER, level TEXT, asked INTEGER, rank INTEGER,
  prompt_en TEXT, prompt_zh TEXT, needs TEXT, claims INTEGER, demos TEXT, doc TEXT);
CREATE INDEX question_rank ON question (rank, id, cluster);
CREATE INDEX question_id ON question (id, cluster, rank);
CREATE INDEX file_problems ON file (path) WHERE problems != '[]';
CREATE VIRTUAL TABLE words USING fts5 (id UNINDEXED, title, terms, body, tokenize = 'porter unicode61');
"""


class Entry(NamedTuple):
    """A question as a list shows it."""

    id: str
    cluster: str
    level: str
    asked: int
    prompt: Text
    n_claims: int
    demos: tuple[str, ...]


class Bank:
    """An indexed bank of questions. `name` is empty for the built-in one and begins the card keys of any other."""

    def __init__(self, folder: Path, name: str, connection: sqlite3.Connection) -> None:
        self.folder, self.name, self._db = folder, name, connection

    def close(self) -> None:
        """Close the index."""
        self._db.close()

    def key(self, question_id: str) -> str:
        """The card key of a question: its id, after the bank's name for added banks."""
        return f"{self.name}/{question_id}" if self.name else question_id

    def id_of(self, key: str) -> str | None:
        """The question id of a card key, or None for a card of another bank."""
        prefix, slash, question_id = key.rpartition("/")
        return question_id if prefix == self.name and bool(slash) == bool(self.name) else None

    def __len__(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM question").fetchone()[0])

    def ids(self, cluster: str | None = None) -> list[str]:
        """Question ids in the order in which new ones are introduced."""
        where, args = _where(cluster)
        return [row[0] for row in self._db.execute(f"SELECT id FROM question {where} ORDER BY rank", args)]  # noqa: S608

    def new_ids(self, cluster: str | None = None) -> Iterator[str]:
        """The same, one by one: a quiz looks at the first few only."""
        where, args = _where(cluster)
        for row in self._db.execute(f"SELECT id FROM question {where} ORDER BY rank", args):  # noqa: S608
            yield row[0]

    def clusters(self, ids: Iterable[str] | None = None) -> dict[str, str]:
        """The cluster of these questions (without `ids`: of all), in order of introduction, unknown ids left out."""
        names = list(content.CLUSTERS)
        if ids is None:
            rows = self._db.execute("SELECT id, cluster FROM question ORDER BY rank")
        else:
            rows = self._db.execute(
                "SELECT id, cluster FROM question WHERE id IN (SELECT value FROM json_each(?)) ORDER BY rank",
                [json.dumps(list(ids))],
            )
        return {row[0]: names[row[1] - 1] for row in rows}

    def entries(self, cluster: str | None = None) -> list[Entry]:
        """Every question as a list shows it, by cluster, then most asked first."""
        where, args = _where(cluster)
        return self._entries(f"SELECT {_ENTRY} FROM question {where} ORDER BY cluster, asked DESC, id", args)  # noqa: S608

    def search(self, words: str, limit: int = 20) -> list[Entry]:
        """Questions that hold all the words, best first; English or Chinese."""
        from llmprep.bank import search

        expression = search.match_expression(words)
        if not expression:
            return []
        sql = (
            f"SELECT {_ENTRY} FROM words JOIN question USING (id) WHERE words MATCH ? "  # noqa: S608
            "ORDER BY bm25(words, 0, 10, 5, 1), asked DESC LIMIT ?"
        )
        return self._entries(sql, [expression, limit])

    def question(self, question_id: str) -> "Question":
        """One question; raises UserError with a suggestion for an unknown id."""
        row = self._row(question_id)
        if row and row[2] != _mtime(row[1]):
            self.refresh()
            row = self._row(question_id) or row  # broken by now: as it was
        if row is None:
            hint = did_you_mean(question_id, self.ids())
            raise UserError(f"no question called {question_id!r}{hint} (llmprep list shows all)")
        return _question(row[0])

    def _row(self, question_id: str) -> tuple[str, str, int] | None:
        sql = "SELECT doc, path, mtime FROM question JOIN file USING (path) WHERE id = ?"
        row: tuple[str, str, int] | None = self._db.execute(sql, [question_id]).fetchone()
        return row

    def refresh(self) -> None:
        """Look at every file, which a quick start does not; whatever is in the way, the index stays as it was."""
        with suppress(OSError, sqlite3.Error):
            _refresh(self._db, self.folder, quick=False)

    def questions(self, cluster: str | None = None) -> "Iterator[Question]":
        """Every question in full, by cluster, then most asked first."""
        where, args = _where(cluster)
        sql = f"SELECT doc FROM question {where} ORDER BY cluster, asked DESC, id"  # noqa: S608
        for (doc,) in self._db.execute(sql, args).fetchall():
            yield _question(doc)

    def problems(self) -> "list[Problem]":
        """What is wrong with the files that could not be used."""
        rows = self._db.execute("SELECT problems FROM file WHERE problems != '[]' ORDER BY path").fetchall()
        if not rows:
            return []
        from llmprep.bank.load import Problem

        return [Problem(**p) for (text,) in rows for p in json.loads(text)]

    def _entries(self, sql: str, args: Sequence[Any]) -> list[Entry]:
        names = list(content.CLUSTERS)
        return [
            Entry(r[0], names[r[1] - 1], r[2], r[3], Text(r[4], r[5]), r[6], tuple(json.loads(r[7])))
            for r in self._db.execute(sql, args)
        ]


def _question(doc: str) -> "Question":
    from llmprep.bank.types import Question, from_plain

    found: Question = from_plain(Question, json.loads(doc))
    return found


_ENTRY = "question.id, cluster, level, asked, prompt_en, prompt_zh, claims, demos"


def _where(cluster: str | None) -> tuple[str, list[int]]:
    return ("WHERE cluster = ?", [content.CLUSTERS[cluster].number]) if cluster else ("", [])


def open_bank(folder: Path, cache_dir: Path, *, quick: bool = False) -> Bank:
    """The index of the bank in `folder`, brought up to date. Raises UserError if there is no such folder.

    With `quick`, of a large bank only the folders are looked at, which tells of new, removed and replaced files; one
    that was edited in place is noticed when its question is asked for, or by `Bank.refresh`.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; --bank takes a folder of question files (*.yaml)")
    folder = folder.resolve()
    stamp = f"{FORMAT} {__version__} {folder}"
    path = cache_dir / f"bank-{zlib.crc32(stamp.encode()):08x}.db"  # hashlib would load OpenSSL
    connection = _cached(path, folder, quick=quick) or _opened(Path(":memory:"), folder, quick=quick)
    return Bank(folder, "" if folder == content.questions_dir() else folder.name, connection)


def _cached(path: Path, folder: Path, *, quick: bool) -> sqlite3.Connection | None:
    """The index in a file, made anew if damaged; None where none can be kept, which costs time and nothing else."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return _opened(path, folder, quick=quick)
        except sqlite3.OperationalError:
            return None
        except sqlite3.DatabaseError:
            path.unlink()
            return _opened(path, folder, quick=quick)
    except (OSError, sqlite3.Error):
        return None


def _opened(path: Path, folder: Path, *, quick: bool) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=30, isolation_level=None)
    try:
        _refresh(connection, folder, quick=quick)
    except BaseException:
        connection.close()
        raise
    return connection


def _refresh(connection: sqlite3.Connection, folder: Path, *, quick: bool) -> None:
    """Bring the index up to date, in one transaction."""
    try:
        known = json.loads(connection.execute("SELECT value FROM meta WHERE key = 'folders'").fetchone()[0])
        if quick and known and all(_mtime(path) == mtime for path, mtime in known.items()):
            return
        files, folders = _scan(folder)
        if folders == known and files == _known_files(connection):
            return
    except sqlite3.OperationalError:  # no tables yet
        files, folders = _scan(folder)
    with connection:
        _update(connection, files, folders)


def _known_files(connection: sqlite3.Connection) -> Files:
    return {path: (mtime, size) for path, mtime, size in connection.execute("SELECT path, mtime, size FROM file")}


def _mtime(path: str) -> int:
    """The time of a file or folder in ns, 0 if it is gone."""
    try:
        return Path(path).stat().st_mtime_ns
    except OSError:
        return 0


def _scan(folder: Path) -> tuple[Files, dict[str, int]]:
    """The question files, and the folders of a large bank with their times; one scandir each: this is often done.

    The time of a folder is taken before the look into it: a file that comes meanwhile is found the next time.
    """
    files: Files = {}
    folders: dict[str, int] = {}
    todo = [str(folder)]
    for where in todo:
        folders[where] = _mtime(where)
        with os.scandir(where) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith("."):
                    continue  # an editor's lock file, a folder of git
                if name.endswith((".yaml", ".yml")):
                    if entry.is_file():
                        status = entry.stat()
                        files[entry.path] = (status.st_mtime_ns, status.st_size)
                elif name != "evidence" and entry.is_dir(follow_symlinks=False):
                    todo.append(entry.path)
    return files, folders if len(files) >= MANY else {}


def _update(connection: sqlite3.Connection, files: Files, folders: dict[str, int]) -> None:
    """Read what has changed since the last time."""
    from llmprep.srs.queue import introduction_order

    connection.execute("BEGIN IMMEDIATE")
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'question'").fetchone():
        for statement in _SCHEMA.split(";\n"):
            connection.execute(statement)
    # a file with a problem is read again: the problem may be the other file of two with one id
    connection.execute("DELETE FROM file WHERE problems != '[]'")
    known = _known_files(connection)
    changed = [path for path in known if files.get(path) != known[path]]
    connection.executemany(
        "DELETE FROM words WHERE id IN (SELECT id FROM question WHERE path = ?)", [(path,) for path in changed]
    )
    connection.executemany("DELETE FROM question WHERE path = ?", [(path,) for path in changed])
    connection.executemany("DELETE FROM file WHERE path = ?", [(path,) for path in changed])
    for path in sorted(files):
        if known.get(path) != files[path]:
            _add(connection, path, files[path])
    rows = connection.execute("SELECT id, asked, needs FROM question ORDER BY cluster, id").fetchall()
    order = introduction_order([(row[0], row[1], json.loads(row[2])) for row in rows])
    ranks = list(enumerate(order))
    connection.executemany("UPDATE question SET rank = ?1 WHERE id = ?2 AND rank != ?1", ranks)
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('folders', ?)", [json.dumps(folders)])


def _add(connection: sqlite3.Connection, path: str, stat: tuple[int, int]) -> None:
    from llmprep.bank.load import Loaded, load_file

    loaded = load_file(Path(path))
    problems: Iterable[Problem] = loaded if isinstance(loaded, list) else ()
    if isinstance(loaded, Loaded):
        other = connection.execute("SELECT path FROM question WHERE id = ?", [loaded.question.id]).fetchone()
        if other:
            problems = [loaded.problem(("id",), f"{loaded.question.id!r} is also the id of {other[0]}", "rename one")]
        else:
            _add_question(connection, loaded.question, path)
    text = json.dumps([asdict(p) for p in problems], ensure_ascii=False)
    connection.execute("INSERT INTO file VALUES (?, ?, ?, ?)", [path, *stat, text])


def _add_question(connection: sqlite3.Connection, q: "Question", path: str) -> None:
    from llmprep.bank import search

    doc = asdict(q)
    texts = [*q.answer.what, *q.answer.why, *q.answer.how]
    texts += [t for point in q.key_points for t in (*point.say, *point.ask)]
    texts += [t for pitfall in q.pitfalls for t in (*pitfall.wrong, *pitfall.right)]
    terms = " ".join([q.id.replace("-", " "), *q.tags, *(t for term in q.terms for t in term)])
    row = [q.id, path, content.CLUSTERS[q.cluster].number, q.level, q.asked, 0, *q.prompt]
    row += [json.dumps(q.needs), len(q.claims), json.dumps(q.demos), json.dumps(doc, ensure_ascii=False)]
    connection.execute(f"INSERT INTO question VALUES ({','.join('?' * len(row))})", row)  # noqa: S608
    words = [search.split(" ".join(q.prompt)), search.split(terms), search.split(" ".join(texts))]
    connection.execute("INSERT INTO words VALUES (?, ?, ?, ?)", [q.id, *words])
