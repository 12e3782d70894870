# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.ffn_memory import (
    N_ANSWERS,
    Params,
    as_sum_of_values,
    build,
    facts_lost,
    linear_recall,
    random_facts,
    run,
    strengths,
)


@settings(max_examples=10, deadline=None)
@given(units=st.integers(1, 40), seed=st.integers(0, 100))
def test_any_ffn_is_the_sum_of_its_values(units, seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        memory = torch.randn(units, 64), torch.randn(units), torch.randn(units, N_ANSWERS)
        x = torch.randn(5, 64)
    expected = torch.relu(torch.nn.functional.linear(x, memory[0], memory[1])) @ memory[2]
    torch.testing.assert_close(as_sum_of_values(memory, x), expected, rtol=1e-4, atol=1e-4)


def test_a_built_memory_fires_one_unit_and_loses_one_fact_with_it():
    torch.manual_seed(0)
    x, answers = random_facts(200)
    memory = build(x, answers)
    assert (strengths(memory, x).argmax(dim=1) == torch.arange(200)).all()
    lost = facts_lost(memory, x, answers)
    assert max(lost) == 1
    assert sum(lost) >= 195


def test_a_built_memory_can_be_edited_in_one_place():
    """The edit that the key-value reading promises: another value for one key, and nothing else changes."""
    torch.manual_seed(0)
    x, answers = random_facts(200)
    keys, biases, values = build(x, answers)
    values[17] = values[17].roll(1)
    out = (strengths((keys, biases, values), x) @ values).argmax(dim=-1)
    assert (out != answers).nonzero().flatten().tolist() == [17]


def test_linear_map_recalls_all_up_to_its_width_only():
    torch.manual_seed(0)
    x, answers = random_facts(64)
    assert linear_recall(x, answers) == 1
    assert linear_recall(*random_facts(1024)) < 0.5


@pytest.mark.parametrize("p", [Params("built", n_facts=1024, seed=5), Params("trained", n_facts=64, n_units=64)])
def test_run_agrees_for_odd_settings(p):
    assert all(f.agrees for f in run(p).facts)


@pytest.mark.parametrize("wrong", [{"n_facts": 10}, {"n_units": 8}, {"n_facts": 5000}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
