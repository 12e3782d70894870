"""The README shows what the program prints, and nothing that has gone stale."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```\n\$ (llmprep [^\n]*)\n(.*?)```", README, re.DOTALL)


def normal(text: str) -> str:
    """Without times, which differ from run to run."""
    return re.sub(r"\d+\.\d s", "N s", text).strip()


def test_there_are_blocks():
    assert len(BLOCKS) >= 2


@pytest.mark.parametrize(("command", "shown"), BLOCKS, ids=[c for c, _ in BLOCKS])
def test_blocks_are_what_the_program_prints(command, shown):
    arguments = [sys.executable, "-m", *command.split()]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert normal(done.stdout) == normal(shown)


def test_every_command_is_named():
    from llmprep.cli.main import COMMANDS

    missing = [c for c in COMMANDS if f"llmprep {c}" not in README and f"`{c}" not in README]
    assert missing == []


def test_links_lead_somewhere():
    for name in ("README.md", "CONTRIBUTING.md", "docs/question.md", "docs/demo.md"):
        base = (ROOT / name).parent
        for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / name).read_text(encoding="utf-8")):
            assert target.startswith("http") or (base / target).exists(), f"{name}: {target}"


def test_the_picture_is_the_card_of_today(tmp_path):
    drawn = tmp_path / "quiz.svg"
    subprocess.run([sys.executable, ROOT / "docs" / "picture.py", drawn], check=True)
    assert drawn.read_text(encoding="utf-8") == (ROOT / "docs" / "quiz.svg").read_text(encoding="utf-8"), (
        "draw it again: python docs/picture.py"
    )
