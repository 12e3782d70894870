# ruff: noqa: E402, N803
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.sliding_window import (
    Params,
    WindowedLayer,
    follow_back,
    formula_reach,
    formula_scores,
    run,
    sliding_mask,
    tokens_reached,
)


def test_mask_by_hand():
    assert sliding_mask(4, 2).int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]


@given(T=st.integers(1, 60), window=st.integers(1, 80))
def test_scores_are_the_visible_pairs(T, window):
    assert formula_scores(T, window) == int(sliding_mask(T, window).sum())


@settings(max_examples=25, deadline=None)
@given(n_layers=st.integers(1, 5), window=st.integers(1, 8), seed=st.integers(0, 100))
def test_reach_is_what_powers_of_the_mask_say(n_layers, window, seed):
    """Two independent ways: gradients of a random stack, and paths through the mask as a graph."""
    n_tokens = n_layers * window + 3
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        stack = torch.nn.Sequential(*(WindowedLayer(8, window) for _ in range(n_layers))).double()
        reached = tokens_reached(stack, n_tokens, 8)
    paths = torch.linalg.matrix_power(sliding_mask(n_tokens, window).double(), n_layers)
    assert reached[-1] == int((paths[-1] > 0).sum()) == formula_reach(n_layers, window) == follow_back(n_layers, window)


def test_windowed_layer_with_a_wide_window_is_causal_attention():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer, x = WindowedLayer(8, 99).double(), torch.randn(1, 10, 8, dtype=torch.float64)
    q, k, v = layer.qkv(x).chunk(3, dim=-1)
    torch.testing.assert_close(
        layer(x), x + layer.out(torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True))
    )


def test_one_full_layer_reaches_everything_from_there_on():
    rows = run(Params(n_layers=4, window=4, seq_len=64, full_layer=3)).table.rows
    assert [row[1] for row in rows] == [4, 7, 64, 64]


def test_the_other_definition_sees_one_token_more_per_layer():
    result = run(Params(n_layers=4, window=8, counts_itself=False))
    assert result.fact("reach").measured == 4 * 8 + 1
    assert result.fact("model_reach").measured == 32 * 4096 + 1


def test_mistral_reaches_slightly_less_than_layers_times_window():
    assert run(Params()).fact("model_reach").measured == 32 * 4095 + 1 < 32 * 4096


@pytest.mark.parametrize(
    "p",
    [
        Params(window=1),
        Params(counts_itself=False, window=64),
        Params(n_layers=12, window=64),
        Params(n_layers=1, window=64, full_layer=1),
    ],
    ids=str,
)
def test_run_agrees_for_odd_settings(p):
    assert all(f.agrees for f in run(p).facts)


@pytest.mark.parametrize(
    "wrong",
    [{"window": 0}, {"window": 65}, {"full_layer": 5}, {"n_layers": 0}, {"model": "gemma-2-2b"}, {"model": "gpt2"}],
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
