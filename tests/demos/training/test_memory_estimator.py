# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.calc.memory import RECIPES, activation_bytes_per_layer
from llmprep.demos.training.memory_estimator import (
    GPTLayer,
    Params,
    bytes_per_sbh,
    run,
    saved_bytes,
    step_and_weigh,
)

POLICIES = ["none", "selective", "flash", "full"]


def layer_and_input(h=32, a=4, s=16, b=2, dtype=torch.float32):
    torch.manual_seed(0)
    return GPTLayer(h, a).to(dtype), torch.randn(b, s, h, dtype=dtype, requires_grad=True)


@settings(max_examples=20, deadline=None)
@given(
    s=st.integers(2, 24),
    b=st.integers(1, 3),
    a=st.sampled_from([1, 2, 4]),
    head_dim=st.sampled_from([8, 16]),
    recompute=st.sampled_from(POLICIES),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_autograd_saves_what_the_paper_counts(s, b, a, head_dim, recompute, dtype):
    h = a * head_dim
    layer, x = layer_and_input(h, a, s, b, dtype)
    saved, _ = saved_bytes(layer, x, lambda: layer(x, recompute))
    assert saved == pytest.approx(s * b * h * bytes_per_sbh(s, h, a, recompute, dtype.itemsize), rel=1e-12)


@pytest.mark.parametrize("recompute", ["none", "selective", "full"])
@pytest.mark.parametrize("itemsize", [2, 4])
def test_the_formula_is_the_calculators(recompute, itemsize):
    s, b, h, a = 512, 3, 1024, 16
    expected = activation_bytes_per_layer(s, b, h, a, recompute, itemsize=itemsize)
    assert s * b * h * bytes_per_sbh(s, h, a, recompute, itemsize) == pytest.approx(expected, rel=1e-12)


def test_gpt3_keeps_114_and_34_bytes():
    """Section 5 of arXiv 2205.05198: for GPT-3, 5as/h is 80, next to 34."""
    assert bytes_per_sbh(2048, 12288, 96, "none", 2) == 114
    assert bytes_per_sbh(2048, 12288, 96, "selective", 2) == 34


@pytest.mark.parametrize("recompute", ["selective", "full"])
def test_recomputing_changes_no_gradient(recompute):
    gradients = []
    for policy in ("none", recompute):
        layer, x = layer_and_input()
        torch.manual_seed(1)  # the dropout masks
        layer(x, policy).square().mean().backward()
        gradients.append([x.grad, *(w.grad for w in layer.parameters())])
    torch.testing.assert_close(*gradients)


def test_flash_computes_the_same_attention(monkeypatch):
    monkeypatch.setattr("llmprep.demos.training.memory_estimator.drop", lambda x: x)
    layer, x = layer_and_input()
    torch.testing.assert_close(layer(x, "flash"), layer(x, "none"))


@pytest.mark.parametrize("recipe", RECIPES)
def test_adamw_keeps_what_the_recipe_says(recipe):
    layer, x = layer_and_input(dtype=torch.float32 if recipe == "fp32" else torch.bfloat16)
    layer(x).float().square().mean().backward()
    n_params = sum(w.numel() for w in layer.parameters())
    before = layer.qkv.weight.detach().clone()
    kept = step_and_weigh(layer, recipe)
    parts = RECIPES[recipe]
    assert kept == {
        "weights": parts.weights * n_params,
        "gradients": parts.gradients * n_params,
        "optimizer": parts.optimizer * n_params,
    }
    assert not torch.equal(before, layer.qkv.weight), "the step must reach the weights that the layer uses"


@pytest.mark.parametrize(
    ("recipe", "recompute"),
    [("mixed", "none"), ("mixed", "flash"), ("fp32", "selective"), ("bf16", "full"), ("mixed-fp32-grads", "full")],
)
def test_facts_agree(recipe, recompute):
    result = run(Params("gpt2", recipe=recipe, recompute=recompute, seq_len=512))
    assert [f.name for f in result.facts if not f.agrees] == []


@pytest.mark.parametrize("shrink", [4, 8])
def test_the_estimate_does_not_depend_on_how_small_the_layer_is(shrink):
    result = run(Params("gpt2", seq_len=512, shrink=shrink))
    assert result.fact("activations_gb").measured == pytest.approx(12 * 512 * 768 * (34 + 40) / 1e9, rel=1e-12)


@pytest.mark.parametrize("bad", [{"seq_len": 100}, {"shrink": 3}, {"micro_batch": 0}, {"seq_len": 2**15}])
def test_nonsense_is_refused(bad):
    with pytest.raises(ValueError, match="must"):
        Params(**bad)
