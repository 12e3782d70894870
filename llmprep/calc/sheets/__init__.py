"""The answer of a calc command: one function a command, from a shape and options to a `Sheet`."""

from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from llmprep.content import Text

Unit = Literal["params", "B", "FLOP", "FLOP/s", "s", "tok/s", "tokens", "requests", "USD", "GPUs", "%", "×", "bits", ""]


class Row(NamedTuple):
    """A quantity, and how it comes about."""

    label: Text
    value: float
    unit: Unit
    formula: str = ""  # in symbols and numbers, shown by --explain; the same in both languages
    high: float | None = None  # the value is a range that ends here


@dataclass(frozen=True)
class Section:
    """Rows under a heading. With `total`, the rows are its parts, and each gets a bar of its share."""

    title: Text
    rows: tuple[Row, ...]
    total: Row | None = None
    detail: tuple[Row, ...] = ()  # shown by --explain only


class Verdict(NamedTuple):
    """One line that says yes or no: fits, does not fit."""

    ok: bool
    text: Text


@dataclass(frozen=True)
class Sheet:
    """What a calc command answers; `data` is what --json prints: plain numbers, bytes as bytes, seconds as seconds."""

    subject: str  # the model's name
    title: Text
    sections: tuple[Section, ...]
    data: dict[str, Any]
    summary: tuple[Row, ...] = ()  # what --compare lines up
    verdicts: tuple[Verdict, ...] = ()
    reasons: tuple[Text, ...] = ()  # why this layout; traps worth knowing
    assumptions: tuple[Text, ...] = field(default=())  # what the numbers rest on
