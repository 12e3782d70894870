# ruff: noqa: E402, N803
import math

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.causal_mask import (
    START,
    Block,
    Params,
    TinyGPT,
    changed_earlier_logits,
    run,
    token_log_probs,
    token_log_probs_by_prefix,
    total_probability,
)


def tiny(vocab: int = 5, context: int = 12, seed: int = 0) -> TinyGPT:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return TinyGPT(vocab, context, d_model=16, n_heads=2).double().requires_grad_(requires_grad=False)


@pytest.mark.parametrize("causal", [True, False])
def test_block_is_torchs_encoder_layer_with_or_without_a_mask(causal):
    """The same block is an encoder (BERT's attention) or a decoder (GPT's): only the mask differs."""
    block = Block(16, 2).double()
    torchs = torch.nn.TransformerEncoderLayer(
        16, 2, 64, dropout=0, activation="gelu", norm_first=True, batch_first=True, bias=False, dtype=torch.float64
    )
    a = block.attention
    with torch.no_grad():
        torchs.self_attn.in_proj_weight.copy_(torch.cat([a.wq.weight, a.wk.weight, a.wv.weight]))
        for theirs, ours in (
            (torchs.self_attn.out_proj, a.wo),
            (torchs.linear1, block.up),
            (torchs.linear2, block.down),
            (torchs.norm1, block.norm_attention),
            (torchs.norm2, block.norm_mlp),
        ):
            theirs.weight.copy_(ours.weight)
    x = torch.randn(2, 7, 16, dtype=torch.float64)
    mask = torch.nn.Transformer.generate_square_subsequent_mask(7, dtype=torch.float64) if causal else None
    torch.testing.assert_close(block(x, causal=causal), torchs(x, src_mask=mask))


@settings(max_examples=15, deadline=None)
@given(T=st.integers(2, 12), t=st.integers(1, 11), seed=st.integers(0, 100))
def test_later_tokens_change_no_earlier_logit(T, t, seed):
    text = torch.randint(5, (2, T), generator=torch.Generator().manual_seed(seed))
    assert changed_earlier_logits(tiny(seed=seed), text, min(t, T - 1), causal=True) == 0
    assert changed_earlier_logits(tiny(seed=seed), text, min(t, T - 1), causal=False) > 0


def test_one_pass_gives_the_losses_of_all_prefixes():
    model, text = tiny(), torch.randint(5, (3, 12), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        token_log_probs(model, text, causal=True), token_log_probs_by_prefix(model, text, causal=True)
    )
    agree = (
        (token_log_probs(model, text, causal=False) - token_log_probs_by_prefix(model, text, causal=False)).abs() < 1e-9
    ).all(dim=0)
    assert agree.nonzero().flatten().tolist() == [11]  # the last token is not in its own input


def test_log_probs_are_the_cross_entropy_of_the_shifted_text():
    model, text = tiny(), torch.tensor([[3, 1, 4, 1]])
    logits = model(torch.tensor([[START, 3, 1, 4]]))
    loss = torch.nn.functional.cross_entropy(logits[0], text[0])
    assert -token_log_probs(model, text, causal=True).mean().item() == pytest.approx(loss.item())


@pytest.mark.parametrize(("vocab", "length"), [(2, 2), (3, 4), (5, 3)])
def test_probabilities_of_all_texts_sum_to_one_with_the_mask_only(vocab, length):
    model = tiny(vocab)
    assert total_probability(model, vocab, length, causal=True) == pytest.approx(1, abs=1e-12)
    assert not math.isclose(total_probability(model, vocab, length, causal=False), 1, abs_tol=1e-4)


@pytest.mark.parametrize(
    "p",
    [Params(seq_len=2, vocab=2, enumerated_len=2), Params(causal=False, vocab=64, enumerated_len=2, seed=5)],
    ids=str,
)
def test_run_agrees_for_odd_settings(p):
    assert all(f.agrees for f in run(p).facts)


@pytest.mark.parametrize("wrong", [{"seq_len": 1}, {"vocab": 1}, {"vocab": 100}, {"enumerated_len": 20}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
