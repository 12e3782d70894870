import random

import pytest

from llmprep import content
from llmprep.bank.index import open_bank
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
            assert drawn.run.params.items() >= drawn.settings.items()


def test_drills_vary(questions, stored):
    question = next(q for q in questions if q.id == "kv-cache")
    rng = random.Random(0)
    assert len({str(draw_drill(question, stored, rng).settings) for _ in range(30)}) > 3
