import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmprep.demos.inference.gguf_q4_0 import FORMATS, Params, formula_bits, from_nibbles, nibbles, pack_q4_0, run

NAMES = sorted(FORMATS)
weights = st.floats(-1000, 1000, width=32)
blocks = st.lists(weights, min_size=32, max_size=32)


@pytest.mark.parametrize(("name", "size", "bits"), [("Q4_0", 18, 4.5), ("Q4_1", 20, 5.0), ("Q8_0", 34, 8.5)])
def test_sizes_of_ggml(name, size, bits):
    pack, unpack, formula = FORMATS[name]
    data = pack([0.1 * i for i in range(32)])
    assert (len(data), formula) == (size, bits)
    assert len(unpack(data)) == 32
    assert formula_bits(4, 1) == 4.5


def test_a_block_by_hand():
    """The extreme −8 gets code 0 and scale 1; the other weights are their codes minus 8."""
    values = [-8, -7, 0, 7, *[3] * 12, *[-1] * 16]
    data = pack_q4_0(values)
    assert struct.unpack_from("<e", data) == (1.0,)
    assert data[2:6] == bytes([0x70, 0x71, 0x78, 0x7F])  # weight j low, weight j + 16 (here −1: code 7) high
    assert FORMATS["Q4_0"][1](data) == values


def test_the_scale_takes_the_sign_of_the_extreme():
    """A positive extreme gives a negative scale, so that it too is exact; its opposite is clipped to +7."""
    data = pack_q4_0([8.0, -8.0] + [0.0] * 30)
    assert struct.unpack_from("<e", data) == (-1.0,)
    assert FORMATS["Q4_0"][1](data)[:3] == [8.0, -7.0, 0.0]


@given(st.lists(st.integers(0, 15), min_size=32, max_size=32))
def test_nibbles_come_back_in_order(codes):
    assert from_nibbles(nibbles(codes)) == codes


@pytest.mark.parametrize("name", NAMES)
@given(block=blocks)
def test_no_weight_is_off_by_more_than_its_step(name, block):
    pack, unpack, _ = FORMATS[name]
    data = pack(block)
    d = abs(struct.unpack_from("<e", data)[0])
    largest = max(map(abs, block))
    step = {"Q4_0": 1.01, "Q4_1": 0.51, "Q8_0": 0.51}[name]  # Q4_0 may clip the side opposite to its extreme
    slack = largest * 2**-9 + 2**-14  # fp16 rounding of scale and minimum
    assert all(abs(x - y) <= step * d + slack for x, y in zip(block, unpack(data), strict=True))


@pytest.mark.parametrize("name", NAMES)
@given(block=st.lists(st.floats(-10, 10, width=32).filter(lambda x: abs(x) > 1e-2), min_size=32, max_size=32))
def test_packing_again_changes_nothing(name, block):
    pack, unpack, _ = FORMATS[name]
    data = pack(block)
    once = unpack(data)
    assert unpack(pack(once)) == pytest.approx(once, rel=2e-3, abs=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_zeros_stay_zeros(name):
    pack, unpack, _ = FORMATS[name]
    assert unpack(pack([0.0] * 32)) == [0.0] * 32


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_facts_agree(name, shift):
    result = run(Params(format=name, n_blocks=64, shift=shift))
    assert all(f.agrees for f in result.facts)


def test_a_minimum_pays_for_lopsided_weights():
    error = {n: run(Params(format=n, n_blocks=64, shift=3.0)).fact("rms_error").measured for n in ("Q4_0", "Q4_1")}
    assert error["Q4_1"] < 0.5 * error["Q4_0"]


def test_size_of_a_model():
    assert run(Params(n_params_billion=7.0, n_blocks=1)).fact("model_gb").measured == pytest.approx(7 * 4.5 / 8)


@pytest.mark.parametrize("wrong", [{"n_blocks": 0}, {"shift": -1.0}, {"n_params_billion": 0.0}])
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        Params(**wrong)
