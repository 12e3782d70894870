"""Judges a claim against what its demo measured."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llmprep.lab.claim import Claim, Settings
from llmprep.lab.contract import Fact, Number

Measure = Callable[[str, Settings], dict[str, Fact]]
"""`measure(demo, settings)` → the demo's facts by name; raises MeasurementError if it cannot."""


class MeasurementError(Exception):
    """A demo failed, or stored evidence is missing: no verdict is possible."""


@dataclass(frozen=True)
class Verdict:
    """proved | cited | refuted | error, and the numbers that say so."""

    status: str
    reason: str
    measured: dict[str, Number]
    refuting: dict[str, Number]


def judge(claim: Claim, measure: Measure) -> Verdict:
    """Proved only if the facts agree, every expectation holds, and every one fails under `refuted_by`.

    An exception in the demo, or a fact that it does not report, is an error and never a refutation.
    """
    if claim.cite is not None:
        return Verdict("cited", "", {}, {})
    measured: dict[str, Number] = {}
    refuting: dict[str, Number] = {}
    try:
        facts = measure(claim.demo, claim.set)
        wrong = measure(claim.demo, claim.wrong_setting)
        for expectation in claim.expect:
            measured[expectation.fact] = _need(facts, expectation.fact, claim)
            refuting[expectation.fact] = _need(wrong, expectation.fact, claim)
    except MeasurementError as error:
        return Verdict("error", str(error), measured, refuting)

    for fact in facts.values():
        if not fact.agrees:
            off = f"{fact.name} is {fact.measured!r}, predicted {fact.predicted!r}"
            return Verdict("refuted", f"the demo disagrees with its own formula: {off}", measured, refuting)
    for expectation in claim.expect:
        got = measured[expectation.fact]
        if not expectation.holds(got):
            return Verdict(
                "refuted",
                f"said {expectation}, measured {number(got)}{_distance(expectation, got)}",
                measured,
                refuting,
            )
    for expectation in claim.expect:
        got = refuting[expectation.fact]
        if expectation.holds(got):
            reason = f"the check cannot fail: {expectation} also holds under {_show(claim.refuted_by)} ({number(got)})"
            return Verdict("refuted", reason, measured, refuting)
    return Verdict("proved", "", measured, refuting)


def number(value: Number) -> str:
    """A measured number in a sentence: integers in full, others to six digits."""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"


def _need(facts: dict[str, Fact], name: str, claim: Claim) -> Number:
    if name not in facts:
        raise MeasurementError(f"{claim.demo} reports no fact {name!r} (it reports {', '.join(facts)})")
    return facts[name].measured


def _distance(expectation: Any, got: Number) -> str:
    if expectation.value:
        return f" ({got / expectation.value - 1:+.1%})"
    return ""


def _show(settings: Settings) -> str:
    return ", ".join(f"{k}={v}" for k, v in settings.items())
