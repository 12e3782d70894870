# ruff: noqa: E402
import pytest

torch = pytest.importorskip("torch")
bitsandbytes = pytest.importorskip("bitsandbytes")

from bitsandbytes import functional

from llmprep.demos.inference.smoothquant import llm_int8, sample_activations, to_int8, w8a8

pytestmark = pytest.mark.parity


@pytest.fixture
def layer():
    """Activations with two outlier channels and weights, both exactly representable in fp16."""
    rng = torch.Generator().manual_seed(0)
    x, w = sample_activations(64, 256, 2, 100.0, rng), torch.randn(128, 256, generator=rng)
    return x.half().float(), w.half().float()


def test_vector_wise_codes_are_those_of_bitsandbytes(layer):
    for matrix in layer:
        codes, absmax, _ = functional.int8_vectorwise_quant(matrix.half())
        ours, step = to_int8(matrix, per_row=True)
        torch.testing.assert_close(absmax / 127, step[:, 0])
        off = (codes.int() - ours.int()).abs()
        assert off.max() <= 1  # ties, since the library multiplies by 127/absmax
        assert (off > 0).float().mean() < 1e-3


def test_llm_int8_splits_off_the_same_channels(layer):
    x, w = layer
    _, _, outliers = functional.int8_vectorwise_quant(x.half(), threshold=6.0)
    assert outliers.tolist() == [0, 1]
    assert llm_int8(x, w)[1] == 2 / 256


def test_integer_gemm_is_that_of_bitsandbytes(layer):
    x, w = (matrix[:, 2:].contiguous() for matrix in layer)
    x_codes, x_absmax, _ = functional.int8_vectorwise_quant(x.half())
    w_codes, w_absmax, _ = functional.int8_vectorwise_quant(w.half())
    theirs = functional.int8_mm_dequant(functional.int8_linear_matmul(x_codes, w_codes), x_absmax, w_absmax)
    torch.testing.assert_close(w8a8(x, w, per_row=True), theirs.float(), rtol=2e-3, atol=0.1)  # fp16 result, ties
