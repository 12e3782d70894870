# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.special.moe_routing import MoELayer, Params, every_expert, route, run


@given(n_experts=st.integers(1, 9), data=st.data())
@settings(deadline=None, max_examples=30)
def test_gathering_by_expert_is_the_gated_sum(n_experts, data):
    top_k = data.draw(st.integers(1, n_experts))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(data.draw(st.integers(0, 99)))
        layer, x = MoELayer(6, 10, n_experts).double(), torch.randn(12, 6, dtype=torch.float64)
        torch.testing.assert_close(layer(x, top_k), every_expert(layer, x, top_k))


def test_weights_of_the_chosen_sum_to_one_and_belong_to_the_best():
    torch.manual_seed(0)
    logits = torch.randn(50, 8)
    weights, chosen = route(logits, 3)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(50))
    torch.testing.assert_close(weights, logits.gather(1, chosen).softmax(dim=-1))  # the two ways to write it
    assert (logits.gather(1, chosen).amin(dim=-1) > logits.scatter(1, chosen, -torch.inf).amax(dim=-1)).all()
    assert (route(logits, 3, renormalise=False)[0].sum(dim=-1) < 0.999).any()


def test_one_expert_is_an_ffn():
    torch.manual_seed(0)
    layer, x = MoELayer(6, 10, 1), torch.randn(5, 6)
    torch.testing.assert_close(layer(x, 1), layer.expert(0, x))


def test_an_expert_that_nobody_chose_gets_no_gradient():
    torch.manual_seed(0)
    layer = MoELayer(6, 10, 4)
    with torch.no_grad():
        layer.router[:, 3] = 0
        layer.router[:, :3] = layer.router[:, :3].abs() + 1
    layer(torch.rand(20, 6), 2).sum().backward()  # positive tokens: expert 3 always comes last
    assert layer.gate.grad[3].abs().max() == 0
    assert layer.gate.grad[:3].abs().max() > 0


def test_compute_follows_k_and_capacity_follows_n():
    few, many = run(Params(n_experts=8)), run(Params(n_experts=64))
    assert many.fact("params").measured == 8 * few.fact("params").measured
    assert many.fact("flops_per_token").measured < 1.2 * few.fact("flops_per_token").measured
    assert run(Params(dispatch="every")).fact("compute_ratio").measured > 8


@pytest.mark.parametrize(
    "wrong", [{"top_k": 0}, {"top_k": 9}, {"n_tokens": 0}, {"dispatch": "every", "renormalise": False}], ids=str
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
