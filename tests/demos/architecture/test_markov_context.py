# ruff: noqa: E402
import math

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.markov_context import (
    Params,
    conditional_entropy,
    entropy,
    formula_entropies,
    joint_table,
    random_chain,
    run,
    stationary,
    sticky_chain,
)


def binary_entropy(p):
    return -p * math.log(p) - (1 - p) * math.log(1 - p)


def test_two_states_by_hand():
    """Both neighbours: they agree with probability 0.82, and then the middle is the same with 0.81 / 0.82."""
    left, both = formula_entropies(sticky_chain(2, 0.9))
    assert left == pytest.approx(binary_entropy(0.9))
    assert both == pytest.approx(0.82 * binary_entropy(0.81 / 0.82) + 0.18 * math.log(2))


def test_simulated_chain_has_these_entropies():
    """Counting triples of a long walk, without the formula or the table."""
    step = random_chain(3, seed=1)
    torch.manual_seed(0)
    state, walk = torch.zeros(20_000, dtype=torch.long), []
    for _ in range(12):
        state = torch.multinomial(step[state], 1)[:, 0]
        walk.append(state)
    a, b, c = walk[-3:]
    counts = torch.bincount(a * 9 + b * 3 + c, minlength=27).double().view(3, 3, 3) / len(a)
    left, both = formula_entropies(step)
    assert conditional_entropy(counts, 1, (0,)) == pytest.approx(left, abs=0.02)
    assert conditional_entropy(counts, 1, (0, 2)) == pytest.approx(both, abs=0.02)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 5), st.integers(0, 1000))
def test_conditioning_never_adds_entropy(n_states, seed):
    joint = joint_table(random_chain(n_states, seed))
    assert joint.sum().item() == pytest.approx(1)
    alone, left = conditional_entropy(joint, 2, ()), conditional_entropy(joint, 2, (1,))
    both = conditional_entropy(joint, 2, (1, 3))
    assert both <= left + 1e-12 <= alone + 2e-12
    assert conditional_entropy(joint, 2, (0, 1)) == pytest.approx(left)  # Markov: farther tokens add nothing
    assert conditional_entropy(joint, 2, (0, 1, 3, 4)) == pytest.approx(both)


def test_stationary_and_entropy():
    step = random_chain(4, seed=0)
    torch.testing.assert_close(stationary(step) @ step, stationary(step))
    assert entropy(torch.full((8,), 1 / 8)) == pytest.approx(math.log(8))
    assert entropy(torch.tensor([1.0, 0.0])) == 0


@pytest.mark.parametrize("source", ["random", "sticky"])
@pytest.mark.parametrize("context", ["left", "both sides"])
@pytest.mark.parametrize("n_states", [2, 8])
def test_facts_agree(source, context, n_states):
    assert all(f.agrees for f in run(Params(context, source, n_states, stay=0.99, seed=7)).facts)


@pytest.mark.parametrize("bad", [{"n_states": 1}, {"stay": 1.0}])
def test_nonsense_is_refused(bad):
    with pytest.raises(ValueError, match="must"):
        Params(**bad)
