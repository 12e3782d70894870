import pytest

from llmprep.lab.claim import Citation, Claim, Expectation
from llmprep.lab.contract import Fact, Text
from llmprep.lab.judge import MeasurementError, judge

CLAIM = Claim(Text("{double}"), "arithmetic", "d", {"x": 2}, (Expectation("double", value=4),), refuted_by={"x": 3})


def measuring(**facts_at):
    """A stand-in for the lab: `measuring(x2=…, x3=…)` by the value of x."""

    def measure(demo, settings):
        found = facts_at[f"x{settings['x']}"]
        if isinstance(found, Exception):
            raise found
        return {f.name: f for f in found}

    return measure


def double(value, predicted=None):
    return [Fact("double", "", value, predicted)]


@pytest.mark.parametrize(
    ("at_2", "at_3", "status", "reason"),
    [
        (double(4), double(6), "proved", ""),
        (double(5), double(6), "refuted", "said double = 4, measured 5 (+25.0%)"),
        (double(4), double(4), "refuted", "the check cannot fail"),
        (double(4, predicted=8), double(6), "refuted", "disagrees with its own formula"),
        (double(float("nan")), double(6), "refuted", "disagrees"),
        ([Fact("other", "", 4)], double(6), "error", "reports no fact 'double'"),
        (double(4), [Fact("other", "", 4)], "error", "reports no fact 'double'"),
        (MeasurementError("boom"), double(6), "error", "boom"),
        (double(4), MeasurementError("boom"), "error", "boom"),
    ],
)
def test_verdicts(at_2, at_3, status, reason):
    verdict = judge(CLAIM, measuring(x2=at_2, x3=at_3))
    assert verdict.status == status
    assert reason in verdict.reason


def test_every_expectation_must_fail_under_the_wrong_setting():
    two = Claim(
        Text("x"),
        "arithmetic",
        "d",
        {"x": 2},
        (Expectation("double", value=4), Expectation("same", value=1)),
        refuted_by={"x": 3},
    )
    facts = measuring(x2=[*double(4), Fact("same", "", 1)], x3=[*double(6), Fact("same", "", 1)])
    verdict = judge(two, facts)
    assert verdict.status == "refuted"
    assert "same = 1 also holds under x=3" in verdict.reason


def test_a_citation_is_cited():
    assert judge(Claim(Text("x"), cite=Citation("s", "table")), measuring()).status == "cited"
