# ruff: noqa: E402
import math

import pytest

torch = pytest.importorskip("torch")

from llmprep.demos.architecture.emergence_metric import (
    Params,
    draw_answers,
    formula_exact_match,
    grade,
    run,
    scaled_loss,
)


def test_grading_by_hand():
    right = torch.tensor([[True, True], [True, False], [False, False], [True, True]])
    assert grade(right) == (5 / 8, 1 / 2)


def test_one_token_is_its_own_answer():
    tokens, answers = grade(draw_answers(0.3, 1, torch.Generator().manual_seed(0)))
    assert tokens == answers == pytest.approx(math.exp(-0.3), abs=0.01)


def test_whiteboard_examples():
    assert formula_exact_match(0.05, 20) == pytest.approx(0.3679, abs=1e-4)
    assert scaled_loss(0.05, 0.5, 100) == pytest.approx(0.5)


def test_partial_credit_moves_smoothly_and_exact_match_does_not():
    rows = run(Params()).table.rows
    tokens, answers = [row[2] for row in rows], [row[3] for row in rows]
    assert tokens == sorted(tokens)
    assert answers == sorted(answers)
    assert answers[len(rows) // 2] < 5 < tokens[len(rows) // 2]


@pytest.mark.parametrize("change", [{"answer_len": 1}, {"loss": 2.0}, {"times_smaller": 1.0}, {"seed": 5}])
def test_facts_agree(change):
    assert all(f.agrees for f in run(Params(**change)).facts)


@pytest.mark.parametrize("bad", [{"loss": 0.0}, {"alpha": 2.0}, {"answer_len": 0}, {"times_smaller": 0.5}])
def test_nonsense_is_refused(bad):
    with pytest.raises(ValueError, match="must"):
        Params(**bad)
