import random

import pytest

from llmprep import content
from llmprep.bank.index import open_bank
from llmprep.bank.types import Answer, Drill, Question
from llmprep.content import Text
from llmprep.lab.claim import placeholders
from llmprep.study.measure import draw_drill, prediction


@pytest.fixture
def questions(tmp_path):
    bank = open_bank(content.questions_dir(), tmp_path)
    found = list(bank.questions())
    bank.close()
    return found


def test_every_question_has_a_number_to_predict(questions, stored):
    for question in questions:
        guess = prediction(question, stored)
        assert guess is not None, question.id
        assert guess.name in placeholders(guess.claim.says.en)
        assert guess.name in placeholders(guess.claim.says.zh)
        assert guess.measured == guess.run.facts[guess.name].measured


def test_every_drill_can_be_drawn_and_is_answered_by_its_evidence(questions, stored):
    for question in questions:
        for _ in range(10 if question.drills else 0):
            drawn = draw_drill(question, stored, random.Random(_))
            assert drawn is not None, question.id
            assert drawn.values.items() >= drawn.settings.items()


def test_drills_vary(questions, stored):
    question = next(q for q in questions if q.id == "kv-cache")
    rng = random.Random(0)
    assert len({str(draw_drill(question, stored, rng).settings) for _ in range(30)}) > 3


def test_a_drill_of_the_calculator_draws_from_its_ranges(stored):
    drill = Drill(
        ask=Text("{params_billion} {bits}?"),
        calc="weights_gb",
        vary={"bits": (4, 16)},
        ranges={"params_billion": (1, 9, 2)},
        rtol=0.01,
    )
    question = Question("own", "inference", Text("?"), Answer(Text(".")), drills=(drill,))
    rng = random.Random(0)
    seen = set()
    for _ in range(60):
        drawn = draw_drill(question, stored, rng)
        assert drawn.measured == drawn.settings["params_billion"] * drawn.settings["bits"] / 8
        assert (drawn.unit, drawn.values) == ("GB", drawn.settings)
        seen.add(drawn.settings["params_billion"])
    assert seen == {1, 3, 5, 7, 9}


@pytest.mark.parametrize(
    "broken",
    [
        {"calc": "no_such_thing"},
        {"calc": "weights_gb", "set": {"bits": "four", "params_billion": "one"}},
        {"calc": "weights_gb", "ranges": {"bits": (1, 2)}},
        {"calc": "weights_gb", "vary": {"bits": ()}},
        {"demo": "no/such", "fact": "x"},
        {},
    ],
)
def test_a_drill_that_cannot_be_graded_is_not_asked(stored, broken):
    question = Question("own", "inference", Text("?"), Answer(Text(".")), drills=(Drill(ask=Text("?"), **broken),))
    assert draw_drill(question, stored, random.Random(0)) is None
