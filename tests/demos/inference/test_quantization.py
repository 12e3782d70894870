# ruff: noqa: E402
from itertools import pairwise

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep.demos.inference.quantization import (
    Params,
    dequantize_absmax,
    formula_bits,
    nf4_code,
    pack_nibbles,
    quantize_absmax,
    quantize_code,
    run,
    sample_weights,
    store,
    unpack_nibbles,
)

PUBLISHED_NF4 = [  # QLoRA, arXiv 2305.14314, appendix E
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
]
SEEDS = st.integers(0, 10_000)


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_nf4_is_the_published_code_book():
    torch.testing.assert_close(nf4_code(), torch.tensor(PUBLISHED_NF4), atol=5e-7, rtol=0)


def test_nf4_has_an_exact_zero_and_both_ends():
    code = nf4_code()
    assert (code[0], code[7], code[15]) == (-1, 0, 1)
    assert (code.diff() > 0).all()


def test_int8_by_hand():
    codes, scales = quantize_absmax(torch.tensor([[0.5, -1.0, 0.25, 0.0]]))
    assert codes.tolist() == [[64, -127, 32, 0]]
    assert scales.tolist() == [[pytest.approx(1 / 127)]]


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.sampled_from([3, 4, 8]), st.sampled_from([0, 2, 8, 32]))
def test_integers_agree_with_torch_fake_quantisation(seed, bits, group_size):
    x = normal(seed, 4, 32)
    codes, scales = quantize_absmax(x, bits, group_size)
    top = 2 ** (bits - 1) - 1
    rows = x.reshape(-1, group_size or 32)
    expected = torch.fake_quantize_per_channel_affine(
        rows, scales.flatten(), torch.zeros(len(rows), dtype=torch.int32), 0, -top, top
    )
    torch.testing.assert_close(dequantize_absmax(codes, scales).reshape(rows.shape), expected)


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.sampled_from([2, 8, 32]))
def test_nearest_level_by_brute_force(seed, group_size):
    x, code = normal(seed, 4, 32), nf4_code()
    codes, absmax = quantize_code(x, code, group_size)
    unit = x.unflatten(-1, (-1, group_size)) / absmax.unsqueeze(-1)
    brute = (unit.unsqueeze(-1) - code).abs().argmin(dim=-1).flatten(-2)
    assert torch.equal(codes.long(), brute)


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.sampled_from(["int8", "int4", "nf4"]), st.sampled_from([2, 16, 64]))
def test_no_weight_moves_by_more_than_half_a_step(seed, scheme, group_size):
    x = normal(seed, 8, 64)
    _, restored = store(x, scheme, group_size, 32)
    widest = {"int8": 1 / 127, "int4": 1 / 7, "nf4": nf4_code().diff().max().item()}[scheme]
    absmax = x.unflatten(-1, (-1, group_size)).abs().amax(-1, keepdim=True)
    off = (x - restored).unflatten(-1, (-1, group_size)).abs()
    assert (off <= absmax * widest / 2 * 1.00001).all()


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.sampled_from(["int8", "int4", "nf4"]), st.integers(-20, 20))
def test_scaling_the_weights_scales_the_result(seed, scheme, exponent):
    x = normal(seed, 4, 32)
    assert torch.equal(store(x * 2.0**exponent, scheme, 16, 32)[1], store(x, scheme, 16, 32)[1] * 2.0**exponent)


@pytest.mark.parametrize("scheme", ["int8", "int4", "nf4"])
def test_an_outlier_hurts_its_own_group_only(scheme):
    x = normal(0, 1, 64)
    spoiled = x.clone()
    spoiled[0, 5] = 100.0
    before, after = store(x, scheme, 16, 32)[1], store(spoiled, scheme, 16, 32)[1]
    assert torch.equal(before[:, 16:], after[:, 16:])
    assert not torch.equal(before[:, :5], after[:, :5])


@pytest.mark.parametrize("scheme", ["int8", "int4", "nf4"])
def test_an_all_zero_group_stays_zero(scheme):
    x = normal(0, 2, 32)
    x[0, :16] = 0
    assert torch.equal(store(x, scheme, 16, 32)[1][0, :16], torch.zeros(16))


@given(st.lists(st.integers(0, 15), min_size=1, max_size=32))
def test_nibbles_survive_packing(codes):
    codes = torch.tensor(codes * 2, dtype=torch.uint8)
    packed = pack_nibbles(codes)
    assert packed.nbytes * 2 == codes.nbytes
    assert torch.equal(unpack_nibbles(packed), codes)


def test_signed_nibbles_survive_packing():
    codes = torch.arange(-8, 8, dtype=torch.int8)
    assert torch.equal(unpack_nibbles(pack_nibbles(codes), signed=True), codes)


def test_the_first_code_sits_in_the_high_half():
    assert pack_nibbles(torch.tensor([0xA, 0x3], dtype=torch.uint8)).tolist() == [0xA3]


@pytest.mark.parametrize(
    ("scheme", "group_size", "scale_bits", "bits"),
    [
        pytest.param("nf4", 64, 32, 4.5, id="NF4 of bitsandbytes"),
        pytest.param("int4", 32, 16, 4.5, id="Q4_0 of llama.cpp"),
        pytest.param("int4", 128, 16, 4.125, id="symmetric group of 128"),
        pytest.param("int8", 0, 16, 8 + 16 / 4096, id="INT8 per row"),
    ],
)
def test_bits_per_weight(scheme, group_size, scale_bits, bits):
    p = Params(scheme=scheme, group_size=group_size, scale_bits=scale_bits, n_rows=4)
    assert run(p).fact("bits_per_weight").measured == pytest.approx(bits)
    assert formula_bits(8 if scheme == "int8" else 4, group_size or 4096, scale_bits) == pytest.approx(bits)


def test_nf4_wins_on_normal_weights_and_int4_on_uniform_ones():
    assert run(Params(weights="normal", n_rows=16)).fact("error_vs_int4").measured < 0.9
    assert run(Params(weights="uniform", n_rows=16)).fact("error_vs_int4").measured > 1.2


def test_small_groups_contain_outliers():
    penalty = [
        run(Params(scheme="int4", weights="outliers", group_size=g, n_rows=16)).fact("outlier_penalty").measured
        for g in (32, 256, 0)
    ]
    assert penalty == sorted(penalty)


def test_one_bit_less_doubles_the_error():
    x = normal(0, 64, 1024)
    errors = [(x - dequantize_absmax(*quantize_absmax(x, bits, 64))).square().mean().sqrt() for bits in (8, 7, 6, 5)]
    assert all(1.9 < b / a < 2.15 for a, b in pairwise(errors))


def test_outliers_are_one_in_a_thousand():
    x = sample_weights("outliers", 256, 4096, 20.0, 0)
    assert (x.abs() == 20).double().mean().item() == pytest.approx(1e-3, rel=0.1)


@pytest.mark.parametrize(
    "setting",
    [
        {"n_cols": 7},
        {"n_rows": 0},
        {"group_size": 3},
        {"group_size": -1},
        {"group_size": 4},
        {"n_rows": 2**20},
        {"outlier_size": 0.5},
    ],
    ids=str,
)
def test_nonsense_is_refused(setting):
    with pytest.raises(ValueError, match="must"):
        Params(**setting)
