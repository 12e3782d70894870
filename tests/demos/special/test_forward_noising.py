# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.special.forward_noising import Params, alpha_bar, carry, jump, noise_schedule, run


@given(seed=st.integers(0, 999), n=st.integers(1, 60))
@settings(deadline=None, max_examples=30)
def test_jump_has_the_moments_of_the_walk_for_any_schedule(seed, n):
    betas = torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 0.5
    factors, variances = carry(betas, shrink=True)
    levels = alpha_bar(betas)
    torch.testing.assert_close(torch.tensor(factors, dtype=torch.float64), levels.sqrt())
    torch.testing.assert_close(torch.tensor(variances, dtype=torch.float64), 1 - levels)


def test_schedules_of_the_papers():
    linear = noise_schedule("linear", 1000)
    assert linear[0].item() == pytest.approx(1e-4)
    assert linear[-1].item() == pytest.approx(0.02)
    assert alpha_bar(linear)[-1].item() == pytest.approx(4.04e-5, rel=0.01)
    cosine = alpha_bar(noise_schedule("cosine", 1000))
    assert cosine[499].item() == pytest.approx(0.5, abs=0.01)  # half of the power is left half-way
    assert (cosine.diff() < 0).all()


def test_jump_keeps_unit_variance():
    torch.manual_seed(0)
    x0, noise = torch.randn(2, 100_000)
    for level in (0.01, 0.5, 0.99):
        assert jump(x0, noise, torch.tensor(level)).var().item() == pytest.approx(1, abs=0.02)


def test_without_shrinking_the_variance_grows():
    assert run(Params(step="add")).fact("noise_std").measured > 3
    assert run(Params(step="add")).fact("mismatches").measured == 1000
    assert run(Params()).fact("mismatches").measured == 0


@pytest.mark.parametrize("wrong", [{"t": 0}, {"t": 1001}, {"n_steps": 10}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
