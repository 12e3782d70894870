# ruff: noqa: E402
"""GPT-2 of transformers draws its residual projections with the scaled standard deviation, and no other matrix."""

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from llmprep.demos.architecture.residual_variance import formula_scale

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("n_layers", [2, 8])
def test_gpt2_of_transformers_scales_what_writes_to_the_stream(n_layers):
    config = transformers.GPT2Config(n_embd=96, n_layer=n_layers, n_head=4, vocab_size=50, n_positions=16)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.GPT2Model(config)
    for name, w in model.named_parameters():
        if not name.endswith("weight") or w.dim() != 2 or name.startswith(("wte", "wpe")):
            continue
        expected = config.initializer_range
        if name.endswith("c_proj.weight"):
            expected *= formula_scale(n_layers)
        assert w.std().item() == pytest.approx(expected, rel=0.03), name
