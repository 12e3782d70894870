# ruff: noqa: E402
"""WKV against RWKV of transformers, and the bytes of its state."""

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from llmprep.demos.architecture.recurrent_state import formula_state_bytes
from llmprep.demos.architecture.wkv import parallel_wkv, recurrent_wkv

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("form", [parallel_wkv, recurrent_wkv])
def test_wkv_equals_that_of_transformers(form):
    from transformers.models.rwkv.modeling_rwkv import rwkv_linear_attention_cpu

    g = torch.Generator().manual_seed(0)
    time_decay, u = torch.randn(2, 8, generator=g)
    k, v = 5 * torch.randn(30, 8, generator=g), torch.randn(30, 8, generator=g)
    theirs, _ = rwkv_linear_attention_cpu(time_decay, u, k[None], v[None])
    torch.testing.assert_close(form(time_decay.exp(), u, k, v), theirs[0], atol=1e-5, rtol=1e-4)


def test_state_of_transformers_weighs_what_the_formula_says_at_any_length():
    config = transformers.RwkvConfig(hidden_size=64, num_hidden_layers=3, vocab_size=20, attention_hidden_size=64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.RwkvModel(config).eval().bfloat16()
    for T in (3, 30):  # noqa: N806
        with torch.no_grad():
            state = model(torch.zeros(1, T, dtype=torch.long), use_cache=True).state
        assert sum(t.nbytes for t in state) == formula_state_bytes("rwkv-4", 3, 64)
