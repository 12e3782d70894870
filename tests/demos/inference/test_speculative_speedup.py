import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmprep.demos.inference.speculative_decoding import formula_tokens_per_call
from llmprep.demos.inference.speculative_speedup import (
    Params,
    formula_break_even,
    formula_speedup,
    run,
    step_seconds,
    tokens_by_outcome,
)

CHIP = {"bandwidth": 1e12, "flops": 100e12}


@given(st.floats(0, 1), st.integers(1, 20))
def test_outcomes_add_up_to_the_closed_form(acceptance, gamma):
    closed = formula_tokens_per_call(acceptance, gamma)
    assert tokens_by_outcome(acceptance, gamma) == pytest.approx(closed, rel=2e-6)


def test_tokens_per_call_by_throwing_coins():
    rng = random.Random(0)
    yields = []
    for _ in range(20_000):
        n = 0
        while n < 4 and rng.random() < 0.7:
            n += 1
        yields.append(n + 1)
    assert sum(yields) / len(yields) == pytest.approx(tokens_by_outcome(0.7, 4), abs=0.05)


@pytest.mark.parametrize(
    ("acceptance", "gamma", "cost", "speedup"),
    [(0.7, 4, 0.05, 2.310917), (0.8, 4, 0.05, 2.8013), (0.8, 4, 0.2, 1.8676), (0.5, 8, 0.2, 0.7677)],
)
def test_speedup_against_published_examples(acceptance, gamma, cost, speedup):
    assert formula_speedup(acceptance, gamma, cost) == pytest.approx(speedup, abs=1e-4)


def test_a_step_is_flat_up_to_the_ridge_and_linear_beyond():
    ridge = 100  # CHIP: 2 bytes and 2 FLOPs per weight
    assert step_seconds(1, 1e9, CHIP) == step_seconds(ridge, 1e9, CHIP) == pytest.approx(2e-3)
    assert step_seconds(2 * ridge, 1e9, CHIP) == pytest.approx(4e-3)


@given(st.floats(0.05, 0.999), st.integers(1, 16), st.floats(0, 0.5))
def test_speedup_only_falls_with_the_batch(acceptance, gamma, cost):
    speedups = [y for _, y in run(Params(acceptance=acceptance, gamma=gamma, draft_cost=cost)).table.rows]
    assert all(b <= a + 1e-9 for a, b in pairwise(speedups))


@pytest.mark.parametrize(
    ("setting", "batch"),
    [({}, 187), ({"acceptance": 0.3, "draft_cost": 1.0}, 1), ({"acceptance": 1.0, "draft_cost": 0.0}, 0)],
)
def test_break_even(setting, batch):
    result = run(Params(**setting))
    assert result.fact("slower_from_batch").measured == batch
    assert all(fact.agrees for fact in result.facts)


def test_break_even_formula_by_hand():
    # E − γc = 1.5 − 0.5 = 1: no gain left at any batch below the ridge / (γ + 1), slower just beyond it.
    assert formula_break_even(0.5, 1, 0.5, ridge=100) == 51


@pytest.mark.parametrize(
    "setting", [{"hardware": "t4"}, {"acceptance": 0}, {"acceptance": 0.9999}, {"gamma": 0}, {"batch": 0}]
)
def test_nonsense_is_refused(setting):
    with pytest.raises(ValueError, match="must"):
        Params(**setting)
