"""What a crash, a second process, a full disk or a read-only folder do to the log."""

import os
import shutil
import signal
import stat
import subprocess

import pytest

from llmprep.errors import UserError
from llmprep.store.log import ReviewLog

ENDLESS = """
with ReviewLog.open(path) as log:
    for n in range(100_000):
        print(log.append(answer(n, card=f"card {n % 7}")).id, flush=True)
"""


@pytest.mark.parametrize("answers", [1, 40, 300])
def test_kill_9_loses_at_most_the_answer_in_flight(path, start, answers):
    child = start(ENDLESS, path)
    said = [child.stdout.readline().strip() for _ in range(answers)]
    child.send_signal(signal.SIGKILL)
    rest, _ = child.communicate()
    whole_lines = rest.split("\n")[:-1]
    said += whole_lines
    with ReviewLog.open(path) as log:
        kept = [event.id for event in log.events()]
        assert kept[: len(said)] == said
        assert len(kept) - len(said) <= 1
        table = log.states()
        log.rebuild()
        assert log.states() == table


TWENTY_FIVE = """
name, reopen = arguments
input_log = ReviewLog.open(path)
for n in range(25):
    if reopen == "reopen":
        input_log.close()
        input_log = ReviewLog.open(path)
    print(input_log.append(answer(n, card=f"card {n % 3}")).id)
input_log.close()
"""


@pytest.mark.parametrize("way", ["keep open", "reopen"])
def test_processes_writing_at_once_lose_nothing(path, start, way):
    """They also create the file at once, since none is there at first."""
    children = [start(TWENTY_FIVE, path, name, way) for name in "abcd"]
    said = []
    for child in children:
        out, err = child.communicate(timeout=120)
        assert child.returncode == 0, err
        said += out.split()
    with ReviewLog.open(path) as log:
        events = log.events()
        assert sorted(event.id for event in events) == sorted(said)
        assert len(said) == 100
        assert sorted(event.seq for event in events) == list(range(1, 101))
        assert len({event.device for event in events}) == 1
        table = log.states()
        log.rebuild()
        assert log.states() == table


FULL = """
import resource
with ReviewLog.open(path) as log:
    print(log.append(answer(0)).id)
    size = max(file.stat().st_size for file in path.parent.iterdir())
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 9_000, resource.RLIM_INFINITY))
    n = 0
    try:
        while True:
            n += 1
            print(log.append(answer(n)).id)
    except UserError as error:
        print("refused", error)
    try:
        log.probe(datetime(2026, 8, 1, tzinfo=UTC))
    except UserError as error:
        print("probe refused", error)
    print("still readable", len(log.events()))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(log.append(answer(n)).id)
"""


def test_a_write_that_fails_is_said_and_loses_nothing_before_it(path, run):
    """A limit on the size of files stands in for the full disk: the same write fails in the same place."""
    lines = run(FULL, path).splitlines()
    ids = [line for line in lines if len(line) == 32]
    assert any(line.startswith(f"refused cannot use the review log {path}: ") for line in lines)
    assert any(line.startswith(f"probe refused cannot use the review log {path}: ") for line in lines)
    assert f"still readable {len(ids) - 1}" in lines
    with ReviewLog.open(path) as log:
        assert [event.id for event in log.events()] == ids


NO_ROOM_AT_ALL = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
try:
    with ReviewLog.open(path) as log:
        log.probe(datetime(2026, 8, 1, tzinfo=UTC))
except UserError as error:
    print(error)
"""


def test_no_room_is_found_before_the_first_card(path, run):
    assert str(path) in run(NO_ROOM_AT_ALL, path)
    with ReviewLog.open(path) as log:  # what was left behind does no harm
        assert log.events() == []


def test_no_room_in_an_existing_log(path, run, answer):
    with ReviewLog.open(path) as log:
        log.append(answer())
    assert str(path) in run(NO_ROOM_AT_ALL, path)
    with ReviewLog.open(path) as log:
        assert len(log.events()) == 1


@pytest.fixture
def disk(tmp_path):
    """A real disk of 256 KiB, where mounting one is allowed."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("only root can mount a small disk")
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(log, answer):
    """Answers until one is refused; their ids, and the sentence of the refusal."""
    kept = []
    while True:
        try:
            kept.append(log.append(answer(minute=len(kept))).id)
        except UserError as error:
            return kept, str(error)


def test_a_disk_that_is_really_full(disk, answer):
    path = disk / "reviews.db"
    with ReviewLog.open(path) as log:
        kept, refusal = fill(log, answer)
        assert refusal.startswith(f"cannot use the review log {path}: ")
        assert refusal.endswith("full; free some space, then start again")
        with pytest.raises(UserError, match="free some space"):
            log.probe(answer().at)
    assert len(kept) > 5
    with ReviewLog.open(path) as log:
        assert [event.id for event in log.events()] == kept


def test_a_disk_mounted_read_only(disk, answer):
    path = disk / "reviews.db"
    with ReviewLog.open(path) as log:
        log.append(answer())
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    refused_everywhere(path, answer)


def refused_everywhere(path, answer):
    with pytest.raises(UserError, match="writable"):
        open_and_probe(path, answer)
    with pytest.raises(UserError, match="writable"):
        ReviewLog.open(path.parent / "new.db")


def open_and_probe(path, answer):
    with ReviewLog.open(path) as log:
        log.probe(answer().at)


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "data").write_text("not a folder")
    with pytest.raises(UserError, match=r"cannot use the review log .*reviews\.db"):
        ReviewLog.open(tmp_path / "data" / "reviews.db")


def test_a_folder_where_the_file_should_be(path):
    path.mkdir(parents=True)
    with pytest.raises(UserError, match=r"cannot use the review log .*[Ii]s a directory"):
        ReviewLog.open(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(path, answer):
    with ReviewLog.open(path) as log:
        log.append(answer())
    path.parent.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        refused_everywhere(path, answer)
    finally:
        path.parent.chmod(stat.S_IRWXU)


HOLD = """
import sqlite3, time
holder = sqlite3.connect(path, isolation_level=None)
holder.execute("BEGIN IMMEDIATE")
print("held", flush=True)
time.sleep(float(arguments[0]))
holder.execute("COMMIT")
holder.close()
"""


def test_a_log_that_stays_locked(path, start, answer, monkeypatch):
    monkeypatch.setattr("llmprep.store.database.BUSY_SECONDS", 0.2)
    with ReviewLog.open(path) as log:
        child = start(HOLD, path, 60)
        assert child.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="database is locked; another program holds it"):
            log.append(answer())
        assert log.events() == []
        child.kill()
        child.wait()
        assert log.append(answer()).seq == 1


def test_a_log_that_another_process_is_just_creating(path, start, answer):
    """SQLite refuses to switch to write-ahead logging at that moment, without waiting; the log waits."""
    path.parent.mkdir()
    child = start(HOLD, path, 0.5)
    assert child.stdout.readline() == "held\n"
    with ReviewLog.open(path) as log:
        assert log._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert log.append(answer()).seq == 1


def test_an_interrupted_append_leaves_the_log_usable(log, answer, monkeypatch):
    def interrupt(_state, _event):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("llmprep.store.log.step", interrupt)
        with pytest.raises(KeyboardInterrupt):
            log.append(answer())
    assert log.events() == []
    assert log.append(answer()).seq == 1
