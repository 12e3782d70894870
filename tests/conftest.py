"""Every test has a home, a bank cache and a clock of its own: none can touch real data."""

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: small tensors, and the cores belong to pytest's workers

import pytest

from llmprep import content
from llmprep.lab.evidence import Evidence


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty LLMPREP_HOME; the locale is plain English and the time the real one."""
    for name in ("LLMPREP_BANK", "LLMPREP_NOW", "LLMPREP_LANG", "LC_ALL", "LC_MESSAGES", "NO_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", "en_US.UTF-8")
    folder = tmp_path / "home"
    monkeypatch.setenv("LLMPREP_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def stored() -> Evidence:
    """The evidence that ships with the built-in bank."""
    return Evidence([content.data_dir() / "evidence"])


@pytest.fixture(scope="session")
def llmprep() -> list[str]:
    """The command line as a process: `subprocess.run([*llmprep, "quiz"])`."""
    os.environ.setdefault("PYTHONUTF8", "1")
    return [sys.executable, "-m", "llmprep"]
