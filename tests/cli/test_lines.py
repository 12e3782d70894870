"""The command line as a script uses it: lines in, text out."""

import json
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest


def answers(log_path):
    db = sqlite3.connect(log_path)
    rows = db.execute("SELECT card, grade FROM events WHERE kind = 'answer' ORDER BY seq").fetchall()
    db.close()
    return rows


def test_first_day_gives_three_commands(run):
    done = run(bank=None)
    assert done.returncode == 0
    assert all(c in done.stdout for c in ("llmprep quiz", "llmprep show ", "llmprep demo run kv_cache"))
    assert len(done.stdout.splitlines()) == 4


def test_first_day_with_a_bank_of_ones_own_names_it(run, small_bank):
    done = run()
    assert f"llmprep --bank {small_bank} quiz" in done.stdout
    assert f"llmprep --bank {small_bank} show kv-cache" in done.stdout
    assert "each with a demo" not in done.stdout


def test_later_days_say_what_is_waiting(run):
    run("quiz", "--limit", "2", stdin="x\nx\n", LLMPREP_NOW="2026-11-20T09:00")
    done = run(LLMPREP_NOW="2026-11-21T09:00")
    assert "2 due · 1 new" in done.stdout
    assert "streak 1 d" in done.stdout
    assert len(done.stdout.splitlines()) <= 5


def test_a_scripted_quiz(run, log_path):
    done = run("quiz", "alpha", "beta", stdin="\nab\n\n\n3\n")
    assert done.returncode == 0
    assert "It is alpha." in done.stdout
    assert answers(log_path) == [("small/alpha", 5), ("small/beta", 3)]


def test_the_end_of_input_is_no_answer(run, log_path):
    done = run("quiz", "alpha", stdin="\na\n")
    assert done.returncode == 0
    assert "Stopped after 0 cards" in done.stdout
    assert answers(log_path) == []


def test_piped_numbers(run, log_path):
    done = run("quiz", "kv-cache", stdin="p\n100k\nx\n")
    assert "You said 100,000, measured 131,072" in done.stdout
    assert answers(log_path) == [("small/kv-cache", 0)]


@pytest.mark.parametrize(("lang", "words"), [("en", ["what", "Said it?"]), ("zh", ["现象", "说到了吗？"])])
def test_lang_option_before_and_after_the_command(run, lang, words):
    for arguments in (["--lang", lang, "quiz", "alpha"], ["quiz", "alpha", "--lang", lang]):
        done = run(*arguments, stdin="\n")
        assert all(word in done.stdout for word in words)


def test_both_languages_side_by_side(run):
    done = run("quiz", "alpha", "--lang", "both", stdin="\n")
    assert "What is alpha?" in done.stdout
    assert "什么是 alpha？" in done.stdout


def test_output_of_a_pipe_has_no_escapes(run):
    assert "\x1b" not in run("quiz", "kv-cache", stdin="\n4\n").stdout
    assert "\x1b" not in run("show", "kv-cache").stdout


def test_caught_up_names_the_next_date(run):
    run("quiz", stdin="x\n" * 9 + "\n5\n" * 9, LLMPREP_NOW="2026-11-20T09:00")
    done = run("quiz", LLMPREP_NOW="2026-11-20T10:00")
    assert "caught up" in done.stdout
    assert "21 Nov" in done.stdout


def test_undo_takes_back_the_last_answer(run, log_path):
    run("quiz", "alpha", stdin="\n5\n")
    done = run("undo")
    assert (done.returncode, "took back the 5 for small/alpha" in done.stdout) == (0, True)
    assert "new again" in done.stdout
    again = run("undo")
    assert (again.returncode, "no answer to take back" in again.stderr) == (2, True)


def test_the_day_ends_at_four_in_the_morning(run):
    run("quiz", "alpha", stdin="\n5\n", LLMPREP_NOW="2026-11-20T23:30")
    assert "2026-11-20" in run("undo", LLMPREP_NOW="2026-11-21T03:59").stdout
    run("quiz", "alpha", stdin="\n5\n", LLMPREP_NOW="2026-11-21T03:59")
    assert "of 2026-11-20" in run("undo", LLMPREP_NOW="2026-11-21T03:59").stdout
    run("quiz", "alpha", stdin="\n5\n", LLMPREP_NOW="2026-11-21T04:00")
    assert "of 2026-11-21" in run("undo", LLMPREP_NOW="2026-11-21T04:00").stdout


def test_progress_of_one_bank_is_not_that_of_another(run, log_path):
    run("quiz", "alpha", stdin="\n5\n")
    stats = json.loads(run("stats", "--json", bank=None).stdout)
    assert stats["seen"] == 0
    assert json.loads(run("stats", "--json").stdout)["seen"] == 1


def test_bank_from_the_environment(run, small_bank):
    done = run("list", bank=None, LLMPREP_BANK=str(small_bank))
    assert "alpha" in done.stdout


def test_list_show_and_search(run):
    listed = run("list")
    assert [i for i in ("alpha", "beta", "kv-cache") if i not in listed.stdout] == []
    assert run("list", "--cluster", "inference").stdout.count("alpha") == 0
    shown = run("show", "kv-cache").stdout
    assert "131,072 B per token" in shown
    assert "shazeer2019-mqa: Fast Transformer Decoding" in shown
    assert "https://arxiv.org/abs/1911.02150" in shown
    assert json.loads(run("show", "kv-cache", "--json").stdout)["id"] == "kv-cache"
    assert run("search", "key", "value").stdout.startswith("kv-cache")
    assert run("search", "显存").stdout.startswith("kv-cache")
    assert "nothing found" in run("search", "zebra").stdout
    assert json.loads(run("search", "alpha", "--json").stdout)[0]["prompt"]["zh"] == "什么是 alpha？"


def test_demo_list_and_show_need_no_torch(run):
    listed = run("demo", "list")
    assert "kv_cache" in listed.stdout
    shown = run("demo", "show", "kv_cache")
    assert "--set seq_len=8192" in shown.stdout
    assert "131,072 B per token" in shown.stdout
    assert json.loads(run("demo", "list", "--json").stdout)[0]["question"].endswith("?")


def test_demo_run_with_settings_as_command_and_as_script(run):
    pytest.importorskip("torch")
    settings = ["--set", "model=llama-2-7b", "--set", "n_kv_heads=8", "--set", "new_tokens=4", "--json"]
    command = run("demo", "run", "kv_cache", *settings)
    assert command.returncode == 0, command.stderr
    facts = {f["name"]: f["measured"] for f in json.loads(command.stdout)["facts"]}
    assert facts["bytes_per_token"] == 131072
    path = Path(json.loads(run("demo", "list", "--json").stdout)[0]["path"]).parents[1] / "inference" / "kv_cache.py"
    script = subprocess.run([sys.executable, path, *settings], capture_output=True, text=True, check=True)
    both = [json.loads(text) for text in (script.stdout, command.stdout)]
    assert both[0]["facts"] == both[1]["facts"]


def test_demo_run_names_the_claims_that_it_settles(run):
    pytest.importorskip("torch")
    done = run("demo", "run", "kv_cache", "--set", "new_tokens=4")
    shown = done.stdout
    assert shown.index("Settles") < shown.index("✓ Llama-3-8B stores 131,072 B per token") < shown.index("Read it")
    assert done.stderr == "", "says that it runs on a terminal only"


def test_demo_run_draws_a_plot(run, tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("matplotlib")
    target = tmp_path / "kv.svg"
    done = run("demo", "run", "kv_cache", "--set", "new_tokens=4", "--plot", str(target))
    assert done.returncode == 0, done.stderr
    assert target.read_text().startswith("<?xml")
    assert "KV cache" in done.stdout


def test_verify_from_stored_evidence(run):
    done = run("verify", "--json", bank=None)
    report = json.loads(done.stdout)
    assert done.returncode == 0
    assert (report["refuted"], report["error"]) == (0, 0)
    assert report["proved"] == sum(c["status"] == "proved" for c in report["claims"])
    assert set(report) == {"proved", "cited", "refuted", "error", "seconds", "claims"}
    assert {"question", "claim", "status", "demo", "settings", "expected", "measured", "refuted_by"} <= set(
        report["claims"][0]
    )


def test_a_wrong_number_is_refuted_by_how_much(run, small_bank):
    path = small_bank / "kv-cache.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("value: 131072", "value: 262144"), encoding="utf-8")
    done = run("verify", "--question", "kv-cache")
    assert done.returncode == 1
    assert "kv-cache[0] refuted: said bytes_per_token = 262,144, measured 131,072 (-50.0%)" in " ".join(
        done.stdout.split()
    )


def test_verify_writes_only_where_record_says(run, small_bank):
    before = sorted(small_bank.rglob("*"))
    run("verify", "--question", "kv-cache")
    assert sorted(small_bank.rglob("*")) == before


def test_export_writes_files_and_replaces_them_only_if_told(run, tmp_path):
    for kind, suffix in (("anki", ".apkg"), ("csv", ".csv")):
        out = tmp_path / f"cards{suffix}"
        done = run("export", kind, str(out))
        assert (done.returncode, "3 questions" in done.stdout) == (0, True), done.stderr
        first = out.read_bytes()
        refused = run("export", kind, str(out))
        assert (refused.returncode, "--force" in refused.stderr) == (2, True)
        assert out.read_bytes() == first
        assert run("export", kind, str(out), "--force", "--lang", "zh").returncode == 0
        assert not list(tmp_path.glob("*.part"))


def test_stats_as_text_and_json(run):
    run("quiz", stdin="x\n\n5\n\n4\n" + "\n5\n" * 4, LLMPREP_NOW="2026-11-20T09:00")
    done = run("stats", LLMPREP_NOW="2026-11-21T09:00")
    assert [w for w in ("By cluster", "Next 14 days", "Last 18 weeks", "Hardest") if w not in done.stdout] == []
    stats = json.loads(run("stats", "--json", LLMPREP_NOW="2026-11-21T09:00").stdout)
    assert stats["seen"] == 3
    assert sum(stats["forecast"].values()) == 3
    assert "进度" in run("--lang", "zh", "stats").stdout


def test_doctor(run):
    done = run("doctor")
    assert done.returncode == 0
    assert "reviews.db" in done.stdout
    assert json.loads(run("doctor", "--json").stdout)["bank"].startswith("3 questions")


COMMANDS = [
    [],
    *([c] for c in ("quiz", "undo", "list", "show", "search", "verify", "stats", "doctor")),
    *([c] for c in ("bank", "demo", "export", "calc")),
    ["bank", "check"],
    *(["demo", c] for c in ("list", "show", "run")),
    *(["export", c] for c in ("anki", "csv")),
    *(["calc", c] for c in ("params", "flops", "memory", "kv", "serve", "train", "models")),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(run, command):
    done = run(*command, "--help")
    assert done.returncode == 0
    assert done.stderr == ""
    assert re.search(r"Example: llmprep|First day: llmprep", done.stdout)
    assert len(done.stdout.splitlines()) > 5


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(run, shell):
    done = run(bank=None, _LLMPREP_COMPLETE=f"source_{shell}")
    assert f"_LLMPREP_COMPLETE=complete_{shell}" in done.stdout


def test_completion_of_commands_and_ids(run):
    done = run(bank=None, _LLMPREP_COMPLETE="complete_bash", COMP_WORDS="llmprep show kv-c", COMP_CWORD="2")
    assert done.stdout.split() == ["kv-cache"]
    done = run(bank=None, _LLMPREP_COMPLETE="complete_bash", COMP_WORDS="llmprep qu", COMP_CWORD="1")
    assert "quiz" in done.stdout


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("demo run kv", "kv_cache"),
        ("demo run inference/kv", "inference/kv_cache"),
        ("verify --question kv-c", "kv-cache"),
        ("list --cluster inf", "inference"),
        ("export csv x.csv --cluster inf", "inference"),
        ("calc params llama-3-8", "llama-3-8b"),
        ("calc serve --gpu h100", "h100-sxm"),
    ],
)
def test_completion_of_arguments_and_options(run, typed, offered):
    words = f"llmprep {typed}"
    done = run(bank=None, _LLMPREP_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(len(words.split()) - 1))
    assert offered in done.stdout.split()


def test_completion_of_ids_looks_into_the_bank_of_the_command_line(run, small_bank):
    for folder, offered in ((small_bank, ["alpha"]), (small_bank / "nothing", [])):
        words = f"llmprep --bank {folder} show al"
        done = run(bank=None, _LLMPREP_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD="4")
        assert (done.stdout.split(), done.stderr) == (offered, "")


@pytest.mark.parametrize("group", ["bank", "demo", "export", "calc"])
def test_a_group_alone_prints_its_help(run, group):
    done = run(group)
    assert (done.returncode, done.stderr) == (2, "")
    assert done.stdout.strip() == run(group, "--help").stdout.strip()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX pipes")
@pytest.mark.parametrize("command", ["list", "list --json", "stats"])
def test_a_reader_that_has_enough_is_no_error(run, small_bank, command):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "llmprep", "--bank", str(small_bank), *command.split()],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_one_is_not_plural(run, small_bank):
    assert run("bank", "check", str(small_bank / "alpha.yaml")).stdout == "1 question, 0 claims, 0 problems\n"


def test_one_run_is_not_plural(capsys):
    from llmprep.cli.render.proof import show_report
    from llmprep.lab.verify import Report

    for runs, text in ((1, "(1 demo run, "), (2, "(2 demo runs, ")):
        show_report(Report([], runs=runs, seconds=0.1), full=False)
        assert text in capsys.readouterr().out


def test_sources_of_ones_own_have_just_their_id(run, small_bank):
    with (small_bank / "alpha.yaml").open("a", encoding="utf-8") as file:
        file.write("sources: [{source: my-notes, where: page 3}]\n")
    assert "· my-notes, page 3\n" in run("show", "alpha").stdout


def test_only_lines_have_a_legend_below():
    from llmprep.cli.render.demo import plot_lines
    from llmprep.lab.contract import Plot, Series

    for kind, below in (("bar", False), ("line", True)):
        plot = Plot("t", "x", "y", [Series("one", [1, 2], [1, 2]), Series("two", [1, 2], [2, 3])], kind=kind)
        rows = [row.plain for row in plot_lines(plot, 80)]
        assert ("● one" in rows[-1]) == below
        assert any("two" in row for row in rows)


def test_a_no_to_the_install_question_ends_a_demo_run_without_another_word(monkeypatch, capsys):
    from types import SimpleNamespace

    import typer

    from llmprep.cli.commands import demo
    from llmprep.cli.context import make_context
    from llmprep.cli.render import keys
    from llmprep.errors import MissingExtraError
    from llmprep.lab import workers

    def execute(*_):
        raise error

    error = MissingExtraError("matplotlib")
    monkeypatch.setattr(workers, "execute", execute)
    monkeypatch.setattr(demo, "interactive", lambda: True)
    monkeypatch.setattr(keys, "Keys", lambda: SimpleNamespace(terminal=True, key=lambda: "n"))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with pytest.raises(typer.Exit) as end:
        demo.run(SimpleNamespace(obj=make_context(None, "en")), "kv_cache")
    said = capsys.readouterr()
    assert end.value.exit_code == 2
    assert said.err == "running inference/kv_cache …\n"
    assert error.command in said.out.splitlines()[0]
    assert said.out.endswith("[y/N] \n")


def test_a_quiz_imports_nothing_heavy(run, small_bank):
    run()  # the index is made once
    code = (
        "import sys; from llmprep.cli import main\n"
        f"sys.argv = ['llmprep', '--bank', {str(small_bank)!r}, 'quiz', 'kv-cache']\n"
        "try: main.main()\nexcept SystemExit: pass\n"
        "print('heavy:', sorted({'torch', 'numpy', 'pydantic', 'yaml', 'matplotlib', 'genanki'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input="\n4\n", capture_output=True, text=True, check=True, env=os.environ
    )
    assert "131,072" in done.stdout
    assert "heavy: []" in done.stdout


def test_works_without_a_home_or_a_writable_cache(run, tmp_path):
    blocked = tmp_path / "in-the-way"
    blocked.write_text("")
    listed = run("list", LLMPREP_HOME=str(blocked))
    assert (listed.returncode, "alpha" in listed.stdout) == (0, True)
    quiz = run("quiz", stdin="x\n", LLMPREP_HOME=str(blocked))
    assert quiz.returncode == 2
    assert "What is" not in quiz.stdout, "said before the first card, not after it"
    assert len(quiz.stderr.splitlines()) == 1
