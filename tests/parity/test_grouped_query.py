# ruff: noqa: E402
"""Our grouped attention and transformers' Llama, whose `repeat_kv` fixes which query head reads which KV head."""

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from llmprep.demos.architecture.grouped_query import grouped_attention

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("n_kv_heads", [1, 2, 3, 6])
def test_equals_llama_attention_without_rotation(n_kv_heads):
    config = transformers.LlamaConfig(
        hidden_size=48,
        num_attention_heads=6,
        num_key_value_heads=n_kv_heads,
        head_dim=8,
        attn_implementation="eager",
    )
    torch.manual_seed(0)
    layer = transformers.models.llama.modeling_llama.LlamaAttention(config, layer_idx=0).double().eval()
    x = torch.randn(2, 9, 48, dtype=torch.float64)
    cos, sin = torch.ones(2, 9, 8, dtype=torch.float64), torch.zeros(2, 9, 8, dtype=torch.float64)
    mask = torch.full((9, 9), -torch.inf, dtype=torch.float64).triu(1)[None, None]
    with torch.no_grad():
        theirs, _ = layer(x, position_embeddings=(cos, sin), attention_mask=mask)
        projections = (layer.q_proj, layer.k_proj, layer.v_proj)
        q, k, v = (w(x).unflatten(-1, (-1, 8)).transpose(1, 2) for w in projections)
        ours = layer.o_proj(grouped_attention(q, k, v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(("n_heads", "n_kv_heads"), [(8, 8), (8, 2), (8, 1)])
def test_parameters_of_llama_attention(n_heads, n_kv_heads):
    config = transformers.LlamaConfig(hidden_size=64, num_attention_heads=n_heads, num_key_value_heads=n_kv_heads)
    layer = transformers.models.llama.modeling_llama.LlamaAttention(config, layer_idx=0)
    assert sum(p.numel() for p in layer.parameters()) == 2 * 64**2 * (n_heads + n_kv_heads) // n_heads
