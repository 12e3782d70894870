"""Stored measurements: one JSON file a demo, keyed by setting, with a hash of everything they depend on."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from llmprep import content
from llmprep.errors import UserError
from llmprep.lab import catalog
from llmprep.lab.catalog import DemoInfo
from llmprep.lab.claim import Setting, Settings
from llmprep.lab.contract import Fact, Plot, Result, Series, Table, Text

# Tables in data/ that no demo reads.
_NOT_FOR_DEMOS = {"outline.yaml", "sources.yaml", "alice-source.txt", "tokens-source.txt"}


@dataclass(frozen=True)
class Run:
    """One execution of a demo: all its parameters, what it found, how long it took."""

    params: dict[str, Setting]
    result: Result
    seconds: float

    @property
    def facts(self) -> dict[str, Fact]:
        """The facts by name."""
        return {fact.name: fact for fact in self.result.facts}

    @property
    def values(self) -> dict[str, Any]:
        """What a sentence can name: parameters and measured facts."""
        return {**self.params, **{f.name: f.measured for f in self.result.facts}}


@dataclass
class Book:
    """The evidence of one demo: what it was measured with, and the runs by canonical setting."""

    source: str
    versions: dict[str, str]
    runs: dict[str, Run] = field(default_factory=dict)


class Evidence:
    """Stored runs, read from several folders (those of an added bank before the built-in ones)."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = list(folders)
        self._books: dict[str, list[Book]] = {}

    def books(self, info: DemoInfo) -> list[Book]:
        """What is stored about a demo, nearest folder first."""
        if info.id not in self._books:
            paths = [folder / f"{info.id}.json" for folder in self.folders]
            self._books[info.id] = [read_book(p) for p in paths if p.is_file()]
        return self._books[info.id]

    def find(self, info: DemoInfo, settings: Settings) -> Run | None:
        """The stored run of a setting, whether or not the demo has changed since."""
        key = catalog.canonical(info, settings)
        return next((book.runs[key] for book in self.books(info) if key in book.runs), None)

    def versions(self, info: DemoInfo) -> dict[str, str]:
        """The libraries that the stored runs of a demo were measured with."""
        return {name: version for book in self.books(info) for name, version in book.versions.items()}

    def find_current(self, info: DemoInfo, settings: Settings) -> Run | None:
        """The stored run of a setting, if it still stands for what the demo would measure here."""
        key = catalog.canonical(info, settings)
        return next((b.runs[key] for b in self.books(info) if key in b.runs and is_current(b, info)), None)


def is_current(book: Book, info: DemoInfo) -> bool:
    """Whether neither the sources and data behind a demo nor the installed libraries have changed."""
    if book.source != source_hash(info):
        return False
    here = versions(info)
    return all(here.get(name, version) == version for name, version in book.versions.items())


@cache
def source_hash(info: DemoInfo) -> str:
    """SHA-256 over the demo, the llmprep sources that it imports and the data tables that it can read.

    A lesson that never asks `llmprep.content` for anything, itself or through what it imports, reads no tables; the lab
    around it looks only for demos there.
    """
    import hashlib  # loads OpenSSL, which a quiz does without

    digest = hashlib.sha256()
    sources = catalog.source_files(info)
    reads_data = any("llmprep.content" in catalog.imports(path) for path in sources if path.parent.name != "lab")
    for path in sorted(sources, key=lambda p: p.name) + (_data_files() if reads_data else []):
        digest.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()


def _data_files() -> list[Path]:
    data = content.data_dir()
    paths = [*data.glob("*.json"), *data.glob("*.yaml"), *(data / "corpus").rglob("*.txt")]
    return sorted(p for p in paths if p.name not in _NOT_FOR_DEMOS)


@cache
def versions(info: DemoInfo) -> dict[str, str]:
    """The installed versions of the libraries that the demo imports (build tags such as +cpu left out)."""
    import importlib.metadata

    found = {}
    for name in sorted(catalog.libraries(info)):
        try:
            found[name] = importlib.metadata.version(name).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def read_book(path: Path) -> Book:
    """Read one evidence file; raises UserError if it is damaged."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return Book(raw["source"], raw["versions"], {key: run_from_plain(run) for key, run in raw["runs"].items()})
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise UserError(f"{path}: damaged evidence ({error}); write it again with: llmprep verify --record") from None


def write_book(path: Path, book: Book) -> None:
    """Write one evidence file, a run a line, so that a change of one run is a change of one line."""
    lines = [
        f"{json.dumps(k)}: {json.dumps(run_to_plain(r), ensure_ascii=False)}" for k, r in sorted(book.runs.items())
    ]
    head = f'"source": {json.dumps(book.source)},\n"versions": {json.dumps(book.versions)},\n"runs": '
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{" + head + "{\n" + ",\n".join(lines) + "\n}}\n", encoding="utf-8")


def run_to_plain(run: Run) -> dict[str, Any]:
    """A run as JSON values."""
    return {"params": run.params, **result_to_plain(run.result), "seconds": round(run.seconds, 3)}


def run_from_plain(raw: dict[str, Any]) -> Run:
    """The inverse of run_to_plain."""
    return Run(raw["params"], result_from_plain(raw), raw["seconds"])


def result_to_plain(result: Result) -> dict[str, Any]:
    """A result as JSON values; facts keep only what is set."""
    keep = ("name", "unit", "measured")
    facts = [{k: v for k, v in asdict(f).items() if k in keep or v not in (None, 0.0)} for f in result.facts]
    for fact, plain in zip(result.facts, facts, strict=True):
        if fact.predicted is not None:
            plain["predicted"] = fact.predicted
    return {
        "takeaway": result.takeaway._asdict(),
        "facts": facts,
        "table": asdict(result.table),
        "plot": asdict(result.plot),
    }


def result_from_plain(raw: dict[str, Any]) -> Result:
    """The inverse of result_to_plain."""
    plot = {**raw["plot"], "series": [Series(**s) for s in raw["plot"]["series"]]}
    return Result(Text(**raw["takeaway"]), [Fact(**f) for f in raw["facts"]], Table(**raw["table"]), Plot(**plot))


def same_result(one: Run, other: Run) -> bool:
    """Whether two runs found the same, whatever time they took."""
    return json.dumps(result_to_plain(one.result)) == json.dumps(result_to_plain(other.result))
