# ruff: noqa: E402
import math

import pytest

torch = pytest.importorskip("torch")

from llmprep.demos.architecture.residual_depth import (
    BLOCKS,
    Params,
    apply_block,
    formula_gain,
    fresh_weights,
    gradient_gain,
    run,
)

F64 = torch.float64


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize(("depth", "g"), [(1, 1.0), (12, 0.5), (48, 0.8), (24, 1.5)])
def test_gain_is_the_predicted_one(block, depth, g):
    for fact in run(Params(block=block, depth=depth, branch_gain=g, seed=3)).facts:
        assert fact.agrees, fact


@pytest.mark.parametrize(("block", "expected"), [("plain", 0.0), ("residual", 1.0), ("pre_norm", 1.0)])
def test_dead_branches_pass_the_gradient_only_along_a_skip(block, expected):
    weights = [(torch.randn(64, 64, dtype=F64), torch.zeros(64, 64, dtype=F64)) for _ in range(10)]
    x, upstream = torch.randn(2, 16, 64, dtype=F64)
    if block == "plain":
        assert not apply_block("plain", x, *weights[0]).any()
    else:
        assert gradient_gain(block, x, weights, upstream)[0] == pytest.approx(expected)


def test_stream_of_pre_norm_grows_by_one_branch_per_block():
    torch.manual_seed(0)
    weights = fresh_weights(50, 128, 0.7)
    x = torch.randn(64, 128, dtype=F64)
    for inner, outer in weights:
        x = apply_block("pre_norm", x, inner, outer)
    assert x.square().mean().item() == pytest.approx(1 + 50 * 0.7**2, rel=0.1)


def test_pre_norm_formula_is_the_product_of_its_blocks():
    g = 0.8
    product = math.prod(math.sqrt(1 + g**2 / (1 + k * g**2)) for k in range(96))
    assert formula_gain("pre_norm", 96, g) == pytest.approx(product)


def test_norm_first_of_torch_is_pre_norm():
    """One feed-forward half of nn.TransformerEncoderLayer, both placements, with attention silenced."""
    torch.manual_seed(0)
    inner, outer = fresh_weights(1, 64, 1.0)[0]
    x = torch.randn(1, 8, 64, dtype=F64)
    for norm_first, block in ((True, "pre_norm"), (False, "post_norm")):
        layer = torch.nn.TransformerEncoderLayer(64, 4, 64, 0.0, norm_first=norm_first, bias=False, dtype=F64)
        with torch.no_grad():
            layer.self_attn.out_proj.weight.zero_()
            layer.linear1.weight.copy_(inner.T)
            layer.linear2.weight.copy_(outer.T)
            theirs = layer(x)
        start = x if norm_first else torch.nn.functional.layer_norm(x, (64,))  # post-norm also after attention
        torch.testing.assert_close(apply_block(block, start, inner, outer), theirs)


@pytest.mark.parametrize("wrong", [{"depth": 0}, {"branch_gain": 0}, {"d_model": 8}, {"batch": 1}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
