# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from llmprep.demos.architecture.per_token_modules import (
    Params,
    int8_linear,
    moe_with_capacity,
    run,
    tokens_that_read_others,
)
from llmprep.demos.special.moe_routing import MoELayer


def tokens(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_int8_is_the_integer_product_and_near_the_true_one():
    x, weight = tokens(8), tokens(16, 1)
    out = int8_linear(x, weight, per_token=True)
    x_scale, w_scale = x.abs().amax(1, keepdim=True) / 127, weight.abs().amax(0, keepdim=True) / 127
    whole = (x / x_scale).round().to(torch.int32) @ (weight / w_scale).round().to(torch.int32)
    torch.testing.assert_close(out, whole * x_scale * w_scale)
    assert ((out - x @ weight).norm() / (x @ weight).norm()).item() < 0.02


def test_enough_capacity_is_no_capacity():
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        layer = MoELayer(16, 32, 4).double()
        x = tokens(32)
        torch.testing.assert_close(moe_with_capacity(layer, x, 2, capacity_factor=4.0), layer(x, 2))
        dropped = moe_with_capacity(layer, x, 2, capacity_factor=0.5)
    assert (dropped - layer(x, 2)).abs().max() > 1e-3


def test_counts_tokens_that_read_others():
    x = tokens(6)
    assert tokens_that_read_others(lambda x: 2 * x, x) == 0
    assert tokens_that_read_others(lambda x: x + x.mean(dim=0), x) == 6
    assert tokens_that_read_others(lambda x: x.cumsum(dim=0), x) == 5


@pytest.mark.parametrize(
    ("module", "reads"),
    [("MoE", False), ("INT8 per token", False), ("MoE with capacity", True), ("INT8 per tensor", True)],
)
def test_what_brings_in_other_tokens(module, reads):
    assert (run(Params(module=module)).fact("read_others").measured > 0) == reads


@pytest.mark.parametrize("module", ["MoE", "INT8 per token", "causal attention", "full attention"])
@pytest.mark.parametrize("odd", [{"seq_len": 8, "top_k": 8}, {"d_model": 9, "n_experts": 1, "top_k": 1}], ids=str)
def test_run_agrees_for_odd_settings(module, odd):
    assert all(f.agrees for f in run(Params(module=module, **odd)).facts)


@pytest.mark.parametrize("wrong", [{"seq_len": 1}, {"top_k": 9}, {"d_model": 1}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
