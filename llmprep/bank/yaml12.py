"""YAML with 1.2 scalars (`1e-6` is a number, `off` a word), line numbers, and nothing that can hurt.

Refused, each with its line: duplicate keys, aliases (and so alias bombs), tags, several documents, other encodings,
files over a megabyte.
"""

import re
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

import yaml

MAX_BYTES = 1_000_000
Path = tuple[Hashable, ...]
"""Where a value stands in a document: ("claims", 0, "says", "en")."""

_INT = re.compile(r"[-+]?[0-9][0-9_]*$")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")
_PLAIN_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map")}


class YamlError(Exception):
    """A file that is not usable YAML: `line` is 1-based."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True)
class Document:
    """A parsed file and the line of every value in it."""

    value: Any
    lines: dict[Path, int]

    def line(self, path: Path) -> int:
        """The line of a value, or of the nearest one that encloses it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read(path: FilePath) -> Document:
    """Parse one file; raises YamlError, or OSError if it cannot be read."""
    with path.open("rb") as file:
        raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise YamlError(1, f"larger than {MAX_BYTES:,} bytes: a question is a few kilobytes")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise YamlError(line, f"not UTF-8 (byte 0x{raw[error.start]:02x}); save the file as UTF-8") from None
    return parse(text)


def parse(text: str) -> Document:
    """Parse one document from text; raises YamlError."""
    try:
        node = yaml.compose(text, Loader=yaml.CBaseLoader)
        if node is None:
            raise YamlError(1, "the file is empty")
        lines: dict[Path, int] = {}
        return Document(_build(node, (), lines, set()), lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError(mark.line + 1 if mark else 1, f"not valid YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise YamlError(1, f"not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise YamlError(1, "nested too deeply") from None


def _build(node: Any, path: Path, lines: dict[Path, int], seen: set[int]) -> Any:
    line = node.start_mark.line + 1
    lines[path] = line
    if id(node) in seen:
        raise YamlError(line, "an anchor that is used again (&name … *name); write the value out each time")
    seen.add(id(node))
    if node.tag not in _PLAIN_TAGS:
        raise YamlError(line, f"a tag ({node.tag}); questions are plain text, numbers, lists and mappings")
    if isinstance(node, yaml.ScalarNode):
        return node.value if node.style else _scalar(node.value)
    if isinstance(node, yaml.SequenceNode):
        return [_build(item, (*path, i), lines, seen) for i, item in enumerate(node.value)]
    mapping: dict[Hashable, Any] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise YamlError(key_node.start_mark.line + 1, "a key that is not a word")
        key = key_node.value
        if key in mapping:
            raise YamlError(key_node.start_mark.line + 1, f"the key {key!r} stands twice; keep one")
        mapping[key] = _build(value_node, (*path, key), lines, seen)
        lines[(*path, key)] = key_node.start_mark.line + 1
    return mapping


def _scalar(text: str) -> str | int | float | bool | None:
    if text in ("true", "True", "TRUE"):
        return True
    if text in ("false", "False", "FALSE"):
        return False
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if _INT.match(text):
        return int(text.replace("_", "")) if len(text) < 30 else text
    if _FLOAT.match(text):
        return float(text)
    return text
