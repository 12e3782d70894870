# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from llmprep.demos.special.diffusion_samplers import CENTRES, LEVELS, Params, run, sample, share_on_mode, update


class PerfectPredictor(torch.nn.Module):
    """All data at one point: then the noise in x_t is known exactly."""

    def forward(self, x, t):
        level = LEVELS[t, None]
        return (x - level.sqrt() * torch.tensor([0.5, -2.0])) / (1 - level).sqrt()


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("steps", [1, 7, 100])
def test_a_perfect_predictor_reaches_the_data_in_any_number_of_steps(eta, steps):
    torch.manual_seed(0)
    points, calls = sample(PerfectPredictor(), torch.randn(20, 2), steps, eta)
    assert calls == steps
    torch.testing.assert_close(points, torch.tensor([[0.5, -2.0]]).expand(20, 2), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_an_update_arrives_at_the_right_marginal(eta):
    """With the true noise, x_s has mean √ᾱ_s·x_0 and variance 1 − ᾱ_s, whatever η."""
    torch.manual_seed(0)
    level, earlier, x0 = torch.tensor(0.2), torch.tensor(0.6), torch.tensor(1.5)
    noise, fresh = torch.randn(2, 200_000)
    x = update(level.sqrt() * x0 + (1 - level).sqrt() * noise, noise, level, earlier, eta, fresh)
    assert x.mean().item() == pytest.approx(0.6**0.5 * 1.5, abs=0.01)
    assert x.var().item() == pytest.approx(0.4, rel=0.02)


def test_share_on_mode():
    assert share_on_mode(CENTRES) == 1
    assert share_on_mode(torch.zeros(5, 2)) == 0


def test_few_steps_with_ddim_come_near_a_thousand_with_ddpm():
    result = run(Params())
    assert result.fact("share_on_mode").measured > 0.8 * result.fact("share_ddpm").measured
    assert result.fact("share_noise").measured < 0.4
    assert result.fact("moved").measured == 0


@pytest.mark.parametrize("wrong", [{"eta": 1.5}, {"steps": 1}, {"steps": 1001}, {"train_steps": 5}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
