# ruff: noqa: E402
"""SwiGLU, and a whole pre-norm block, against the modules of Llama in transformers with the same weights."""

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaMLP

from llmprep.demos.architecture.layer_norm import rms_norm
from llmprep.demos.architecture.multi_head import MultiHeadAttention
from llmprep.demos.architecture.swiglu import swiglu_ffn
from llmprep.demos.architecture.transformer_layer import residual

pytestmark = pytest.mark.parity


def config(**changes: int) -> transformers.LlamaConfig:
    sizes = {"hidden_size": 32, "intermediate_size": 88, "num_attention_heads": 4, "num_key_value_heads": 2} | changes
    return transformers.LlamaConfig(**sizes, attn_implementation="eager")


def swiglu_of(mlp: LlamaMLP, x: torch.Tensor) -> torch.Tensor:
    return swiglu_ffn(x, mlp.gate_proj.weight.T, mlp.up_proj.weight.T, mlp.down_proj.weight.T)


@pytest.mark.parametrize(("d", "ff"), [(32, 88), (16, 64), (12, 5)])
def test_is_llamas_mlp(d, ff):
    torch.manual_seed(0)
    theirs, x = LlamaMLP(config(hidden_size=d, intermediate_size=ff)).double(), torch.randn(2, 5, d).double()
    torch.testing.assert_close(swiglu_of(theirs, x), theirs(x))
    swapped = swiglu_ffn(x, theirs.up_proj.weight.T, theirs.gate_proj.weight.T, theirs.down_proj.weight.T)
    assert (swapped - theirs(x)).abs().max() > 1e-4  # silu belongs to the gate


def test_pre_norm_block_is_llamas_decoder_layer():
    """x + attention(norm(x)), then x + SwiGLU(norm(x)); without rotation, which is not the point here."""
    torch.manual_seed(1)
    c = config()
    theirs = LlamaDecoderLayer(c, layer_idx=0).double()
    with torch.no_grad():
        for norm in (theirs.input_layernorm, theirs.post_attention_layernorm):
            norm.weight.copy_(torch.randn(32))
    attend = MultiHeadAttention(32, 4, 2, 8).double()
    names = {"wq": "q_proj", "wk": "k_proj", "wv": "v_proj", "wo": "o_proj"}
    attend.load_state_dict({f"{a}.weight": getattr(theirs.self_attn, b).weight for a, b in names.items()})

    x, eps = torch.randn(2, 6, 32).double(), c.rms_norm_eps
    no_rotation = torch.ones(1, 6, 8).double(), torch.zeros(1, 6, 8).double()
    mask = torch.full((6, 6), -torch.inf).double().triu(diagonal=1)[None, None]
    out = theirs(x, attention_mask=mask, position_embeddings=no_rotation)
    out = out[0] if isinstance(out, tuple) else out

    def block(*, norm_first: bool) -> torch.Tensor:
        gains = theirs.input_layernorm.weight, theirs.post_attention_layernorm.weight
        norms = [lambda y, g=g: rms_norm(y, eps) * g for g in gains]
        h = residual(x, attend, norms[0], norm_first=norm_first)
        return residual(h, lambda y: swiglu_of(theirs.mlp, y), norms[1], norm_first=norm_first)

    torch.testing.assert_close(block(norm_first=True), out, rtol=1e-6, atol=1e-6)  # their norm computes in float32
    assert (block(norm_first=False) - out).abs().max() > 0.1
