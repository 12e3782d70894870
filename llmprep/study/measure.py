"""The numbers of a card: one to predict, and drills with fresh ones, both settled by stored evidence."""

import random
import re
from dataclasses import dataclass

from llmprep.bank.types import Drill, Question
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
    run: Run

    @property
    def measured(self) -> Number:
        """The answer."""
        return self.run.facts[self.drill.fact].measured

    @property
    def unit(self) -> str:
        """The unit of the answer."""
        return self.run.facts[self.drill.fact].unit


def draw_drill(question: Question, evidence: Evidence, rng: random.Random) -> DrawnDrill | None:
    """One of the question's drills with one of its measured settings."""
    found = []
    for drill in question.drills:
        info = catalog.find(drill.demo)
        values = [rng.choice(list(v)) for v in drill.vary.values()]
        settings = {**drill.set, **dict(zip(drill.vary, values, strict=True))}
        run = evidence.find(info, settings)
        if run and drill.fact in run.facts:
            found.append(DrawnDrill(drill, settings, run))
    return rng.choice(found) if found else None
