# ruff: noqa: E402
"""The layer against the sparse blocks of Mixtral and OLMoE in transformers, with the same weights."""

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock
from transformers.models.olmoe.modeling_olmoe import OlmoeSparseMoeBlock

from llmprep.demos.special.moe_routing import MoELayer, every_expert

pytestmark = pytest.mark.parity
D, FF, N, K = 12, 20, 8, 2


def copy(theirs: torch.nn.Module) -> MoELayer:
    """Their fused gate_up_proj is (N, 2·ff, d), ours are separate (N, d, ff)."""
    layer = MoELayer(D, FF, N).double()
    with torch.no_grad():
        gate_up = theirs.experts.gate_up_proj
        layer.gate.copy_(gate_up[:, :FF].mT)
        layer.up.copy_(gate_up[:, FF:].mT)
        layer.down.copy_(theirs.experts.down_proj.mT)
        layer.router.copy_(theirs.gate.weight.T)
    return layer


def randomise(block: torch.nn.Module) -> torch.nn.Module:
    for w in block.parameters():
        torch.nn.init.normal_(w, std=0.3)
    return block.double().eval()


def out_of(block: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    out = block(x[None])
    return (out[0] if isinstance(out, tuple) else out).squeeze(0)


@pytest.mark.parametrize("top_k", [1, 2, 8])
def test_is_mixtral(top_k):
    torch.manual_seed(0)
    config = transformers.MixtralConfig(
        hidden_size=D, intermediate_size=FF, num_local_experts=N, num_experts_per_tok=top_k
    )
    theirs, x = randomise(MixtralSparseMoeBlock(config)), torch.randn(30, D, dtype=torch.float64)
    layer = copy(theirs)
    with torch.no_grad():
        torch.testing.assert_close(layer(x, top_k), out_of(theirs, x), rtol=1e-5, atol=1e-5)  # their softmax: float32
        torch.testing.assert_close(every_expert(layer, x, top_k), out_of(theirs, x), rtol=1e-5, atol=1e-5)
        if top_k < N:
            assert (layer(x, top_k, renormalise=False) - out_of(theirs, x)).abs().max() > 0.01


def test_is_olmoe_without_scaling():
    """norm_topk_prob = false: the weights of the chosen keep what they had among all."""
    torch.manual_seed(1)
    config = transformers.OlmoeConfig(
        hidden_size=D, intermediate_size=FF, num_experts=N, num_experts_per_tok=K, norm_topk_prob=False
    )
    theirs, x = randomise(OlmoeSparseMoeBlock(config)), torch.randn(30, D, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(copy(theirs)(x, K, renormalise=False), out_of(theirs, x), rtol=1e-5, atol=1e-5)
