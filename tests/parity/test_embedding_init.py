"""How transformers starts GPT-2, against what the lesson says."""

import math

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.parity


def test_gpt2_starts_near_the_uniform_loss():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = transformers.GPT2Config(vocab_size=5000, n_embd=256, n_layer=4, n_head=4, n_positions=64)
        model = transformers.GPT2LMHeadModel(config).eval()
        ids = torch.randint(5000, (4, 64))
        with torch.no_grad():
            loss = model(ids, labels=ids).loss.item()
    assert model.transformer.wte.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert model.lm_head.weight is model.transformer.wte.weight
    assert loss == pytest.approx(math.log(5000), abs=0.3)


def test_the_default_of_torch_is_fifty_times_wider():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        assert torch.nn.Embedding(1000, 256).weight.std().item() == pytest.approx(1, rel=0.02)
