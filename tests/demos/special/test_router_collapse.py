# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from llmprep.demos.special.router_collapse import Params, SwitchLayer, drop_overflow, formula_dropped, run


def test_layer_is_the_gated_best_expert():
    torch.manual_seed(0)
    layer, x = SwitchLayer(4), torch.randn(10, 16)
    y, probs, chosen = layer(x)
    for token in range(10):
        i = probs[token].argmax()
        assert chosen[token] == i
        torch.testing.assert_close(y[token], probs[token, i] * (x[token] @ layer.experts[i]))


def test_bias_changes_the_choice_but_not_the_weight():
    torch.manual_seed(0)
    layer, x = SwitchLayer(4), torch.randn(10, 16)
    layer.bias[2] = 2
    y, probs, chosen = layer(x)
    assert (chosen == 2).all()
    torch.testing.assert_close(y, probs[:, 2:3] * (x @ layer.experts[2]))


@pytest.mark.parametrize(("capacity", "dropped"), [(1, 3), (2, 2), (3, 1), (4, 0)])
def test_overflow(capacity, dropped):
    chosen = torch.tensor([0, 1, 0, 0, 0])
    assert drop_overflow(chosen, 3, capacity) == formula_dropped([4, 1, 0], capacity) == dropped


def test_balance_keeps_every_expert_busy():
    none, loss = (run(Params(balance=b, n_seeds=1, steps=150)) for b in ("none", "loss"))
    assert none.fact("experts_used_most").measured <= 13 < loss.fact("experts_used_least").measured
    assert loss.fact("busiest_share").measured < none.fact("busiest_share").measured


@pytest.mark.parametrize("wrong", [{"n_experts": 1}, {"alpha": -1}, {"capacity_factor": 0.5}, {"n_seeds": 0}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
