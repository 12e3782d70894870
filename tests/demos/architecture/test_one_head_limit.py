# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given
from hypothesis import strategies as st

from llmprep.demos.architecture.attention import attention
from llmprep.demos.architecture.one_head_limit import (
    D_MODEL,
    C,
    Params,
    PositionalReader,
    T,
    formula_explained,
    left_neighbours,
    one_thread,
    run,
)


@given(st.floats(0.01, 1), st.floats(0.01, 1))
def test_one_mean_of_two_sources_loses_one_of_them_however_it_is_weighted(a, b):
    """Least squares for x and y from s = a·x + b·y, unit variances: the two errors add up to 1."""
    covariance = torch.tensor([[1, 0, a], [0, 1, b], [a, b, a * a + b * b]], dtype=torch.float64)  # of x, y, s
    error = sum(1 - covariance[i, 2] ** 2 / covariance[2, 2] for i in range(2))
    assert error.item() == pytest.approx(1)
    assert 1 - error.item() / 2 == pytest.approx(formula_explained(1, 2))


@pytest.mark.parametrize("n_sources", [1, 2, 4])
def test_h_heads_are_a_sum_of_h_terms_so_a_wanted_map_of_higher_rank_is_out_of_reach(n_sources):
    """The wanted map picks n_sources positions: as a matrix (positions × channels) it has n_sources equal singular
    values, and by Eckart–Young the best sum of h rank-one terms keeps h of them."""
    wanted = torch.zeros(T, n_sources)  # for one query and one channel: which position goes to which output
    wanted[range(n_sources), range(n_sources)] = 1
    squares = torch.linalg.svdvals(wanted).square()
    for h in (1, 2, 4):
        assert (squares[:h].sum() / squares.sum()).item() == pytest.approx(formula_explained(h, n_sources))


def test_two_heads_can_be_set_by_hand_to_copy_two_tokens():
    """No training needed: one head per neighbour, a large score on it, the identity as its value map."""
    x = torch.randn(3, T, C)
    v = torch.stack([x, x], dim=1)  # (B, H, T, D)
    k = torch.eye(T).expand(2, T, T)
    q = 100 * torch.stack([torch.eye(T).roll(-i, dims=1) for i in (1, 2)])  # query t asks for position t − i
    out = attention(q, k, v, causal=False).transpose(1, 2).flatten(2)
    torch.testing.assert_close(out, left_neighbours(x, 2))


def test_targets_are_the_left_neighbours():
    x = torch.arange(T * C).view(1, T, C)
    assert left_neighbours(x, 2)[0, 5].tolist() == [*x[0, 4].tolist(), *x[0, 3].tolist()]


@pytest.mark.parametrize("n_heads", [1, 2, 4])
def test_reader_has_the_same_size_for_any_number_of_heads(n_heads):
    model = PositionalReader(n_heads, 2)
    assert model(torch.randn(3, T, C)).shape == (3, T, 2 * C)
    assert sum(w.numel() for w in model.parameters()) == T * D_MODEL + 2 * D_MODEL**2 + 3 * C * D_MODEL


@pytest.mark.parametrize(("n_heads", "n_sources", "seed"), [(1, 2, 7), (2, 3, 1)])
def test_trained_layers_reach_the_limit_and_not_more(n_heads, n_sources, seed):
    result = run(Params(n_heads=n_heads, n_sources=n_sources, seed=seed))
    assert all(f.agrees for f in result.facts)
    assert result.fact("explained").measured < n_heads / n_sources + 0.02


def test_thread_count_comes_back_even_after_an_error():
    before = torch.get_num_threads()

    def fail():
        with one_thread():
            assert torch.get_num_threads() == 1
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("wrong", [{"n_heads": 3}, {"n_sources": 5}, {"steps": 10}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
