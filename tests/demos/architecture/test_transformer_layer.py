# ruff: noqa: E402, N803
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.transformer_layer import (
    Attention,
    DecoderLayer,
    EncoderLayer,
    FeedForward,
    Params,
    copy_weights,
    residual,
    run,
)


@settings(max_examples=15, deadline=None)
@given(
    heads=st.sampled_from([1, 2, 4]),
    head_dim=st.integers(1, 6),
    d_ff=st.integers(1, 20),
    T=st.integers(1, 6),
    S=st.integers(1, 6),
    norm_first=st.booleans(),
    seed=st.integers(0, 100),
)
def test_both_layers_are_torchs_for_any_shape_and_both_placements(heads, head_dim, d_ff, T, S, norm_first, seed):
    shape = (heads * head_dim, heads, d_ff)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        encoder = EncoderLayer(*shape, norm_first=norm_first).double()
        decoder = DecoderLayer(*shape, norm_first=norm_first).double()
        kwargs = {"dropout": 0.0, "batch_first": True, "norm_first": norm_first, "dtype": torch.float64}
        torchs = torch.nn.TransformerEncoderLayer(*shape, **kwargs), torch.nn.TransformerDecoderLayer(*shape, **kwargs)
        copy_weights(encoder, torchs[0])
        copy_weights(decoder, torchs[1])
        x, memory = torch.randn(2, T, shape[0]).double(), torch.randn(2, S, shape[0]).double()
        torch.testing.assert_close(encoder(memory), torchs[0](memory))
        mask = torch.nn.Transformer.generate_square_subsequent_mask(T, dtype=torch.float64)
        torch.testing.assert_close(decoder(x, memory), torchs[1](x, memory, tgt_mask=mask))


def test_cross_attention_is_torchs_multihead_attention():
    torch.manual_seed(0)
    ours, theirs = Attention(12, 3), torch.nn.MultiheadAttention(12, 3, bias=False, batch_first=True)
    weights = {"in_proj_weight": torch.cat([w.weight for w in (ours.wq, ours.wk, ours.wv)])}
    theirs.load_state_dict(weights | {"out_proj.weight": ours.wo.weight})
    x, memory = torch.randn(2, 4, 12), torch.randn(2, 7, 12)
    torch.testing.assert_close(ours(x, memory), theirs(x, memory, memory, need_weights=False)[0])


def test_ffn_is_the_formula_of_the_paper():
    torch.manual_seed(0)
    ffn, x = FeedForward(3, 5), torch.randn(2, 4, 3)
    hidden = torch.maximum(x @ ffn.up.weight.T + ffn.up.bias, torch.zeros(()))
    torch.testing.assert_close(ffn(x), hidden @ ffn.down.weight.T + ffn.down.bias)


def test_post_norm_normalises_the_stream_and_pre_norm_keeps_it():
    torch.manual_seed(0)
    x, norm = 7 * torch.randn(1, 4, 32), torch.nn.LayerNorm(32)
    post = residual(x, torch.zeros_like, norm, norm_first=False)
    torch.testing.assert_close(post.std(dim=-1, correction=0), torch.ones(1, 4), rtol=1e-3, atol=1e-3)
    assert torch.equal(residual(x, torch.zeros_like, norm, norm_first=True), x)


@pytest.mark.parametrize(
    "p", [Params(seq_len=2, d_model=2, n_heads=1, d_ff=1), Params("pre-norm"), Params("decoder without mask", seed=3)]
)
def test_run_agrees_for_odd_settings(p):
    assert all(f.agrees for f in run(p).facts)


def test_each_wrong_version_is_noticed():
    assert run(Params("pre-norm")).fact("encoder_mismatches").measured > 1000
    assert run(Params("decoder without mask")).fact("decoder_mismatches").measured > 1000


@pytest.mark.parametrize("wrong", [{"n_heads": 5}, {"d_ff": 0}, {"seq_len": 1}, {"d_model": 1024}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
