"""A tiny demo without torch, that can be made to misbehave."""

import pytest

DEMO = '''"""Does doubling double?

Twice a number is the number added to itself.
"""

import os
import sys
import time
from dataclasses import dataclass
from typing import Literal

from llmprep.lab import Fact, Plot, Result, Series, Table, Text


@dataclass(frozen=True)
class Params:
    x: int = 2
    share: float = 0.5
    how: Literal["add", "lie", "raise", "exit", "sleep", "import", "nan"] = "add"
    loud: bool = False

    def __post_init__(self):
        if self.x < 0:
            raise ValueError("x must not be negative")


def run(p):
    if p.how == "raise":
        raise RuntimeError("broken on purpose")
    if p.how == "exit":
        os._exit(0)
    if p.how == "sleep":
        time.sleep(60)
    if p.how == "import":
        import a_library_that_is_not_there
    double = p.x + p.x if p.how != "lie" else p.x
    half = float("nan") if p.how == "nan" else p.x / 2
    facts = [Fact("double", "apples", double, predicted=2 * p.x), Fact("half", "", half)]
    return Result(
        Text(f"{double}", f"{double}"), facts, Table(("x", "2x"), [(p.x, double)]),
        Plot("double", "x", "2x", [Series("2x", [1, 2], [2, 4])]),
    )
'''


@pytest.fixture
def demo(tmp_path):
    """The path of a demo file."""
    path = tmp_path / "doubling.py"
    path.write_text(DEMO, encoding="utf-8")
    return str(path)
