"""Bad input: one line on stderr that names the way out, exit code 2, no traceback, nothing lost."""

import shutil
import subprocess
import sys

import pytest

ERRORS = [
    (["quizz"], "did you mean 'quiz'"),
    (["quiz", "--clutser", "x"], "--cluster"),
    (["quiz", "--cluster", "inferense"], "did you mean 'inference'"),
    (["quiz", "--new", "-1"], "--new"),
    (["quiz", "--new", "many"], "--new"),
    (["quiz", "--limit", "0"], "--limit"),
    (["quiz", "--minutes", "0"], "--minutes"),
    (["quiz", "--lang", "fr"], "en, zh, both"),
    (["quiz", "alhpa"], "did you mean 'alpha'"),
    (["--lang", "klingon", "list"], "en, zh, both"),
    (["show", "kv-cahe"], "did you mean 'kv-cache'"),
    (["show"], "ID"),
    (["search"], "WORDS"),
    (["list", "--cluster", "nothing"], "no such cluster"),
    (["demo", "run", "kv_cahe"], "did you mean 'kv_cache'"),
    (["demo", "run", "kv_cache", "--set", "seq_len"], "NAME=VALUE"),
    (["demo", "run", "kv_cache", "--set", "seq_length=1"], "did you mean 'seq_len'"),
    (["demo", "run", "kv_cache", "--set", "seq_len=long"], "expected a whole number"),
    (["demo", "run", "kv_cache", "--set", "seq_len=0"], "must be"),
    (["demo", "run", "kv_cache", "--set", "model=gpt-9"], "unknown model"),
    (["demo", "run", "kv_cache", "--set", "n_kv_heads=7"], "divide"),
    (["demo", "run", "kv_cache", "--plot", "x.gif"], ".svg, .png, .pdf"),
    (["demo", "run", "kv_cache", "--plot", "/no/such/folder/x.svg"], "no folder"),
    (["demo", "show", "nothing"], "no demo called"),
    (["--bank", "/no/such/bank", "demo", "run", "kv_cache"], "no such folder"),
    (["verify", "--question", "kv"], "no question called"),
    (["verify", "--jobs", "0"], "--jobs"),
    (["export", "anki", "cards.txt"], ".apkg"),
    (["export", "csv", "/no/such/folder/x.csv"], "no folder"),
    (["export", "anky", "x.apkg"], "anki"),
    (["bank", "check", "/no/such/bank"], "no such file or folder"),
    (["undo"], "no answer to take back"),
    (["stats", "--jsno"], "--json"),
]


@pytest.mark.parametrize(("arguments", "says"), ERRORS, ids=[" ".join(a) for a, _ in ERRORS])
def test_one_line_that_names_the_way_out(run, arguments, says):
    if arguments[:2] == ["demo", "run"] and "--set" in arguments and "seq_len" not in arguments:
        pytest.importorskip("torch")
    done = run(*arguments)
    assert done.returncode == 2
    assert says.lower() in done.stderr.lower()
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


@pytest.mark.parametrize("now", ["yesterday", "2026-13-01", "12"])
def test_nonsense_times(run, now):
    done = run(LLMPREP_NOW=now)
    assert done.returncode == 2
    assert "LLMPREP_NOW" in done.stderr


HOSTILE = {
    "tag": "id: bad\ncluster: inference\nprompt: !!python/object/apply:os.system ['touch owned']\nanswer: x\n",
    "bomb": "a: &a [x,x,x]\nb: &b [*a,*a,*a]\nc: &c [*b,*b,*b]\nd: [*c,*c,*c]\n",
    "type": "id: bad\ncluster: [1]\nprompt: {en: 3}\nanswer: 7\n",
    "list": "- 1\n",
    "broken": "id: [\n",
    "missing": "id: bad\n",
    "unknown": "id: bad\ncluster: inference\nprompt: x?\nanswer: y\nanswr: z\n",
    "empty": "",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_reported_and_the_rest_of_the_bank_works(run, small_bank, text):
    (small_bank / "bad.yaml").write_text(text, encoding="utf-8")
    checked = run("bank", "check")
    assert checked.returncode == 2
    assert "bad.yaml:" in checked.stderr
    assert "Traceback" not in checked.stderr
    listed = run("list")
    assert (listed.returncode, "alpha" in listed.stdout, "bad.yaml" in listed.stderr) == (0, True, True)
    assert not (small_bank / "owned").exists()


@pytest.mark.parametrize(
    "data",
    ["id: bad\nprompt: 缓存\n".encode("gbk"), b"a: " + b"x" * 10_000_000, b"\x00\x01\x02"],
    ids=["gbk", "10 MB", "binary"],
)
def test_files_that_are_no_text(run, small_bank, data):
    (small_bank / "bad.yaml").write_bytes(data)
    checked = run("bank", "check", str(small_bank))
    assert checked.returncode == 2
    assert "bad.yaml:" in checked.stderr


def test_duplicate_ids_name_both_files(run, small_bank):
    (small_bank / "more").mkdir()
    shutil.copy(small_bank / "alpha.yaml", small_bank / "more")
    checked = run("bank", "check")
    assert checked.returncode == 2
    assert "is also the id of" in checked.stderr


def test_one_file_can_be_checked(run, small_bank):
    (small_bank / "bad.yaml").write_text("id: [\n", encoding="utf-8")
    assert run("bank", "check", str(small_bank / "alpha.yaml")).returncode == 0
    assert run("bank", "check", str(small_bank / "bad.yaml")).returncode == 2


DAMAGE = {
    "text": b"this is not a database, and longer than one hundred bytes " * 4,
    "half": b"SQLite format 3\0" + b"x" * 99,
}


@pytest.mark.parametrize("data", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("command", [["quiz"], [], ["stats"], ["undo"]], ids=" ".join)
def test_a_damaged_log_is_left_untouched(run, log_path, data, command):
    log_path.parent.mkdir(parents=True)
    log_path.write_bytes(data)
    done = run(*command, stdin="x\n")
    assert done.returncode == 2
    assert str(log_path) in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert log_path.read_bytes() == data


def test_a_log_from_the_future_is_left_untouched(run, log_path):
    import sqlite3

    run("quiz", "alpha", stdin="\n5\n")
    db = sqlite3.connect(log_path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    before = log_path.read_bytes()
    done = run("quiz", stdin="x\n")
    assert done.returncode == 2
    assert "newer llmprep" in done.stderr
    assert log_path.read_bytes() == before


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")
def test_a_full_disk_is_said_before_the_first_card(small_bank, log_path, home):
    """A limit on the size of written files stands in for a full disk."""
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from llmprep.cli import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))\n"
        f"sys.argv = ['llmprep', '--bank', {str(small_bank)!r}, 'quiz']\nmain.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], input="x\n", capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "What" not in done.stdout
    assert len(done.stderr.splitlines()) == 1


def test_an_unwritable_output_leaves_what_was_there(run, tmp_path):
    target = tmp_path / "folder.csv"
    target.mkdir()
    done = run("export", "csv", str(target), "--force")
    assert done.returncode == 2
    assert "folder" in done.stderr
    assert target.is_dir()
