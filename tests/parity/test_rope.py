# ruff: noqa: E402
"""RoPE and its scalings against transformers: Llama's rotary embedding, rope_type linear, dynamic and yarn."""

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

from llmprep.demos.architecture.rope import frequencies, rotate
from llmprep.demos.architecture.rope_scaling import linear, ntk, yarn, yarn_attention_factor

pytestmark = pytest.mark.parity
HEAD_DIM, TRAINED = 64, 2048


def rotary(base: float = 10_000.0, **rope) -> LlamaRotaryEmbedding:
    config = transformers.LlamaConfig(
        hidden_size=4 * HEAD_DIM,
        num_attention_heads=4,
        max_position_embeddings=TRAINED,
        rope_parameters={"rope_type": "default", "rope_theta": base, **rope},
    )
    return LlamaRotaryEmbedding(config)


def halves(x: torch.Tensor) -> torch.Tensor:
    """Channels in the order of Hugging Face's Llama: (0, 2, 4, …, 1, 3, 5, …), so that i is paired with i + D/2."""
    return torch.cat([x[..., 0::2], x[..., 1::2]], dim=-1)


@pytest.mark.parametrize("base", [10_000.0, 500_000.0])
def test_rotation_is_that_of_llama_up_to_the_order_of_channels(base):
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 4, 40, HEAD_DIM, generator=generator)
    positions = torch.arange(1000, 1040)
    cos, sin = rotary(base)(q, positions[None])
    their_q, their_k = apply_rotary_pos_emb(halves(q), halves(k), cos, sin)
    theta = frequencies(HEAD_DIM, base)
    ours_q, ours_k = rotate(q, positions, theta), rotate(k, positions, theta)
    torch.testing.assert_close(halves(ours_q), their_q, rtol=1e-4, atol=5e-4)  # their angles are float32
    torch.testing.assert_close(halves(ours_k), their_k, rtol=1e-4, atol=5e-4)
    torch.testing.assert_close(ours_q @ ours_k.mT, their_q @ their_k.mT, rtol=1e-3, atol=1e-2)
    wrong_q, wrong_k = apply_rotary_pos_emb(q, k, cos, sin)  # weights not permuted: the classic conversion bug
    assert not torch.allclose(ours_q @ ours_k.mT, wrong_q @ wrong_k.mT, rtol=1e-3, atol=1)


@pytest.mark.parametrize("factor", [2.0, 8.0])
def test_linear_scaling(factor):
    theirs = rotary(rope_type="linear", factor=factor).inv_freq
    torch.testing.assert_close(linear(HEAD_DIM, 10_000, factor).float(), theirs)


@pytest.mark.parametrize("factor", [2.0, 8.0])
def test_dynamic_scaling_is_ntk_at_the_length_it_meets(factor):
    embedding = rotary(rope_type="dynamic", factor=1.0)  # with factor 1 the base grows by seq_len / trained
    embedding(torch.zeros(1), torch.arange(int(factor * TRAINED))[None])
    torch.testing.assert_close(ntk(HEAD_DIM, 10_000, factor).float(), embedding.inv_freq)


@pytest.mark.parametrize("base", [10_000.0, 1_000_000.0])
@pytest.mark.parametrize("factor", [2.0, 4.0, 16.0])
def test_yarn(base, factor):
    theirs = rotary(base, rope_type="yarn", factor=factor, original_max_position_embeddings=TRAINED)
    torch.testing.assert_close(yarn(HEAD_DIM, base, factor, TRAINED).float(), theirs.inv_freq)
    assert theirs.attention_scaling == pytest.approx(yarn_attention_factor(factor))
