# ruff: noqa: E402, N803
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.cross_attention import Params, attend, decode, run, torch_layer
from llmprep.demos.architecture.transformer_layer import Attention


@pytest.fixture(scope="module")
def layer():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Attention(16, 2).double().requires_grad_(requires_grad=False)


def tokens(n: int, seed: int) -> torch.Tensor:
    return torch.randn(1, n, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=20, deadline=None)
@given(T=st.integers(1, 9), S=st.integers(1, 9))
def test_is_torchs_layer_and_transformer_layers_attention(layer, T, S):
    x, memory = tokens(T, 1), tokens(S, 2)
    out, weights = attend(layer, x, memory)
    theirs, their_weights = torch_layer(layer)(x, memory, memory, average_attn_weights=False)
    assert weights.shape == (1, 2, T, S)
    torch.testing.assert_close(out, theirs)
    torch.testing.assert_close(weights, their_weights)
    torch.testing.assert_close(out, layer(x, memory))


def test_every_head_by_the_formula(layer):
    """The slow and obvious way: one head, one query at a time."""
    x, memory = tokens(3, 3), tokens(5, 4)
    q, k, v = x[0] @ layer.wq.weight.T, memory[0] @ layer.wk.weight.T, memory[0] @ layer.wv.weight.T
    heads = []
    for h in (slice(0, 8), slice(8, 16)):
        scores = torch.tensor([[(a[h] * b[h]).sum() / 8**0.5 for b in k] for a in q], dtype=torch.float64)
        heads.append(scores.softmax(dim=1) @ v[:, h])
    torch.testing.assert_close(attend(layer, x, memory)[0][0], torch.cat(heads, dim=1) @ layer.wo.weight.T)


@pytest.mark.parametrize("cache", [True, False])
def test_step_by_step_is_all_at_once(layer, cache):
    x, memory = tokens(4, 5), tokens(7, 6)
    out, projected = decode(layer, x, memory, cache=cache)
    torch.testing.assert_close(out, attend(layer, x, memory)[0])
    assert projected == (7 if cache else 28)


def test_a_causal_mask_hides_the_source():
    """With the mask left on, the first target token reads the first source token alone."""
    plain = Attention(16, 2).double()
    _, weights = attend(plain, tokens(3, 1), tokens(5, 2), causal=True)
    assert weights[0, 0, 0].tolist() == [1, 0, 0, 0, 0]
    assert (weights[0, :, 2, 3:] == 0).all()
    assert run(Params(version="masked")).fact("mismatches").measured > 0


@pytest.mark.parametrize("version", ["cross-attention", "self-attention", "swapped", "masked"])
@pytest.mark.parametrize(
    "odd",
    [{"source_tokens": 2, "target_tokens": 2}, {"source_tokens": 5, "target_tokens": 30, "n_heads": 1, "seed": 3}],
    ids=str,
)
def test_run_agrees_for_odd_settings(version, odd):
    assert [f for f in run(Params(version=version, **odd)).facts if not f.agrees] == []


@pytest.mark.parametrize("wrong", [{"source_tokens": 1}, {"target_tokens": 1000}, {"n_heads": 3}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
