# ruff: noqa: E402
"""Bytes of the calculator's formats against the libraries that define them."""

import pytest

torch = pytest.importorskip("torch")
numpy = pytest.importorskip("numpy")

from llmprep.calc import families, gguf, quant
from llmprep.calc.shapes import Weight

pytestmark = pytest.mark.parity

SHAPES = [(64, 64), (256, 512), (130, 48), (1000, 72), (4096, 64)]  # inputs, outputs


def weight(shape):
    return Weight("feed-forward", "W_up", "d × d_ff", shape)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("double", [False, True])
def test_nf4_is_what_bitsandbytes_stores(shape, double):
    functional = pytest.importorskip("bitsandbytes.functional")
    packed, state = functional.quantize_4bit(
        torch.randn(shape[1], shape[0]), blocksize=64, compress_statistics=double, quant_type="nf4"
    )
    scales = state.absmax.nbytes
    if double:
        scales += state.state2.absmax.nbytes + state.offset.nbytes
    fmt = quant.FORMATS["nf4-dq" if double else "nf4"]
    assert packed.nbytes == fmt.codes(weight(shape))
    assert scales == fmt.scales(weight(shape))


@pytest.mark.parametrize("shape", SHAPES)
def test_int8_is_what_bitsandbytes_stores(shape):
    functional = pytest.importorskip("bitsandbytes.functional")
    codes, row_scales, _ = functional.int8_vectorwise_quant(torch.randn(shape[1], shape[0], dtype=torch.float16))
    assert codes.nbytes == quant.FORMATS["int8"].codes(weight(shape))
    assert row_scales.nbytes == quant.FORMATS["int8"].scales(weight(shape))


TINY = {"hidden_size": 128, "intermediate_size": 192, "num_hidden_layers": 2, "vocab_size": 300}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}


def loaded_in_4_bits(model_type, **fields):
    """Names of the linear layers that bitsandbytes takes, their number of weights, and the shape."""
    pytest.importorskip("bitsandbytes")
    transformers = pytest.importorskip("transformers")
    from transformers.integrations.bitsandbytes import replace_with_bnb_linear
    from transformers.quantizers.base import get_keys_to_not_convert

    config = transformers.AutoConfig.for_model(model_type, **TINY, **HEADS, **fields)
    model = transformers.AutoModelForCausalLM.from_config(config).to(torch.bfloat16)
    options = transformers.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    kept = get_keys_to_not_convert(model)
    replaced = replace_with_bnb_linear(model, modules_to_not_convert=kept, quantization_config=options)
    taken = {name: m for name, m in replaced.named_modules() if type(m).__name__ == "Linear4bit"}
    n = sum(m.in_features * m.out_features for m in taken.values())
    return taken, n, families.shape(config.to_dict(), model_type)


def quantised(shape, part=None):
    pieces = quant.weigh(shape, "nf4").pieces
    return sum(p.n for p in pieces if p.stored_as == "nf4" and part in (None, p.part))


@pytest.mark.parametrize("model_type", ["llama", "qwen3"])
def test_bitsandbytes_leaves_table_head_and_norms_alone(model_type):
    taken, n, shape = loaded_in_4_bits(model_type)
    assert len(taken) == 2 * 7
    assert not any("lm_head" in name or "embed" in name for name in taken)
    assert n == quantised(shape)


def test_experts_fused_by_transformers_5_stay_in_16_bits():
    """The trap that the memory sheet tells: bitsandbytes replaces nn.Linear only, and the experts are none."""
    taken, n, shape = loaded_in_4_bits("mixtral", num_local_experts=4)
    assert not any("experts" in name for name in taken)
    assert n == quantised(shape) - quantised(shape, "experts") > 0


def test_blocks_are_those_of_gguf():
    library = pytest.importorskip("gguf")
    theirs = {kind.name.lower(): sizes for kind, sizes in library.GGML_QUANT_SIZES.items()}
    assert {kind: sizes for kind, sizes in gguf.BLOCKS.items() if kind in theirs} == theirs


@pytest.mark.parametrize("kind", ["q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "f16", "bf16"])
@pytest.mark.parametrize("shape", [(64, 5), (256, 3), (4096, 2)])
def test_bytes_of_a_quantised_matrix_are_those_of_gguf(kind, shape):
    library = pytest.importorskip("gguf")
    rows = numpy.random.default_rng(0).normal(size=(shape[1], shape[0])).astype(numpy.float32)
    packed = library.quants.quantize(rows, library.GGMLQuantizationType[kind.upper()])
    assert packed.nbytes == gguf.tensor_bytes(weight(shape), kind)


def test_fp8_blocks_as_transformers_allocates_them():
    """DeepSeek's checkpoints: an FP8 matrix and an FP32 scale for each 128×128, the last ones ragged."""
    module = pytest.importorskip("transformers.integrations.finegrained_fp8")
    layer = module.FP8Linear(1000, 300, block_size=(128, 128), activation_scheme="dynamic")
    fmt = quant.FORMATS["fp8-block"]
    assert layer.weight.nbytes == fmt.codes(weight((1000, 300)))
    assert layer.weight_scale_inv.nbytes == fmt.scales(weight((1000, 300)))
