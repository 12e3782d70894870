# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.special.balance_loss import (
    Params,
    balance_loss,
    formula_skewed,
    hard_routing,
    near_ties,
    pushes,
    run,
)


@given(n_experts=st.integers(2, 12), n_tokens=st.integers(1, 40), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_is_the_double_loop_of_the_paper(n_experts, n_tokens, seed):
    probs = torch.randn(n_tokens, n_experts, generator=torch.Generator().manual_seed(seed)).double().softmax(dim=-1)
    rows = probs.tolist()
    total = 0.0
    for i in range(n_experts):
        f = sum(row.index(max(row)) == i for row in rows) / n_tokens
        total += f * sum(row[i] for row in rows) / n_tokens
    assert balance_loss(probs).item() == pytest.approx(n_experts * total)


@pytest.mark.parametrize("n_experts", [2, 8, 64])
def test_one_at_balance_and_n_at_collapse(n_experts):
    assert run(Params(n_experts=n_experts)).fact("loss").measured == pytest.approx(1, rel=0.01)
    collapsed = run(Params(n_experts=n_experts, routing="collapsed"))
    assert collapsed.fact("loss").measured == pytest.approx(n_experts)
    assert formula_skewed(n_experts, 1 / n_experts) == pytest.approx(1)


def test_balance_is_not_quite_the_minimum():
    assert balance_loss(near_ties()).item() == pytest.approx(2 * (0.51 * 0.2601 + 0.49 * 0.7399))
    assert balance_loss(near_ties()).item() < 1


def test_gradient_is_proportional_to_the_load():
    probs = hard_routing(1000, 5, 0.4)
    torch.testing.assert_close(pushes(probs), 5 * probs.mean(dim=0))  # hard routing: the mean is the load


@pytest.mark.parametrize("wrong", [{"n_experts": 1}, {"n_experts": 65}, {"busiest_share": 0.1}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
