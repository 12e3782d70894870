# ruff: noqa: E402
"""TinyGPT against GPT-2 of transformers: the same weights give the same logits and the same losses."""

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from llmprep.demos.architecture.causal_mask import START, TinyGPT, changed_earlier_logits, token_log_probs

pytestmark = pytest.mark.parity


def gpt2(model: TinyGPT) -> torch.nn.Module:
    """A GPT-2 with TinyGPT's weights; its biases are set to zero, its output head is not tied."""
    vocab, d_model = model.token.weight.shape
    config = transformers.GPT2Config(
        vocab_size=vocab,
        n_positions=model.position.num_embeddings,
        n_embd=d_model,
        n_layer=len(model.blocks),
        n_head=model.blocks[0].attention.n_heads,
        activation_function="gelu",
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
    )
    theirs = transformers.GPT2LMHeadModel(config).double().eval()
    state = {name: torch.zeros_like(w) for name, w in theirs.state_dict().items()}
    state |= {"transformer.wte.weight": model.token.weight, "transformer.wpe.weight": model.position.weight}
    state |= {"lm_head.weight": model.head.weight, "transformer.ln_f.weight": model.norm.weight}
    for i, block in enumerate(model.blocks):
        a, h = block.attention, f"transformer.h.{i}"
        state[f"{h}.attn.c_attn.weight"] = torch.cat([a.wq.weight, a.wk.weight, a.wv.weight]).T  # Conv1D is transposed
        state[f"{h}.attn.c_proj.weight"] = a.wo.weight.T
        state[f"{h}.mlp.c_fc.weight"], state[f"{h}.mlp.c_proj.weight"] = block.up.weight.T, block.down.weight.T
        state[f"{h}.ln_1.weight"], state[f"{h}.ln_2.weight"] = block.norm_attention.weight, block.norm_mlp.weight
    theirs.load_state_dict(state)
    return theirs


@pytest.fixture
def pair():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = TinyGPT(vocab=11, context=10, d_model=24, n_heads=3).double().requires_grad_(requires_grad=False)
        return model, gpt2(model).requires_grad_(requires_grad=False)


def test_logits_are_those_of_gpt2_with_the_mask_only(pair):
    model, theirs = pair
    text = torch.randint(11, (2, 10), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(model(text), theirs(text).logits)
    assert (model(text, causal=False) - theirs(text).logits).abs().max() > 1e-3


def test_losses_are_those_of_gpt2(pair):
    model, theirs = pair
    text = torch.randint(11, (1, 9), generator=torch.Generator().manual_seed(2))
    labelled = torch.cat([torch.full((1, 1), START), text], dim=1)
    loss = theirs(labelled, labels=labelled).loss  # shifts by itself
    assert -token_log_probs(model, text, causal=True).mean().item() == pytest.approx(loss.item(), rel=1e-5)  # float32


def test_gpt2_is_causal_too(pair):
    model, theirs = pair
    text = torch.randint(11, (1, 10), generator=torch.Generator().manual_seed(3))
    other = text.clone()
    other[:, 6:] = (other[:, 6:] + 1) % 11
    assert torch.equal(theirs(text).logits[:, :6], theirs(other).logits[:, :6])
    assert changed_earlier_logits(model, text, 6, causal=True) == 0
