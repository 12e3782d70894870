"""Events to append, a log in a fresh folder, and scripts that run in a process of their own."""

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import HealthCheck, settings

from llmprep.srs.event import Event
from llmprep.store.log import ReviewLog

settings.register_profile("llmprep", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("llmprep")

DAY = date(2026, 8, 1)
NOW = datetime(2026, 8, 1, 9, 30, 0, 123_000, tzinfo=UTC)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "reviews.db"


@pytest.fixture
def log(path):
    with ReviewLog.open(path) as log:
        yield log


@pytest.fixture
def answer():
    """`answer("kv-cache", 4, day=1)`: a graded answer, so many days after 1 August 2026."""

    def make(card="kv-cache", grade=4, day=0, minute=0, kind="answer", **fields):
        at = NOW + timedelta(days=day, minutes=minute)
        fields = {"way": "whole", "points": ("a",), "asked": ("a", "b"), "seconds": 12.5} | fields
        return Event(kind, DAY + timedelta(days=day), at, card=card, grade=grade, **fields)

    return make


SCRIPT_HEAD = """
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from llmprep.errors import UserError
from llmprep.srs.event import Event
from llmprep.store.log import ReviewLog
path, arguments = Path(sys.argv[1]), sys.argv[2:]
def answer(n, card="kv-cache"):
    at = datetime(2026, 8, 1, tzinfo=UTC) + timedelta(seconds=n)
    return Event("answer", date(2026, 8, 1), at, card=card, grade=4)
"""


@pytest.fixture
def start():
    """`start(script, path, …)`: a child process with the names above; killed at the end of the test if need be."""
    children = []

    def launch(script, *arguments):
        command = [sys.executable, "-W", "error", "-c", SCRIPT_HEAD + script, *map(str, arguments)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        children.append(child)
        return child

    yield launch
    for child in children:
        child.kill()
        child.communicate()


@pytest.fixture
def run(start):
    """Like `start`, to the end: what the script printed, or a failure that shows its traceback."""

    def to_the_end(script, *arguments):
        child = start(script, *arguments)
        out, err = child.communicate(timeout=60)
        assert child.returncode == 0, err
        return out

    return to_the_end
