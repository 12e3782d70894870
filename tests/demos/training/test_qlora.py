# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")

from llmprep.demos.training.qlora import (
    MatmulNF4,
    NF4Weight,
    Params,
    double_dequantize,
    double_quantize,
    dynamic_code,
    formula_bits,
    run,
)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_dynamic_code_has_256_levels_and_every_decade():
    code = dynamic_code()
    assert (code.diff() > 0).all()
    assert len(code) == 256
    assert (code[127], code[-1]) == (0, 1)
    counts = [int(((code > 10.0**e) & (code < 10.0 ** (e + 1))).sum()) for e in range(-7, 0)]
    assert counts == [1, 2, 4, 8, 16, 32, 64]


def test_double_quantisation_is_close_to_the_scales():
    absmax = normal(64, 512).abs().amax(1).repeat(16) * 1.7
    restored = double_dequantize(*double_quantize(absmax))
    assert (restored - absmax).abs().max() < 0.01 * absmax.max()
    assert not torch.equal(restored, absmax)


@pytest.mark.parametrize(
    ("block_size", "double_quant", "bits"),
    [(64, False, 4.5), (64, True, 4.126953125), (128, False, 4.25), (32, True, 4.25390625)],
)
def test_bits_per_weight(block_size, double_quant, bits):
    assert formula_bits(block_size, double_quant=double_quant) == bits
    stored = NF4Weight(normal(256, 1024), block_size, double_quant=double_quant).stored
    assert 8 * sum(t.nbytes for t in stored) / 2**18 == pytest.approx(bits, abs=2e-4)


def test_matmul_equals_the_dequantised_matrix():
    weight = NF4Weight(normal(256, 128), double_quant=False)
    x = normal(3, 128, seed=1).bfloat16().requires_grad_()
    out = MatmulNF4.apply(x, weight)
    dense = weight.dequantize()
    assert torch.equal(out, x @ dense.T)
    upstream = normal(3, 256, seed=2).bfloat16()
    out.backward(upstream)
    torch.testing.assert_close(x.grad, upstream @ dense)


def test_keeping_the_matrix_costs_16_bits_and_saves_a_dequantisation():
    again, keep = run(Params()), run(Params(backward="keep-bf16"))
    alive = [r.fact("bits_alive_in_training").measured for r in (again, keep)]
    assert alive[1] - alive[0] == pytest.approx(16)
    assert [r.fact("dequantisations_per_step").measured for r in (again, keep)] == [2, 1]


def test_double_quantisation_hardly_adds_error():
    assert 1 <= run(Params()).fact("error_from_double_quant").measured < 1.01


@pytest.mark.parametrize(
    "setting",
    [{"block_size": 48}, {"block_size": 8}, {"d_out": 3}, {"rank": 0}, {"d_in": 8192}],
    ids=str,
)
def test_nonsense_is_refused(setting):
    with pytest.raises(ValueError, match="must"):
        Params(**setting)
