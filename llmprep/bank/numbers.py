"""Which numbers a text states, and whether a claim or a source backs them."""

import re
from collections.abc import Iterable
from decimal import Decimal

from llmprep.bank.types import LANGUAGES, Question
from llmprep.errors import UserError
from llmprep.lab import catalog
from llmprep.lab.claim import fill
from llmprep.lab.evidence import Evidence

_CODE = re.compile(r"`[^`]*`")
# A number on its own: not part of a name (INT8, Llama-3-8B, d_2), an exponent, or a formula like T(T+1)/2.
_NUMBER = re.compile(r"(?<![\w.^√/\-·×*])\d[\d,]*(?:\.\d+)?(?![\w]|\.\d|[\-·/×*][A-Za-z_(])", re.ASCII)
SMALL = 10


def loose_numbers(text: str, small: int = SMALL) -> list[str]:
    """The numbers of a text, without whole numbers up to `small`: `loose_numbers("4 of 20.5%") == ["20.5"]`."""
    found = [m.group().rstrip(",") for m in _NUMBER.finditer(_CODE.sub("", text))]
    return [n for n in found if "." in n or int(n.replace(",", "")) > small]


def stands_in(number: str, known: Iterable[float]) -> bool:
    """Whether a known value, or that value in percent, rounds to the number as it is printed."""
    value = Decimal(number.replace(",", ""))
    places = -int(value.as_tuple().exponent)
    half = 0.5000001 * 10.0**-places
    return any(abs(float(value) - scaled) <= half for k in known for scaled in (k, 100 * k))


def known_numbers(question: Question, evidence: Evidence) -> set[float]:
    """Every number that a claim of the question checks, sets, cites or says, or that a source's place names."""
    known: set[float] = set()
    texts = [ref.where for ref in question.sources]
    for claim in question.claims:
        values = [*claim.set.values(), *claim.refuted_by.values()]
        for e in claim.expect:
            values += [v for v in (e.value, e.at_least, e.at_most, *(e.between or ())) if v is not None]
        if claim.cite:
            values += claim.cite.values.values()
            texts += [claim.cite.where, *(_filled(getattr(claim.says, lang), claim.cite.values) for lang in LANGUAGES)]
        elif claim.demo:
            try:
                run = evidence.find(catalog.find(claim.demo), claim.set)
            except UserError:
                run = None
            if run:
                texts += [_filled(getattr(claim.says, lang), run.values) for lang in LANGUAGES]
        known.update(float(v) for v in values if isinstance(v, int | float))
    for text in texts:
        known.update(float(n.replace(",", "")) for n in re.findall(r"\d[\d,]*(?:\.\d+)?", text))
    return known


def _filled(template: str, values: object) -> str:
    try:
        return fill(template, values)  # type: ignore[arg-type]
    except (KeyError, ValueError):
        return ""
