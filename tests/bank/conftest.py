"""Small banks written for one test."""

from pathlib import Path

import pytest

DRAFT = """\
id: {id}
cluster: inference
prompt: {prompt}
answer: It keeps keys and values.
key_points:
  - {{id: kv, say: keys and values are kept}}
"""


@pytest.fixture
def bank(tmp_path: Path):
    """Write question files into a folder: `bank(a="…yaml…")` → the folder."""
    folder = tmp_path / "my-bank"
    folder.mkdir()

    def write(**files: str) -> Path:
        for name, text in files.items():
            (folder / f"{name.replace('_', '-')}.yaml").write_text(text, encoding="utf-8")
        return folder

    return write


@pytest.fixture
def draft():
    """The text of a valid draft."""

    def make(question_id: str = "a", prompt: str = "What does a KV cache keep?", more: str = "") -> str:
        return DRAFT.format(id=question_id, prompt=prompt) + more

    return make
