# ruff: noqa: E402, N803
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.batch_mates import (
    Params,
    apply,
    batch_norm_by_hand,
    changed,
    formula_gap,
    make_norm,
    run,
)
from llmprep.demos.architecture.layer_norm import layer_norm, rms_norm


def texts(B: int, T: int, d: int, seed: int) -> torch.Tensor:
    return torch.randn(B, T, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=20, deadline=None)
@given(B=st.integers(1, 5), T=st.integers(2, 6), d=st.integers(2, 9), seed=st.integers(0, 100))
def test_modules_are_the_formulas(B, T, d, seed):
    x = texts(B, T, d, seed)
    torch.testing.assert_close(apply(make_norm("batch", d), x), batch_norm_by_hand(x))
    torch.testing.assert_close(apply(make_norm("layer", d), x), layer_norm(x, 1e-5))
    torch.testing.assert_close(apply(make_norm("rms", d), x), rms_norm(x, torch.finfo(torch.float64).eps))


@settings(max_examples=20, deadline=None)
@given(B=st.integers(2, 5), T=st.integers(2, 6), seed=st.integers(0, 100), name=st.sampled_from(["layer", "rms"]))
def test_a_text_alone_is_normalised_as_in_any_batch(B, T, seed, name):
    x = texts(B, T, 8, seed)
    assert changed(apply(make_norm(name, 8), x)[:1], apply(make_norm(name, 8), x[:1])) == 0
    assert changed(apply(make_norm("batch", 8), x)[:1], apply(make_norm("batch", 8), x[:1])) > 0


def test_layer_norm_over_tokens_would_leak_too():
    """The popular misreading, statistics along the sequence: a later token then changes earlier outputs."""
    x = texts(1, 6, 4, 0)
    other = x.clone()
    other[:, -1] += 1
    wrong = [layer_norm(t.mT, 1e-5).mT for t in (x, other)]
    assert changed(wrong[0][:, :-1], wrong[1][:, :-1]) == 20
    assert changed(layer_norm(x, 1e-5)[:, :-1], layer_norm(other, 1e-5)[:, :-1]) == 0


def test_one_token_has_no_batch_statistics():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        apply(make_norm("batch", 4), texts(1, 1, 4, 0))
    assert apply(make_norm("layer", 4), texts(1, 1, 4, 0)).isfinite().all()


@pytest.mark.parametrize("n", [32, 128, 1024])
def test_noise_of_batch_statistics(n):
    x = texts(100, n, 32, 0)
    noise = torch.stack([batch_norm_by_hand(t[None])[0] - t for t in x]).square().mean().sqrt().item()
    assert noise == pytest.approx(formula_gap(n), rel=0.05)


@pytest.mark.parametrize(
    "p", [Params("rms", batch_size=2, seq_len=2), Params("batch", 2, 2, 1, 1), Params(batch_size=2, seed=3)], ids=str
)
def test_run_agrees_for_odd_settings(p):
    assert all(f.agrees for f in run(p).facts)


@pytest.mark.parametrize("wrong", [{"batch_size": 1}, {"seq_len": 1}, {"padding": 0}, {"train_batches": 0}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
