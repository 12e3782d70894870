# ruff: noqa: E402
import itertools
import math

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.context_entropy import (
    Params,
    counted,
    entropy,
    formula_both,
    formula_left,
    random_chain,
    run,
    stationary,
)


def chain(n: int, sharpness: float, seed: int) -> torch.Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return random_chain(n, sharpness)


def test_sticky_coin_by_hand():
    """Two states that repeat with 0.9: H(left) = H(0.9); between equal neighbours p = 0.81 / 0.82."""
    step = torch.tensor([[0.9, 0.1], [0.1, 0.9]], dtype=torch.float64)

    def h(p: float) -> float:
        return -p * math.log(p) - (1 - p) * math.log(1 - p)

    assert formula_left(step) == pytest.approx(h(0.9))
    assert formula_both(step) == pytest.approx(0.82 * h(0.81 / 0.82) + 0.18 * math.log(2))


@settings(max_examples=25, deadline=None)
@given(n=st.integers(2, 6), sharpness=st.floats(0, 3), seed=st.integers(0, 99))
def test_more_context_never_costs(n, sharpness, seed):
    step = chain(n, sharpness, seed)
    pi = stationary(step)
    torch.testing.assert_close(pi @ step, pi)
    assert formula_both(step) <= formula_left(step) + 1e-9
    assert formula_left(step) <= entropy(pi) + 1e-9


def test_both_is_the_entropy_of_the_middle_in_a_longer_text():
    """The far tokens add nothing: H(x3 | x1, x2, x4, x5) by enumeration is the formula of the two neighbours."""
    step, n = chain(3, 1.5, 0), 3
    pi = stationary(step)
    joint = torch.empty((n,) * 5, dtype=torch.float64)
    for text in itertools.product(range(n), repeat=5):
        joint[text] = pi[text[0]] * math.prod(step[a, b].item() for a, b in itertools.pairwise(text))
    assert entropy(joint) - entropy(joint.sum(dim=2)) == pytest.approx(formula_both(step))
    assert entropy(joint) - entropy(joint.sum(dim=4)) == pytest.approx(formula_left(step))


def test_counting_a_text_that_alternates():
    text = torch.tensor([[0, 1] * 50])
    assert counted(text, 2) == pytest.approx((0, 0), abs=1e-9)


@pytest.mark.parametrize("p", [Params(sharpness=0), Params(n_states=2, sharpness=3), Params(n_states=12, seed=3)])
def test_run_agrees_for_odd_settings(p):
    assert [f for f in run(p).facts if not f.agrees] == []


@pytest.mark.parametrize("wrong", [{"n_states": 1}, {"sharpness": -1.0}, {"sharpness": 9.0}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
