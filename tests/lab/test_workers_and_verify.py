import json
import os
import signal
import subprocess
import sys

import pytest

from llmprep.errors import UserError
from llmprep.lab import catalog, verify, workers
from llmprep.lab.claim import Claim, Expectation
from llmprep.lab.contract import Text
from llmprep.lab.evidence import Evidence, is_current, read_book, run_from_plain, run_to_plain
from llmprep.lab.workers import Job


def claim(demo, value=4, refuted_by=None, **settings):
    return Claim(
        Text("{double}", "{double}"),
        "arithmetic",
        demo,
        {"x": 2, **settings},
        (Expectation("double", value=value),),
        refuted_by or {"x": 3},
    )


def asked(*claims):
    return [verify.Asked("q", i, c) for i, c in enumerate(claims)]


def test_a_crash_an_endless_loop_and_an_error_harm_nothing_else(demo):
    jobs = [Job(demo, {"how": how, "x": 1}) for how in ("exit", "sleep", "raise", "import", "add")]
    outcomes = {o.job.settings["how"]: o for o in workers.run_all(jobs, processes=2, time_limit=5)}
    assert outcomes["add"].run.facts["double"].measured == 2
    assert "the process died" in outcomes["exit"].error
    assert "stopped after 5 s" in outcomes["sleep"].error
    assert outcomes["raise"].error == "RuntimeError: broken on purpose"
    assert outcomes["import"].missing == "a_library_that_is_not_there"


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_ctrl_c_leaves_no_traceback_of_a_worker(demo, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from llmprep.lab import workers\n"
        "if __name__ == '__main__':\n"
        f"    jobs = [workers.Job({demo!r}, {{'how': how}}) for how in ('add', 'sleep')]\n"
        "    try:\n"
        "        for outcome in workers.run_all(jobs, processes=1): print('ready', flush=True)\n"
        "    except KeyboardInterrupt: print('stopped')\n"
    )
    process = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout.readline() == "ready\n"
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to parent and worker alike
    assert process.communicate(timeout=30) == ("stopped\n", "")


def test_a_run_survives_json(demo):
    run = workers.execute(demo, {"x": "3"})
    again = run_from_plain(json.loads(json.dumps(run_to_plain(run))))
    assert again.facts == run.facts
    assert again.params == {"x": 3, "share": 0.5, "how": "add", "loud": False}


def test_proves_refutes_and_reports_errors(demo, tmp_path):
    report = verify.verify(
        asked(claim(demo), claim(demo, value=5), claim(demo, how="raise"), claim(demo, refuted_by={"share": 0.1})),
        Evidence([tmp_path]),
    )
    assert [j.verdict.status for j in report.judged] == ["proved", "refuted", "error", "refuted"]
    assert (report.count("proved"), report.ok) == (1, False)
    plain = report.plain()
    assert plain["claims"][1]["expected"] == ["double = 5"]
    assert plain["claims"][0]["claim"] == 0
    assert plain["claims"][2]["status"] == "error"


def test_an_unknown_demo_is_an_error(tmp_path):
    (judged,) = verify.verify(asked(claim("no/such")), Evidence([tmp_path])).judged
    assert judged.verdict.status == "error"
    assert "no demo called" in judged.verdict.reason


@pytest.fixture
def own(monkeypatch, demo, tmp_path):
    """The tiny demo as if it were built in, with an empty evidence folder."""
    info = catalog.read_info("own/doubling", catalog.find(demo).path)
    monkeypatch.setattr(catalog, "find", lambda name: info)
    monkeypatch.setattr(workers, "execute", workers.execute)
    return info, tmp_path / "evidence"


def record(info, folder, *claims, **options):
    """Record in this process: a spawned one would not know the demo."""
    runs = lambda jobs, processes: (workers.Outcome(j, _run(info, j)) for j in jobs)  # noqa: E731
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "run_all", runs)
        return verify.verify(asked(*claims), Evidence([folder]), record_in=folder, **options)


def _run(info, job):
    import dataclasses

    from llmprep.lab import overrides
    from llmprep.lab.evidence import Run

    loaded = catalog.Demo(info, *(getattr(catalog._import(info), name) for name in ("Params", "run")))
    params = overrides.make_params(loaded.Params, job.settings, "x")
    return Run(dataclasses.asdict(params), loaded.run(params), 0.1)


def test_stored_evidence_is_used_until_the_demo_changes(own):
    info, folder = own
    first = record(info, folder, claim("own/doubling"))
    assert (first.runs, len(first.written)) == (2, 1)
    second = record(info, folder, claim("own/doubling"))
    assert (second.runs, len(second.written)) == (0, 0)
    book = read_book(first.written[0])
    assert sorted(book.runs) == ["", "x=3"]
    assert is_current(book, info)
    info.path.write_text(info.path.read_text() + "# changed\n")
    from llmprep.lab import evidence

    evidence.source_hash.cache_clear()
    assert not is_current(book, info)
    assert record(info, folder, claim("own/doubling")).runs == 2


def test_recording_again_keeps_the_lines_of_unchanged_results(own):
    info, folder = own
    (path,) = record(info, folder, claim("own/doubling")).written
    before = path.read_text()
    assert record(info, folder, claim("own/doubling"), fresh=True).written == []
    assert path.read_text() == before


def test_pruning_drops_what_nobody_asks_for(own):
    info, folder = own
    (path,) = record(info, folder, claim("own/doubling", x=7)).written
    record(info, folder, claim("own/doubling"))
    assert sorted(read_book(path).runs) == ["", "x=3", "x=7"]
    record(info, folder, claim("own/doubling"), prune=True)
    assert sorted(read_book(path).runs) == ["", "x=3"]


def test_a_drill_that_cannot_be_measured_is_said(own):
    _, folder = own

    def failing(jobs, processes):
        return (workers.Outcome(j, None, "broken") for j in jobs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "run_all", failing)
        with pytest.raises(UserError, match="could not measure a drill"):
            verify.verify([], Evidence([folder]), record_in=folder, also_record=[Job("own/doubling", {"x": 9})])


def test_damaged_evidence_says_how_to_mend_it(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('{"source": 1')
    with pytest.raises(UserError, match=r"damaged evidence.*verify --record"):
        read_book(path)


def test_every_setting_of_a_drill():
    assert verify.variations({"a": 1}, {"b": [1, 2], "c": ["x"]}) == [
        {"a": 1, "b": 1, "c": "x"},
        {"a": 1, "b": 2, "c": "x"},
    ]


@pytest.mark.parametrize(
    ("demo", "reads"),
    [
        ("architecture/multi_head", False),
        ("inference/kv_cache", True),  # itself
        ("inference/serving_cost", True),
        ("training/zero_stages", False),
    ],
)
def test_tables_count_only_for_demos_that_can_read_them(tmp_path, monkeypatch, demo, reads):
    from llmprep.lab import evidence

    table = tmp_path / "table.json"
    monkeypatch.setattr(evidence, "_data_files", lambda: [table])
    found = set()
    for text in ("[1]", "[2]"):
        table.write_text(text)
        evidence.source_hash.cache_clear()
        found.add(evidence.source_hash(catalog.find(demo)))
    evidence.source_hash.cache_clear()
    assert len(found) == 1 + reads
