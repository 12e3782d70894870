# ruff: noqa: E402
"""The noise schedule, the jump and both samplers against the schedulers of diffusers."""

import pytest

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

from llmprep.demos.special.diffusion_samplers import LEVELS, update
from llmprep.demos.special.forward_noising import alpha_bar, jump, noise_schedule

pytestmark = pytest.mark.parity


def level(t: int) -> torch.Tensor:
    return LEVELS[t] if t >= 0 else torch.tensor(1.0)


@pytest.mark.parametrize(("kind", "theirs"), [("linear", "linear"), ("cosine", "squaredcos_cap_v2")])
def test_schedule_is_theirs(kind, theirs):
    scheduler = diffusers.DDPMScheduler(num_train_timesteps=1000, beta_schedule=theirs)
    levels = alpha_bar(noise_schedule(kind, 1000)).float()
    torch.testing.assert_close(levels, scheduler.alphas_cumprod, rtol=1e-3, atol=1e-6)


def test_jump_is_add_noise():
    torch.manual_seed(0)
    x0, noise, t = torch.randn(5, 2), torch.randn(5, 2), torch.tensor([0, 10, 300, 700, 999])
    theirs = diffusers.DDPMScheduler(beta_schedule="linear").add_noise(x0, noise, t)
    torch.testing.assert_close(jump(x0, noise, LEVELS[t, None]), theirs)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("t", [999, 499, 49])
def test_ddim_step(eta, t):
    scheduler = diffusers.DDIMScheduler(beta_schedule="linear", clip_sample=False)
    scheduler.set_timesteps(20)
    torch.manual_seed(0)
    x, guess, fresh = torch.randn(3, 5, 2)
    theirs = scheduler.step(guess, t, x, eta=eta, variance_noise=fresh).prev_sample
    torch.testing.assert_close(update(x, guess, level(t), level(t - 50), eta, fresh), theirs, rtol=1e-4, atol=1e-5)
    assert (update(x, guess, level(t), level(t - 1), eta, fresh) - theirs).abs().max() > 1e-2  # the wrong stride


@pytest.mark.parametrize("t", [999, 500, 1, 0])
def test_eta_one_is_ddpm(t):
    scheduler = diffusers.DDPMScheduler(beta_schedule="linear", clip_sample=False, variance_type="fixed_small")
    torch.manual_seed(0)
    x, guess = torch.randn(2, 5, 2)
    theirs = scheduler.step(guess, t, x, generator=torch.Generator().manual_seed(7)).prev_sample
    fresh = torch.randn(5, 2, generator=torch.Generator().manual_seed(7))
    torch.testing.assert_close(update(x, guess, level(t), level(t - 1), 1.0, fresh), theirs, rtol=1e-4, atol=1e-4)
