"""What a question is. Plain dataclasses: pydantic checks them when a bank is indexed, nobody else needs it."""

import types
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from llmprep.lab.claim import Claim, Setting, Strict
from llmprep.lab.contract import Text

LAYERS = ("what", "why", "how")
LANGUAGES = ("en", "zh")

EMPTY = Text()

Level = Literal["core", "deep", "expert"]
Role = Literal["algorithm", "application", "infra"]


@dataclass(frozen=True)
class Answer(Strict):
    """The three layers: what it is (现象), why it is so (本质), how it is used (实战)."""

    what: Text
    why: Text = EMPTY
    how: Text = EMPTY


@dataclass(frozen=True)
class KeyPoint(Strict):
    """What an interviewer ticks off (`say`) and the probe that brings it out (`ask`)."""

    id: str
    say: Text
    ask: Text = EMPTY
    must: bool = False


@dataclass(frozen=True)
class Pitfall(Strict):
    """A popular wrong answer and its correction."""

    wrong: Text
    right: Text


@dataclass(frozen=True)
class Drill(Strict):
    """A numeric question with fresh numbers, graded against a fact of a demo, or by the calculator."""

    ask: Text
    demo: str = ""
    fact: str = ""
    calc: str = ""  # a quantity of llmprep.calc.quantities, instead of demo and fact
    vary: Mapping[str, tuple[Setting, ...]] = field(default_factory=dict)  # values to draw from
    ranges: Mapping[str, tuple[int | float, ...]] = field(
        default_factory=dict
    )  # lowest, highest, step: for `calc` only
    set: Mapping[str, Setting] = field(default_factory=dict)
    rtol: float = 0.0
    atol: float = 0.0


@dataclass(frozen=True)
class SourceRef(Strict):
    """A place in a source of data/sources.yaml."""

    source: str
    where: str = ""


@dataclass(frozen=True)
class Question(Strict):
    """One question of a bank; every field that a draft may leave out has a default."""

    id: str
    cluster: str
    prompt: Text
    answer: Answer
    key_points: tuple[KeyPoint, ...] = ()
    level: Level = "core"
    roles: tuple[Role, ...] = ()
    tags: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    asked: int = 0
    needs: tuple[str, ...] = ()
    follow_ups: tuple[str, ...] = ()
    terms: tuple[Text, ...] = ()
    pitfalls: tuple[Pitfall, ...] = ()
    claims: tuple[Claim, ...] = ()
    drills: tuple[Drill, ...] = ()
    sources: tuple[SourceRef, ...] = ()

    @property
    def demos(self) -> tuple[str, ...]:
        """The demos behind this question, each once, in the order of its claims and drills."""
        return tuple(dict.fromkeys(d for d in (*(c.demo for c in self.claims), *(d.demo for d in self.drills)) if d))


@cache
def _hints(cls: Any) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {name: hints[name] for name in (f.name for f in fields(cls))}


def from_plain(kind: Any, value: Any) -> Any:
    """Rebuild a dataclass from the plain JSON that the index stores (already checked when it was written)."""
    origin = get_origin(kind)
    if origin is tuple:
        args = get_args(kind)
        return tuple(from_plain(args[0], item) for item in value)
    if origin is Mapping:
        return {key: from_plain(get_args(kind)[1], item) for key, item in value.items()}
    if origin in (Union, types.UnionType) and value is not None:
        classes = [a for a in get_args(kind) if is_dataclass(a) or get_origin(a) is tuple]
        return from_plain(classes[0], value) if classes else value
    if kind is Text:
        return Text(*value)
    if isinstance(kind, type) and is_dataclass(kind):
        hints = _hints(kind)
        return kind(**{name: from_plain(hints[name], item) for name, item in value.items()})
    return value
