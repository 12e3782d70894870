# ruff: noqa: E402, N812
import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep import content
from llmprep.demos.inference.roofline import (
    Cost,
    Params,
    add,
    attend,
    dense,
    formula_compute_bound_tokens,
    formula_dense_intensity,
    forward,
    is_dense_swiglu,
    launch,
    layer_shapes,
    run,
)

MODELS = [m["name"] for m in content.load_json("models.json")["models"] if is_dense_swiglu(m)]


def facts(**settings_):
    return {f.name: f.measured for f in run(Params(**settings_)).facts}


def test_grouped_attention_is_torchs():
    """The heads of a group stand one after the other in the length axis of the queries."""
    q, k, v = torch.randn(2, 6, 5, 8), torch.randn(2, 3, 7, 8), torch.randn(2, 3, 7, 8)
    expected = F.scaled_dot_product_attention(q, k, v, scale=1.0, enable_gqa=True)
    grouped = q.view(2, 3, 2 * 5, 8)  # (B, H_kv, G·T, D)
    torch.testing.assert_close(attend(grouped, k, v).view(2, 6, 5, 8), expected)


def test_launch_weighs_what_goes_in_and_out():
    x, w = torch.zeros(3, 4), torch.zeros(4, 5)
    assert launch(torch.matmul, x, (w,), ()) == Cost(2 * 3 * 4 * 5, 4 * 20, 0, 4 * (12 + 15))


def test_meta_and_real_tensors_cost_the_same():
    q, kv = torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 5, 4)
    assert launch(attend, q, (), (kv, kv)) == launch(attend, q.to("meta"), (), (kv.to("meta"),) * 2)


@pytest.mark.parametrize("name", MODELS)
def test_a_token_costs_two_flops_a_weight(name):
    """Against the parameter counts of data/models.json, which come from transformers."""
    model = content.model(name)
    looked_up = 0 if model["config"].get("tie_word_embeddings") else model["params_embedding"]
    step = add(forward(model["config"], 1, 1, 0, torch.bfloat16).values())
    assert step.flops == pytest.approx(2 * (model["params_total"] - looked_up), rel=0.01)
    assert step.weight_bytes == pytest.approx(2 * (model["params_total"] - looked_up), rel=0.01)


@pytest.mark.parametrize("name", ["llama-2-7b", "llama-3-8b", "llama-3-70b", "qwen2.5-7b", "smollm2-135m"])
def test_cache_bytes_are_those_of_the_model_table(name):
    model = content.model(name)
    cost = add(forward(model["config"], 3, 1, 100, torch.bfloat16).values())
    assert cost.cache_bytes == 3 * 100 * model["kv_bf16"]["per_token_all_layers"]


@pytest.mark.parametrize(("hardware", "ridge"), [("a100-80gb", 153.0), ("h100-sxm", 295.3), ("h200-sxm", 206.1)])
def test_known_ridges(hardware, ridge):
    assert facts(hardware=hardware)["ridge"] == pytest.approx(ridge, abs=0.05)


def test_known_bounds_of_llama_3_8b():
    f = facts(context=1)
    assert f["whiteboard_tokens_per_s"] == pytest.approx(208.6, abs=0.1)
    assert f["tokens_per_s"] == pytest.approx(3.35e12 / (2 * (8_030_261_248 - 525_336_576)), rel=0.002)


@pytest.mark.parametrize("tokens", [1, 8, 64])
def test_intensity_of_dense_layers_is_about_the_number_of_tokens(tokens):
    shapes = list(layer_shapes(content.model("llama-3-8b")["config"]).values())
    assert formula_dense_intensity(tokens, shapes, itemsize=2) == pytest.approx(tokens, rel=0.03)


@given(st.integers(1, 4096), st.integers(1, 4096))
@settings(max_examples=20, deadline=None)
def test_batching_lifts_dense_layers_and_not_attention(small, large):
    small, large = sorted((small, large))
    config = content.model("llama-3-8b")["config"]
    few, many = (forward(config, B, 1, 512, torch.bfloat16) for B in (small, large))
    assert dense(few).intensity <= dense(many).intensity
    assert few["attention"].intensity == many["attention"].intensity


def test_threshold_divides_memory_from_compute():
    config, ridge = content.model("llama-3-8b")["config"], facts()["ridge"]
    threshold = facts()["compute_bound_tokens"]
    below, above = (dense(forward(config, n, 1, 1, torch.bfloat16)).intensity for n in (threshold - 1, threshold))
    assert below < ridge <= above


def test_narrow_layers_may_never_be_compute_bound():
    assert formula_compute_bound_tokens(295.0, [(64, 64)], itemsize=2) == 2**16


def test_fp8_moves_ridge_and_intensity_alike():
    one, two = facts(dtype="bf16"), facts(dtype="fp8")
    assert two["ridge"] == pytest.approx(2 * one["ridge"], rel=1e-3)
    assert two["compute_bound_tokens"] == one["compute_bound_tokens"]


@pytest.mark.parametrize("name", MODELS[::4])
@pytest.mark.parametrize("phase", ["decode", "prefill"])
def test_facts_agree(name, phase):
    result = run(Params(model=name, phase=phase, batch=3, context=77))
    assert [f for f in result.facts if not f.agrees] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch": 0},
        {"context": 0},
        {"hardware": "a100-80gb", "dtype": "fp8"},
        {"model": "mixtral-8x7b"},
        {"model": "gpt2"},
    ],
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
