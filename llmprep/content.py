"""Where questions, demos and data are: top-level folders in a checkout, inside the package in a wheel."""

import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from llmprep.errors import UserError, did_you_mean

PACKAGE = Path(__file__).resolve().parent


class Text(NamedTuple):
    """The same sentence in both languages of the bank."""

    en: str = ""
    zh: str = ""

    def pick(self, lang: str) -> str:
        """The sentence in `lang`, or in the other language where a draft has only that."""
        return (self.zh or self.en) if lang == "zh" else (self.en or self.zh)


class Cluster(NamedTuple):
    """One of the eight parts of the bank, in interview order."""

    id: str
    number: int
    en: str
    zh: str

    @property
    def folder(self) -> str:
        """The folder of its questions, `03-inference`."""
        return f"{self.number:02d}-{self.id}"

    @property
    def demo_folder(self) -> str:
        """The folder of its demos, which is also a Python package name."""
        return self.id.replace("-", "_")


CLUSTERS = {
    c.id: c
    for c in (
        Cluster("architecture", 1, "architecture", "架构"),
        Cluster("training", 2, "training", "训练"),
        Cluster("inference", 3, "inference", "推理与部署"),
        Cluster("prompting", 4, "prompting", "提示工程"),
        Cluster("rag-agents", 5, "RAG and agents", "RAG 与智能体"),
        Cluster("evaluation", 6, "evaluation and safety", "评估与安全"),
        Cluster("special", 7, "special architectures", "特殊架构"),
        Cluster("ecosystem", 8, "open-source ecosystem", "开源生态"),
    )
}


def questions_dir() -> Path:
    """The built-in bank."""
    return (PACKAGE / "questions").resolve()


def demos_dir() -> Path:
    """The built-in demos."""
    return (PACKAGE / "demos").resolve()


def data_dir() -> Path:
    """Tables with their sources, and the stored evidence."""
    return (PACKAGE / "data").resolve()


@cache
def load_json(name: str) -> Any:
    """A table of `data/` by file name, such as `models.json`."""
    return json.loads((data_dir() / name).read_text(encoding="utf-8"))


@cache
def load_yaml(name: str) -> Any:
    """A table of `data/` by file name, such as `hardware.yaml`."""
    import yaml

    return yaml.load((data_dir() / name).read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)


def model(name: str) -> dict[str, Any]:
    """One entry of data/models.json: `config`, `params_total`, source. Raises UserError for an unknown name."""
    return _entry("model", name, load_json("models.json")["models"])


def hardware(name: str) -> dict[str, Any]:
    """One entry of data/hardware.yaml: `flops` (dense, 1/s, by dtype), `bandwidth` (B/s), `memory` (B)."""
    return _entry("hardware", name, load_yaml("hardware.yaml"))


def _entry(kind: str, name: str, table: list[dict[str, Any]]) -> dict[str, Any]:
    entries = {entry["name"]: entry for entry in table}
    if name not in entries:
        hint = did_you_mean(name, entries) or f" (known: {', '.join(sorted(entries))})"
        raise UserError(f"unknown {kind} {name!r}{hint}")
    return entries[name]
