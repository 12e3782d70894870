# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from llmprep.demos.training.lora import LoRALinear, Params, formula_trainable, gradients, run, train

SIZES = st.integers(2, 12)


def layer_and_input(seed, d, k, rank, *, trained):
    torch.manual_seed(seed)
    layer = LoRALinear(torch.randn(d, k), rank, alpha=16.0)
    if trained:
        torch.nn.init.normal_(layer.B)
    return layer, torch.randn(5, k)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), SIZES, SIZES, st.integers(1, 4))
def test_it_starts_as_the_base_model(seed, d, k, rank):
    layer, x = layer_and_input(seed, d, k, rank, trained=False)
    assert torch.equal(layer(x), functional.linear(x, layer.weight))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), SIZES, SIZES, st.integers(1, 4))
def test_merging_keeps_the_function(seed, d, k, rank):
    layer, x = layer_and_input(seed, d, k, rank, trained=True)
    torch.testing.assert_close(functional.linear(x, layer.merged()), layer(x), atol=1e-4, rtol=1e-4)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(4, 12), st.integers(4, 12), st.integers(1, 3))
def test_the_update_has_rank_r(seed, d, k, rank):
    layer, _ = layer_and_input(seed, d, k, rank, trained=True)
    assert torch.linalg.matrix_rank((layer.B @ layer.A).double(), rtol=1e-5) == rank


def test_forgetting_alpha_over_r_changes_the_outputs():
    layer, x = layer_and_input(0, 8, 8, 2, trained=True)
    assert not torch.allclose(functional.linear(x, layer.merged(scaled=False)), layer(x), atol=1e-2)


def test_gradients_equal_those_of_the_merged_matrix():
    layer, x = layer_and_input(0, 6, 5, 2, trained=True)
    target = torch.randn(5, 6)
    (of_w, of_a, of_b), of_input, by_hand = gradients(layer, x, target)
    assert of_w is None
    torch.testing.assert_close(of_input, by_hand)
    merged = layer.merged().detach().requires_grad_()
    (functional.linear(x, merged) - target).square().sum().backward()
    torch.testing.assert_close(of_b, layer.scaling * merged.grad @ layer.A.T)  # chain rule through W + sBA
    torch.testing.assert_close(of_a, layer.scaling * layer.B.T @ merged.grad)


@pytest.mark.parametrize(("init", "learning"), [("b-zero", 1), ("both-zero", 0), ("both-random", 2)])
def test_who_receives_a_gradient_at_the_start(init, learning):
    result = run(Params(init=init, steps=20))
    assert result.fact("factors_learning_at_start").measured == learning
    assert (result.fact("start_mismatches").measured == 0) == (init != "both-random")
    assert (result.fact("loss_left").measured == 1) == (init == "both-zero")


def test_training_leaves_the_frozen_weight_alone():
    layer, x = layer_and_input(0, 8, 6, 2, trained=False)
    before = layer.weight.clone()
    losses = train(layer, x, torch.randn(5, 8), steps=50)
    assert losses[-1] < losses[0] / 2
    assert torch.equal(layer.weight, before)


@pytest.mark.parametrize(
    ("d", "k", "rank", "count"),
    [(4096, 4096, 8, 65_536), (12288, 12288, 4, 98_304), (14336, 4096, 16, 294_912), (5, 3, 1, 8)],
)
def test_trainable_numbers(d, k, rank, count):
    assert formula_trainable(d, k, rank) == count


def test_merge_is_judged():
    assert run(Params()).fact("merge_mismatches").measured == 0
    assert run(Params(merge="unscaled")).fact("merge_mismatches").measured > 1000
    assert run(Params(merge="unscaled", alpha=8.0, rank=8)).fact("merge_mismatches").measured == 0


@pytest.mark.parametrize(
    "setting",
    [{"rank": 0}, {"rank": 33}, {"alpha": 0}, {"d_out": 1}, {"steps": 0}, {"d_out": 4096, "d_in": 4096}],
    ids=str,
)
def test_nonsense_is_refused(setting):
    with pytest.raises(ValueError, match="must"):
        Params(**setting)
