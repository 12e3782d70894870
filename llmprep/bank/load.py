"""From a folder of YAML files to questions, and every problem on the way with file, line, field and what to do."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmprep import content
from llmprep.bank import yaml12
from llmprep.bank.types import LANGUAGES, Question
from llmprep.errors import did_you_mean

TEXT_FIELDS = {"prompt", "what", "why", "how", "ask", "say", "says", "wrong", "right"}
_CJK = re.compile(r"[\u4e00-\u9fff]")


@dataclass(frozen=True, order=True)
class Problem:
    """One thing to mend. `suggestion` says how, in a few words."""

    file: str
    line: int
    field: str
    message: str
    suggestion: str = ""

    def __str__(self) -> str:
        field = f"{self.field}: " if self.field else ""
        hint = f" → {self.suggestion}" if self.suggestion else ""
        return f"{self.file}:{self.line}: {field}{self.message}{hint}"


@dataclass(frozen=True)
class Loaded:
    """A question as it stands in its file."""

    question: Question
    path: Path
    document: yaml12.Document

    def problem(self, path: yaml12.Path, message: str, suggestion: str = "") -> Problem:
        """A problem at one place of this file."""
        return Problem(str(self.path), self.document.line(path), dotted(path), message, suggestion)


def dotted(path: Iterable[Any]) -> str:
    """`("claims", 0, "says")` → `claims[0].says`."""
    out = ""
    for part in path:
        out += f"[{part}]" if isinstance(part, int) else f".{part}" if out else str(part)
    return out


def files(bank: Path) -> Iterator[Path]:
    """Every question file below a folder, in a stable order; a folder named `evidence` or `.x` is not looked into."""
    for path in sorted(bank.rglob("*.y*ml")):
        inside = path.relative_to(bank).parts
        hidden = "evidence" in inside or any(part.startswith(".") for part in inside)
        if path.suffix in (".yaml", ".yml") and not hidden and path.is_file():
            yield path


def load_file(path: Path) -> Loaded | list[Problem]:
    """One question, or all the reasons why the file holds none."""
    name = str(path)
    try:
        document = yaml12.read(path)
    except yaml12.YamlError as error:
        return [Problem(name, error.line, "", str(error))]
    except OSError as error:
        return [Problem(name, 1, "", f"cannot be read ({error.strerror})")]
    if not isinstance(document.value, dict):
        return [Problem(name, 1, "", "expected a mapping with id, cluster, prompt, answer …", "see docs/question.md")]

    from pydantic import ValidationError

    problems = list(_identity(path, document))
    try:
        question = _adapter().validate_python(_complete(document.value))
    except ValidationError as error:
        return problems + [_explain(name, document, item) for item in error.errors()]
    return problems or Loaded(question, path, document)


def _identity(path: Path, document: yaml12.Document) -> Iterator[Problem]:
    """What pydantic can't know: the file's name, the clusters, ids that must differ."""

    def problem(field: str, message: str, suggestion: str) -> Problem:
        return Problem(str(path), document.line((field,)), field, message, suggestion)

    question_id, cluster, prompt = (document.value.get(key) for key in ("id", "cluster", "prompt"))
    if question_id is not None and question_id != path.stem:
        yield problem("id", f"{question_id!r} differs from the file's name", f"id: {path.stem}")
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", path.stem):
        yield problem("id", f"{path.stem!r} is not kebab-case", "small letters, digits and hyphens")
    if cluster is not None and str(cluster) not in content.CLUSTERS:
        hint = did_you_mean(str(cluster), content.CLUSTERS).removeprefix("; ")
        yield problem("cluster", f"no cluster {cluster!r}", hint or "one of " + ", ".join(content.CLUSTERS))
    if prompt == "" or (isinstance(prompt, dict) and not any(prompt.values())):
        yield problem("prompt", "empty", "ask something, in English or Chinese")
    points = document.value.get("key_points")
    ids = [p.get("id") for p in points if isinstance(p, dict)] if isinstance(points, list) else []
    for point_id in sorted({str(i) for i in ids if ids.count(i) > 1}):
        yield problem("key_points", f"the id {point_id!r} stands twice", "give each point its own")


def _complete(value: Any, key: str = "") -> Any:
    """Let a draft write a text in one language, and an answer as one paragraph."""
    if key == "answer" and (isinstance(value, str) or (isinstance(value, dict) and set(value) <= set(LANGUAGES))):
        return {"what": _complete(value, "what")}
    if key in TEXT_FIELDS and isinstance(value, str):
        return {"zh" if _CJK.search(value) else "en": value.strip()}
    if isinstance(value, dict):
        return {k: _complete(v, k) for k, v in value.items()}
    if isinstance(value, list):
        return [_complete(item) for item in value]
    return value.strip() if isinstance(value, str) else value


def _adapter() -> Any:
    global _ADAPTER  # noqa: PLW0603  (building it takes pydantic 20 ms, once)
    if _ADAPTER is None:
        from pydantic import TypeAdapter

        _ADAPTER = TypeAdapter(Question)
    return _ADAPTER


_ADAPTER: Any = None


def _explain(name: str, document: yaml12.Document, error: Any) -> Problem:
    """One pydantic error as one line in the words of this file format."""
    path = tuple(part for part in error["loc"] if part not in _UNION_BRANCHES)
    field = dotted(path)
    kind = error["type"]
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        known = sorted(_siblings(path))
        hint = did_you_mean(str(path[-1]), known).removeprefix("; ")
        return Problem(name, document.line(path), field, "unknown key", hint or ("known: " + ", ".join(known)))
    if kind.startswith("missing"):
        return Problem(name, document.line(path[:-1]), field, "is missing", f"add {path[-1]}:")
    message = error["msg"][0].lower() + error["msg"][1:]
    shown = repr(error["input"])
    if len(shown) < 40:
        message += f", not {shown}"
    return Problem(name, document.line(path), field, message)


_UNION_BRANCHES = {"bool", "int", "float", "str", "dataclass-args", "arguments"}


def _siblings(path: tuple[Any, ...]) -> set[str]:
    """The keys that are known at the place of an unknown one."""
    import dataclasses
    from typing import get_args, get_type_hints

    kind: Any = Question
    for part in path[:-1]:
        if isinstance(part, int):
            continue
        hint = get_type_hints(kind).get(part) if isinstance(kind, type) else None
        for candidate in (hint, *get_args(hint)):
            if isinstance(candidate, type) and (dataclasses.is_dataclass(candidate) or hasattr(candidate, "_fields")):
                kind = candidate
                break
    return set(get_type_hints(kind)) - {"__pydantic_config__"}
