"""A claim: a sentence whose numbers are the ones that are checked, and how to refute it."""

import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from llmprep.lab.contract import Number, Text

Setting = bool | int | float | str
Settings = Mapping[str, Setting]
KINDS = ("arithmetic", "parity", "experiment", "simulation")


class Strict:
    """Tells pydantic to refuse unknown keys when a bank is checked."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}


@dataclass(frozen=True)
class Expectation(Strict):
    """What one fact must be: `value` (with `rtol` or `atol` unless an integer) or a bound."""

    fact: str
    value: Number | None = None
    rtol: float | None = None
    atol: float | None = None
    at_least: Number | None = None
    at_most: Number | None = None
    between: tuple[Number, Number] | None = None

    def holds(self, measured: Number) -> bool:
        """Whether a measurement satisfies this expectation."""
        if self.value is not None:
            return abs(measured - self.value) <= (self.atol or 0.0) + (self.rtol or 0.0) * abs(self.value)
        if self.between is not None:
            return self.between[0] <= measured <= self.between[1]
        if self.at_least is not None:
            return measured >= self.at_least
        return self.at_most is not None and measured <= self.at_most

    def __str__(self) -> str:
        if self.value is not None:
            slack = f" ± {self.rtol:.3g}×" if self.rtol else f" ± {self.atol:g}" if self.atol else ""
            return f"{self.fact} = {self.value:,}{slack}"
        if self.between is not None:
            return f"{self.between[0]:,} ≤ {self.fact} ≤ {self.between[1]:,}"
        if self.at_least is not None:
            return f"{self.fact} ≥ {self.at_least:,}"
        return f"{self.fact} ≤ {self.at_most:,}"


@dataclass(frozen=True)
class Citation(Strict):
    """A published number that no laptop can measure: where it stands, and what it says."""

    source: str
    where: str
    values: Mapping[str, Setting] = field(default_factory=dict)


@dataclass(frozen=True)
class Claim(Strict):
    """Either measured (`demo`, `set`, `expect`, `refuted_by`) or cited (`cite`)."""

    says: Text
    kind: str = ""
    demo: str = ""
    set: Settings = field(default_factory=dict)
    expect: tuple[Expectation, ...] = ()
    refuted_by: Settings = field(default_factory=dict)
    cite: Citation | None = None

    @property
    def wrong_setting(self) -> dict[str, Setting]:
        """The plausible wrong setting under which every expectation must fail."""
        return {**self.set, **self.refuted_by}


def placeholders(template: str) -> list[str]:
    """The names that a sentence takes numbers from: `placeholders("{a:.1f} of {b}") == ["a", "b"]`."""
    return [name for _, name, _, _ in string.Formatter().parse(template) if name]


def fill(template: str, values: Mapping[str, Any]) -> str:
    """Put measured, set or cited values into a sentence; integers get thousands separators.

    Raises KeyError for a name without a value and ValueError for a broken format.
    """
    out = []
    for text, name, spec, conversion in string.Formatter().parse(template):
        out.append(text)
        if name is None:
            continue
        if not name.isidentifier() or conversion:
            raise ValueError(f"only {{name}} and {{name:format}} are understood, not {{{name}}}")
        value = values[name]
        out.append(format(value, spec or ("," if isinstance(value, int) and not isinstance(value, bool) else "")))
    return "".join(out)
