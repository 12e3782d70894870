import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmprep import content
from llmprep.calc import activations, families, serving
from llmprep.calc.adapters import Adapters
from llmprep.calc.memory import EVERY
from llmprep.calc.sheets import train, train_kept
from llmprep.errors import UserError

MODELS = [m["name"] for m in content.load_json("models.json")["models"]]
GPUS = [entry["name"] for entry in content.load_yaml("hardware.yaml")]
GB = 1e9


def sheet(name="llama-13b", **options):
    return train.sheet(families.of(name), name, **options)


def said(texts):
    return " ".join(text.en for text in texts)


@pytest.mark.parametrize("name", MODELS)
def test_every_model(name, check):
    found = sheet(name)
    check(found)
    assert found.data["fits"] == (found.data["per_gpu"]["total"] <= found.data["usable_bytes"])


@pytest.mark.parametrize("gpu", GPUS)
def test_every_gpu(gpu, check):
    check(sheet("qwen3-0.6b", gpu=gpu))


@pytest.mark.parametrize("method", ["full", "lora", "qlora"])
@pytest.mark.parametrize("recipe", EVERY)
def test_every_recipe(method, recipe, check):
    found = sheet("llama-3-8b", method=method, recipe=recipe, gpus=8)
    check(found)
    data = found.data
    trained = data["trained_params"]
    assert sum(data["states"].values()) == pytest.approx(data["states_bytes"])
    assert data["states_bytes"] - data["states"]["frozen"] == pytest.approx(EVERY[recipe].total * trained)
    assert (data["states"]["frozen"] > 0) == (method != "full")


def test_13b_on_8_cards_of_80_gb():
    data = sheet(gpus=8).data
    assert data["states_bytes"] == 16 * 13_015_864_320
    assert [round(stage["states_bytes"] / GB, 1) for stage in data["by_zero_stage"]] == [208.3, 71.6, 48.8, 26.0]
    assert [stage["fits"] for stage in data["by_zero_stage"]] == [False, False, True, True]
    assert data["layout"]["zero"] == 3
    assert data["layout"]["micro_batch"] == 2
    assert (data["fewest_gpus"], data["fewest_gpus_for_states"]) == (4, 3)


def test_13b_agrees_with_the_planner_demo():
    """train_planner: 26.03 GB on 8 cards, 26.15 days by 6ND and 27.51 with attention on 64 at 45%, 3 cards at least."""
    data = sheet(gpus=64, tokens=260e9, mfu=0.45).data
    assert data["seconds_6nd"][0] / 86_400 == pytest.approx(26.15, rel=0.003)
    assert data["seconds"][0] / 86_400 == pytest.approx(27.51, rel=0.003)
    assert sheet(gpus=8).data["per_gpu"]["states"] / GB == pytest.approx(26.03, abs=0.005)
    kept = data["activations_of_a_sequence"]
    assert kept["full"] / GB == pytest.approx(0.839, abs=0.0005)
    rows = {row.label.en: row.value for section in sheet().sections for row in section.detail}
    assert rows["a GPT with dropout, none"] / GB == pytest.approx(47.8, abs=0.05)
    assert rows["a GPT with dropout, selective"] / GB == pytest.approx(14.26, abs=0.02)
    assert kept["selective"] < rows["a GPT with dropout, selective"]


def test_the_planner_demo_itself():
    pytest.importorskip("torch")
    from llmprep.demos.training.train_planner import cards_by_search

    data = sheet(gpus=8).data
    for policy, held in data["activations_of_a_sequence"].items():
        by_search = cards_by_search(data["params"], 3, 80e9, held)
        assert by_search == {"none": 4, "selective": 4, "full": 3}[policy]
    assert cards_by_search(data["params"], 3, 80e9, 0) == data["fewest_gpus_for_states"]


def test_64_gpus_are_chosen_for_13b_because_of_the_time():
    found = sheet()
    assert found.data["layout"]["gpus"] == 64
    assert found.data["tokens"] == 20 * 13_015_864_320
    assert "take about a month" in said(found.reasons)
    assert "20 a parameter" in said(found.assumptions)
    low, high = (each / 86_400 for each in found.data["seconds"])
    assert low < train.DAYS < high


def test_adapters_take_the_fewest_gpus():
    found = sheet("llama-2-70b", method="lora")
    assert found.data["layout"]["gpus"] == found.data["fewest_gpus"] > 1
    assert "the fewest that hold this job" in said(found.reasons)


def test_qlora_of_8b_on_a_gaming_card():
    data = sheet("llama-3-8b", method="qlora", gpu="rtx-4090", seq_len=2048, rank=16).data
    assert data["trained_params"] == 32 * 16 * (2 * (4096 + 4096) + 2 * (4096 + 1024) + 3 * (4096 + 14336))
    assert data["states"]["frozen"] / GB == pytest.approx(5.70, abs=0.01)
    assert data["fits"]
    assert data["cost_usd"] is None


def test_a_price_makes_a_cost():
    data = sheet(gpus=64, tokens=260e9, mfu=0.45, price=2.0).data
    assert data["cost_usd"] == [2 * data["gpu_hours"][0]] * 2
    data = sheet(gpus=64).data
    assert data["price_usd_per_gpu_hour"] == [2.0, 4.0]
    assert data["cost_usd"] == [2 * data["gpu_hours"][0], 4 * data["gpu_hours"][1]]
    assert data["gpu_hours"][1] / data["gpu_hours"][0] == pytest.approx(0.5 / 0.35)


def test_fewest_for_the_states_fills_the_memory_to_the_brim():
    """16 B × 68,976,648,192 = 1,104 GB: 14 times 80 GB, though only 71 may be used."""
    data = sheet("llama-2-70b", gpus=64).data
    assert data["fewest_gpus_for_states"] == 14
    assert data["usable_bytes"] == 71e9


def test_transformers_keeps_more():
    """Llama-13B, a sequence of 2,048: 4 B a norm channel and SiLU's output; FP32 scores with eager attention."""
    rows = {row.label.en: row.value for section in sheet().sections for row in section.detail}
    kept = sheet().data["activations_of_a_sequence"]
    more = 40 * 2048 * (4 * 2 * 5120 + 2 * 13_824)
    assert rows["transformers, sdpa"] == kept["selective"] + more
    assert rows["transformers, eager"] == kept["none"] + more + 40 * 2048 * 4 * 40 * 2048


def test_prices_are_those_of_serving():
    assert (train.PRICE, train.PRICED) == (serving.PRICE, serving.PRICED)


def test_given_mfu_stands_and_an_assumed_one_pays_for_recomputation():
    given = sheet(gpus=8, recompute="full", mfu=0.4).data
    assert given["mfu"] == [0.4, 0.4]
    assert given["hfu"][0] == pytest.approx(0.4 * 4 / 3, rel=0.03)
    assumed = sheet(gpus=8, recompute="full").data
    assert assumed["mfu"] == pytest.approx([0.35 * 3 / 4, 0.5 * 3 / 4], rel=0.03)
    assert sheet(gpus=8).data["mfu"] == [0.35, 0.5]


def test_mixture_counts_active_parameters():
    data = sheet("mixtral-8x7b", gpus=64, tokens=1e12).data
    assert data["flops_6nd"] == 6e12 * 12_879_925_248
    assert "expert parallelism is not planned" in said(sheet("mixtral-8x7b").assumptions)


def test_large_vocabularies_are_warned_of():
    assert "Logits over 128,256 words" in said(sheet("llama-3-8b", gpu="h100-sxm", gpus=8).reasons)
    assert "Logits" not in said(sheet("llama-2-7b", gpus=8).reasons)


def test_reasons_name_the_rule():
    assert "Plain data parallelism fits" in said(sheet("gpt2", gpus=8).reasons)
    assert "ZeRO-1 is the lowest stage that fits" in said(sheet(gpus=64).reasons)
    assert "ZeRO-2 fits too, but with fewer than 4,096" in said(sheet(gpus=8).reasons)
    assert "One GPU holds everything" in said(sheet("gpt2", gpus=1).reasons)
    assert "One sequence leaves 90.0 GB" in said(sheet("llama-2-70b", gpus=64).reasons)
    assert "which send for longer than a micro-batch computes" in said(
        sheet("llama-2-13b", gpu="a100-40gb", gpus=64).reasons
    )
    assert "even with ZeRO-3" in said(sheet("llama-2-70b", gpu="h200-sxm", gpus=16).reasons)
    assert "8 pipeline stages" in said(sheet("llama-3.1-405b", gpu="h100-sxm", gpus=1024).reasons)
    assert "last resort" in said(sheet("llama-3.1-405b", gpu="h100-sxm", gpus=128).reasons)
    assert "Nothing fits on 3 GPUs" in said(sheet(gpus=3).reasons)
    assert "leaves the fast links" in said(sheet("llama-3-8b", gpu="rtx-4090", gpus=8, tp=8).reasons)
    assert "DeepSpeed refuses" in said(sheet("llama-2-7b", gpus=16, pp=2, zero=2).reasons)
    assert "batch grows from" in said(sheet("gpt2", gpus=64, global_batch_tokens=2048).reasons)
    assert "sends for longer" in said(sheet("llama-2-7b", gpus=64, zero=3, seq_len=512, micro_batch=1).reasons)


def test_tensors_are_named_in_both_languages():
    for name in MODELS:
        shape = families.of(name)
        for stack in (*shape.encoder, *shape.stacks):
            saved = activations.of_layer(shape, stack.layer, 64, scores=True, adapters=Adapters(4))
            assert {each.name for each in saved} <= set(train_kept.ZH), name


def test_verdicts_say_what_fits():
    found = sheet(gpus=64)
    lines = {verdict.text.en.partition(":")[0]: verdict for verdict in found.verdicts}
    assert {name: verdict.ok for name, verdict in lines.items()} == {
        "ZeRO-0, selective, micro-batch 1": False,
        "ZeRO-1, selective, micro-batch 1": True,
        "ZeRO-2, selective, micro-batch 1": True,
        "ZeRO-3, selective, micro-batch 1": True,
        "ZeRO-1, nothing recomputed, micro-batch 1": False,
        "ZeRO-1, full recomputation, micro-batch 1": True,
        "this plan, micro-batch 1": True,
    }
    assert "54.5 GB of states, 68.5 GB in all: fits, 2.54 GB to spare" in lines["this plan, micro-batch 1"].text.en
    assert "放得下，余 2.54 GB" in lines["this plan, micro-batch 1"].text.zh
    never = sheet(zero=0, tp=1, pp=1)
    assert [verdict.ok for verdict in never.verdicts][-1] is False
    assert "no layout fits on up to 16,384 GPUs" in never.verdicts[-1].text.en


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gpus": 0}, "--gpus must be at least 1, not 0"),
        ({"gpus": -8}, "--gpus must be at least 1, not -8"),
        ({"gpu": "a1000"}, r"--gpu a1000: unknown hardware"),
        ({"recipe": "fp61"}, r"--recipe fp61: unknown recipe.*known: fp32, mixed"),
        ({"method": "lara"}, r"--method lara: unknown method; did you mean 'lora'"),
        ({"targets": "q", "method": "lora"}, r"--targets q: unknown targets"),
        ({"rank": 0}, "--rank must be at least 1, not 0"),
        ({"zero": 4}, "--zero must be 0 to 3, not 4"),
        ({"zero": -1}, "--zero must be 0 to 3, not -1"),
        ({"recompute": "some"}, r"--recompute some: unknown policy"),
        ({"tp": 0}, "--tp must be at least 1, not 0"),
        ({"tp": 3}, "--tp 3 does not divide the attention heads of llama-13b"),
        ({"pp": 0}, "--pp must be at least 1, not 0"),
        ({"pp": 41}, "--pp 41 is more than the 40 layers of llama-13b"),
        ({"gpus": 12, "tp": 8}, "--gpus 12 is not divisible by --tp 8 × --pp 1"),
        ({"gpus": 8, "tp": 4, "pp": 4}, "--gpus 8 is not divisible by --tp 4 × --pp 4"),
        ({"micro_batch": 0}, "--micro-batch must be at least 1, not 0"),
        ({"seq_len": 0}, "--seq-len must be at least 1, not 0"),
        ({"global_batch_tokens": 100}, "--global-batch-tokens must be at least a sequence of 2,048 tokens, not 100"),
        ({"global_batch_tokens": -1}, "--global-batch-tokens must be at least 1, not -1"),
        ({"mfu": 0}, "--mfu must be at least 0.001 and at most 1, not 0"),
        ({"mfu": 1.1}, "--mfu must be at least 0.001 and at most 1, not 1.1"),
        ({"tokens": 0}, "--tokens must be above 0"),
        ({"tokens": float("nan")}, "--tokens must be above 0"),
        ({"price": -1}, "--price must be above 0"),
    ],
)
def test_bad_values_name_the_option(options, message):
    with pytest.raises(UserError, match=message):
        sheet(**options)


ALBERT = {
    "vocab_size": 100,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_hidden_layers": 4,
}


@pytest.mark.parametrize("shape", [families.of("t5-base"), families.shape(ALBERT, "albert")], ids=["t5", "albert"])
def test_no_pipeline_through_what_is_no_stack(shape):
    assert train.sheet(shape, "it", gpus=1024).data["layout"]["pipeline_parallel"] == 1
    with pytest.raises(UserError, match="--pp 2: it has no plain stack of layers"):
        train.sheet(shape, "it", pp=2)


def test_no_w_q_no_adapter():
    with pytest.raises(UserError, match="--targets qv"):
        sheet("mamba-130m", method="lora", targets="qv")


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(MODELS),
    gpu=st.sampled_from(GPUS),
    gpus=st.integers(1, 300),
    method=st.sampled_from(["full", "lora", "qlora"]),
    zero=st.none() | st.integers(0, 3),
    recompute=st.none() | st.sampled_from(["none", "selective", "full"]),
    micro_batch=st.none() | st.integers(1, 5),
    seq_len=st.none() | st.integers(1, 9000),
)
def test_any_options(name, gpu, gpus, method, zero, recompute, micro_batch, seq_len):
    data = sheet(
        name,
        gpu=gpu,
        gpus=gpus,
        method=method,
        zero=zero,
        recompute=recompute,
        micro_batch=micro_batch,
        seq_len=seq_len,
    ).data
    lay = data["layout"]
    assert lay["gpus"] == gpus == lay["tensor_parallel"] * lay["pipeline_parallel"] * lay["data_parallel"]
    assert zero is None or lay["zero"] == zero
    assert recompute is None or lay["recompute"] == recompute
    assert micro_batch is None or lay["micro_batch"] == micro_batch
    assert data["fits"] == (data["per_gpu"]["total"] <= data["usable_bytes"])
    assert data["seconds"][0] <= data["seconds"][1]
    if zero is None and data["fewest_gpus"] and gpus % data["fewest_gpus"] == 0:
        assert data["fits"]  # so many replicas of what fits
    if data["fewest_gpus"] is None or gpus < min(data["fewest_gpus"], 9):
        assert not data["fits"]
