# ruff: noqa: E402
"""Cross-attention against that of T5 and BART in transformers, with the same weights."""

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from transformers.models.bart.modeling_bart import BartAttention
from transformers.models.t5.modeling_t5 import T5Attention

from llmprep.demos.architecture.cross_attention import attend
from llmprep.demos.architecture.transformer_layer import Attention

pytestmark = pytest.mark.parity


@pytest.fixture
def case():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = Attention(32, 4).double().requires_grad_(requires_grad=False)
        x, memory = (torch.randn(2, n, 32, dtype=torch.float64) for n in (5, 9))
    return layer, x, memory


def copy(theirs, ours: Attention, names: tuple[str, ...]) -> None:
    for name, matrix in zip(names, (ours.wq, ours.wk, ours.wv, ours.wo), strict=True):
        getattr(theirs, name).weight.data.copy_(matrix.weight)


def test_bart(case):
    layer, x, memory = case
    config = transformers.BartConfig(d_model=32, decoder_attention_heads=4, attn_implementation="eager")
    theirs = BartAttention(32, 4, is_decoder=True, bias=False, config=config, layer_idx=0).double().eval()
    copy(theirs, layer, ("q_proj", "k_proj", "v_proj", "out_proj"))
    out = theirs(x, key_value_states=memory)[0]
    torch.testing.assert_close(attend(layer, x, memory)[0], out)


def test_t5_does_not_scale_its_scores(case):
    """T5 folds 1/√D into the initial W_Q and has no position bias in cross-attention (arXiv 1910.10683, 2.1)."""
    layer, x, memory = case
    config = transformers.T5Config(d_model=32, d_kv=8, num_heads=4, dropout_rate=0.0, attn_implementation="eager")
    theirs = T5Attention(config, has_relative_attention_bias=False, layer_idx=0).double().eval()
    copy(theirs, layer, ("q", "k", "v", "o"))
    ours = attend(layer, x, memory)[0]
    assert (theirs(x, key_value_states=memory)[0] - ours).abs().max() > 1e-3
    theirs.q.weight.data.div_(8**0.5)
    torch.testing.assert_close(theirs(x, key_value_states=memory)[0], ours)


def test_t5_decoder_has_its_position_bias_in_self_attention_only():
    model = transformers.T5Model(transformers.T5Config(vocab_size=8, d_model=16, d_kv=8, d_ff=16, num_heads=2))
    biased = [name for name, _ in model.decoder.named_parameters() if "relative_attention_bias" in name]
    assert biased == ["block.0.layer.0.SelfAttention.relative_attention_bias.weight"]
