# ruff: noqa: E402
"""Our code books and quantisers against bitsandbytes: the same levels, the same bytes, the same weights back."""

import pytest

torch = pytest.importorskip("torch")
bitsandbytes = pytest.importorskip("bitsandbytes")

from bitsandbytes import functional as bnb

from llmprep.demos.inference.quantization import (
    dequantize_absmax,
    dequantize_code,
    nf4_code,
    pack_nibbles,
    quantize_absmax,
    quantize_code,
)
from llmprep.demos.training.qlora import MatmulNF4, NF4Weight, double_dequantize, double_quantize, dynamic_code

pytestmark = pytest.mark.parity


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_nf4_code_book():
    torch.testing.assert_close(nf4_code(), bnb.get_4bit_type("nf4", device="cpu"), atol=5e-7, rtol=0)


@pytest.mark.parametrize("block_size", [32, 64, 256])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_nf4_codes_scales_and_weights(block_size, dtype):
    x = normal(16, 4096).to(dtype)
    packed, state = bnb.quantize_4bit(x, blocksize=block_size, quant_type="nf4")
    codes, absmax = quantize_code(x, nf4_code(), block_size)
    assert torch.equal(pack_nibbles(codes).flatten(), packed.flatten())
    assert torch.equal(absmax.flatten(), state.absmax)
    ours = dequantize_code(codes, absmax, nf4_code()).to(dtype)
    torch.testing.assert_close(ours, bnb.dequantize_4bit(packed, state))


def test_int8_rows():
    x = normal(32, 256).half()  # bitsandbytes takes FP16 here
    codes, scales = quantize_absmax(x)
    theirs, absmax, _ = bnb.int8_vectorwise_quant(x)
    assert torch.equal(codes, theirs)
    torch.testing.assert_close(scales.flatten() * 127, absmax)
    torch.testing.assert_close(dequantize_absmax(codes, scales), bnb.int8_vectorwise_dequant(theirs, absmax))


def test_dynamic_code_book():
    torch.testing.assert_close(dynamic_code(), bnb.create_dynamic_map(), atol=1e-7, rtol=1e-5)


def test_double_quantisation():
    x = normal(64, 1024)
    packed, state = bnb.quantize_4bit(x, quant_type="nf4", compress_statistics=True)
    _, absmax = quantize_code(x, nf4_code(), 64)
    codes, scales, mean = double_quantize(absmax)
    torch.testing.assert_close(mean, state.offset)
    torch.testing.assert_close(scales, state.state2.absmax)
    unit = (absmax.flatten() - mean) / scales.repeat_interleave(256)
    assert torch.equal(codes.long(), (unit[:, None] - dynamic_code()).abs().argmin(1))
    assert (codes != state.absmax).float().mean() < 0.01  # their CPU kernel takes the second nearest level now and then
    restored = bnb.dequantize_blockwise(state.absmax, state.state2) + state.offset
    torch.testing.assert_close(double_dequantize(codes, scales, mean), restored, atol=5e-2, rtol=0)
    ours = NF4Weight(x).dequantize()
    torch.testing.assert_close(ours, bnb.dequantize_4bit(packed, state).bfloat16(), atol=5e-2, rtol=0)
    stored = sum(t.nbytes for t in (packed, state.absmax, state.state2.absmax, state.offset))
    assert sum(t.nbytes for t in NF4Weight(x).stored) == stored


def test_matmul_and_its_input_gradient():
    w = normal(64, 128).bfloat16()
    theirs = bitsandbytes.nn.Linear4bit(
        128, 64, bias=False, compute_dtype=torch.bfloat16, compress_statistics=False, quant_type="nf4"
    )
    theirs.weight = bitsandbytes.nn.Params4bit(w, requires_grad=False, compress_statistics=False, quant_type="nf4")
    theirs = theirs.to("cpu")
    ours = NF4Weight(w, double_quant=False)
    grads = []
    outputs = []
    for apply in (theirs, lambda t: MatmulNF4.apply(t, ours)):
        x = normal(4, 128, seed=1).bfloat16().requires_grad_()
        out = apply(x)
        out.backward(normal(4, 64, seed=2).bfloat16())
        outputs.append(out.detach())
        grads.append(x.grad)
    torch.testing.assert_close(outputs[1], outputs[0], atol=0.25, rtol=0.02)  # BF16 sums of 128 terms around 11
    torch.testing.assert_close(grads[1], grads[0], atol=0.25, rtol=0.02)
