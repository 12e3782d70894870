"""The built-in bank: every claim judged on stored evidence, and every expectation shown to bite."""

import dataclasses
from pathlib import Path

import pytest

from llmprep import content
from llmprep.bank.lint import check_bank
from llmprep.bank.load import Loaded, files, load_file
from llmprep.lab import catalog
from llmprep.lab.evidence import Evidence, is_current
from llmprep.lab.judge import MeasurementError, judge
from llmprep.lab.verify import variations

EVIDENCE = Evidence([content.data_dir() / "evidence"])
QUESTIONS = [
    loaded.question for path in files(content.questions_dir()) if isinstance(loaded := load_file(path), Loaded)
]
CLAIMS = [pytest.param(c, id=f"{q.id}[{i}]") for q in QUESTIONS for i, c in enumerate(q.claims) if c.demo]


def measure(demo, settings):
    run = EVIDENCE.find(catalog.find(demo), settings)
    if run is None:
        raise MeasurementError(f"nothing stored for {demo} {settings}; llmprep verify --record")
    return run.facts


def mutants(expectation):
    """The expectation with its number doubled, halved, or its bound moved by two."""
    for factor in (2, 0.5):
        if expectation.value is not None:
            wrong = expectation.value * factor if expectation.value else factor
            yield dataclasses.replace(expectation, value=wrong)
    if expectation.at_least is not None:
        yield dataclasses.replace(expectation, at_least=_beyond(expectation.at_least, up=True))
    if expectation.at_most is not None:
        yield dataclasses.replace(expectation, at_most=_beyond(expectation.at_most, up=False))
    if expectation.between is not None:
        low, high = expectation.between
        yield dataclasses.replace(expectation, between=(low * 2, high * 2))
        yield dataclasses.replace(expectation, between=(low / 2, high / 2))


def _beyond(bound, *, up):
    return bound * 2 if (bound > 0) == up else bound / 2


@pytest.mark.parametrize("claim", CLAIMS)
def test_claim_is_proved(claim):
    verdict = judge(claim, measure)
    assert (verdict.status, verdict.reason) == ("proved", "")


@pytest.mark.parametrize("claim", CLAIMS)
def test_any_expected_number_doubled_or_halved_fails(claim):
    for i, expectation in enumerate(claim.expect):
        for wrong in mutants(expectation):
            changed = dataclasses.replace(claim, expect=(*claim.expect[:i], wrong, *claim.expect[i + 1 :]))
            assert judge(changed, measure).status == "refuted", f"{wrong} passes too"


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda q: q.id)
def test_every_setting_of_every_drill_is_measured(question):
    for drill in (d for d in question.drills if d.demo):
        for settings in variations(drill.set, dict(drill.vary)):
            run = EVIDENCE.find(catalog.find(drill.demo), settings)
            assert run is not None, f"{drill.demo} {settings}"
            assert drill.fact in run.facts


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda q: q.id)
def test_the_answers_of_a_drill_differ_beyond_its_tolerance(question):
    for drill in (d for d in question.drills if d.demo):
        runs = [EVIDENCE.find(catalog.find(drill.demo), s) for s in variations(drill.set, dict(drill.vary))]
        found = {run.facts[drill.fact].measured for run in runs}
        assert len(found) > 1
        assert max(found) - min(found) > 2 * (drill.atol + drill.rtol * max(map(abs, found)))


@pytest.mark.parametrize("demo", sorted(catalog.demos()))
def test_stored_evidence_is_of_this_demo(demo):
    info = catalog.find(demo)
    (book,) = EVIDENCE.books(info)
    from llmprep.lab.evidence import source_hash

    assert book.source == source_hash(info), "the demo has changed: llmprep verify --record"
    assert is_current(book, info) or book.versions
    assert all(fact.agrees for run in book.runs.values() for fact in run.facts.values())


def test_the_bank_has_no_problems():
    _, problems = check_bank(content.questions_dir(), EVIDENCE, strict=True)
    assert [str(p) for p in problems] == []


def test_size():
    assert len(QUESTIONS) >= 26
    assert len(CLAIMS) >= 60


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda q: q.id)
def test_question_and_outline_agree(question):
    outline = {q["id"]: q for q in content.load_yaml("outline.yaml")["questions"]}
    entry = outline[question.id]
    assert question.cluster == entry["cluster"]
    assert question.asked == entry["asked"]
    assert set(entry["origins"]) <= set(question.origins)


@pytest.mark.parametrize(
    ("cluster", "rows", "most_asked"), [("architecture", 36, 10), ("special", 8, 3), ("inference", 17, 0)]
)
def test_the_cluster_is_whole(cluster, rows, most_asked):
    """Every row of the outline, and every origin that it names, whichever question holds it."""
    outline = [q for q in content.load_yaml("outline.yaml")["questions"] if q["cluster"] == cluster]
    asked = [q for q in outline if q["origins"][0].startswith("asked:")]
    wanted = [q for q in outline if q not in asked or most_asked]
    assert len(wanted) == rows + most_asked
    held = {origin for q in QUESTIONS for origin in q.origins}
    assert [(q["id"], o) for q in wanted for o in q["origins"] if o not in held] == []
    assert {q["id"] for q in wanted} <= {q.id for q in QUESTIONS}


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda q: q.id)
def test_file_and_folder(question):
    folder = content.questions_dir() / content.CLUSTERS[question.cluster].folder
    assert (folder / f"{question.id}.yaml").is_file()


def test_wrong_settings_are_plausible_not_broken():
    """A refuting setting must run: an exception is an error and refutes nothing."""
    for parameter in CLAIMS:
        (claim,) = parameter.values
        assert measure(claim.demo, claim.wrong_setting)


def test_sources_are_used_and_complete():
    sources = content.load_yaml("sources.yaml")
    used = {s.source for q in QUESTIONS for s in q.sources} | {
        c.cite.source for q in QUESTIONS for c in q.claims if c.cite
    }
    assert set(sources) == used
    for source_id, source in sources.items():
        assert set(source) == {"title", "authors", "year", "url"}, source_id
        assert source["url"].startswith("https://"), source_id
        assert Path(source_id).name == source_id
