# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from llmprep.demos.special.latent_cost import Params, attention_flops, encoder, run


@pytest.mark.parametrize(("f", "side"), [(1, 64), (4, 16), (8, 8)])
def test_encoder_has_the_shape_of_the_latent(f, side):
    assert encoder(f, 4)(torch.zeros(1, 3, 64, 64)).shape == (1, 4, side, side)


def test_attention_is_quadratic_in_positions():
    small, large = (attention_flops(torch.empty(1, 4, n, n, device="meta")) for n in (8, 16))
    assert large == 16 * small == 4 * 320 * 256**2


def test_stable_diffusion():
    result = run(Params())
    assert [result.fact(n).measured for n in ("fewer_numbers", "fewer_positions", "attention_saving")] == [48, 64, 4096]
    assert run(Params(latent_channels=16)).fact("fewer_numbers").measured == 12


@pytest.mark.parametrize("wrong", [{"downsampling": 3}, {"image_size": 100}, {"latent_channels": 0}], ids=str)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
