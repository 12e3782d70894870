"""Numbers asked of the person: one to predict, and drills with fresh ones."""

import random
from typing import Any

from llmprep.bank.types import Question
from llmprep.cli.render import card
from llmprep.cli.render.screen import Screen
from llmprep.lab.claim import fill
from llmprep.lab.contract import Number
from llmprep.lab.evidence import Evidence
from llmprep.study.grading import is_right, off_by
from llmprep.study.measure import draw_drill, prediction

SUFFIXES = {"%": 0.01, "％": 0.01, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9, "T": 1e12}


def predict(screen: Screen, question: Question, evidence: Evidence) -> dict[str, Any] | None:
    """Hide a number, take a guess, let the measurement settle it; what was guessed, for the log."""
    guess = prediction(question, evidence)
    if guess is None:
        screen.tell(screen.say("no_prediction"))
        return None
    others = dict.fromkeys(guess.run.facts, _Blank("…"))  # another fact could give the number away
    values = {**guess.run.values, **others, guess.name: _Blank("___")}
    for code in card.languages(screen.lang):
        screen.tell(fill(guess.claim.says.pick(code), values))
    unit = guess.run.facts[guess.name].unit
    said = ask(screen, screen.say("predict_ask"), unit, percent=guess.percent)
    if said is None:
        return None
    off = off_by(said, guess.measured)
    shown = {"said": show(said, percent=guess.percent), "measured": show(guess.measured, percent=guess.percent)}
    screen.tell(screen.say("predict_off", **shown, off=off) if off else screen.say("predict_hit", **shown))
    screen.print(card.claim_lines(guess.claim, evidence, screen.lang, screen.ui, screen.width))
    return {"claim": guess.index, "fact": guess.name, "said": said, "measured": guess.measured}


def drill(screen: Screen, question: Question, evidence: Evidence, rng: random.Random) -> dict[str, Any] | None:
    """A numeric question, graded against stored evidence; what was answered, for the log."""
    drawn = draw_drill(question, evidence, rng)
    if drawn is None:
        screen.tell(screen.say("no_drill"))
        return None
    for code in card.languages(screen.lang):
        screen.tell(fill(drawn.drill.ask.pick(code), drawn.values))
    said = ask(screen, screen.say("drill_ask", unit=drawn.unit or "×"), drawn.unit)
    if said is None:
        return None
    right = is_right(drawn.drill, said, drawn.measured)
    shown = {"said": show(said), "measured": show(drawn.measured), "unit": drawn.unit}
    off = off_by(said, drawn.measured) or "="
    screen.tell(screen.say("drill_right" if right else "drill_wrong", **shown, off=off))
    return {
        "demo": drawn.drill.demo or f"calc:{drawn.drill.calc}",
        "settings": drawn.settings,
        "said": said,
        "right": right,
    }


def ask(screen: Screen, prompt: str, unit: str, *, percent: bool = False) -> float | None:
    """Ask for a number until it is one; an empty line gives up."""
    while True:
        text = screen.keys.line("  " + prompt)
        if not text:
            return None
        value = parse_number(text, unit)
        if value is not None:
            return value / 100 if percent and "%" not in text and "％" not in text else value
        screen.tell(screen.say("not_a_number", text=text))


def parse_number(text: str, unit: str = "") -> float | None:
    """`131,072`, `1.5e6`, `40%`, `1/4`, `128k`, `8B` and `131072 B` (where B is the unit); None for anything else."""
    text = text.replace(",", "").replace("，", "").replace("_", "").strip()
    text = text.removesuffix(unit).removesuffix("×").removesuffix("x").strip()
    scale = SUFFIXES.get(text[-1:], 1.0)
    if text[-1:] in SUFFIXES:
        text = text[:-1].strip()
    over, slash, under = text.partition("/")
    try:
        value = float(over) / float(under) if slash else float(text)
    except (ValueError, ZeroDivisionError):
        return None
    return value * scale if abs(value) < float("inf") else None


def show(value: Number, *, percent: bool = False) -> str:
    """A number as people write it: `131,072`, `96.1`, `59%`."""
    if percent:
        return f"{value:.3g}" if value > 10 else f"{100 * value:.3g}%"
    return f"{int(value):,}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:,.4g}"


class _Blank(str):
    """Stands for a hidden number in a sentence, whatever its format."""

    __slots__ = ()

    def __format__(self, spec: str) -> str:
        return str(self)
