# ruff: noqa: E402
"""RMSNorm against the module of Llama in transformers."""

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from transformers.models.llama.modeling_llama import LlamaRMSNorm

from llmprep.demos.architecture.layer_norm import rms_norm

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("eps", [1e-6, 1e-5])
@pytest.mark.parametrize("size", [1e-3, 1.0, 300.0])
def test_is_llamas_norm_times_its_gain(eps, size):
    theirs = LlamaRMSNorm(48, eps=eps)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        theirs.weight.copy_(torch.randn(48, generator=generator))
    x = size * torch.randn(2, 5, 48, generator=generator) + size
    torch.testing.assert_close(rms_norm(x, eps) * theirs.weight, theirs(x))


def test_llamas_norm_has_a_gain_and_no_bias():
    assert [name for name, _ in LlamaRMSNorm(8).named_parameters()] == ["weight"]


def test_half_precision_is_normalised_in_float32():
    """Squares of 300 overflow float16 (65,504); Llama computes them in float32 and rounds the result."""
    x = torch.full((1, 8), 300.0, dtype=torch.float16)
    assert torch.equal(rms_norm(x, 1e-5), torch.zeros_like(x))  # 300 / √inf
    torch.testing.assert_close(LlamaRMSNorm(8, eps=1e-5).half()(x), torch.ones(1, 8, dtype=torch.float16))
