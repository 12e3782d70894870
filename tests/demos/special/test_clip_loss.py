# ruff: noqa: E402, N803, N806 (the letters of the demo)
import math

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.special.clip_loss import (
    Params,
    clip_loss,
    formula_scale_gradient,
    formula_start,
    mean_over_micro_batches,
    pairs_with_cosine,
    run,
)

F64 = torch.float64


def by_hand(images: torch.Tensor, texts: torch.Tensor, scale: float) -> float:
    """−ln softmax, number by number."""
    N, total = len(images), 0.0
    cosine = [[torch.cosine_similarity(i, t, dim=0).item() for t in texts] for i in images]
    for k in range(N):
        row = sum(math.exp(scale * cosine[k][j]) for j in range(N))
        column = sum(math.exp(scale * cosine[i][k]) for i in range(N))
        total += math.log(row) + math.log(column) - 2 * scale * cosine[k][k]
    return total / (2 * N)


@given(st.integers(1, 6), st.integers(2, 8), st.floats(0, 3), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_is_the_mean_of_two_cross_entropies(N, E, log_scale, seed):
    g = torch.Generator().manual_seed(seed)
    images, texts = torch.randn(2, N, E, dtype=F64, generator=g)
    loss = clip_loss(images, texts, torch.tensor(log_scale, dtype=F64))
    assert loss.item() == pytest.approx(by_hand(images, texts, math.exp(log_scale)), rel=1e-9, abs=1e-12)
    assert loss.item() == pytest.approx(clip_loss(texts, images, torch.tensor(log_scale, dtype=F64)).item())
    assert loss.item() == pytest.approx(clip_loss(7 * images, texts, torch.tensor(log_scale, dtype=F64)).item())


@given(st.floats(-1, 1), st.floats(0, 4), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_temperature_gradient_by_small_steps(cosine, log_scale, seed):
    images, texts = pairs_with_cosine(9, 16, cosine, torch.Generator().manual_seed(seed))
    torch.testing.assert_close((images * texts).sum(-1), torch.full((9,), cosine, dtype=F64), atol=1e-9, rtol=0)
    lower, upper = (clip_loss(images, texts, torch.tensor(log_scale + h, dtype=F64)).item() for h in (-1e-5, 1e-5))
    predicted = formula_scale_gradient(images, texts, math.exp(log_scale))
    assert (upper - lower) / 2e-5 == pytest.approx(predicted, abs=1e-5)


@pytest.mark.parametrize("N", [2, 64, 512])
def test_a_loss_of_nothing_is_ln_n(N):
    same = torch.ones(N, 4, dtype=F64)
    assert clip_loss(same, same, torch.tensor(2.66, dtype=F64)).item() == pytest.approx(math.log(N))


def test_micro_batches_forget_negatives():
    images, texts = pairs_with_cosine(512, 512, 0.0, torch.Generator().manual_seed(3))
    scale = torch.tensor(2.66, dtype=F64)
    whole, in_parts = (mean_over_micro_batches(images, texts, scale, k).item() for k in (1, 4))
    assert whole == clip_loss(images, texts, scale).item()
    assert whole - in_parts == pytest.approx(math.log(4), abs=0.05)


def test_the_scale_falls_at_first_and_rises_when_pairs_are_found():
    assert run(Params(pair_cosine=0.0)).fact("scale_gradient").measured > 0.3
    assert run(Params(pair_cosine=0.3)).fact("scale_gradient").measured < -1


@pytest.mark.parametrize("seed", range(4))
def test_start_of_random_directions(seed):
    loss = run(Params(seed=seed, embed_dim=1024, temperature=0.05)).fact("loss").measured
    assert loss == pytest.approx(formula_start(512, 1024, 20.0), abs=0.08)


@pytest.mark.parametrize(
    "wrong", [{"n_pairs": 4}, {"micro_batches": 3}, {"temperature": 0.0}, {"pair_cosine": 1.5}], ids=str
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
