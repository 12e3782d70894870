import pytest

from llmprep import content
from llmprep.calc import families
from llmprep.calc.sheets import serve
from llmprep.errors import UserError

MODELS = [m["name"] for m in content.load_json("models.json")["models"] if families.of(m["name"]).causal]
HARDWARE = [h["name"] for h in content.load_yaml("hardware.yaml")]


def sheet(name="llama-3-8b", **options):
    return serve.sheet(families.of(name), name, **options)


def said(found):
    return " ".join(text.en for text in found.reasons)


@pytest.mark.parametrize("name", MODELS)
def test_every_model(name, check):
    found = sheet(name)
    check(found)
    assert found.data["fits"] is (found.data["fewest_gpus"] is not None)


@pytest.mark.parametrize("gpu", HARDWARE)
def test_every_device(gpu, check):
    found = sheet("qwen3-0.6b", gpu=gpu, batch=4)
    check(found)
    assert found.data["batch"] == 4
    assert ("usd_per_million_output_tokens" in found.data) is (gpu in serve.serving.PRICED)


def test_llama_3_8b_on_one_h100():
    data = sheet().data
    assert (data["gpus"], data["fewest_gpus"], data["requests_that_fit"], data["batch"]) == (1, 1, 272, 272)
    assert data["weights_bytes"] == data["weights_bytes_per_gpu"] == 16_060_522_496
    assert data["request_bytes_per_gpu"] == 131_072 * 1536
    low, high = data["time_per_output_token_s"]
    read = sum(data["decode_work_per_gpu"][k] for k in ("weight_bytes", "cache_bytes"))
    assert (low, high) == pytest.approx((read / 3.35e12 / 0.8, read / 3.35e12 / 0.5))
    assert data["decode_tokens_per_s"] == pytest.approx([272 / high, 272 / low])
    assert data["request_tokens_per_s"] == pytest.approx([1 / high, 1 / low])
    hours = data["gpu_hours_per_million_output_tokens"]
    assert hours == pytest.approx([t / 272 / 3600 * 1e6 for t in (low, high)])
    assert data["usd_per_million_output_tokens"] == pytest.approx([2 * hours[0], 4 * hours[1]])


def test_a_request_pays_for_its_prompt_and_its_answer():
    """GPU-hours of input and output add up to those of the sustained rate."""
    data = sheet("llama-3-70b", n_gpus=4).data
    parts = [
        data["prompt_tokens"] * i + data["new_tokens"] * o
        for i, o in zip(
            data["gpu_hours_per_million_input_tokens"], data["gpu_hours_per_million_output_tokens"], strict=True
        )
    ]
    whole = [4 / 3600 * 1e6 * data["new_tokens"] / rate for rate in reversed(data["sustained_tokens_per_s"])]
    assert parts == pytest.approx(whole)


def test_the_fewest_gpus_are_taken():
    found = sheet("llama-3-70b")
    assert found.data["gpus"] == found.data["fewest_gpus"] == 2
    assert found.data["requests_that_fit"] == 1
    assert "on 4 GPUs 283 requests fit" in said(found)


def test_what_does_not_fit_says_what_would(check):
    found = sheet("llama-3-70b", n_gpus=1)
    assert [v.ok for v in found.verdicts] == [False]
    assert "does not fit, 70.6 GB short on each GPU; 2 would do" in found.verdicts[0].text.en
    assert found.data["fits"] is False
    assert "time_per_output_token_s" not in found.data
    check(found)


def test_a_batch_that_is_too_large():
    found = sheet(batch=1000)
    assert [v.ok for v in found.verdicts] == [True, False]
    assert "1,000 requests do not fit: 272 do" in found.verdicts[1].text.en
    assert found.data["batch"] == 272
    assert sheet(batch=10).data["batch"] == 10


def test_traps_that_this_layout_invites():
    deepseek = said(sheet("deepseek-v3", gpu="h200-sxm", dtype="fp8-block"))
    assert "MLA's latent lies whole on every GPU" in deepseek
    assert "256 of 256 experts" in deepseek
    assert "a request alone reads 8" in deepseek
    assert "dense fp8 peak" in deepseek
    many = said(sheet("llama-3-70b", n_gpus=16))
    assert "16 GPUs share 8 key/value heads: each head's cache is kept 2 times" in many
    assert "--dtype mxfp4" in said(sheet("gpt-oss-20b"))
    assert "--dtype mxfp4" not in said(sheet("gpt-oss-20b", dtype="mxfp4"))
    assert "pipeline parallel" in said(sheet("falcon-7b", gpu="t4"))
    assert "pipeline parallel" not in said(sheet(n_gpus=4))


def test_which_side_is_the_bottleneck():
    assert "Prefill is bound by compute, decoding by bandwidth" in said(sheet())
    assert "Prefill is bound by bandwidth" in said(sheet(prompt_tokens=8))
    assert "decoding by compute" in said(sheet("gpt2", prompt_tokens=1, new_tokens=1))


def test_prices():
    assert sheet(price=3).data["usd_per_gpu_hour"] == [3, 3]
    assert sheet(price=(1.5, 2.5)).data["usd_per_gpu_hour"] == [1.5, 2.5]
    assert any("an assumption; --price sets it" in text.en for text in sheet().assumptions)
    assert not any("an assumption; --price" in text.en for text in sheet(price=3).assumptions)


def test_assumptions_about_links():
    assert any("450 GB/s" in text.en for text in sheet(n_gpus=2).assumptions)
    assert any("no link bandwidth is known" in text.en for text in sheet(gpu="tpu-v4", n_gpus=2).assumptions)
    assert any("beyond 8 GPUs" in text.en for text in sheet("llama-3-70b", n_gpus=16).assumptions)
    assert not any("parallel" in text.en for text in sheet().assumptions)


def test_longer_than_the_context():
    assert any("8,192 tokens that the model was made for" in t.en for t in sheet(prompt_tokens=9000).assumptions)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gpu": "h10"}, "--gpu h10: unknown hardware; did you mean 'h100-sxm'"),
        ({"n_gpus": 0}, "--gpus must be at least 1, not 0"),
        ({"n_gpus": 5}, "--gpus 5 does not divide the 32 heads"),
        ({"dtype": "int3"}, "--dtype int3: unknown format of weights"),
        ({"kv_dtype": "int3"}, "--kv-dtype int3: unknown format of the cache"),
        ({"prompt_tokens": 0}, "--prompt must be at least 1, not 0"),
        ({"new_tokens": -1}, "--new must be at least 1, not -1"),
        ({"batch": 0}, "--batch must be at least 1, not 0"),
        ({"price": 0}, "--price must be above 0"),
        ({"price": float("nan")}, "--price must be above 0"),
        ({"price": (4, 2)}, "--price must be two positive numbers, the smaller one first, not 4 and 2"),
        ({"memory_share": 1.5}, "memory_share must be at least 0.001 and at most 1, not 1.5"),
        ({"bandwidth_share": (0, 1)}, "bandwidth_share must be two positive numbers"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(UserError, match=message):
        sheet(**options)


def test_encoders_are_not_served():
    with pytest.raises(UserError, match="bert-base-uncased: an encoder generates no tokens"):
        sheet("bert-base-uncased")
