"""A bank of drafts, a log, and a session over them."""

from datetime import UTC, date, datetime

import pytest

from llmprep.bank.index import open_bank
from llmprep.store.log import ReviewLog
from llmprep.study.session import Session
from llmprep.study.today import queue

TODAY = date(2026, 11, 21)
NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


@pytest.fixture
def bank(tmp_path):
    folder = tmp_path / "drafts"
    folder.mkdir()
    for i, name in enumerate("abcd"):
        (folder / f"{name}.yaml").write_text(
            f"id: {name}\ncluster: {'training' if name == 'd' else 'inference'}\nprompt: Question {name}?\n"
            f"answer: Answer {name}.\nasked: {9 - i}\nkey_points:\n"
            "  - {id: one, must: true, say: first}\n  - {id: two, say: second}\n",
            encoding="utf-8",
        )
    opened = open_bank(folder, tmp_path / "cache")
    yield opened
    opened.close()


@pytest.fixture
def log(tmp_path):
    with ReviewLog.open(tmp_path / "reviews.db") as opened:
        yield opened


@pytest.fixture
def session(bank, log):
    """`session(day=TODAY, **options)`: today's session."""

    def start(day=TODAY, **options):
        return Session(bank, log, day, queue(bank, log, day, **options))

    return start
