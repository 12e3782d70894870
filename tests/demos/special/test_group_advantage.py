import itertools
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmprep.demos.special.group_advantage import (
    Params,
    advantages,
    formula_of_a_right_answer,
    formula_silent,
    run,
)


@given(rewards=st.lists(st.integers(-5, 5).map(float), min_size=2, max_size=20))
def test_mean_zero_and_standard_deviation_one_unless_all_agree(rewards):
    scored = advantages(rewards)
    assert sum(scored) == pytest.approx(0, abs=1e-9)
    assert statistics.pstdev(scored) == pytest.approx(1 if len(set(rewards)) > 1 else 0)


@pytest.mark.parametrize(("group", "right"), [(8, 1), (8, 7), (4, 2), (64, 3)])
def test_binary_rewards(group, right):
    assert advantages([1.0] * right + [0.0] * (group - right))[0] == pytest.approx(
        formula_of_a_right_answer(group, right)
    )


@pytest.mark.parametrize(("group", "p"), [(2, 0.5), (4, 0.1), (6, 0.7)])
def test_silent_share_is_the_sum_over_all_outcomes(group, p):
    total = sum(
        p ** sum(o) * (1 - p) ** (group - sum(o))
        for o in itertools.product((0, 1), repeat=group)
        if not any(advantages([float(r) for r in o]))
    )
    assert formula_silent(group, p) == pytest.approx(total)


def test_a_shift_or_scale_of_the_reward_changes_nothing():
    assert advantages([0.0, 1.0, 1.0]) == pytest.approx(advantages([-3.0, 7.0, 7.0]))


def test_both_ends_of_the_success_rate_are_silent():
    silent = {p: run(Params(success_rate=p)).fact("silent_share").measured for p in (0.05, 0.5, 0.95)}
    assert silent[0.05] > 0.5 < silent[0.95]
    assert silent[0.5] < 0.05


@pytest.mark.parametrize("wrong", [{"right": 8}, {"right": 0}, {"success_rate": 1.0}, {"n_groups": 1}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
