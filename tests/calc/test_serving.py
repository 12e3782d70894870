from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmprep.calc import families, hardware, kv, quant, serving
from llmprep.calc.hardware import Gpu
from llmprep.calc.serving import Plan, Work
from llmprep.calc.shapes import Attention, FeedForward, Layer, Shape, Stack
from llmprep.demos.inference import serving_cost
from llmprep.errors import UserError

# One byte and one FLOP a second make every number readable.
UNIT = Gpu("unit", memory=1000, bandwidth=1, flops={"bf16": 1}, link=1, source="")
H100 = hardware.find("h100-sxm")
EXACT = {"bandwidth_share": (0.7, 0.7), "flops_share": (0.5, 0.5), "workspace": 0}


def plan(model, gpu=H100, devices=1, dtype="bf16", **options):
    return Plan(families.of(model), gpu, devices, dtype, **options)


def test_the_roofline_by_hand():
    work = Work(flops=60, weight_bytes=20, cache_bytes=10, sent_bytes=7)
    assert work.seconds(UNIT, 1, flops_share=0.5, bandwidth_share=0.5) == 120 + 7
    assert work.seconds(UNIT, 10, flops_share=0.5, bandwidth_share=0.5) == 60 + 7
    assert work.seconds(replace(UNIT, link=None), 10, flops_share=0.5, bandwidth_share=0.5) == 60
    assert work.is_compute_bound(UNIT, 1, 0.5, 0.5)
    assert not work.is_compute_bound(UNIT, 10, 0.5, 0.5)


def test_room_is_what_weights_and_workspace_leave():
    p = plan("llama-3-8b")
    assert p.room == pytest.approx(0.9 * 80e9 - 1e9 - 2 * 8_030_261_248)
    assert p.requests == int(p.room // (131_072 * 1536)) == 272


@pytest.mark.parametrize("devices", [2, 4])
def test_numbers_are_those_of_the_lesson(devices):
    """demos/inference/serving_cost counts the embedding table as read and computed, and no all-reduce: 3% apart."""
    batch = 64 if devices == 4 else 1
    facts = {f.name: f.measured for f in serving_cost.run(serving_cost.Params(batch_size=batch)).facts}
    p = plan("llama-3-70b", replace(H100, link=None), devices, **EXACT)
    assert facts["cards"] == devices
    assert p.weights.n_bytes * devices == pytest.approx(facts["weights_gb"] * 1e9, rel=1e-4)
    assert 1e3 * p.seconds(p.prefill())[0] == pytest.approx(facts["first_token_ms"], rel=0.03)
    assert 1e3 * p.seconds(p.decode(batch))[0] == pytest.approx(facts["step_ms"], rel=0.03)
    hours = serving.gpu_hours(1 / p.rate(batch)[0], devices, 1)
    assert 2.5 * hours == pytest.approx(facts["price_per_million"], rel=0.03)


def test_alone_a_token_reads_the_weights_once():
    p = plan("llama-3-8b", bandwidth_share=(1, 1), flops_share=(1, 1), prompt_tokens=1, new_tokens=1)
    read = 2 * (8_030_261_248 - 128_256 * 4096)  # the untied embedding is looked up
    assert p.seconds(p.decode(1))[0] == pytest.approx(read / 3.35e12, rel=1e-4)


def test_a_tied_table_is_read_as_the_head():
    shape = families.of("llama-3.2-1b")
    assert serving.read_bytes(shape, quant.weigh(shape, "bf16"), 1) == 2 * 1_235_814_400


def test_only_chosen_experts_are_read():
    """A step of one token on gpt-oss-20b reads 4 of 32 experts, a large batch all of them."""
    shape = families.of("gpt-oss-20b")
    weights = quant.weigh(shape, "mxfp4")
    experts = weights.by_part()["experts"]
    alone, many = (serving.read_bytes(shape, weights, tokens) for tokens in (1, 10**4))
    assert many - alone == pytest.approx(experts * 28 / 32)
    assert serving.share_of_experts(families.of("llama-3-8b"), 1) == 1


def test_two_all_reduces_a_layer():
    """Ring: each device sends 2·(t − 1)/t of the B·d numbers of 2 bytes, twice in each of 80 layers."""
    assert plan("llama-3-70b", devices=4).decode(8).sent_bytes == 2 * 80 * 2 * 3 / 4 * 8 * 8192 * 2
    assert plan("llama-3-70b").decode(8).sent_bytes == 0


def test_decoding_reads_the_cache_of_every_request_at_its_mean_length():
    p = plan("llama-3-8b", prompt_tokens=100, new_tokens=9)
    assert p.decode(7).cache_bytes == 7 * 131_072 * 105
    assert p.request_bytes() == 131_072 * 109


def test_the_prompt_of_an_encoder_decoder_is_cached_by_cross_attention():
    p = plan("t5-base", prompt_tokens=100, new_tokens=10)
    assert p.request_bytes() == kv.request_bytes(p.shape, 10, encoder_tokens=100) == 36_864 * 110


@pytest.mark.parametrize(
    ("model", "gpu", "dtype", "devices"),
    [
        ("llama-3-8b", "h100-sxm", "bf16", 1),
        ("llama-3-8b", "t4", "bf16", 2),
        ("llama-3-70b", "h100-sxm", "bf16", 2),  # 141 GB: just
        ("llama-3-70b", "h100-sxm", "int4-g128", 1),
        ("llama-3.1-405b", "h100-sxm", "bf16", 16),
        ("llama-3.1-405b", "h100-sxm", "fp8", 8),
        ("deepseek-v3", "h100-sxm", "fp8-block", 16),
        ("deepseek-v3", "h200-sxm", "fp8-block", 8),  # as its README serves it
        ("gpt-oss-120b", "h100-sxm", "mxfp4", 1),  # as its model card promises
        ("gpt-oss-20b", "t4", "mxfp4", 2),
    ],
)
def test_fewest_devices(model, gpu, dtype, devices):
    found = serving.smallest(plan(model, hardware.find(gpu), dtype=dtype))
    assert found.devices == devices
    assert found.requests >= 1


def test_nothing_is_small_enough():
    assert serving.smallest(plan("llama-3-8b", replace(H100, memory=1e6))) is None


@pytest.mark.parametrize(
    ("model", "possible"),
    [
        ("llama-3-70b", [1, 2, 4, 8, 16, 32, 64]),  # 64 heads in 8 groups
        ("llama-13b", [1, 2, 4, 8]),  # 40 heads
        ("qwen2.5-7b", [1, 2, 4]),  # 28 heads in 4 groups
        ("falcon-7b", [1, 71]),
        ("deepseek-v3", [1, 2, 4, 8, 16, 32, 64, 128]),
    ],
)
def test_devices_that_can_share_the_heads(model, possible):
    assert list(serving.degrees(families.of(model))) == possible


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        (0, "--gpus must be at least 1, not 0"),
        (-2, "--gpus must be at least 1, not -2"),
        (3, r"--gpus 3 does not divide the 28 heads of this model \(possible: 1, 2, 4\)"),
        (7, "--gpus 7 goes neither into the 4 key/value heads nor the other way round"),
    ],
)
def test_numbers_of_devices_that_are_refused(devices, message):
    with pytest.raises(UserError, match=message):
        serving.check_devices(families.of("qwen2.5-7b"), devices)
    assert serving.check_devices(families.of("qwen2.5-7b"), 4) == 4


MODELS = st.sampled_from(["gpt2", "llama-3-8b", "qwen3-30b-a3b", "deepseek-v2-lite", "gemma-3-1b", "mamba-130m"])


@given(MODELS, st.integers(1, 3000), st.integers(1, 500), st.sampled_from(["bf16", "fp8", "int4-g128"]))
def test_more_gpus_never_fit_fewer_requests(model, prompt, new, dtype):
    p = plan(model, hardware.find("rtx-4090"), dtype=dtype, prompt_tokens=prompt, new_tokens=new)
    fits = [replace(p, devices=n).requests for n in serving.degrees(p.shape) if n <= 8]
    assert fits == sorted(fits)


@given(MODELS, st.integers(1, 200), st.integers(1, 200))
def test_a_larger_batch_takes_longer_steps_and_gives_more_tokens(model, batch, more):
    p = plan(model)
    small, large = (p.seconds(p.decode(b)) for b in (batch, batch + more))
    assert small[0] <= small[1]
    assert small[0] <= large[0]
    assert batch / small[0] <= (batch + more) / large[0] * (1 + 1e-9)
    assert p.rate(batch)[0] >= p.rate(batch)[1]


@given(MODELS, st.integers(1, 400))
def test_smaller_weights_never_decode_slower_on_the_same_arithmetic(model, batch):
    slow, fast = (plan(model, dtype=dtype) for dtype in ("bf16", "int4-g128"))
    assert fast.seconds(fast.decode(batch))[0] <= slow.seconds(slow.decode(batch))[0]


@given(st.integers(1, 20_000), st.integers(1, 64))
def test_prompts_computed_together_never_cost_more_each(prompt, batch):
    p = plan("qwen3-30b-a3b", prompt_tokens=prompt)
    assert p.prompt_seconds(batch)[0] <= p.seconds(p.prefill())[0] * (1 + 1e-9)


def test_weight_only_formats_compute_in_16_bits():
    assert plan("llama-3-8b", dtype="int4-g128").peak == ("bf16", H100.flops["bf16"])
    assert plan("llama-3-8b", dtype="q4_k_m").peak[0] == "bf16"
    assert plan("llama-3-8b", dtype="fp8").peak == ("fp8", H100.flops["fp8"])
    assert plan("llama-3-8b", hardware.find("a100-80gb"), dtype="fp8").peak[0] == "bf16"  # has no FP8
    assert plan("llama-3-8b", hardware.find("t4")).peak[0] == "fp16"


def test_gpu_hours():
    assert serving.gpu_hours(seconds=36, devices=2, tokens=10_000) == 2


def test_a_model_without_heads_to_divide():
    shape = Shape("test", 10, 16, (Stack(Layer(Attention(1, 1, 16), FeedForward(16)), 1),), tied=True)
    assert list(serving.degrees(shape)) == [1]
