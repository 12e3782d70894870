"""A small bank with evidence, the command line as a process, and a real terminal."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llmprep import content

LLMPREP = [sys.executable, "-m", "llmprep"]


@pytest.fixture
def small_bank(tmp_path):
    """Three questions: one of the built-in ones with its evidence, and two drafts."""
    folder = tmp_path / "small"
    folder.mkdir()
    shutil.copy(next(content.questions_dir().rglob("kv-cache.yaml")), folder)
    for name, asked in (("alpha", 5), ("beta", 4)):
        (folder / f"{name}.yaml").write_text(
            f"id: {name}\ncluster: training\nasked: {asked}\n"
            f"prompt: {{en: What is {name}?, zh: 什么是 {name}？}}\n"
            f"answer: {{what: {{en: It is {name}., zh: 它是 {name}。}}, why: Because of why., how: In this way.}}\n"
            "key_points:\n"
            "  - {id: one, must: true, ask: What comes first?, say: {en: the first point, zh: 第一点}}\n"
            "  - {id: two, ask: And then?, say: {en: the second point, zh: 第二点}}\n",
            encoding="utf-8",
        )
    return folder


@pytest.fixture
def run(small_bank, monkeypatch):
    """`run("quiz", stdin="…")` → the finished process; the small bank unless `bank=None`."""

    def call(*arguments, stdin="", bank=small_bank, cwd=None, **environment):
        where = ["--bank", str(bank)] if bank else []
        return subprocess.run(
            [*LLMPREP, *where, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONUTF8": "1", **environment},
            cwd=cwd,
            timeout=120,
            check=False,
        )

    return call


class Terminal:
    """A process in a terminal whose screen can be read."""

    def __init__(self, arguments, columns, rows, environment):
        import pexpect
        import pyte

        self.screen = pyte.Screen(columns, rows)
        self.stream = pyte.ByteStream(self.screen)
        self.process = pexpect.spawn(
            LLMPREP[0], [*LLMPREP[1:], *arguments], dimensions=(rows, columns), env=environment, timeout=30
        )

    def read(self):
        import pexpect

        try:
            while True:
                self.stream.feed(self.process.read_nonblocking(65536, timeout=0.15))
        except (pexpect.TIMEOUT, pexpect.EOF):
            return self.text

    @property
    def text(self):
        """The screen as text; the empty cell after a wide character left out."""
        return "\n".join(line.rstrip() for line in self.screen.display)

    def wait(self, text, seconds=30):
        end = time.monotonic() + seconds
        while text not in self.read():
            assert time.monotonic() < end, f"no {text!r} on the screen:\n{self.text}"
            assert self.process.isalive() or text in self.read(), f"ended without {text!r}:\n{self.text}"
        return self.text

    def send(self, keys):
        self.process.send(keys)

    def end(self):
        self.process.expect(__import__("pexpect").EOF)
        self.process.close()
        return self.process.exitstatus


@pytest.fixture
def terminal(small_bank):
    """`terminal("quiz", columns=80)` → a Terminal on the small bank."""
    pytest.importorskip("pexpect")
    pytest.importorskip("pyte")
    opened = []

    def start(*arguments, columns=80, rows=60, bank=small_bank, **environment):
        env = {**os.environ, "TERM": "xterm-256color", "PYTHONUTF8": "1", **environment}
        where = ["--bank", str(bank)] if bank else []
        opened.append(Terminal([*where, *arguments], columns, rows, env))
        return opened[-1]

    yield start
    for one in opened:
        one.process.close(force=True)


@pytest.fixture
def log_path(home: Path) -> Path:
    return home / "reviews.db"
