import pytest

from llmprep import content
from llmprep.calc import families, gguf, quant
from llmprep.calc.sheets import memory
from llmprep.errors import UserError

MODELS = [m["name"] for m in content.load_json("models.json")["models"]]


@pytest.mark.parametrize("name", MODELS)
def test_every_model(name, check):
    check(memory.sheet(families.of(name), name))


@pytest.mark.parametrize("dtype", [*quant.FORMATS, "int4-g64", *gguf.FILES])
def test_every_format(dtype, check):
    sheet = memory.sheet(families.of("qwen3-30b-a3b"), "qwen3-30b-a3b", dtypes=[dtype])
    check(sheet)
    assert list(sheet.data["weights"]) == [dtype]


def test_llama_3_8b_in_every_usual_format():
    sheet = memory.sheet(families.of("llama-3-8b"), "llama-3-8b", batch=2)
    weights = {name: w["bytes"] for name, w in sheet.data["weights"].items()}
    assert tuple(weights) == memory.DTYPES
    assert weights["bf16"] == 16_060_522_496
    assert weights["int4-g128"] < weights["int8"] < weights["bf16"] / 1.7
    assert sheet.data["cache_bytes"] == 2 * 2**30
    assert sheet.data["weights"]["nf4-dq"]["scale_bytes"] == pytest.approx(0.126953125 / 8 * 6_979_321_856, rel=1e-5)


def test_verdicts_say_how_much_is_left_or_missing():
    sheet = memory.sheet(families.of("llama-3-70b"), "llama-3-70b", gpus=["rtx-4090", "h100-sxm", "h200-sxm"])
    small, middle, large = sheet.verdicts
    assert not small.ok
    assert "does not fit, 123 GB short" in small.text.en
    assert ";" not in small.text.en  # no format of the list fits
    assert not middle.ok
    assert "bf16 does not fit, 72.8 GB short; q4_k_m fits, 25.8 GB to spare" in middle.text.en
    assert "放不下" in middle.text.zh
    gpus = sheet.data["gpus"]
    assert [v.ok for v in sheet.verdicts] == [gpus[g]["fits"]["bf16"] for g in gpus] == [False, False, False]
    for gpu in gpus.values():
        for name, room in gpu["head_room_bytes"].items():
            assert room == gpu["usable_bytes"] - sheet.data["weights"][name]["bytes"] - sheet.data["cache_bytes"]
            assert gpu["fits"][name] == (room >= 0)
    assert large.text.zh.count("放不下") == 1


def test_gpt_oss_comes_in_mxfp4():
    sheet = memory.sheet(families.of("gpt-oss-20b"), "gpt-oss-20b", gpus=["rtx-4090"])
    assert next(iter(sheet.data["weights"])) == "mxfp4"
    assert sheet.verdicts[0].ok
    assert any("5.264 bits a weight" in text.en for text in sheet.reasons)


def test_formats_are_counted_once():
    sheet = memory.sheet(families.of("gpt2"), "gpt2", dtypes=["bf16", "BF16", "awq", "gptq"])
    assert list(sheet.data["weights"]) == ["bf16", "int4-g128"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtypes": ["bf16", "int3"]}, "--dtype int3: unknown format of weights"),
        ({"gpus": ["h10"]}, "--gpu h10: unknown hardware; did you mean 'h100-sxm'"),
        ({"kv_dtype": "x"}, "--kv-dtype x: unknown format of the cache"),
        ({"batch": 0}, "--batch must be at least 1, not 0"),
        ({"seq_len": -5}, "--seq-len must be at least 1, not -5"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(UserError, match=message):
        memory.sheet(families.of("gpt2"), "gpt2", **options)


def test_experts_that_bitsandbytes_does_not_see():
    sheet = memory.sheet(families.of("mixtral-8x7b"), "mixtral-8x7b", dtypes=["nf4-dq"])
    assert any("leaves in 16 bits: loaded that way, 91.4 GB" in text.en for text in sheet.reasons)
    dense = memory.sheet(families.of("llama-3-8b"), "llama-3-8b", dtypes=["nf4-dq"])
    assert not any("3-D tensors" in text.en for text in dense.reasons)
