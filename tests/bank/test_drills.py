"""Drills that the calculator grades: what the loader accepts, and what it says of the rest."""

import pytest
import yaml

from llmprep import content
from llmprep.bank.index import open_bank
from llmprep.bank.lint import check_bank

GOOD = {
    "ask": {"en": "{params_billion}B at {bits} bits: how many GB?", "zh": "{params_billion}B，{bits} bit，多少 GB？"},
    "calc": "weights_gb",
    "vary": {"bits": [4, 8, 16]},
    "ranges": {"params_billion": [1, 70, 1]},
    "rtol": 0.02,
}


@pytest.fixture
def problems(tmp_path, stored):
    def check(**changes):
        folder = tmp_path / "bank"
        folder.mkdir(exist_ok=True)
        drill = {k: v for k, v in {**GOOD, **changes}.items() if v is not None}
        question = {
            "id": "own",
            "cluster": "inference",
            "prompt": {"en": "What?"},
            "answer": {"what": {"en": "That."}},
            "key_points": [{"id": "one", "must": True, "say": {"en": "That."}}],
            "drills": [drill],
        }
        (folder / "own.yaml").write_text(yaml.safe_dump(question, allow_unicode=True), encoding="utf-8")
        return [str(p) for p in check_bank(folder, stored, strict=False)[1]]

    return check


def test_a_good_one_is_accepted(problems):
    assert problems() == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"calc": "weight_gb"}, "the calculator has no 'weight_gb'; did you mean 'weights_gb'?"),
        ({"calc": None}, "neither calc nor demo and fact"),
        ({"demo": "inference/kv_cache", "fact": "cache_gib"}, "graded by calc or by a demo"),
        ({"vary": {}}, "weights_gb takes each of params_billion, bits once"),
        ({"set": {"bits": 4}}, "weights_gb takes each of params_billion, bits once"),
        ({"ranges": {"params_billion": [1, 70]}}, "is no range"),
        ({"ranges": {"params_billion": [70, 1, 1]}}, "is no range"),
        ({"ranges": {"params_billion": [1, 2, 5]}}, "is no range"),
        ({"vary": {"bits": ["four"]}}, "no answer for"),
        ({"ask": {"en": "{size}?", "zh": "{size}？"}}, "broken placeholder ('size')"),
    ],
)
def test_mistakes_are_named(problems, changes, message):
    found = problems(**changes)
    assert any(message in p and "own.yaml:" in p for p in found), found


def test_a_demo_is_not_measured_over_a_range(problems):
    found = problems(calc=None, demo="inference/kv_cache", fact="cache_gib", ranges={"seq_len": [1, 9, 1]})
    assert any("a demo is not measured over a range" in p for p in found), found


def test_the_bank_has_some(tmp_path):
    bank = open_bank(content.questions_dir(), tmp_path)
    drills = [d for q in bank.questions() for d in q.drills if d.calc]
    bank.close()
    assert len(drills) >= 4
