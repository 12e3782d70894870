import pytest

from llmprep import content
from llmprep.calc import families
from llmprep.calc.sheets import kv
from llmprep.errors import UserError

MODELS = [m["name"] for m in content.load_json("models.json")["models"]]


def said(sheet):
    return " ".join(text.en for text in sheet.reasons)


@pytest.mark.parametrize("name", MODELS)
def test_every_model(name, check):
    check(kv.sheet(families.of(name), name))


@pytest.mark.parametrize("kv_dtype", ["fp8", "int8", "int6", "int4"])
@pytest.mark.parametrize("name", ["llama-3-8b", "deepseek-v3", "gemma-3-1b", "qwen3-next-80b-a3b", "t5-base"])
def test_every_format(name, kv_dtype, check):
    sheet = kv.sheet(families.of(name), name, kv_dtype=kv_dtype, batch=3, seq_len=5000)
    check(sheet)
    assert sheet.data["formats"][kv_dtype] == sheet.data["request_bytes"] < sheet.data["formats"]["bf16"]


def test_llama_3_8b():
    sheet = kv.sheet(families.of("llama-3-8b"), "llama-3-8b", batch=4)
    data = sheet.data
    assert (data["attention"], data["seq_len"]) == ("GQA", 8192)
    assert data["bytes_per_token"] == data["bytes_of_next_token"] == 131_072
    assert data["request_bytes"] == 2**30
    assert data["batch_bytes"] == 2**32
    assert data["mha_ratio"] == 4
    assert "2 × 8 × 128" in sheet.sections[0].rows[0].formula
    assert "factor 2" in said(sheet)
    assert "537 MB" in said(sheet)  # the half that calculators without it print
    assert "8 of 32 heads" in said(sheet)
    assert "1.07 GB are 1.00 GiB" in said(sheet)


def test_deepseek_v3_is_25_times_smaller_than_calculators_say():
    sheet = kv.sheet(families.of("deepseek-v3"), "deepseek-v3")
    assert sheet.data["bytes_per_token"] == 70_272
    assert sheet.data["mha_ratio"] == pytest.approx(71.1, abs=0.05)
    assert "24.9× too much" in said(sheet)
    assert "93.3%" in said(sheet)
    assert "6-bit" in said(sheet)
    assert "factor 2" not in said(sheet)  # one latent, not two tensors


def test_windows():
    sheet = kv.sheet(families.of("gpt-oss-20b"), "gpt-oss-20b", seq_len=131_072)
    assert sheet.data["request_bytes"] == 3_224_371_200
    assert "12 of 24 layers keep at most 128 tokens" in said(sheet)
    assert "6.44 GB" in said(sheet)  # without the window
    short = kv.sheet(families.of("gpt-oss-20b"), "gpt-oss-20b", seq_len=100)
    assert "keep at most" not in said(short)


def test_an_encoder_has_none():
    sheet = kv.sheet(families.of("bert-base-uncased"), "bert-base-uncased")
    assert sheet.data["request_bytes"] == 0
    assert "keeps no cache" in said(sheet)


def test_lengths_beyond_the_context_are_the_readers_choice():
    assert kv.sheet(families.of("gpt2"), "gpt2").data["seq_len"] == 1024
    assert kv.sheet(families.of("gpt2"), "gpt2", seq_len=5000).data["seq_len"] == 5000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seq_len": 0}, "--seq-len must be at least 1, not 0"),
        ({"batch": -1}, "--batch must be at least 1, not -1"),
        ({"kv_dtype": "q4"}, "--kv-dtype q4: unknown format of the cache"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(UserError, match=message):
        kv.sheet(families.of("gpt2"), "gpt2", **options)
