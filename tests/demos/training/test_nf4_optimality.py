# ruff: noqa: E402
import math
from statistics import NormalDist

import pytest

torch = pytest.importorskip("torch")

from llmprep.demos.inference.quantization import nf4_code
from llmprep.demos.training.nf4_optimality import (
    CODES,
    Params,
    bin_moments,
    block_maximum,
    equal_mass,
    formula_entropy_and_mse,
    lloyd_max,
    make_code,
    quantize_and_count,
    run,
)


def blocks(block_size, n=2**18, seed=0):
    return torch.randn(n, generator=torch.Generator().manual_seed(seed)).reshape(-1, block_size)


@pytest.mark.parametrize("block_size", [8, 64, 512])
def test_the_maximum_of_a_block(block_size):
    m, p = block_maximum(block_size)
    assert (p * m).sum().item() == pytest.approx(blocks(block_size).abs().amax(1).mean().item(), rel=0.01)
    median = NormalDist().inv_cdf((1 + 0.5 ** (1 / block_size)) / 2)  # F(m)^B = 1/2
    assert p[m < median].sum().item() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("block_size", [8, 64])
def test_bin_moments_against_simulation(block_size):
    x = blocks(block_size)
    m = x.abs().amax(1, keepdim=True)
    edges = torch.tensor([-0.5, 0.1, 0.8], dtype=torch.float64)
    which = torch.bucketize((x / m).double(), edges)
    expected = [[f[which == k].sum().item() / x.numel() for k in range(4)] for f in (x * 0 + 1, m * x, m * m + 0 * x)]
    for moment, simulated in zip(bin_moments(edges, block_size), expected, strict=True):
        assert moment.tolist() == pytest.approx(simulated, rel=0.02, abs=0.01)


def test_moments_are_complete():
    mass, mx, mm = bin_moments(torch.linspace(-0.9, 0.9, 15, dtype=torch.float64), 64)
    m, p = block_maximum(64)
    assert mass.sum().item() == pytest.approx(1)
    assert mx.sum().item() == pytest.approx(0, abs=1e-9)
    assert mm.sum().item() == pytest.approx((p * m**2).sum().item())


@pytest.mark.parametrize("name", CODES)
@pytest.mark.parametrize("block_size", [16, 256])
def test_formula_against_real_blocks(name, block_size):
    code = make_code(name, block_size)
    shares, error = quantize_and_count(blocks(block_size).flatten(), code, block_size)
    entropy, mse = formula_entropy_and_mse(code, block_size)
    assert error == pytest.approx(mse, rel=0.03)
    assert -torch.special.xlogy(shares, shares).sum().item() / math.log(2) == pytest.approx(entropy, abs=0.02)


@pytest.mark.parametrize("block_size", [16, 64, 1024])
def test_lloyd_max_can_not_be_improved(block_size):
    code = lloyd_max(block_size, exact_zero=False, iterations=400)
    best = formula_entropy_and_mse(code, block_size)[1]
    assert best < formula_entropy_and_mse(nf4_code(), block_size)[1]
    for i in range(16):
        for step in (-0.02, 0.02):
            moved = code.clone()
            moved[i] += step
            assert formula_entropy_and_mse(moved, block_size)[1] > best


def test_an_exact_zero_costs_part_of_the_gain():
    free, pinned, nf4 = (
        formula_entropy_and_mse(c, 64)[1]
        for c in (lloyd_max(64, exact_zero=False), lloyd_max(64, exact_zero=True), nf4_code())
    )
    assert free < pinned < nf4
    assert lloyd_max(64, exact_zero=True)[7] == 0


def test_equal_mass_uses_every_level_equally_and_rounds_worse():
    code = equal_mass(64)
    entropy, mse = formula_entropy_and_mse(code, 64)
    assert entropy > 3.99
    assert mse > 1.9 * formula_entropy_and_mse(nf4_code(), 64)[1]


@pytest.mark.parametrize("name", CODES)
@pytest.mark.parametrize("block_size", [8, 4096])
def test_facts_agree(name, block_size):
    assert all(fact.agrees for fact in run(Params(code=name, block_size=block_size, n_weights=2**17)).facts)


@pytest.mark.parametrize("setting", [{"block_size": 4}, {"block_size": 100}, {"n_weights": 64}], ids=str)
def test_nonsense_is_refused(setting):
    with pytest.raises(ValueError, match="must"):
        Params(**setting)
