"""The numbers of a card: one to predict, and drills with fresh ones, both settled by stored evidence."""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmprep.bank.types import Drill, Question
from llmprep.calc import quantities
from llmprep.errors import UserError
from llmprep.lab import catalog
from llmprep.lab.claim import Claim, Setting, placeholders
from llmprep.lab.contract import Number
from llmprep.lab.evidence import Evidence, Run


@dataclass(frozen=True)
class Prediction:
    """A claim with one number hidden, and the measurement that settles it; `percent` where the sentence says so."""

    claim: Claim
    index: int
    name: str
    measured: Number
    run: Run
    percent: bool


def prediction(question: Question, evidence: Evidence) -> Prediction | None:
    """The first measured claim that has evidence; its first checked number is the one to predict."""
    for index, claim in enumerate(question.claims):
        if not claim.demo:
            continue
        run = evidence.find(catalog.find(claim.demo), claim.set)
        if run is None:
            continue
        checked = [e.fact for e in claim.expect]
        names = [n for n in placeholders(claim.says.en or claim.says.zh) if n in checked]
        if names:
            percent = bool(re.search(rf"\{{{names[0]}:[^}}]*%\}}", claim.says.en or claim.says.zh))
            return Prediction(claim, index, names[0], run.facts[names[0]].measured, run, percent)
    return None


@dataclass(frozen=True)
class DrawnDrill:
    """A numeric question with its numbers filled in."""

    drill: Drill
    settings: dict[str, Setting]
    values: Mapping[str, object]  # that the question may name
    measured: Number  # the answer
    unit: str


def draw_drill(question: Question, evidence: Evidence, rng: random.Random) -> DrawnDrill | None:
    """One of the question's drills: with one of its measured settings, or any within the calculator's ranges."""
    found = [drawn for drill in question.drills if (drawn := _drawn(drill, evidence, rng))]
    return rng.choice(found) if found else None


def _drawn(drill: Drill, evidence: Evidence, rng: random.Random) -> DrawnDrill | None:
    settings: dict[str, Setting] = dict(drill.set)
    try:
        settings |= {name: rng.choice(values) for name, values in drill.vary.items()}
        settings |= {name: _within(ends, rng) for name, ends in drill.ranges.items()}
        if drill.calc:
            quantity = quantities.find(drill.calc)
            return DrawnDrill(drill, settings, settings, quantity.function(**settings), quantity.unit)
        run = evidence.find(catalog.find(drill.demo), settings)
    except (UserError, ArithmeticError, LookupError, TypeError, ValueError):
        return None  # `bank check` says what is wrong with it; a quiz goes on without
    if run is None or drill.fact not in run.facts:
        return None
    fact = run.facts[drill.fact]
    return DrawnDrill(drill, settings, run.params, fact.measured, fact.unit)


def _within(ends: Sequence[Number], rng: random.Random) -> Number:
    """A number of a range (lowest, highest, step)."""
    low, high, step = ends
    return low + step * rng.randrange(int((high - low) / step + 1e-9) + 1)
