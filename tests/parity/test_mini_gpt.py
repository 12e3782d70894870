# ruff: noqa: E402
"""The mini GPT against GPT-2 of transformers, weights copied over name by name."""

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from llmprep.demos.architecture.mini_gpt import GPT

pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def pair():
    """Both models with random weights and biases; GPT-2's Conv1D holds its matrices the other way round."""
    config = transformers.GPT2Config(
        vocab_size=61, n_positions=20, n_embd=48, n_head=4, n_layer=3, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        theirs, ours = transformers.GPT2LMHeadModel(config).eval(), GPT(61, 20, 48, 4, 3)
        for p in theirs.parameters():
            p.add_(0.05 * torch.randn_like(p))  # biases and norms, too, are not what they start as
        state = {name.removeprefix("transformer."): w for name, w in theirs.state_dict().items()}
        for name in ours.state_dict():
            flip = name.startswith("h.") and state[name].ndim == 2
            state[name] = state[name].T if flip else state[name]
        ours.load_state_dict({name: state[name] for name in ours.state_dict()})
    return ours, theirs


def test_logits_are_those_of_gpt2(pair):
    ours, theirs = pair
    tokens = torch.randint(61, (2, 20), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(ours(tokens), theirs(tokens).logits, atol=2e-5, rtol=1e-4)


def test_gradients_of_the_shared_table_are_those_of_gpt2(pair):
    ours, theirs = pair
    tokens = torch.randint(61, (2, 20), generator=torch.Generator().manual_seed(2))
    for model, logits in ((ours, ours(tokens)), (theirs, theirs(tokens).logits)):
        model.zero_grad()
        logits.square().mean().backward()
    torch.testing.assert_close(ours.wte.weight.grad, theirs.transformer.wte.weight.grad, atol=1e-5, rtol=1e-3)


def test_both_count_the_same_parameters(pair):
    ours, theirs = pair
    assert sum(p.numel() for p in ours.parameters()) == theirs.num_parameters()
