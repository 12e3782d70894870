"""What a demo gives back: a takeaway, facts, a table, a plot. Plain data that serialises to JSON."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from llmprep.content import Text

Number = int | float
Cell = str | int | float | None


@dataclass(frozen=True)
class Fact:
    """One measured quantity, and what the theory says it should be.

    `unit` is a word or symbol for the reader ("B", "FLOP", "tokens", "" for a ratio). With `predicted`, the demo
    holds itself to its own formula: |measured − predicted| ≤ atol + rtol·|predicted|.
    """

    name: str
    unit: str
    measured: Number
    predicted: Number | None = None
    rtol: float = 0.0
    atol: float = 0.0

    @property
    def agrees(self) -> bool:
        """Whether the measurement is within tolerance of the prediction (true where nothing is predicted)."""
        if not math.isfinite(self.measured):
            return False
        if self.predicted is None:
            return True
        return abs(self.measured - self.predicted) <= self.atol + self.rtol * abs(self.predicted)


@dataclass(frozen=True)
class Table:
    """Rows for the reader; a column that holds a quantity has its unit in the heading."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Series:
    """One line or set of bars: `x` are numbers (line) or labels (bar)."""

    label: str
    x: Sequence[Number | str]
    y: Sequence[Number]


@dataclass(frozen=True)
class Plot:
    """A figure as data; `kind` is "line" or "bar"."""

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    kind: str = "line"
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True)
class Result:
    """What `run(params)` of a demo returns."""

    takeaway: Text
    facts: Sequence[Fact]
    table: Table
    plot: Plot

    def fact(self, name: str) -> Fact:
        """The fact called `name`; KeyError if the demo does not report it."""
        for fact in self.facts:
            if fact.name == name:
                return fact
        raise KeyError(name)


__all__ = ["Cell", "Fact", "Number", "Plot", "Result", "Series", "Table", "Text"]
