# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.embedding_gradient import Params, rows_moved, run, scatter_add, table_gradient


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 29), min_size=1, max_size=12))
def test_scatter_add_is_autograd_and_index_add(ids):
    ids = torch.tensor(ids)
    table, upstream = torch.ones(30, 4), torch.arange(4.0 * len(ids)).view(-1, 4)
    expected = torch.zeros(30, 4).index_add(0, ids, upstream)
    assert torch.equal(scatter_add(upstream, ids, 30), expected)
    torch.testing.assert_close(table_gradient(table, ids, upstream, tied=False), expected)


def test_a_repeated_id_gets_the_sum_and_not_the_last():
    gradient = scatter_add(torch.tensor([[1.0], [10], [100]]), torch.tensor([2, 5, 2]), 6)
    assert gradient.flatten().tolist() == [0, 0, 101, 0, 0, 10]


def test_a_tied_head_reaches_every_row():
    gradient = table_gradient(torch.randn(50, 4), torch.tensor([1, 2]), torch.ones(2, 4), tied=True)
    assert gradient.ne(0).any(dim=1).all()


@pytest.mark.parametrize(("optimizer", "moved"), [("sgd", 1), ("adam", 3), ("adamw", 20), ("sparse_adam", 1)])
def test_who_moves_rows_without_a_gradient(optimizer, moved):
    table = torch.ones(20, 3)
    assert rows_moved(table, torch.tensor([4, 5]), torch.tensor([0]), optimizer) == moved


@pytest.mark.parametrize("setting", [{}, {"tied": True}, {"upstream": "random"}, {"optimizer": "adamw"}, {"d": 1}])
def test_facts_agree(setting):
    result = run(Params(**setting))
    assert all(fact.agrees for fact in result.facts)
    assert result.fact("rows_touched").measured == (1000 if setting.get("tied") else 3)


@pytest.mark.parametrize("bad", [{"vocab_size": 5}, {"first_id": 7}, {"d": 0}])
def test_nonsense_is_refused(bad):
    with pytest.raises(ValueError, match="must"):
        Params(**bad)
