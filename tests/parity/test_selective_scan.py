# ruff: noqa: E402, N806, N812 (the letters of the papers)
"""The selective scan against MambaMixer of transformers: same random weights, same outputs, state of a fixed size."""

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import torch.nn.functional as F

from llmprep.demos.special.selective_scan import discretise, parallel_selective_scan, selective_scan
from llmprep.demos.special.ssm_state import formula_state_bytes

pytestmark = pytest.mark.parity

D_MODEL, D_INNER, N, CONV = 12, 24, 5, 4


@pytest.fixture
def model():
    config = transformers.MambaConfig(
        hidden_size=D_MODEL, state_size=N, num_hidden_layers=2, conv_kernel=CONV, expand=2, vocab_size=31
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.MambaModel(config).eval()
        for w in model.parameters():  # not the special starting values: nothing may cancel by luck
            torch.nn.init.normal_(w, std=0.3)
    return model.requires_grad_(requires_grad=False)


def our_mixer(mixer, x, rule, scan):
    """The block around the scan, written out for one text (T, D_MODEL): figure 3 of arXiv 2312.00752."""
    x, gate = mixer.in_proj(x).chunk(2, dim=-1)  # (T, D_INNER) each
    padded = F.pad(x.T[None], (CONV - 1, 0))
    x = F.silu(F.conv1d(padded, mixer.conv1d.weight, mixer.conv1d.bias, groups=D_INNER))[0].T
    rank = mixer.dt_proj.in_features
    delta, B, C = mixer.x_proj(x).split([rank, N, N], dim=-1)
    delta = F.softplus(mixer.dt_proj(delta))  # (T, D_INNER)
    decay, added = discretise(delta, -mixer.A_log.exp(), B, x, rule)
    return mixer.out_proj((scan(decay, added, C) + mixer.D * x) * F.silu(gate))


@pytest.mark.parametrize("scan", [selective_scan, lambda *a: parallel_selective_scan(*a)[0]], ids=["loop", "parallel"])
def test_block_equals_that_of_transformers(model, scan):
    x = torch.randn(20, D_MODEL, generator=torch.Generator().manual_seed(1))
    mixer = model.layers[0].mixer
    theirs = mixer(x[None])[0]
    torch.testing.assert_close(our_mixer(mixer, x, "euler", scan), theirs, atol=1e-5, rtol=1e-4)
    assert (our_mixer(mixer, x, "zoh", scan) - theirs).abs().max() > 1e-3  # the code is not equation 4 of the paper


def test_generation_keeps_a_state_of_fixed_size(model):
    ids = torch.randint(31, (1, 40), generator=torch.Generator().manual_seed(2))
    expected = formula_state_bytes(2, D_INNER, N, CONV, 4) + 2 * D_INNER * CONV * 2  # window here in float32, not BF16
    for T in (5, 40):
        cache = model(ids[:, :T], use_cache=True).cache_params
        weighed = sum(
            t.nbytes
            for layer in cache.layers
            for states in (layer.conv_states, layer.recurrent_states)
            for t in (states.values() if isinstance(states, dict) else [states])
            if t is not None
        )
        assert weighed == expected
