"""The quiz in a real terminal."""

import contextlib
import re
import signal
import sqlite3
import time

import pytest

pexpect = pytest.importorskip("pexpect")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # pexpect forks


def answers(log_path):
    db = sqlite3.connect(log_path)
    rows = db.execute("SELECT card, grade, points FROM events WHERE kind = 'answer' ORDER BY seq").fetchall()
    db.close()
    return rows


def test_one_card_from_question_to_grade(terminal, log_path):
    quiz = terminal("quiz", "alpha")
    front = quiz.wait("What is alpha?")
    assert "1/1" in front
    assert "It is alpha." not in front, "the answer must not show before the try"
    quiz.send(" ")
    assert "Because of why." not in quiz.wait("It is alpha.")
    quiz.send(" ")
    assert "In this way." not in quiz.wait("Because of why.")
    quiz.send(" ")
    assert "□ the first point" in quiz.wait("Said it?")
    quiz.send("a")
    quiz.wait("■ the first point")
    quiz.send("b")
    screen = quiz.wait("■ the second point")
    assert screen.count("Said it?") == 1, "ticks redraw the panel in place"
    assert "›5‹" in screen
    quiz.send("\r")
    quiz.wait("Done: 1 card")
    assert quiz.end() == 0
    assert answers(log_path) == [("small/alpha", 5, '["one", "two"]')]


def test_enter_shows_all_layers_at_once(terminal):
    quiz = terminal("quiz", "alpha")
    quiz.wait("What is alpha?")
    quiz.send("\r")
    screen = quiz.wait("Said it?")
    assert all(text in screen for text in ("It is alpha.", "Because of why.", "In this way."))


def test_a_digit_overrules_and_the_return_date_shows(terminal):
    quiz = terminal("quiz", "--new", "2", LLMPREP_NOW="2026-12-30T10:00")
    quiz.wait("~")
    quiz.send("\r")
    assert "31 Dec" in quiz.wait("Said it?")
    quiz.send("4")
    quiz.wait("4 → back on 31 Dec (1 d)")


def test_dont_know_is_one_key(terminal, log_path):
    quiz = terminal("quiz", "alpha")
    quiz.wait("What is alpha?")
    quiz.send("x")
    quiz.wait("Don't know: graded 0")
    assert answers(log_path) == [("small/alpha", 0, "[]")], "stored before anything else happens"


def test_cards_below_four_come_back_with_what_was_missed(terminal, log_path):
    quiz = terminal("quiz", "--cluster", "training", "--new", "1")
    quiz.wait("What is alpha?")
    quiz.send("\r")
    quiz.wait("Said it?")
    quiz.send("a")
    quiz.wait("■ the first")
    quiz.send("3")
    again = quiz.wait("again: missed points")
    assert "And then?" in again
    assert "What comes first?" not in again
    quiz.send(" ")
    panel = quiz.wait("□ the second point")
    assert "the first point" not in panel
    quiz.send("b")
    quiz.send("a")
    quiz.wait("■ the second")
    quiz.send("5")
    quiz.wait("Done: 1 card")
    assert [grade for _, grade, _ in answers(log_path)] == [3, 5]


@pytest.mark.parametrize("how", ["\x03", "q", "\x04"], ids=["ctrl-c", "q", "ctrl-d"])
@pytest.mark.parametrize("side", ["front", "back"])
def test_leaving_is_never_an_answer(terminal, log_path, how, side):
    quiz = terminal("quiz", "alpha")
    quiz.wait("What is alpha?")
    if side == "back":
        quiz.send("\r")
        quiz.wait("Said it?")
        quiz.send("a")
        quiz.wait("■")
    quiz.send(how)
    quiz.wait("Stopped after 0 cards")
    assert quiz.end() == 0
    assert answers(log_path) == []


def test_undo_shows_the_card_again(terminal, log_path):
    quiz = terminal("quiz", "--cluster", "training")
    quiz.wait("What is alpha?")
    quiz.send("x")
    quiz.wait("any key")
    quiz.send(" ")
    quiz.wait("What is beta?")
    quiz.send("u")
    screen = quiz.wait("What is alpha?")
    assert "taken back: small/alpha" in screen
    db = sqlite3.connect(log_path)
    assert db.execute("SELECT count(*) FROM cards").fetchone() == (0,)
    db.close()


def test_predict_hint_drill_skip_and_help(terminal, log_path):
    quiz = terminal("quiz", "kv-cache", "alpha", rows=80)
    quiz.wait("KV cache")
    quiz.send("?")
    quiz.wait("accept the underlined grade")
    quiz.send("h")
    quiz.wait("Hint 1/")
    quiz.send("p")
    before = quiz.wait("your number for ___")
    assert "131,072" not in before
    quiz.send("a lot\r")
    quiz.wait("is not a number")
    quiz.send("262144\r")
    quiz.wait("You said 262,144, measured 131,072 (2×)")
    quiz.send("n")
    quiz.wait("your number (")
    quiz.send("-1\r")  # wrong whatever is drawn
    quiz.wait("you said -1")
    quiz.send("s")
    quiz.wait("What is alpha?")
    assert answers(log_path) == []
    db = sqlite3.connect(log_path)
    assert db.execute("SELECT kind FROM events ORDER BY seq").fetchall() == [("predict",), ("drill",)]
    db.close()


def test_the_demo_runs_below_the_card_and_comes_back(terminal, log_path):
    pytest.importorskip("torch")
    quiz = terminal("quiz", "kv-cache", rows=140)
    quiz.wait("KV cache")
    quiz.send("r")
    assert "bytes_per_token" not in quiz.wait("answer first"), "the demo would give the answer away"
    quiz.send("\r")
    quiz.wait("Said it?")
    quiz.send("r")
    screen = quiz.wait("Read it:", seconds=90)
    assert "bytes_per_token" in screen
    quiz.wait("Said it?")
    quiz.send("q")
    quiz.wait("Stopped")


def test_enter_with_nothing_ticked_records_nothing(terminal, log_path):
    quiz = terminal("quiz", "alpha")
    quiz.wait("What is alpha?")
    quiz.send("\r\r\r\r")
    screen = quiz.wait("tick what you said")
    assert screen.count("Said it?") == 1
    assert answers(log_path) == []


def test_keys_that_mean_nothing_leave_the_panel_where_it_is(terminal):
    quiz = terminal("quiz", "alpha")
    quiz.wait("What is alpha?")
    quiz.send("\r")
    quiz.wait("Said it?")
    for keys, seen in (
        ("z", "no key 'z'"),
        ("h", "before the answer"),
        ("?", "comes again today"),
        ("\x1b[A", "›0‹"),
        (" ", "›0‹"),
    ):
        quiz.send(keys)
        assert quiz.wait(seen).count("Said it?") == 1


def test_escape_and_pasted_text_do_nothing(terminal, log_path):
    quiz = terminal("quiz", "alpha")
    quiz.wait("What is alpha?")
    quiz.send("\x1b[200~x marks the quiz, 5 stars\x1b[201~")
    quiz.send("\x1b")
    time.sleep(0.5)  # a key right behind an escape belongs to it
    quiz.send("h")
    quiz.wait("Hint 1/2: What comes first?")
    assert answers(log_path) == []


def test_a_hint_never_holds_the_answer(terminal, small_bank):
    (small_bank / "draft.yaml").write_text(
        "id: draft\ncluster: training\nprompt: A draft?\nanswer: Yes.\nkey_points:\n"
        "  - {id: one, say: SECRET one}\n  - {id: two, say: SECRET two}\n",
        encoding="utf-8",
    )
    quiz = terminal("quiz", "draft")
    quiz.wait("A draft?")
    quiz.send("h")
    assert "SECRET" not in quiz.wait("no more hints")


def test_ctrl_z_gives_the_terminal_back_and_fg_takes_it_again(small_bank, home, log_path):
    import os
    import sys

    import pyte

    shell = pexpect.spawn(
        "/bin/bash", ["--norc"], dimensions=(50, 80), env={**os.environ, "PS1": "PROMPT> ", "TERM": "xterm"}
    )
    screen = pyte.Screen(80, 50)
    stream = pyte.ByteStream(screen)

    def wait(text):
        end = time.monotonic() + 30
        while time.monotonic() < end:
            with contextlib.suppress(pexpect.TIMEOUT):
                stream.feed(shell.read_nonblocking(65536, timeout=0.2))
            if text in "\n".join(screen.display):
                return
        raise AssertionError("\n".join(screen.display))

    shell.sendline(f"{sys.executable} -m llmprep --bank {small_bank} quiz alpha")
    wait("What is alpha?")
    shell.send("\x1a")
    wait("Stopped")
    screen.reset()
    shell.sendline("fg")
    time.sleep(0.5)
    shell.send("\r")
    wait("Said it?")
    shell.send("ab4")
    wait("Done: 1 card")
    shell.close(force=True)
    assert [grade for _, grade, _ in answers(log_path)] == [4]


def test_a_dumb_terminal_shows_the_panel_before_the_grade(terminal, log_path):
    quiz = terminal("quiz", "alpha", TERM="dumb")
    quiz.wait("What is alpha?")
    quiz.send("\r")
    assert "□ the first point" in quiz.wait("›0‹")
    quiz.send("a")
    quiz.wait("■ the first point")
    assert answers(log_path) == []
    quiz.send("4")
    quiz.wait("Done: 1 card")


def test_the_second_terminal_says_that_its_answer_is_practice(terminal):
    one, two = terminal("quiz", "--cluster", "training"), terminal("quiz", "--cluster", "training")
    for quiz in (one, two):
        quiz.wait("What is alpha?")
    for quiz, says in ((one, "5 → back on"), (two, "5 → noted")):
        quiz.send("\r")
        quiz.wait("Said it?")
        quiz.send("5")
        quiz.wait(says)


def test_a_low_window_gets_a_short_panel(terminal):
    quiz = terminal("quiz", "kv-cache", rows=20)
    quiz.wait("KV cache")
    quiz.send("\r")
    quiz.wait("›0‹")
    quiz.send("a")
    screen = quiz.wait("■")
    assert screen.count("Said it?") == 1
    assert "f □" in screen


def test_the_quiz_in_chinese(terminal):
    quiz = terminal("quiz", "alpha", LANG="zh_CN.UTF-8")
    front = quiz.wait("什么是")
    assert "看答案" in front.replace(" ", "")
    quiz.send("\r")
    screen = quiz.wait("一点")
    assert all(word in screen.replace(" ", "") for word in ("现象", "本质", "实战", "说到了吗", "脱口而出"))
    quiz.send("4")
    quiz.wait("完")


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize("lang", ["en", "zh", "both"])
def test_every_line_fits(terminal, columns, lang):
    """A line that is too long would wrap and leave its rest alone on the next row."""
    quiz = terminal("--lang", lang, "quiz", "kv-cache", columns=columns, rows=200)
    quiz.wait("KV")
    quiz.send("\r")
    quiz.wait("›0‹")
    rows = [row.rstrip() for row in quiz.screen.display]
    body = [row for row in rows if row.strip("─ ")]
    assert all(row.startswith(" ") or re.match(r"what|why|how|现|本|实", row) for row in body)


def test_no_color_means_no_colour(terminal):
    quiz = terminal("quiz", "alpha", NO_COLOR="1")
    quiz.wait("What is alpha?")
    quiz.send("\r")
    quiz.wait("Said it?")
    quiz.send("a")
    quiz.wait("■")
    colours = {cell.fg for row in quiz.screen.buffer.values() for cell in row.values()}
    assert colours <= {"default"}


def test_colour_is_never_the_only_sign(terminal):
    quiz = terminal("quiz", "alpha")
    quiz.wait("What is alpha?")
    quiz.send("\r")
    screen = quiz.wait("›0‹")
    assert "↻" in screen


def test_kill_9_loses_only_the_card_on_screen(terminal, log_path):
    quiz = terminal("quiz", "--new", "3")
    quiz.wait("1/3")
    quiz.send("x")
    quiz.wait("any key")
    quiz.send(" ")
    quiz.wait("2/3")
    quiz.process.kill(signal.SIGKILL)
    quiz.process.wait()
    assert len(answers(log_path)) == 1
    assert "1/3" in terminal("quiz", "--new", "3").wait("min left"), "the two that are new, and one owed today"


def test_two_terminals_quiz_at_once(terminal, log_path):
    one, two = terminal("quiz", "--cluster", "training"), terminal("quiz", "--cluster", "training")
    one.wait("What is alpha?")
    two.wait("What is alpha?")
    for quiz in (one, two):
        quiz.send("\r")
        quiz.wait("Said it?")
        quiz.send("5")
        quiz.wait("What is beta?")
    assert len(answers(log_path)) == 2, "the second answer is kept, as practice"
    db = sqlite3.connect(log_path)
    assert db.execute("SELECT reviews FROM cards").fetchall() == [(1,)]
    db.close()


def test_time_is_up(terminal):
    quiz = terminal("quiz", "--minutes", "0.02")
    quiz.wait("1/")
    time.sleep(1.5)
    quiz.send("x")
    quiz.wait("any key")
    quiz.send(" ")
    quiz.wait("Time is up: 1 card")
