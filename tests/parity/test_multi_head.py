# ruff: noqa: E402
"""Multi-head and grouped attention against the attention blocks of transformers, with the same weights."""

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from transformers.models.bert.modeling_bert import BertSelfAttention
from transformers.models.llama.modeling_llama import LlamaAttention

from llmprep.demos.architecture.multi_head import MultiHeadAttention, count_parameters

pytestmark = pytest.mark.parity


def copy(layer: MultiHeadAttention, **theirs: torch.nn.Linear) -> None:
    with torch.no_grad():
        for name, linear in theirs.items():
            linear.weight.copy_(getattr(layer, name).weight)
            if linear.bias is not None:
                linear.bias.zero_()


@pytest.mark.parametrize(("n_heads", "n_kv_heads", "head_dim"), [(4, 4, 8), (4, 2, 8), (4, 1, 8), (8, 2, 16)])
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_is_llamas_attention_without_rotation(n_heads, n_kv_heads, head_dim, implementation):
    config = transformers.LlamaConfig(
        hidden_size=32,
        num_attention_heads=n_heads,
        num_key_value_heads=n_kv_heads,
        head_dim=head_dim,
        attn_implementation=implementation,
    )
    theirs = LlamaAttention(config, layer_idx=0).double()
    layer = MultiHeadAttention(32, n_heads, n_kv_heads, head_dim).double()
    copy(layer, wq=theirs.q_proj, wk=theirs.k_proj, wv=theirs.v_proj, wo=theirs.o_proj)
    x = torch.randn(2, 6, 32, dtype=torch.float64)
    no_rotation = torch.ones(1, 6, head_dim, dtype=torch.float64), torch.zeros(1, 6, head_dim, dtype=torch.float64)
    mask = torch.full((6, 6), -torch.inf, dtype=torch.float64).triu(diagonal=1)[None, None]
    out, _ = theirs(x, position_embeddings=no_rotation, attention_mask=mask)
    torch.testing.assert_close(layer(x), out)
    assert sum(w.numel() for w in theirs.parameters()) == count_parameters(32, n_heads, n_kv_heads, head_dim)


def test_heads_without_mask_are_those_of_bert():
    config = transformers.BertConfig(hidden_size=24, num_attention_heads=3, attn_implementation="eager")
    theirs = BertSelfAttention(config).double().eval()
    layer = MultiHeadAttention(24, 3).double()
    copy(layer, wq=theirs.query, wk=theirs.key, wv=theirs.value)
    x = torch.randn(2, 5, 24, dtype=torch.float64)
    concatenated = layer.heads(x, causal=False).transpose(1, 2).flatten(2)
    torch.testing.assert_close(concatenated, theirs(x)[0])
