import pytest

from llmprep import content
from llmprep.calc import compute, params
from llmprep.calc.shapes import Shape, of

A100 = content.hardware("a100-80gb")


def gpt(n_layers: int, d_model: int, n_heads: int) -> Shape:
    return Shape(
        vocab_size=51_200,
        n_layers=n_layers,
        d_model=d_model,
        n_heads=n_heads,
        n_kv_heads=n_heads,
        head_dim=d_model // n_heads,
        d_ff=4 * d_model,
        tied=True,
        gated=False,
    )


# Korthikanti et al., arXiv 2205.05198, tables 3 and 5: layers, width, heads, A100s, global batch, seconds, MFU in %
@pytest.mark.parametrize(
    ("shape", "n_devices", "batch", "seconds", "mfu"),
    [
        (gpt(48, 6144, 64), 8, 4, 1.10, 41.5),
        (gpt(96, 12288, 96), 64, 64, 13.75, 51.4),
        (gpt(105, 20480, 128), 280, 280, 37.83, 56.0),
        (gpt(128, 25600, 160), 512, 512, 71.49, 56.3),
    ],
    ids=["22B", "175B", "530B", "1T"],
)
def test_reported_step_times_give_the_reported_utilisation(shape, n_devices, batch, seconds, mfu):
    flops = compute.training_flops_per_token(shape, 2048)
    got = compute.model_flops_utilization(flops, batch * 2048 / seconds / n_devices, A100["flops"]["bf16"])
    assert 100 * got == pytest.approx(mfu, abs=0.25)


def test_palm_count_is_megatron_equation_7():
    """72·L·h²·(1 + s/(6h) + V/(12hL)) FLOPs a token, the same sum written differently."""
    layers, h, s, vocab = 96, 12288, 2048, 51_200
    expected = 72 * layers * h**2 * (1 + s / (6 * h) + vocab / (12 * h * layers))
    assert compute.training_flops_per_token(gpt(layers, h, 96), s) == pytest.approx(expected, rel=1e-12)


def test_gpt3_training_flops():
    """Brown et al., arXiv 2005.14165, table D.1 prints 3.14e23 for 300B tokens."""
    assert compute.training_flops(174.6e9, 300e9) == pytest.approx(3.14e23, rel=0.002)


def test_llama_13b_needed_about_half_of_the_peak():
    """135,168 A100 hours for 1T tokens (Touvron et al., arXiv 2302.13971, table 15) are an MFU of 51% by 6ND."""
    flops = compute.training_flops(params.total(of("llama-13b")), 1e12)
    mfu = flops / (135_168 * 3600 * A100["flops"]["bf16"])
    assert mfu == pytest.approx(0.514, abs=0.001)
    assert compute.training_days(flops, 135_168, A100["flops"]["bf16"], mfu) == pytest.approx(1 / 24)


def test_ridge_of_an_a100():
    assert compute.ridge(A100["flops"]["bf16"], A100["bandwidth"]) == pytest.approx(153, abs=0.1)
