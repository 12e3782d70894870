import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmprep.demos.inference.repetition_penalty import Params, formula_odds_factor, penalise, run
from llmprep.demos.inference.temperature import softmax

LOGITS = st.lists(st.floats(-10, 10), min_size=3, max_size=8)
THETA = st.floats(1.01, 3)


@given(LOGITS, THETA)
def test_ctrl_raises_exactly_the_negative_logits(logits, theta):
    after = penalise(logits, [0, 1], "ctrl", theta)
    assert all((after[t] > logits[t]) == (logits[t] < 0) for t in (0, 1) if abs(logits[t]) > 1e-9)
    assert after[2:] == logits[2:]


@given(LOGITS, THETA)
def test_the_sign_aware_rule_never_raises_a_logit(logits, theta):
    after = penalise(logits, [0, 1], "sign_aware", theta)
    assert all(after[t] < logits[t] for t in (0, 1) if abs(logits[t]) > 1e-9)
    assert after[2:] == logits[2:]


@given(LOGITS, st.floats(0, 3), st.floats(-20, 20), st.sampled_from(["presence", "frequency"]))
def test_additive_penalties_do_not_see_a_shift(logits, strength, shift, rule):
    text = [0, 0, 1]
    plain = softmax(penalise(logits, text, rule, strength))
    shifted = softmax(penalise([z + shift for z in logits], text, rule, strength))
    assert shifted == pytest.approx(plain, abs=1e-9)


def test_multiplicative_penalty_sees_a_shift():
    logits = [2.0, 1.0, 0.0]
    plain = softmax(penalise(logits, [0], "sign_aware", 1.5))
    shifted = softmax(penalise([z + 10 for z in logits], [0], "sign_aware", 1.5))
    assert abs(plain[0] - shifted[0]) > 0.3


@pytest.mark.parametrize(
    ("rule", "strength", "z", "after"),
    [
        ("none", 1.2, 3.0, 3.0),
        ("ctrl", 1.2, 3.0, 2.5),
        ("ctrl", 1.2, -3.0, -2.5),  # raised
        ("sign_aware", 1.2, 3.0, 2.5),
        ("sign_aware", 1.2, -3.0, -3.6),
        ("sign_aware", 1.2, 0.0, 0.0),
        ("presence", 0.5, 3.0, 2.5),
        ("frequency", 0.5, 3.0, 2.0),  # the token occurs twice
    ],
)
def test_rules_by_hand(rule, strength, z, after):
    assert penalise([z, 1.0], [0, 0], rule, strength) == pytest.approx([after, 1.0])
    assert formula_odds_factor(z, 2, rule, strength) == pytest.approx(math.exp(after - z))


def test_a_seen_token_can_gain_probability_although_its_odds_fall():
    # The leader loses much, the token with a logit near zero almost nothing.
    before, after = softmax([8.0, 0.1, 0.0]), softmax(penalise([8.0, 0.1, 0.0], [0, 1], "sign_aware", 1.5))
    assert after[1] > before[1]
    assert after[1] / after[2] < before[1] / before[2]


@pytest.mark.parametrize("rule", ["none", "ctrl", "sign_aware", "presence", "frequency"])
@pytest.mark.parametrize("setting", [{}, {"logit": 6, "strength": 1.0}, {"logit": 0, "logit_shift": 10, "count": 20}])
def test_facts_agree(rule, setting):
    assert all(fact.agrees for fact in run(Params(rule=rule, **setting)).facts)


@pytest.mark.parametrize(
    "setting", [{"strength": 0.5}, {"strength": -1, "rule": "presence"}, {"count": 0}, {"vocab": 3}, {"logit": 99}]
)
def test_nonsense_is_refused(setting):
    with pytest.raises(ValueError, match="must"):
        Params(**setting)
