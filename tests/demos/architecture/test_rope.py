# ruff: noqa: E402
import math

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.architecture.rope import (
    Params,
    frequencies,
    rotate,
    rotate_as_complex,
    run,
    scores_after_projection,
    scores_before_projection,
)


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_two_channels_are_turned_by_the_rotation_matrix():
    """Equation 13 of the paper: m = 3, θ = 1."""
    c, s = math.cos(3), math.sin(3)
    expected = torch.tensor([[c, -s], [s, c]], dtype=torch.float64) @ torch.tensor([2.0, 5.0], dtype=torch.float64)
    out = rotate(torch.tensor([[2.0, 5.0]], dtype=torch.float64), torch.tensor([3]), frequencies(2))
    torch.testing.assert_close(out[0], expected)


def test_frequencies_fall_from_one_to_nearly_one_over_base():
    theta = frequencies(128)
    assert theta[0] == 1
    assert theta[-1].item() == pytest.approx(10_000 ** (-126 / 128))
    torch.testing.assert_close(theta[1:] / theta[:-1], torch.full((63,), 10_000 ** (-2 / 128), dtype=torch.float64))


@settings(max_examples=50, deadline=None)
@given(m=st.integers(0, 10_000), n=st.integers(0, 10_000), shift=st.integers(-5000, 5000), seed=st.integers(0, 100))
def test_scores_depend_on_the_distance_alone(m, n, shift, seed):
    q, k = random(2, 1, 32, seed=seed)
    theta = frequencies(32)

    def score(m, n):
        return (rotate(q, torch.tensor([m]), theta) * rotate(k, torch.tensor([n]), theta)).sum().item()

    assert score(m + shift, n + shift) == pytest.approx(score(m, n), abs=1e-8)
    assert score(m, n) == pytest.approx(score(m - n, 0), abs=1e-8)


@settings(max_examples=30, deadline=None)
@given(half=st.integers(1, 32), start=st.integers(0, 100_000), base=st.floats(2, 1e7), seed=st.integers(0, 100))
def test_rotation_keeps_lengths_and_is_complex_multiplication(half, start, base, seed):
    x, positions, theta = random(3, 5, 2 * half, seed=seed), torch.arange(start, start + 5), frequencies(2 * half, base)
    out = rotate(x, positions, theta)
    torch.testing.assert_close(out.norm(dim=-1), x.norm(dim=-1))
    torch.testing.assert_close(out, rotate_as_complex(x, positions, theta))


def test_position_zero_changes_nothing_and_rotations_add_up():
    x, theta = random(4, 16), frequencies(16)
    assert torch.equal(rotate(x, torch.zeros(4), theta), x)
    twice = rotate(rotate(x, torch.full((4,), 7), theta), torch.full((4,), 5), theta)
    torch.testing.assert_close(twice, rotate(x, torch.full((4,), 12), theta))


def test_rotating_before_the_projection_is_not_relative():
    x, (wq, wk), theta, positions = random(6, 16), random(2, 16, 16, seed=1), frequencies(16), torch.arange(6)
    for scores, relative in ((scores_after_projection, True), (scores_before_projection, False)):
        a, b = scores(x, wq, wk, positions, theta), scores(x, wq, wk, positions + 40, theta)
        assert torch.allclose(a, b) == relative


@pytest.mark.parametrize(
    "p",
    [Params(head_dim=2, seq_len=2), Params(shift=1_000_000, base=1.5), Params(rotated="embeddings", seed=3)],
    ids=str,
)
def test_run_agrees_for_odd_settings(p):
    assert all(f.agrees for f in run(p).facts)


@pytest.mark.parametrize("wrong", [{"head_dim": 3}, {"seq_len": 1}, {"shift": 0}, {"base": 1.0}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
