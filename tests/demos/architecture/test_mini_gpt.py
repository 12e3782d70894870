# ruff: noqa: E402
import math

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.mini_gpt import (
    GPT,
    Block,
    Params,
    changed_earlier_logits,
    count_parameters,
    formula_parameters,
    next_token_loss,
    run,
)


@pytest.fixture
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return GPT(vocab_size=50, context=12, d=32, n_heads=4, n_layers=2)


@pytest.fixture
def tokens():
    return torch.randint(50, (3, 12), generator=torch.Generator().manual_seed(1))


@given(st.integers(2, 60), st.integers(1, 20), st.integers(1, 4), st.integers(1, 3), st.booleans())
@settings(max_examples=8, deadline=None)
def test_formula_counts_what_is_built(vocab_size, context, n_heads, n_layers, tied):
    d = 8 * n_heads
    with torch.device("meta"):
        built = count_parameters(GPT(vocab_size, context, d, n_heads, n_layers, tied=tied)).total()
    assert built == formula_parameters(vocab_size, context, d, n_layers, tied=tied)


@pytest.mark.parametrize(
    ("name", "published"),
    [("gpt2", 124_439_808), ("gpt2-medium", 354_823_168), ("gpt2-xl", 1_557_611_200)],
)
def test_gpt2_family_has_its_real_size(name, published):
    assert run(Params(model=name)).fact("parameters").measured == published


def test_a_block_is_torchs_own_pre_norm_layer():
    """Same weights in torch.nn.TransformerEncoderLayer (norm_first, GELU, no dropout), same outputs."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        ours = Block(32, 4)
        theirs = torch.nn.TransformerEncoderLayer(
            32,
            4,
            128,
            0.0,
            lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
            batch_first=True,
            norm_first=True,
        )
        x = torch.randn(2, 9, 32)
    pairs = [
        (theirs.self_attn.in_proj_weight, ours.attn.c_attn.weight),
        (theirs.self_attn.in_proj_bias, ours.attn.c_attn.bias),
        (theirs.self_attn.out_proj.weight, ours.attn.c_proj.weight),
        (theirs.self_attn.out_proj.bias, ours.attn.c_proj.bias),
        (theirs.linear1.weight, ours.mlp.c_fc.weight),
        (theirs.linear1.bias, ours.mlp.c_fc.bias),
        (theirs.linear2.weight, ours.mlp.c_proj.weight),
        (theirs.linear2.bias, ours.mlp.c_proj.bias),
    ]
    with torch.no_grad():
        for to, of in pairs:
            to.copy_(of)
        mask = torch.full((9, 9), -torch.inf).triu(1)
        torch.testing.assert_close(ours(x), theirs(x, src_mask=mask), atol=1e-5, rtol=1e-4)


def test_tied_tables_are_one_tensor_and_get_both_gradients(model, tokens):
    assert model.lm_head.weight is model.wte.weight
    next_token_loss(model, tokens).backward()
    unread = sorted(set(range(50)) - set(tokens[:, :-1].flatten().tolist()))
    assert model.wte.weight.grad[unread].abs().sum(1).gt(0).all()  # not read, but scored at the output


def test_no_earlier_logit_moves_and_without_the_mask_many_do(model, tokens):
    assert changed_earlier_logits(model, tokens) == 0
    assert changed_earlier_logits(model, tokens, causal=False) > 100


def test_loss_is_that_of_the_next_token(model, tokens):
    """Cross-entropy by hand; comparing a token with itself instead of the next one is the classic slip."""
    with torch.no_grad():
        log_p = model(tokens[:, :-1]).log_softmax(-1)
        by_hand = -sum(log_p[b, t, tokens[b, t + 1]] for b in range(3) for t in range(11)) / 33
        torch.testing.assert_close(next_token_loss(model, tokens), by_hand)


def test_the_stream_keeps_its_size_with_depth():
    """What the c_proj factor is for: after many blocks the residual stream has not grown like the depth."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(3)
        x = torch.randn(2, 16, 64)
        for n_layers in (2, 12):
            out = x
            for block in GPT(10, 16, 64, 4, n_layers).h:
                out = block(out)
            assert out.std() / x.std() < 1.5


def test_generate_continues_the_prompt_beyond_the_context(model, tokens):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        longer = model.generate(tokens, 5)
    assert longer.shape == (3, 17)
    assert torch.equal(longer[:, :12], tokens)
    assert longer.max() < 50


@pytest.mark.parametrize(
    ("params", "start_is_ln_v", "causal"),
    [(Params(), True, True), (Params(embedding_std=1), False, True), (Params(causal=False, tied=False), True, False)],
)
def test_three_checks_before_training(params, start_is_ln_v, causal):
    result = run(params)
    assert all(f.agrees for f in result.facts)
    assert (abs(result.fact("start_loss").measured - math.log(256)) < 0.1) == start_is_ln_v
    assert (result.fact("changed_earlier_logits").measured == 0) == causal


@pytest.mark.parametrize("wrong", [{"model": "llama-3-8b"}, {"vocab_size": 1}, {"embedding_std": 0}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
